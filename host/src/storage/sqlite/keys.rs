//! Key-value data: values that plugins store, and facts about the database.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::SqliteConnection;

use super::readers::Readers;
use super::writer::Writer;
use super::{Result, StorageUse, rows, text_of};

pub(super) async fn plugin_value(
    readers: &Readers,
    plugin: &str,
    key: &str,
) -> Result<Option<Value>> {
    let row = sqlx::query("SELECT value FROM plugin_storage WHERE plugin = ? AND key = ?")
        .bind(plugin)
        .bind(key)
        .fetch_optional(readers)
        .await?;
    row.map(|row| rows::json(&row, "value")).transpose()
}

pub(super) async fn set_plugin_value(
    writer: &Writer,
    plugin: &str,
    key: &str,
    value: &Value,
    limit: StorageUse,
    now: DateTime<Utc>,
) -> Result<std::result::Result<(), StorageUse>> {
    let (plugin, key, value) = (plugin.to_owned(), key.to_owned(), value.to_string());
    writer
        .run(move |connection| {
            Box::pin(async move {
                let (keys, bytes): (i64, i64) = sqlx::query_as(
                    "SELECT count(*),
                            coalesce(sum(octet_length(key) + octet_length(value)), 0)
                     FROM plugin_storage WHERE plugin = ? AND key <> ?",
                )
                .bind(&plugin)
                .bind(&key)
                .fetch_one(&mut *connection)
                .await?;
                let wanted = StorageUse {
                    keys: keys.unsigned_abs() + 1,
                    bytes: bytes.unsigned_abs() + (key.len() + value.len()) as u64,
                };
                if wanted.keys > limit.keys || wanted.bytes > limit.bytes {
                    return Ok(Err(wanted));
                }
                sqlx::query(
                    "INSERT INTO plugin_storage (plugin, key, value, updated_at) VALUES (?, ?, ?, ?)
                     ON CONFLICT (plugin, key) DO UPDATE
                     SET value = excluded.value, updated_at = excluded.updated_at",
                )
                .bind(plugin)
                .bind(key)
                .bind(value)
                .bind(text_of(now))
                .execute(&mut *connection)
                .await?;
                Ok(Ok(()))
            })
        })
        .await
}

pub(super) async fn delete_plugin_value(writer: &Writer, plugin: &str, key: &str) -> Result<bool> {
    let (plugin, key) = (plugin.to_owned(), key.to_owned());
    writer
        .run(move |connection| {
            Box::pin(async move {
                let done = sqlx::query("DELETE FROM plugin_storage WHERE plugin = ? AND key = ?")
                    .bind(plugin)
                    .bind(key)
                    .execute(&mut *connection)
                    .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
}

pub(super) async fn plugin_keys(
    readers: &Readers,
    plugin: &str,
    prefix: &str,
    limit: u32,
) -> Result<Vec<String>> {
    let keys = sqlx::query_scalar(
        "SELECT key FROM plugin_storage
         WHERE plugin = ?1 AND substr(key, 1, length(?2)) = ?2 ORDER BY key LIMIT ?3",
    )
    .bind(plugin)
    .bind(prefix)
    .bind(limit)
    .fetch_all(readers)
    .await?;
    Ok(keys)
}

pub(super) async fn meta(readers: &Readers, key: &str) -> Result<Option<Vec<u8>>> {
    let value = sqlx::query_scalar("SELECT value FROM meta WHERE key = ?")
        .bind(key)
        .fetch_optional(readers)
        .await?;
    Ok(value)
}

pub(super) async fn set_meta(writer: &Writer, key: &str, value: &[u8]) -> Result<()> {
    let (key, value) = (key.to_owned(), value.to_vec());
    writer
        .run(move |connection| Box::pin(async move { write_meta(connection, &key, value).await }))
        .await
}

pub(super) async fn write_meta(
    connection: &mut SqliteConnection,
    key: &str,
    value: Vec<u8>,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO meta (key, value) VALUES (?, ?)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .bind(key)
    .bind(value)
    .execute(&mut *connection)
    .await?;
    Ok(())
}
