//! Users, browser sessions and API tokens.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::rows::{json, named, optional, time, uuid};
use super::{Result, SqliteStorage, StorageError, named_already, text_of};
use crate::model::{ApiToken, BrowserSession, PasswordHash, Role, SecretDigest, User, UserKind};
use crate::storage::{UserChange, UserStore};

/// Columns of `users` under names that no column of a session or token has.
macro_rules! user_columns {
    () => {
        "users.id AS user_row_id, users.name AS user_name, users.kind AS user_kind,
         users.role AS user_role, users.permissions AS user_permissions,
         users.password_hash AS user_password_hash, users.disabled AS user_disabled,
         users.created_at AS user_created_at, users.updated_at AS user_updated_at,
         users.password_changed_at AS user_password_changed_at,
         users.last_login_at AS user_last_login_at"
    };
}

#[async_trait]
impl UserStore for SqliteStorage {
    async fn users(&self) -> Result<Vec<User>> {
        let rows = sqlx::query(concat!(
            "SELECT ",
            user_columns!(),
            " FROM users ORDER BY name"
        ))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(user).collect()
    }

    async fn user(&self, name: &str) -> Result<Option<User>> {
        let row = sqlx::query(concat!(
            "SELECT ",
            user_columns!(),
            " FROM users WHERE name = ?"
        ))
        .bind(name)
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(user).transpose()
    }

    async fn add_user(&self, user: &User) -> Result<()> {
        let user = user.clone();
        self.writer
            .run(move |connection| Box::pin(async move { insert_user(connection, &user).await }))
            .await
    }

