//! Authentication: users, logins in browsers, API tokens, and the principal of each request.
//!
//! [`Auth::identify`] finds the principal of a request; [`crate::api`] checks its permissions. While
//! authentication is off, each request has the principal [`Principal::anyone`].

mod attempts;
mod passwords;
mod secrets;
mod setup;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use uuid::Uuid;

use crate::config::{AuthConfig, AuthMode};
use crate::fields::check_name;
use crate::model::{
    ApiToken, BrowserSession, FieldError, Permission, Principal, PrincipalUser, Proof, Role,
    SecretDigest, User, UserKind, now,
};
use crate::storage::{StorageError, UserChange, UserStore};

use attempts::LoginAttempts;
pub use passwords::{MAX_PASSWORD, MIN_PASSWORD};
use passwords::{Passwords, Verified};
pub use secrets::TOKEN_PREFIX;
pub use setup::SetupSecret;

/// Maximum number of users; a list of all of them stays below 1 MiB.
const MAX_USERS: usize = 1_000;
/// Sessions per user; a login ends the one that was used the longest ago.
const MAX_SESSIONS: u32 = 20;
/// Tokens per user.
const MAX_TOKENS: u32 = 50;
/// Maximum lifetime of a token.
const MAX_TOKEN_DAYS: i64 = 366;
/// How often the last use of a session or token is stored, at most.
const TOUCH_INTERVAL: TimeDelta = TimeDelta::seconds(60);
/// Maximum length of the stored `User-Agent`, in bytes.
const MAX_CLIENT: usize = 200;

