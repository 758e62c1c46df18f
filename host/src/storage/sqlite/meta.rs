//! Facts about the database.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::{Result, SqliteStorage};
use crate::storage::MetaStore;

#[async_trait]
impl MetaStore for SqliteStorage {
    async fn meta(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let value = sqlx::query_scalar("SELECT value FROM meta WHERE key = ?")
            .bind(key)
            .fetch_optional(&self.readers)
            .await?;
        Ok(value)
    }

    async fn set_meta(&self, key: &str, value: &[u8]) -> Result<()> {
        let (key, value) = (key.to_owned(), value.to_vec());
        self.writer
            .run(move |connection| {
                Box::pin(async move { write_meta(connection, &key, value).await })
            })
            .await
    }
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