    async fn add_first_user(&self, user: &User) -> Result<bool> {
        let user = user.clone();
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    let any: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM users)")
                        .fetch_one(&mut *connection)
                        .await?;
                    if !any {
                        insert_user(connection, &user).await?;
                    }
                    Ok(!any)
                })
            })
            .await
    }

    async fn update_user(&self, changed: &User) -> Result<UserChange> {
        let changed = changed.clone();
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    let Some(stored) = user_by_id(connection, changed.id).await? else {
                        return Ok(UserChange::NotFound);
                    };
                    if stored.is_active_admin()
                        && !changed.is_active_admin()
                        && !has_another_admin(connection, changed.id).await?
                    {
                        return Ok(UserChange::LastAdmin);
                    }
                    sqlx::query(
                        "UPDATE users
                         SET name = ?, role = ?, permissions = ?, disabled = ?, updated_at = ?
                         WHERE id = ?",
                    )
                    .bind(&changed.name)
                    .bind(changed.role.as_str())
                    .bind(serde_json::json!(changed.permissions).to_string())
                    .bind(changed.disabled)
                    .bind(text_of(changed.updated_at))
                    .bind(changed.id.to_string())
                    .execute(&mut *connection)
                    .await
                    .map_err(|error| named_already(error, "a user", &changed.name))?;
                    let same_access = stored.role == changed.role
                        && stored.permissions == changed.permissions
                        && stored.disabled == changed.disabled;
                    if !same_access {
                        end_sessions(connection, changed.id, None).await?;
                    }
                    Ok(UserChange::Done)
                })
            })
            .await
    }

    async fn set_password(
        &self,
        user: Uuid,
        password: &PasswordHash,
        keep: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let password = password.clone();
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "UPDATE users
                         SET password_hash = ?, password_changed_at = ?, updated_at = ?
                         WHERE id = ? AND kind = 'person'",
                    )
                    .bind(&password.0)
                    .bind(text_of(now))
                    .bind(text_of(now))
                    .bind(user.to_string())
                    .execute(&mut *connection)
                    .await?;
                    end_sessions(connection, user, keep).await?;
                    Ok(done.rows_affected() == 1)
                })
            })
            .await
    }

    async fn replace_password_hash(
        &self,
        user: Uuid,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<()> {
        let (old, new) = (old.clone(), new.clone());
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "UPDATE users SET password_hash = ? WHERE id = ? AND password_hash = ?",
                    )
                    .bind(&new.0)
                    .bind(user.to_string())
                    .bind(&old.0)
                    .execute(&mut *connection)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn delete_user(&self, id: Uuid) -> Result<UserChange> {
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    let Some(stored) = user_by_id(connection, id).await? else {
                        return Ok(UserChange::NotFound);
                    };
                    if stored.is_active_admin() && !has_another_admin(connection, id).await? {
                        return Ok(UserChange::LastAdmin);
                    }
                    sqlx::query("DELETE FROM users WHERE id = ?")
                        .bind(id.to_string())
                        .execute(&mut *connection)
                        .await?;
                    Ok(UserChange::Done)
                })
            })
            .await
    }

    async fn add_session(&self, session: &BrowserSession, most: u32) -> Result<()> {
        let session = session.clone();
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    let now = text_of(session.created_at);
                    let user = session.user_id.to_string();
                    sqlx::query("DELETE FROM browser_sessions WHERE expires_at <= ?")
                        .bind(&now)
                        .execute(&mut *connection)
                        .await?;
                    sqlx::query(
                        "INSERT INTO browser_sessions (id, digest, user_id, created_at, last_used_at,
                                                       expires_at, address, client)
                         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    )
                    .bind(session.id.to_string())
                    .bind(session.digest.0.to_vec())
                    .bind(&user)
                    .bind(&now)
                    .bind(text_of(session.last_used_at))
                    .bind(text_of(session.expires_at))
                    .bind(&session.address)
                    .bind(&session.client)
                    .execute(&mut *connection)
                    .await?;
                    // The new session stays, even if the clock was ahead when another one was used.
                    sqlx::query(
                        "DELETE FROM browser_sessions
                         WHERE user_id = ?1 AND id <> ?2 AND id NOT IN (
                             SELECT id FROM browser_sessions WHERE user_id = ?1 AND id <> ?2
                             ORDER BY last_used_at DESC, id DESC LIMIT ?3 - 1)",
                    )
                    .bind(&user)
                    .bind(session.id.to_string())
                    .bind(most)
                    .execute(&mut *connection)
                    .await?;
                    sqlx::query("UPDATE users SET last_login_at = ? WHERE id = ?")
                        .bind(&now)
                        .bind(&user)
                        .execute(&mut *connection)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn session(&self, digest: SecretDigest) -> Result<Option<(BrowserSession, User)>> {
        let row = sqlx::query(concat!(
            "SELECT browser_sessions.*, ",
            user_columns!(),
            " FROM browser_sessions JOIN users ON users.id = browser_sessions.user_id
             WHERE digest = ?"
        ))
        .bind(digest.0.to_vec())
        .fetch_optional(&self.readers)
        .await?;
        row.map(|row| Ok((session(&row)?, user(&row)?))).transpose()
    }

    async fn sessions_of(&self, user: Uuid) -> Result<Vec<BrowserSession>> {
        let rows = sqlx::query(
            "SELECT * FROM browser_sessions WHERE user_id = ? ORDER BY last_used_at DESC, id DESC",
        )
        .bind(user.to_string())
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(session).collect()
    }

    async fn touch_session(&self, id: Uuid, now: DateTime<Utc>) -> Result<()> {
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    sqlx::query("UPDATE browser_sessions SET last_used_at = ? WHERE id = ?")
                        .bind(text_of(now))
                        .bind(id.to_string())
                        .execute(&mut *connection)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn remove_session(&self, user: Uuid, id: Uuid) -> Result<bool> {
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    let done =
                        sqlx::query("DELETE FROM browser_sessions WHERE user_id = ? AND id = ?")
                            .bind(user.to_string())
                            .bind(id.to_string())
                            .execute(&mut *connection)
                            .await?;
                    Ok(done.rows_affected() == 1)
                })
            })
            .await
    }

    async fn add_token(&self, token: &ApiToken, most: u32) -> Result<bool> {
        let token = token.clone();
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "INSERT INTO api_tokens (id, digest, user_id, name, permissions, created_at,
                                                 expires_at, last_used_at, last_address)
                         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
                         WHERE (SELECT count(*) FROM api_tokens WHERE user_id = ?3) < ?10",
                    )
                    .bind(token.id.to_string())
                    .bind(token.digest.0.to_vec())
                    .bind(token.user_id.to_string())
                    .bind(&token.name)
                    .bind(token.permissions.map(|each| serde_json::json!(each).to_string()))
                    .bind(text_of(token.created_at))
                    .bind(text_of(token.expires_at))
                    .bind(token.last_used_at.map(text_of))
                    .bind(&token.last_address)
                    .bind(most)
                    .execute(&mut *connection)
                    .await
                    .map_err(|error| named_already(error, "a token", &token.name))?;
                    Ok(done.rows_affected() == 1)
                })
            })
            .await
    }

    async fn token(&self, digest: SecretDigest) -> Result<Option<(ApiToken, User)>> {
        let row = sqlx::query(concat!(
            "SELECT api_tokens.*, ",
            user_columns!(),
            " FROM api_tokens JOIN users ON users.id = api_tokens.user_id WHERE digest = ?"
        ))
        .bind(digest.0.to_vec())
        .fetch_optional(&self.readers)
        .await?;
        row.map(|row| Ok((token(&row)?, user(&row)?))).transpose()
    }

    async fn tokens_of(&self, user: Uuid) -> Result<Vec<ApiToken>> {
        let rows = sqlx::query("SELECT * FROM api_tokens WHERE user_id = ? ORDER BY name")
            .bind(user.to_string())
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(token).collect()
    }

    async fn touch_token(&self, id: Uuid, address: Option<&str>, now: DateTime<Utc>) -> Result<()> {
        let address = address.map(str::to_owned);
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "UPDATE api_tokens SET last_used_at = ?, last_address = ? WHERE id = ?",
                    )
                    .bind(text_of(now))
                    .bind(&address)
                    .bind(id.to_string())
                    .execute(&mut *connection)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn remove_token(&self, user: Uuid, id: Uuid) -> Result<bool> {
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query("DELETE FROM api_tokens WHERE user_id = ? AND id = ?")
                        .bind(user.to_string())
                        .bind(id.to_string())
                        .execute(&mut *connection)
                        .await?;
                    Ok(done.rows_affected() == 1)
                })
            })
            .await
    }
}