/// Why a request is rejected.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The request has neither a session nor a token.
    #[error("authentication is required: log in, or send an API token (Authorization: Bearer …)")]
    Missing,
    #[error("the session has ended; log in again")]
    NoSession,
    /// The text in the header `Authorization` is no token.
    #[error("invalid Authorization header: {0}")]
    Malformed(&'static str),
    #[error("the API token is unknown or was revoked")]
    UnknownToken,
    #[error("the API token expired at {0}")]
    ExpiredToken(DateTime<Utc>),
    /// The user is disabled.
    #[error("user `{0}` is disabled")]
    Disabled(String),
    /// A wrong password, an unknown user, or a user without a password: a client does not learn which.
    #[error("wrong user name or password")]
    WrongPassword,
    #[error("too many login attempts; retry in {0} s")]
    TooManyAttempts(u32),
    #[error("too many logins at once; retry later")]
    Busy,
    /// Authentication is off.
    #[error("authentication is off (auth.mode), so there are no users")]
    Off,
    /// The operation needs a login with a password.
    #[error("an API token cannot do this; log in with a password")]
    SessionRequired,
    #[error("invalid request")]
    Invalid(Vec<FieldError>),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    /// The details are for the log.
    #[error("internal error: {0}")]
    Internal(String),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<getrandom::Error> for AuthError {
    fn from(error: getrandom::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

/// The credentials in a request.
#[derive(Debug, Default)]
pub struct Credentials<'a> {
    /// The value of the session's cookie.
    pub cookie: Option<&'a str>,
    /// The value of the header `Authorization`.
    pub authorization: Option<&'a str>,
    pub address: Option<IpAddr>,
}

/// Where a login came from.
#[derive(Debug, Default)]
pub struct Client {
    pub address: Option<IpAddr>,
    /// The header `User-Agent`.
    pub agent: Option<String>,
}

/// A login: its principal, and the cookie of its session.
#[derive(Debug)]
pub struct Login {
    pub principal: Principal,
    pub cookie: SecretString,
    /// When the session ends.
    pub expires_in: TimeDelta,
}

/// The fields of a new user, or of a changed one.
#[derive(Debug)]
pub struct UserInput {
    pub name: String,
    pub kind: UserKind,
    pub role: Role,
    pub permissions: BTreeSet<Permission>,
    pub disabled: bool,
    pub password: Option<SecretString>,
}

/// The fields of a new token.
#[derive(Debug)]
pub struct TokenInput {
    pub name: String,
    pub permissions: Option<BTreeSet<Permission>>,
    pub expires_at: DateTime<Utc>,
}

/// Use cases of users, logins and tokens.
pub struct Auth {
    mode: AuthMode,
    session_idle: TimeDelta,
    session_lifetime: TimeDelta,
    storage: Arc<dyn UserStore>,
    passwords: Passwords,
    attempts: LoginAttempts,
    setup: SetupSecret,
}

impl Auth {
    /// # Errors
    /// If the system gives no random numbers.
    pub fn new(
        mode: AuthMode,
        config: &AuthConfig,
        storage: Arc<dyn UserStore>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            mode,
            session_idle: TimeDelta::seconds(config.session_idle_seconds.into()),
            session_lifetime: TimeDelta::seconds(config.session_lifetime_seconds.into()),
            storage,
            passwords: Passwords::new()?,
            attempts: LoginAttempts::new(),
            setup: SetupSecret::default(),
        })
    }

    #[must_use]
    pub fn is_on(&self) -> bool {
        self.mode != AuthMode::Off
    }

    /// Creates the secret with which the first user is set up; `None` if there are users already, or
    /// authentication is off.
    ///
    /// # Errors
    /// If the database is unavailable.
    pub async fn begin_setup(&self) -> Result<Option<SecretString>, AuthError> {
        if !self.is_on() || !self.storage.users().await?.is_empty() {
            return Ok(None);
        }
        self.setup.renew().map(Some)
    }

    /// Returns whether the first user can be set up now.
    #[must_use]
    pub fn awaits_setup(&self) -> bool {
        self.setup.is_valid()
    }

    /// Creates the first user, an admin, and logs in.
    ///
    /// # Errors
    /// If the secret is wrong or has expired, there is a user already, or a field is invalid.
    pub async fn set_up(
        &self,
        secret: &str,
        name: String,
        password: SecretString,
        client: Client,
    ) -> Result<Login, AuthError> {
        self.check_on()?;
        self.attempts
            .count("", client.address)
            .map_err(AuthError::TooManyAttempts)?;
        if !self.setup.is(secret) {
            return Err(AuthError::Conflict(
                "the setup code is wrong or has expired; a new one is printed when the server starts \
                 without users"
                    .to_owned(),
            ));
        }
        let user = self
            .new_user(UserInput {
                name,
                kind: UserKind::Person,
                role: Role::Admin,
                permissions: BTreeSet::new(),
                disabled: false,
                password: Some(password),
            })
            .await?;
        if !self.storage.add_first_user(&user).await? {
            return Err(AuthError::Conflict("there is a user already".to_owned()));
        }
        self.setup.spend();
        tracing::info!(user = %user.name, "first user created");
        self.begin_session(user, client).await
    }

    /// Logs in with name and password.
    ///
    /// # Errors
    /// [`AuthError::WrongPassword`] also for an unknown or disabled user; [`AuthError::TooManyAttempts`].
    pub async fn log_in(
        &self,
        name: &str,
        password: SecretString,
        client: Client,
    ) -> Result<Login, AuthError> {
        self.check_on()?;
        let address = client.address;
        if let Err(wait) = self.attempts.count(name, address) {
            tracing::warn!(user = name, address = ?address, "login rejected: too many attempts");
            return Err(AuthError::TooManyAttempts(wait));
        }
        let user = self.checked_user(name, password).await;
        if let Err(AuthError::WrongPassword) = &user {
            tracing::warn!(user = name, address = ?address, "login failed: wrong name or password");
        }
        let user = user?;
        tracing::info!(user = %user.name, address = ?address, "logged in");
        self.begin_session(user, client).await
    }

    /// Returns the user with this name and password.
    async fn checked_user(&self, name: &str, password: SecretString) -> Result<User, AuthError> {
        let user = self.storage.user(name).await?;
        let stored = user.as_ref().filter(|user| !user.disabled);
        let stored = stored.and_then(|user| user.password.clone());
        let verified = self
            .passwords
            .verify(password.clone(), stored.clone())
            .await?;
        let (Some(user), Some(stored)) = (user, stored) else {
            return Err(AuthError::WrongPassword);
        };
        match verified {
            Verified::No => return Err(AuthError::WrongPassword),
            Verified::Yes => {}
            Verified::WithOldHash => {
                let new = self.passwords.hash(password).await?;
                self.storage
                    .replace_password_hash(user.id, &stored, &new)
                    .await?;
            }
        }
        Ok(user)
    }

    async fn begin_session(&self, user: User, client: Client) -> Result<Login, AuthError> {
        let secret = secrets::new_secret()?;
        let now = now();
        let agent = client.agent.map(|agent| shortened(&agent, MAX_CLIENT));
        let session = BrowserSession {
            id: Uuid::now_v7(),
            digest: secret.digest,
            user_id: user.id,
            created_at: now,
            last_used_at: now,
            expires_at: now + self.session_lifetime,
            address: client
                .address
                .map(|address| address.to_canonical().to_string()),
            client: agent,
        };
        self.storage.add_session(&session, MAX_SESSIONS).await?;
        Ok(Login {
            principal: principal_of_session(&session, &user),
            cookie: secret.text,
            expires_in: self.session_lifetime,
        })
    }

    /// Returns the principal of a request. A token has precedence over a cookie.
    ///
    /// # Errors
    /// If the request proves nothing, or what it sent is not valid (any more).
    pub async fn identify(&self, credentials: Credentials<'_>) -> Result<Principal, AuthError> {
        if !self.is_on() {
            return Ok(Principal::anyone());
        }
        let address = credentials.address;
        match (credentials.authorization, credentials.cookie) {
            (Some(authorization), _) => self.by_token(authorization, address).await,
            (None, Some(cookie)) => self.by_session(cookie).await,
            (None, None) => Err(AuthError::Missing),
        }
    }

    async fn by_token(
        &self,
        authorization: &str,
        address: Option<IpAddr>,
    ) -> Result<Principal, AuthError> {
        let (scheme, text) = authorization.split_once(' ').unwrap_or((authorization, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(AuthError::Malformed("expected `Bearer` and an API token"));
        }
        let text = text.trim();
        if !secrets::is_token(text) {
            return Err(AuthError::Malformed(
                "not an API token, or a mistyped or truncated one",
            ));
        }
        let (token, user) = self.valid_token(secrets::digest_of(text)).await?;
        let now = now();
        if is_due(token.last_used_at, now) {
            let address = address.map(|address| address.to_canonical().to_string());
            let touched = self.storage.touch_token(token.id, address.as_deref(), now);
            not_stored(touched.await);
        }
        Ok(principal_of_token(&token, &user))
    }

    async fn by_session(&self, cookie: &str) -> Result<Principal, AuthError> {
        let (session, user) = self.valid_session(secrets::digest_of(cookie)).await?;
        let now = now();
        if is_due(Some(session.last_used_at), now) {
            not_stored(self.storage.touch_session(session.id, now).await);
        }
        Ok(principal_of_session(&session, &user))
    }

    /// Returns the principal as it is now, for a request that lasts: the user may have logged out, and
    /// permissions may have changed.
    ///
    /// # Errors
    /// If the session or token is no longer valid.
    pub async fn identify_again(&self, principal: &Principal) -> Result<Principal, AuthError> {
        match (principal.proof, principal.digest) {
            (Proof::Session(_), Some(digest)) => {
                let (session, user) = self.valid_session(digest).await?;
                Ok(principal_of_session(&session, &user))
            }
            (Proof::Token(_), Some(digest)) => {
                let (token, user) = self.valid_token(digest).await?;
                Ok(principal_of_token(&token, &user))
            }
            _ => Ok(principal.clone()),
        }
    }

    async fn valid_token(&self, digest: SecretDigest) -> Result<(ApiToken, User), AuthError> {
        let found = self.storage.token(digest).await?;
        let (token, user) = found.ok_or(AuthError::UnknownToken)?;
        if token.expires_at <= now() {
            return Err(AuthError::ExpiredToken(token.expires_at));
        }
        if user.disabled {
            return Err(AuthError::Disabled(user.name));
        }
        Ok((token, user))
    }

    async fn valid_session(
        &self,
        digest: SecretDigest,
    ) -> Result<(BrowserSession, User), AuthError> {
        let found = self.storage.session(digest).await?;
        let (session, user) = found.ok_or(AuthError::NoSession)?;
        let now = now();
        // A clock that was set back gives a session no more time than its lifetime.
        let is_over = session.expires_at <= now
            || session.last_used_at + self.session_idle <= now
            || session.created_at > now + TOUCH_INTERVAL;
        if is_over || user.disabled {
            return Err(AuthError::NoSession);
        }
        Ok((session, user))
    }

    /// Ends the session of the request.
    ///
    /// # Errors
    /// If the request has no session, or the database is unavailable.
    pub async fn log_out(&self, principal: &Principal) -> Result<(), AuthError> {
        let user = self.user_of(principal)?;
        let Proof::Session(session) = principal.proof else {
            return Err(AuthError::SessionRequired);
        };
        self.storage.remove_session(user.id, session).await?;
        Ok(())
    }

    /// Changes the user's own password, and ends the user's other sessions.
    ///
    /// # Errors
    /// If the current password is wrong, or the new one is not accepted.
    pub async fn change_password(
        &self,
        principal: &Principal,
        current: SecretString,
        new: SecretString,
        address: Option<IpAddr>,
    ) -> Result<(), AuthError> {
        let user = self.user_of(principal)?;
        let Proof::Session(session) = principal.proof else {
            return Err(AuthError::SessionRequired);
        };
        self.attempts
            .count(&user.name, address)
            .map_err(AuthError::TooManyAttempts)?;
        let checked = self.checked_user(&user.name, current).await;
        checked.map_err(|error| match error {
            AuthError::WrongPassword => invalid("/current_password", "wrong password"),
            error => error,
        })?;
        passwords::check(&new, &user.name).map_err(|message| invalid("/new_password", message))?;
        let hash = self.passwords.hash(new).await?;
        self.storage
            .set_password(user.id, &hash, Some(session), now())
            .await?;
        tracing::info!(user = %user.name, "password changed");
        Ok(())
    }

    /// Returns the sessions of a user, the last used first.
    ///
    /// # Errors
    /// If there is no such user, or the database is unavailable.
    pub async fn sessions(&self, name: &str) -> Result<Vec<BrowserSession>, AuthError> {
        let user = self.user(name).await?;
        let now = now();
        let mut sessions = self.storage.sessions_of(user.id).await?;
        sessions.retain(|session| {
            session.expires_at > now && session.last_used_at + self.session_idle > now
        });
        Ok(sessions)
    }

    /// Ends a session of a user.
    ///
    /// # Errors
    /// If there is no such user or session, or the database is unavailable.
    pub async fn end_session(&self, name: &str, id: Uuid) -> Result<(), AuthError> {
        let user = self.user(name).await?;
        if !self.storage.remove_session(user.id, id).await? {
            return Err(AuthError::NotFound(format!("session {id} not found")));
        }
        Ok(())
    }

    /// Returns the tokens of a user by name.
    ///
    /// # Errors
    /// If there is no such user, or the database is unavailable.
    pub async fn tokens(&self, name: &str) -> Result<Vec<ApiToken>, AuthError> {
        let user = self.user(name).await?;
        Ok(self.storage.tokens_of(user.id).await?)
    }

    /// Creates a token of a user. The text is returned once and cannot be read again.
    ///
    /// # Errors
    /// If the principal has no session of its own: a token cannot make tokens. If there is no such user
    /// or a field is invalid.
    pub async fn create_token(
        &self,
        principal: &Principal,
        owner: &str,
        input: TokenInput,
    ) -> Result<(ApiToken, SecretString), AuthError> {
        if !matches!(principal.proof, Proof::Session(_)) {
            return Err(AuthError::SessionRequired);
        }
        let owner = self.user(owner).await?;
        let now = now();
        let mut errors: Vec<_> = check_name(&input.name).into_iter().collect();
        if input.expires_at <= now || input.expires_at > now + TimeDelta::days(MAX_TOKEN_DAYS) {
            let message = format!("expected a time within the next {MAX_TOKEN_DAYS} days");
            errors.push(FieldError::new("/expires_at", message));
        }
        if !errors.is_empty() {
            return Err(AuthError::Invalid(errors));
        }
        let secret = secrets::new_token()?;
        let token = ApiToken {
            id: Uuid::now_v7(),
            digest: secret.digest,
            user_id: owner.id,
            name: input.name,
            permissions: input.permissions,
            created_at: now,
            expires_at: input.expires_at,
            last_used_at: None,
            last_address: None,
        };
        if !self.storage.add_token(&token, MAX_TOKENS).await? {
            return Err(AuthError::Conflict(format!(
                "user `{}` has {MAX_TOKENS} tokens, which is the maximum; revoke one",
                owner.name
            )));
        }
        tracing::info!(user = %owner.name, token = %token.name, by = principal.name(), "token created");
        Ok((token, secret.text))
    }

    /// Revokes a token of a user.
    ///
    /// # Errors
    /// If there is no such user or token, or the database is unavailable.
    pub async fn revoke_token(&self, name: &str, id: Uuid) -> Result<(), AuthError> {
        let user = self.user(name).await?;
        if !self.storage.remove_token(user.id, id).await? {
            return Err(AuthError::NotFound(format!("token {id} not found")));
        }
        tracing::info!(user = %user.name, token_id = %id, "token revoked");
        Ok(())
    }

    /// Returns all users by name.
    ///
    /// # Errors
    /// If authentication is off, or the database is unavailable.
    pub async fn users(&self) -> Result<Vec<User>, AuthError> {
        self.check_on()?;
        Ok(self.storage.users().await?)
    }

    /// Returns a user by name.
    ///
    /// # Errors
    /// If authentication is off, there is no such user, or the database is unavailable.
    pub async fn user(&self, name: &str) -> Result<User, AuthError> {
        self.check_on()?;
        let user = self.storage.user(name).await?;
        user.ok_or_else(|| AuthError::NotFound(format!("user `{name}` not found")))
    }

    /// Creates a user.
    ///
    /// # Errors
    /// If a field is invalid, or a user has the name.
    pub async fn create_user(
        &self,
        principal: &Principal,
        input: UserInput,
    ) -> Result<User, AuthError> {
        self.check_on()?;
        if self.storage.users().await?.len() >= MAX_USERS {
            return Err(AuthError::Conflict(format!(
                "there are {MAX_USERS} users, which is the maximum; delete one"
            )));
        }
        let user = self.new_user(input).await?;
        self.storage.add_user(&user).await?;
        tracing::info!(user = %user.name, role = user.role.as_str(), by = principal.name(), "user created");
        Ok(user)
    }

    /// Changes a user. A password is changed if one is given.
    ///
    /// # Errors
    /// If there is no such user, a field is invalid, or no active admin would be left.
    pub async fn update_user(
        &self,
        principal: &Principal,
        name: &str,
        input: UserInput,
    ) -> Result<User, AuthError> {
        let stored = self.user(name).await?;
        let mut errors = check_fields(&input, false);
        if input.kind != stored.kind {
            let message = "the kind of a user cannot change; create another user";
            errors.push(FieldError::new("/kind", message));
        }
        if !errors.is_empty() {
            return Err(AuthError::Invalid(errors));
        }
        let changed = User {
            name: input.name,
            role: input.role,
            permissions: input.permissions,
            disabled: input.disabled,
            updated_at: now(),
            ..stored
        };
        match self.storage.update_user(&changed).await? {
            UserChange::Done => {}
            UserChange::NotFound => {
                return Err(AuthError::NotFound(format!("user `{name}` not found")));
            }
            UserChange::LastAdmin => return Err(last_admin(name)),
        }
        if let Some(password) = input.password {
            let hash = self.passwords.hash(password).await?;
            let keep = match principal.proof {
                Proof::Session(session) => Some(session),
                Proof::None | Proof::Token(_) => None,
            };
            self.storage
                .set_password(changed.id, &hash, keep, changed.updated_at)
                .await?;
        }
        tracing::info!(user = %changed.name, role = changed.role.as_str(), by = principal.name(), "user changed");
        self.user(&changed.name).await
    }

    /// Deletes a user with all sessions and tokens.
    ///
    /// # Errors
    /// If there is no such user, or no active admin would be left.
    pub async fn delete_user(&self, principal: &Principal, name: &str) -> Result<(), AuthError> {
        let user = self.user(name).await?;
        match self.storage.delete_user(user.id).await? {
            UserChange::Done => {
                tracing::info!(user = %user.name, by = principal.name(), "user deleted");
                Ok(())
            }
            UserChange::NotFound => Err(AuthError::NotFound(format!("user `{name}` not found"))),
            UserChange::LastAdmin => Err(last_admin(name)),
        }
    }

    /// Returns why jobs of a schedule are not submitted for its owner; `None` if they are.
    ///
    /// # Errors
    /// If the database is unavailable.
    pub async fn denies_submission(&self, owner: &str) -> Result<Option<String>, StorageError> {
        if !self.is_on() {
            return Ok(None);
        }
        let reason = match self.storage.user(owner).await? {
            None => "does not exist".to_owned(),
            Some(user) if user.disabled => "is disabled".to_owned(),
            Some(user) if !user.all_permissions().contains(&Permission::JobsSubmit) => {
                format!("does not have the permission `{}`", Permission::JobsSubmit)
            }
            Some(_) => return Ok(None),
        };
        Ok(Some(format!(
            "the owner `{owner}` of the schedule {reason}; replace the schedule to become its owner"
        )))
    }

    async fn new_user(&self, input: UserInput) -> Result<User, AuthError> {
        let errors = check_fields(&input, true);
        if !errors.is_empty() {
            return Err(AuthError::Invalid(errors));
        }
        let password = match input.password {
            Some(password) => Some(self.passwords.hash(password).await?),
            None => None,
        };
        let now = now();
        Ok(User {
            id: Uuid::now_v7(),
            name: input.name,
            kind: input.kind,
            role: input.role,
            permissions: input.permissions,
            password_changed_at: password.is_some().then_some(now),
            password,
            disabled: input.disabled,
            created_at: now,
            updated_at: now,
            last_login_at: None,
        })
    }

    fn check_on(&self) -> Result<(), AuthError> {
        if self.is_on() {
            Ok(())
        } else {
            Err(AuthError::Off)
        }
    }

    fn user_of<'p>(&self, principal: &'p Principal) -> Result<&'p PrincipalUser, AuthError> {
        self.check_on()?;
        principal.user.as_ref().ok_or(AuthError::Missing)
    }
}

