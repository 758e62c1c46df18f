//! Records of downloaded files: plugin, path and size.

use async_trait::async_trait;
use sqlx::Row;

use super::{Result, SqliteStorage, text_of};
use crate::model::now;
use crate::storage::{DownloadStore, DownloadedFile};

#[async_trait]
impl DownloadStore for SqliteStorage {
    async fn downloaded_files(&self) -> Result<Vec<DownloadedFile>> {
        let rows = sqlx::query("SELECT path, plugin, bytes FROM downloaded_files ORDER BY path")
            .fetch_all(&self.readers)
            .await?;
        let files = rows.iter().map(|row| {
            Ok(DownloadedFile {
                path: row.try_get("path")?,
                plugin: row.try_get("plugin")?,
                bytes: row.try_get::<i64, _>("bytes")?.unsigned_abs(),
            })
        });
        files.collect()
    }

    async fn add_downloaded_file(&self, file: &DownloadedFile) -> Result<()> {
        let file = file.clone();
        self.writer
            .statement(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "INSERT OR REPLACE INTO downloaded_files (path, plugin, bytes, downloaded_at)
                         VALUES (?, ?, ?, ?)",
                    )
                    .bind(file.path)
                    .bind(file.plugin)
                    .bind(i64::try_from(file.bytes).unwrap_or(i64::MAX))
                    .bind(text_of(now()))
                    .execute(&mut *connection)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn forget_downloaded_files(&self, paths: &[String]) -> Result<()> {
        let paths = serde_json::json!(paths).to_string();
        self.writer
            .statement(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "DELETE FROM downloaded_files WHERE path IN (SELECT value FROM json_each(?))",
                    )
                    .bind(paths)
                    .execute(&mut *connection)
                    .await?;
                    Ok(())
                })
            })
            .await
    }
}