async fn insert_user(connection: &mut SqliteConnection, user: &User) -> Result<()> {
    sqlx::query(
        "INSERT INTO users (id, name, kind, role, permissions, password_hash, disabled, created_at,
                            updated_at, password_changed_at, last_login_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(user.id.to_string())
    .bind(&user.name)
    .bind(user.kind.as_str())
    .bind(user.role.as_str())
    .bind(serde_json::json!(user.permissions).to_string())
    .bind(user.password.as_ref().map(|hash| hash.0.clone()))
    .bind(user.disabled)
    .bind(text_of(user.created_at))
    .bind(text_of(user.updated_at))
    .bind(user.password_changed_at.map(text_of))
    .bind(user.last_login_at.map(text_of))
    .execute(&mut *connection)
    .await
    .map_err(|error| named_already(error, "a user", &user.name))?;
    Ok(())
}

async fn user_by_id(connection: &mut SqliteConnection, id: Uuid) -> Result<Option<User>> {
    let row = sqlx::query(concat!(
        "SELECT ",
        user_columns!(),
        " FROM users WHERE id = ?"
    ))
    .bind(id.to_string())
    .fetch_optional(&mut *connection)
    .await?;
    row.as_ref().map(user).transpose()
}

/// Returns whether a user other than this one is an active admin; see [`User::is_active_admin`].
async fn has_another_admin(connection: &mut SqliteConnection, id: Uuid) -> Result<bool> {
    let found = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM users
                        WHERE id <> ? AND kind = 'person' AND role = 'admin' AND NOT disabled)",
    )
    .bind(id.to_string())
    .fetch_one(&mut *connection)
    .await?;
    Ok(found)
}

async fn end_sessions(
    connection: &mut SqliteConnection,
    user: Uuid,
    keep: Option<Uuid>,
) -> Result<()> {
    sqlx::query("DELETE FROM browser_sessions WHERE user_id = ? AND id IS NOT ?")
        .bind(user.to_string())
        .bind(keep.map(|id| id.to_string()))
        .execute(&mut *connection)
        .await?;
    Ok(())
}

fn user(row: &SqliteRow) -> Result<User> {
    let password: Option<String> = row.try_get("user_password_hash")?;
    Ok(User {
        id: uuid(row, "user_row_id")?,
        name: row.try_get("user_name")?,
        kind: named(row, "user_kind", UserKind::parse)?,
        role: named(row, "user_role", Role::parse)?,
        permissions: json(row, "user_permissions")?,
        password: password.map(PasswordHash),
        disabled: row.try_get("user_disabled")?,
        created_at: time(row, "user_created_at")?,
        updated_at: time(row, "user_updated_at")?,
        password_changed_at: optional(row, "user_password_changed_at", time)?,
        last_login_at: optional(row, "user_last_login_at", time)?,
    })
}

fn session(row: &SqliteRow) -> Result<BrowserSession> {
    Ok(BrowserSession {
        id: uuid(row, "id")?,
        digest: digest(row)?,
        user_id: uuid(row, "user_id")?,
        created_at: time(row, "created_at")?,
        last_used_at: time(row, "last_used_at")?,
        expires_at: time(row, "expires_at")?,
        address: row.try_get("address")?,
        client: row.try_get("client")?,
    })
}

fn token(row: &SqliteRow) -> Result<ApiToken> {
    Ok(ApiToken {
        id: uuid(row, "id")?,
        digest: digest(row)?,
        user_id: uuid(row, "user_id")?,
        name: row.try_get("name")?,
        permissions: optional(row, "permissions", json)?,
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
        last_used_at: optional(row, "last_used_at", time)?,
        last_address: row.try_get("last_address")?,
    })
}

fn digest(row: &SqliteRow) -> Result<SecretDigest> {
    let bytes: Vec<u8> = row.try_get("digest")?;
    let bytes = bytes
        .try_into()
        .map_err(|_| StorageError::Corrupt("a digest without 32 bytes".to_owned()))?;
    Ok(SecretDigest(bytes))
}
