//! Users, their sessions in browsers, and their API tokens.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Permission, Role};

/// A person, or a program that has only tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserKind {
    #[default]
    Person,
    /// A service account: it has no password and cannot log in.
    Service,
}

impl UserKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Service => "service",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Person, Self::Service]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// The hash of a password, as a PHC string.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

/// A user as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: Uuid,
    /// Unique without regard to case.
    pub name: String,
    pub kind: UserKind,
    pub role: Role,
    /// Permissions beyond those of the role.
    pub permissions: BTreeSet<Permission>,
    /// Absent for service accounts.
    pub password: Option<PasswordHash>,
    pub disabled: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub password_changed_at: Option<DateTime<Utc>>,
    pub last_login_at: Option<DateTime<Utc>>,
}

impl User {
    /// Returns the permissions of the role and the user's own.
    #[must_use]
    pub fn all_permissions(&self) -> BTreeSet<Permission> {
        &self.role.permissions() | &self.permissions
    }

    /// Returns whether the user can log in and manage users.
    #[must_use]
    pub fn is_active_admin(&self) -> bool {
        self.kind == UserKind::Person && self.role == Role::Admin && !self.disabled
    }
}

/// The digest of a secret of 256 random bits, which identifies a session or token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretDigest(pub [u8; 32]);

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest")
    }
}

/// A login in a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrowserSession {
    pub id: Uuid,
    pub digest: SecretDigest,
    pub user_id: Uuid,
    pub created_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
    /// The end, however much the session is used.
    pub expires_at: DateTime<Utc>,
    /// The address of the client at the login.
    pub address: Option<String>,
    /// The `User-Agent` of the client at the login.
    pub client: Option<String>,
}

/// An API token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    pub id: Uuid,
    pub digest: SecretDigest,
    pub user_id: Uuid,
    /// Unique among the user's tokens.
    pub name: String,
    /// Limits the permissions of the user; `None` does not.
    pub permissions: Option<BTreeSet<Permission>>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub last_used_at: Option<DateTime<Utc>>,
    /// The address of the client that used it last.
    pub last_address: Option<String>,
}
