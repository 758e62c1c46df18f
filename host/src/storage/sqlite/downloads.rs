//! Records of downloaded files: plugin, path and size.

use sqlx::Row;

use super::readers::Readers;
use super::writer::Writer;
use super::{DownloadedFile, Result, text_of};
use crate::model::now;

pub(super) async fn all(readers: &Readers) -> Result<Vec<DownloadedFile>> {
    let rows = sqlx::query("SELECT path, plugin, bytes FROM downloaded_files ORDER BY path")
        .fetch_all(readers)
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

pub(super) async fn add(writer: &Writer, file: &DownloadedFile) -> Result<()> {
    let file = file.clone();
    writer
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

pub(super) async fn forget(writer: &Writer, paths: &[String]) -> Result<()> {
    let paths = serde_json::json!(paths).to_string();
    writer
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
