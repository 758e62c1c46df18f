//! Login records of devices, by address.

use crate::storage::DeviceLoginStore;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Row as _;

use super::{Result, SqliteStorage, rows, text_of};

#[async_trait]
impl DeviceLoginStore for SqliteStorage {
    async fn set_device_logins(
        &self,
        address: &str,
        record: &Value,
        expires_at: DateTime<Utc>,
    ) -> Result<()> {
        let (address, record) = (address.to_owned(), record.to_string());
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "INSERT INTO device_logins (address, record, expires_at) VALUES (?, ?, ?)
                         ON CONFLICT (address) DO UPDATE
                         SET record = excluded.record, expires_at = excluded.expires_at",
                    )
                    .bind(address)
                    .bind(record)
                    .bind(text_of(expires_at))
                    .execute(&mut *connection)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn device_logins(&self, now: DateTime<Utc>, most: u32) -> Result<Vec<(String, Value)>> {
        let found = sqlx::query(
            "SELECT address, record FROM device_logins WHERE expires_at > ?
             ORDER BY expires_at DESC LIMIT ?",
        )
        .bind(text_of(now))
        .bind(most)
        .fetch_all(&self.readers)
        .await?;
        let read = |row| Ok((row_address(row)?, rows::json(row, "record")?));
        found.iter().map(read).collect()
    }

    async fn sweep_device_logins(&self, now: DateTime<Utc>, most: u32) -> Result<u64> {
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "DELETE FROM device_logins
                         WHERE expires_at <= ?1
                               OR address IN (SELECT address FROM device_logins
                                              ORDER BY expires_at DESC LIMIT -1 OFFSET ?2)",
                    )
                    .bind(text_of(now))
                    .bind(most)
                    .execute(&mut *connection)
                    .await?;
                    Ok(done.rows_affected())
                })
            })
            .await
    }
}

fn row_address(row: &sqlx::sqlite::SqliteRow) -> Result<String> {
    Ok(row.try_get("address")?)
}
