//! Values that plugins store.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Result, SqliteStorage, rows, text_of};
use crate::storage::{PluginValueStore, StorageUse};

#[async_trait]
impl PluginValueStore for SqliteStorage {
    async fn plugin_value(&self, plugin: &str, key: &str) -> Result<Option<Value>> {
        let row = sqlx::query("SELECT value FROM plugin_storage WHERE plugin = ? AND key = ?")
            .bind(plugin)
            .bind(key)
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| rows::json(&row, "value")).transpose()
    }

    async fn set_plugin_value(
        &self,
        plugin: &str,
        key: &str,
        value: &Value,
        limit: StorageUse,
        now: DateTime<Utc>,
    ) -> Result<std::result::Result<(), StorageUse>> {
        let (plugin, key, value) = (plugin.to_owned(), key.to_owned(), value.to_string());
        self.writer
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

    async fn delete_plugin_value(&self, plugin: &str, key: &str) -> Result<bool> {
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    let done =
                        sqlx::query("DELETE FROM plugin_storage WHERE plugin = ? AND key = ?")
                            .bind(plugin)
                            .bind(key)
                            .execute(&mut *connection)
                            .await?;
                    Ok(done.rows_affected() == 1)
                })
            })
            .await
    }

    async fn plugin_keys(&self, plugin: &str, prefix: &str, limit: u32) -> Result<Vec<String>> {
        let keys = sqlx::query_scalar(
            "SELECT key FROM plugin_storage
             WHERE plugin = ?1 AND substr(key, 1, length(?2)) = ?2 ORDER BY key LIMIT ?3",
        )
        .bind(plugin)
        .bind(prefix)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        Ok(keys)
    }
}