fn principal_of_session(session: &BrowserSession, user: &User) -> Principal {
    Principal {
        user: Some(principal_user(user)),
        proof: Proof::Session(session.id),
        digest: Some(session.digest),
        permissions: user.all_permissions(),
    }
}

fn principal_of_token(token: &ApiToken, user: &User) -> Principal {
    let mut permissions = user.all_permissions();
    if let Some(limit) = &token.permissions {
        permissions.retain(|permission| limit.contains(permission));
    }
    Principal {
        user: Some(principal_user(user)),
        proof: Proof::Token(token.id),
        digest: Some(token.digest),
        permissions,
    }
}

fn principal_user(user: &User) -> PrincipalUser {
    PrincipalUser {
        id: user.id,
        name: user.name.clone(),
        role: user.role,
    }
}

fn check_fields(input: &UserInput, is_new: bool) -> Vec<FieldError> {
    let mut errors: Vec<_> = check_name(&input.name).into_iter().collect();
    match (input.kind, &input.password) {
        (UserKind::Person, None) if is_new => {
            errors.push(FieldError::new("/password", "a person needs a password"));
        }
        (UserKind::Service, Some(_)) => {
            let message = "a service account has no password; create a token for it";
            errors.push(FieldError::new("/password", message));
        }
        (UserKind::Person, Some(password)) => {
            let wrong = passwords::check(password, &input.name).err();
            errors.extend(wrong.map(|message| FieldError::new("/password", message)));
        }
        (UserKind::Person | UserKind::Service, None) => {}
    }
    errors
}

fn last_admin(name: &str) -> AuthError {
    AuthError::Conflict(format!(
        "user `{name}` is the last enabled person with the role admin; make another user an admin first"
    ))
}

fn invalid(pointer: &str, message: impl Into<String>) -> AuthError {
    AuthError::Invalid(vec![FieldError::new(pointer, message)])
}

/// Returns whether a last use is old enough to be stored again; also if the clock was set back.
fn is_due(last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    last.is_none_or(|last| (now - last).abs() >= TOUCH_INTERVAL)
}

/// Logs that a last use was not stored. That does not reject the request: reading must stay possible
/// while nothing can be written.
fn not_stored(touched: Result<(), StorageError>) {
    if let Err(error) = touched {
        tracing::debug!(%error, "the last use of a session or token was not stored");
    }
}

fn shortened(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
