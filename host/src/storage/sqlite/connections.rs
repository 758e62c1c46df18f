//! Connection profiles and known host keys.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{Result, SqliteStorage, meta, named_already, rows, text_of};
use crate::model::{Connection, HostKeyPlace, KnownHostKey, SealedRow};
use crate::storage::{
    ConnectionChange, ConnectionStore, DeleteConnectionOutcome, MASTER_KEY_CHECK, Page,
};

#[async_trait]
impl ConnectionStore for SqliteStorage {
    async fn add_connection(&self, connection: &Connection) -> Result<()> {
        let row = connection.clone();
        self.writer
            .run(move |connection| Box::pin(async move { insert(connection, &row).await }))
            .await
    }

    async fn change_connections(&self, change: ConnectionChange) -> Result<Option<u64>> {
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    if let Some(row) = &change.updated
                        && !update(connection, row).await?
                    {
                        return Ok(None);
                    }
                    for row in &change.sealed {
                        update_sealed(connection, row).await?;
                    }
                    for (from, to) in &change.moved_host_keys {
                        copy_host_keys(connection, from, to).await?;
                    }
                    let forgotten = match &change.forgotten_host_keys {
                        Some(place) => delete_host_keys(connection, place).await?,
                        None => 0,
                    };
                    if let Some(check) = change.master_key_check {
                        meta::write_meta(connection, MASTER_KEY_CHECK, check).await?;
                    }
                    if change.forgets_digests {
                        for table in [
                            "UPDATE jobs SET request_digest = NULL WHERE request_digest IS NOT NULL",
                            "UPDATE schedules SET request_digest = NULL WHERE request_digest IS NOT NULL",
                        ] {
                            sqlx::query(table).execute(&mut *connection).await?;
                        }
                    }
                    Ok(Some(forgotten))
                })
            })
            .await
    }

    async fn delete_connection(&self, id: Uuid) -> Result<DeleteConnectionOutcome> {
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    let users: Vec<String> = sqlx::query_scalar(
                        "SELECT name FROM ssh_connections
                         WHERE owner_job_id IS NULL AND EXISTS (
                             SELECT 1 FROM json_each(ssh_connections.jump)
                             WHERE value = (SELECT name FROM ssh_connections WHERE id = ?))
                         ORDER BY name",
                    )
                    .bind(id.to_string())
                    .fetch_all(&mut *connection)
                    .await?;
                    if !users.is_empty() {
                        return Ok(DeleteConnectionOutcome::JumpedThrough(users));
                    }
                    let done = sqlx::query("DELETE FROM ssh_connections WHERE id = ?")
                        .bind(id.to_string())
                        .execute(&mut *connection)
                        .await?;
                    Ok(match done.rows_affected() {
                        0 => DeleteConnectionOutcome::NotFound,
                        _ => DeleteConnectionOutcome::Deleted,
                    })
                })
            })
            .await
    }

    async fn connection(&self, id: Uuid) -> Result<Option<Connection>> {
        let row = sqlx::query("SELECT * FROM ssh_connections WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(rows::connection).transpose()
    }

    async fn connection_named(&self, name: &str) -> Result<Option<Connection>> {
        let row =
            sqlx::query("SELECT * FROM ssh_connections WHERE name = ? AND owner_job_id IS NULL")
                .bind(name)
                .fetch_optional(&self.readers)
                .await?;
        row.as_ref().map(rows::connection).transpose()
    }

    async fn connections(&self) -> Result<Vec<Connection>> {
        let found =
            sqlx::query("SELECT * FROM ssh_connections WHERE owner_job_id IS NULL ORDER BY name")
                .fetch_all(&self.readers)
                .await?;
        found.iter().map(rows::connection).collect()
    }

    async fn connections_page(&self, after: &str, page: Page) -> Result<(Vec<Connection>, bool)> {
        let sizes: Vec<i64> = sqlx::query_scalar(
            "SELECT octet_length(tags) + octet_length(jump) + octet_length(answers)
                    + coalesce(octet_length(certificate), 0)
             FROM ssh_connections WHERE owner_job_id IS NULL AND name > ? ORDER BY name LIMIT ?",
        )
        .bind(after)
        .bind(page.limit.saturating_add(1))
        .fetch_all(&self.readers)
        .await?;
        let measured = page.measure(sizes.into_iter().map(i64::unsigned_abs));
        let found = sqlx::query(
            "SELECT * FROM ssh_connections WHERE owner_job_id IS NULL AND name > ?
             ORDER BY name LIMIT ?",
        )
        .bind(after)
        .bind(measured.count)
        .fetch_all(&self.readers)
        .await?;
        let connections: Result<_> = found.iter().map(rows::connection).collect();
        Ok((connections?, measured.more))
    }

    async fn sealed_inline_connections(&self) -> Result<Vec<Connection>> {
        let found = sqlx::query(
            "SELECT * FROM ssh_connections
             WHERE owner_job_id IS NOT NULL
               AND (password IS NOT NULL OR private_key IS NOT NULL OR passphrase IS NOT NULL
                    OR secret IS NOT NULL OR answers LIKE '%\"sealed\"%')",
        )
        .fetch_all(&self.readers)
        .await?;
        found.iter().map(rows::connection).collect()
    }

    async fn host_keys(&self, place: &HostKeyPlace) -> Result<Vec<KnownHostKey>> {
        let found = sqlx::query(
            "SELECT algorithm, key, fingerprint, first_seen FROM host_keys
             WHERE host = ? AND port = ? AND route = ? ORDER BY algorithm",
        )
        .bind(place.host.to_ascii_lowercase())
        .bind(place.port)
        .bind(&place.route)
        .fetch_all(&self.readers)
        .await?;
        found.iter().map(rows::host_key).collect()
    }

    async fn add_host_key(
        &self,
        place: &HostKeyPlace,
        (algorithm, key, fingerprint): (&str, &str, &str),
        now: DateTime<Utc>,
    ) -> Result<()> {
        let [algorithm, key, fingerprint] = [algorithm, key, fingerprint].map(str::to_owned);
        let place = place.clone();
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    // If two first logins race, the first key is kept; the other login compares with it
                    // next time.
                    sqlx::query(
                        "INSERT INTO host_keys (host, port, route, algorithm, key, fingerprint, first_seen)
                         VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    )
                    // Host names are case-insensitive.
                    .bind(place.host.to_ascii_lowercase())
                    .bind(place.port)
                    .bind(place.route)
                    .bind(algorithm)
                    .bind(key)
                    .bind(fingerprint)
                    .bind(text_of(now))
                    .execute(&mut *connection)
                    .await?;
                    Ok(())
                })
            })
            .await
    }
}

