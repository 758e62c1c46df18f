//! Wire types of users, logins, sessions and API tokens.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::{TokenInput, UserInput};
use crate::model::{ApiToken, BrowserSession, Permission, Principal, Proof, Role, User, UserKind};

/// The creation of the first user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetupRequest {
    /// The code that the server printed at its start.
    pub code: String,
    #[schema(example = "anna")]
    pub name: String,
    /// At least 12 characters.
    #[schema(value_type = String)]
    pub password: SecretString,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    pub name: String,
    #[schema(value_type = String)]
    pub password: SecretString,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordRequest {
    #[schema(value_type = String)]
    pub current_password: SecretString,
    /// At least 12 characters.
    #[schema(value_type = String)]
    pub new_password: SecretString,
}

/// The sender of the request, with its permissions.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct MeResponse {
    /// Whether clients have to authenticate. Without, every client may do everything.
    pub authentication: bool,
    /// Absent while authentication is off.
    pub name: Option<String>,
    pub role: Option<Role>,
    pub permissions: BTreeSet<Permission>,
    pub proof: ProofKind,
    /// The id of the session or token.
    pub proof_id: Option<Uuid>,
}

/// The proof of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProofKind {
    /// None: authentication is off.
    None,
    Session,
    Token,
}

impl From<Principal> for MeResponse {
    fn from(principal: Principal) -> Self {
        let (proof, proof_id) = match principal.proof {
            Proof::None => (ProofKind::None, None),
            Proof::Session(id) => (ProofKind::Session, Some(id)),
            Proof::Token(id) => (ProofKind::Token, Some(id)),
        };
        let (name, role) = principal.user.map(|user| (user.name, user.role)).unzip();
        Self {
            authentication: name.is_some(),
            name,
            role,
            permissions: principal.permissions,
            proof,
            proof_id,
        }
    }
}

/// A user to be created or changed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserRequest {
    /// Letters, digits, `-`, `_` and `.`; unique without regard to case.
    #[schema(example = "anna")]
    pub name: String,
    #[serde(default)]
    pub kind: UserKind,
    pub role: Role,
    /// Permissions beyond those of the role.
    #[serde(default)]
    pub permissions: BTreeSet<Permission>,
    /// A disabled user cannot do anything.
    #[serde(default)]
    pub disabled: bool,
    /// At least 12 characters. Required for a new person; if absent later, the password stays.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub password: Option<SecretString>,
}

impl From<UserRequest> for UserInput {
    fn from(request: UserRequest) -> Self {
        Self {
            name: request.name,
            kind: request.kind,
            role: request.role,
            permissions: request.permissions,
            disabled: request.disabled,
            password: request.password,
        }
    }
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct UserResponse {
    pub id: Uuid,
    pub name: String,
    pub kind: UserKind,
    pub role: Role,
    /// Permissions beyond those of the role.
    pub permissions: BTreeSet<Permission>,
    pub disabled: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub password_changed_at: Option<DateTime<Utc>>,
    pub last_login_at: Option<DateTime<Utc>>,
}

impl From<User> for UserResponse {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            name: user.name,
            kind: user.kind,
            role: user.role,
            permissions: user.permissions,
            disabled: user.disabled,
            created_at: user.created_at,
            updated_at: user.updated_at,
            password_changed_at: user.password_changed_at,
            last_login_at: user.last_login_at,
        }
    }
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct UserList {
    /// By name.
    pub users: Vec<UserResponse>,
}

/// A login in a browser.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SessionResponse {
    pub id: Uuid,
    /// Whether it is the session of the request.
    pub current: bool,
    pub created_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// The address of the client at the login; absent for a Unix socket.
    pub address: Option<String>,
    /// The `User-Agent` of the client at the login.
    pub client: Option<String>,
}

impl SessionResponse {
    #[must_use]
    pub fn new(session: BrowserSession, current: &Proof) -> Self {
        Self {
            current: *current == Proof::Session(session.id),
            id: session.id,
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: session.expires_at,
            address: session.address,
            client: session.client,
        }
    }
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SessionList {
    /// The last used first.
    pub sessions: Vec<SessionResponse>,
}

/// A token to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Letters, digits, `-`, `_` and `.`; unique among the user's tokens.
    #[schema(example = "nightly-backup")]
    pub name: String,
    /// The user of the token; if absent, the user of the request.
    #[serde(default)]
    pub user: Option<String>,
    /// Limits what the token allows. It never allows more than its user may do; if absent, as much.
    #[serde(default)]
    pub permissions: Option<BTreeSet<Permission>>,
    /// Within the next 366 days.
    pub expires_at: DateTime<Utc>,
}

impl From<TokenRequest> for TokenInput {
    fn from(request: TokenRequest) -> Self {
        Self {
            name: request.name,
            permissions: request.permissions,
            expires_at: request.expires_at,
        }
    }
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenResponse {
    pub id: Uuid,
    pub name: String,
    pub permissions: Option<BTreeSet<Permission>>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// Accurate to a minute.
    pub last_used_at: Option<DateTime<Utc>>,
    pub last_address: Option<String>,
    /// The token itself, in the response to its creation alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl From<ApiToken> for TokenResponse {
    fn from(token: ApiToken) -> Self {
        Self {
            id: token.id,
            name: token.name,
            permissions: token.permissions,
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
            last_address: token.last_address,
            token: None,
        }
    }
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// By name.
    pub tokens: Vec<TokenResponse>,
}
