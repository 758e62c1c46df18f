//! Users, browser sessions and API tokens.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Result;
use crate::model::{ApiToken, BrowserSession, PasswordHash, SecretDigest, User};

/// The outcome of a change of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserChange {
    Done,
    NotFound,
    /// Nothing changed: no active admin would be left ([`User::is_active_admin`]).
    LastAdmin,
}

/// Users, their browser sessions and their API tokens.
#[async_trait]
pub trait UserStore: Send + Sync + 'static {
    /// Returns all users by name.
    async fn users(&self) -> Result<Vec<User>>;
    /// Returns the user with this name, without regard to case.
    async fn user(&self, name: &str) -> Result<Option<User>>;
    /// Adds a user; fails with `Exists` if another user has the name.
    async fn add_user(&self, user: &User) -> Result<()>;
    /// Adds a user if there is none yet. Returns whether it did.
    async fn add_first_user(&self, user: &User) -> Result<bool>;
    /// Stores name, role, permissions and `disabled` of a user. Removes the user's browser sessions if
    /// role, permissions or `disabled` change. Fails with `Exists` if another user has the name.
    async fn update_user(&self, user: &User) -> Result<UserChange>;
    /// Stores a new password and removes the user's browser sessions but `keep`. Returns `false` if
    /// there is no such user.
    async fn set_password(
        &self,
        user: Uuid,
        password: &PasswordHash,
        keep: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Result<bool>;
    /// Replaces the hash of an unchanged password, if it is still `old`.
    async fn replace_password_hash(
        &self,
        user: Uuid,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<()>;
    /// Deletes a user with all sessions and tokens.
    async fn delete_user(&self, id: Uuid) -> Result<UserChange>;

    /// Adds the session of a login and records the login with its user. Removes expired sessions, and
    /// the oldest of the user's beyond `most`.
    async fn add_session(&self, session: &BrowserSession, most: u32) -> Result<()>;
    /// Returns a session with its user.
    async fn session(&self, digest: SecretDigest) -> Result<Option<(BrowserSession, User)>>;
    /// Returns all sessions of a user, the last used first.
    async fn sessions_of(&self, user: Uuid) -> Result<Vec<BrowserSession>>;
    async fn touch_session(&self, id: Uuid, now: DateTime<Utc>) -> Result<()>;
    /// Removes a session of a user. Returns whether it existed.
    async fn remove_session(&self, user: Uuid, id: Uuid) -> Result<bool>;

    /// Adds a token, at most `most` per user; returns `false` if the user has as many. Fails with
    /// `Exists` if the user has a token with this name.
    async fn add_token(&self, token: &ApiToken, most: u32) -> Result<bool>;
    /// Returns a token with its user.
    async fn token(&self, digest: SecretDigest) -> Result<Option<(ApiToken, User)>>;
    /// Returns all tokens of a user by name.
    async fn tokens_of(&self, user: Uuid) -> Result<Vec<ApiToken>>;
    async fn touch_token(&self, id: Uuid, address: Option<&str>, now: DateTime<Utc>) -> Result<()>;
    /// Removes a token of a user. Returns whether it existed.
    async fn remove_token(&self, user: Uuid, id: Uuid) -> Result<bool>;
}