pub(super) async fn insert(connection: &mut SqliteConnection, row: &Connection) -> Result<()> {
    sqlx::query(
        "INSERT INTO ssh_connections (id, name, host, port, username, device_type, timeout_seconds,
                                      tags, host_key, jump, algorithms, certificate, agent,
                                      max_sessions, password, private_key, passphrase, secret,
                                      answers, owner_job_id, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(row.id.to_string())
    .bind(&row.name)
    .bind(&row.host)
    .bind(row.port)
    .bind(&row.username)
    .bind(&row.device_type)
    .bind(row.timeout_seconds)
    .bind(serde_json::json!(row.tags).to_string())
    .bind(&row.host_key)
    .bind(serde_json::json!(row.jump).to_string())
    .bind(row.algorithms.as_str())
    .bind(&row.certificate)
    .bind(row.agent)
    .bind(row.max_sessions)
    .bind(&row.secrets.password)
    .bind(&row.secrets.private_key)
    .bind(&row.secrets.passphrase)
    .bind(&row.secrets.secret)
    .bind(serde_json::json!(row.answers).to_string())
    .bind(row.owner_job_id.map(|id| id.to_string()))
    .bind(text_of(row.created_at))
    .bind(text_of(row.updated_at))
    .execute(&mut *connection)
    .await
    .map_err(|error| named_already(error, "a connection", &row.name))?;
    Ok(())
}

async fn update(connection: &mut SqliteConnection, row: &Connection) -> Result<bool> {
    // Before the update, which overwrites the old name.
    rename_in_jumps(connection, row.id, &row.name).await?;
    let done = sqlx::query(
        "UPDATE ssh_connections
         SET name = ?, host = ?, port = ?, username = ?, device_type = ?, timeout_seconds = ?,
             tags = ?, host_key = ?, jump = ?, algorithms = ?, certificate = ?, agent = ?,
             max_sessions = ?, password = ?, private_key = ?, passphrase = ?, secret = ?,
             answers = ?, updated_at = ?
         WHERE id = ?",
    )
    .bind(&row.name)
    .bind(&row.host)
    .bind(row.port)
    .bind(&row.username)
    .bind(&row.device_type)
    .bind(row.timeout_seconds)
    .bind(serde_json::json!(row.tags).to_string())
    .bind(&row.host_key)
    .bind(serde_json::json!(row.jump).to_string())
    .bind(row.algorithms.as_str())
    .bind(&row.certificate)
    .bind(row.agent)
    .bind(row.max_sessions)
    .bind(&row.secrets.password)
    .bind(&row.secrets.private_key)
    .bind(&row.secrets.passphrase)
    .bind(&row.secrets.secret)
    .bind(serde_json::json!(row.answers).to_string())
    .bind(text_of(row.updated_at))
    .bind(row.id.to_string())
    .execute(&mut *connection)
    .await
    .map_err(|error| named_already(error, "a connection", &row.name))?;
    Ok(done.rows_affected() == 1)
}

async fn update_sealed(connection: &mut SqliteConnection, row: &SealedRow) -> Result<()> {
    sqlx::query(
        "UPDATE ssh_connections
         SET password = ?, private_key = ?, passphrase = ?, secret = ?, answers = ?
         WHERE id = ?
           -- A job that has ended meanwhile does not get its secrets back.
           AND (owner_job_id IS NULL
                OR EXISTS (SELECT 1 FROM jobs
                           WHERE jobs.id = owner_job_id
                             AND status IN ('pending', 'retrying', 'running')))",
    )
    .bind(&row.secrets.password)
    .bind(&row.secrets.private_key)
    .bind(&row.secrets.passphrase)
    .bind(&row.secrets.secret)
    .bind(serde_json::json!(row.answers).to_string())
    .bind(row.id.to_string())
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// Updates the `jump` lists that refer to a renamed connection: they contain names.
async fn rename_in_jumps(connection: &mut SqliteConnection, id: Uuid, new: &str) -> Result<()> {
    let old: Option<String> = sqlx::query_scalar("SELECT name FROM ssh_connections WHERE id = ?")
        .bind(id.to_string())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(old) = old.filter(|old| old != new) else {
        return Ok(());
    };
    sqlx::query(
        "UPDATE ssh_connections
         SET jump = (SELECT json_group_array(CASE value WHEN ?1 THEN ?2 ELSE value END)
                     FROM json_each(ssh_connections.jump))
         WHERE EXISTS (SELECT 1 FROM json_each(jump) WHERE value = ?1)",
    )
    .bind(old)
    .bind(new)
    .execute(&mut *connection)
    .await?;
    Ok(())
}

async fn delete_host_keys(connection: &mut SqliteConnection, place: &HostKeyPlace) -> Result<u64> {
    let done = sqlx::query("DELETE FROM host_keys WHERE host = ? AND port = ? AND route = ?")
        .bind(place.host.to_ascii_lowercase())
        .bind(place.port)
        .bind(&place.route)
        .execute(&mut *connection)
        .await?;
    Ok(done.rows_affected())
}

/// Replaces the host keys of `to` with those of `from`.
async fn copy_host_keys(
    connection: &mut SqliteConnection,
    from: &HostKeyPlace,
    to: &HostKeyPlace,
) -> Result<()> {
    if from == to {
        return Ok(());
    }
    delete_host_keys(connection, to).await?;
    sqlx::query(
        "INSERT INTO host_keys (host, port, route, algorithm, key, fingerprint, first_seen)
         SELECT ?, ?, ?, algorithm, key, fingerprint, first_seen FROM host_keys
         WHERE host = ? AND port = ? AND route = ?",
    )
    .bind(to.host.to_ascii_lowercase())
    .bind(to.port)
    .bind(&to.route)
    .bind(from.host.to_ascii_lowercase())
    .bind(from.port)
    .bind(&from.route)
    .execute(&mut *connection)
    .await?;
    Ok(())
}
