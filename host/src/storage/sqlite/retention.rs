//! Removes old jobs in small steps and reclaims their space.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Row;
use uuid::Uuid;

use super::readers::Readers;
use super::writer::Writer;
use super::{Result, SqliteStorage, rows, text_of};
use crate::storage::{Place, RetentionStore, Size, Swept};

/// Jobs examined in one step.
const PAGE: u32 = 200;
/// Jobs removed in one transaction; limits the delay for other writes to some milliseconds.
const CHUNK: usize = 25;
/// Pages returned to the file system in one transaction.
const PAGES: u32 = 256;

#[async_trait]
impl RetentionStore for SqliteStorage {
    async fn sweep_jobs(
        &self,
        after: Place,
        before: Option<DateTime<Utc>>,
        failed_before: Option<DateTime<Utc>>,
    ) -> Result<Swept> {
        // The empty text sorts before all times: nothing expires.
        let text = |time: Option<DateTime<Utc>>| time.map(text_of).unwrap_or_default();
        let found = sqlx::query(
            "SELECT job.id, job.completed_at,
                    (parent.id IS NULL OR parent.completed_at IS NOT NULL)
                    AND coalesce(parent.completed_at, job.completed_at)
                        < iif(coalesce(parent.status, job.status) = 'failed', ?4, ?3) AS expired
             FROM jobs AS job LEFT JOIN jobs AS parent ON parent.id = job.parent_id
             WHERE job.completed_at IS NOT NULL AND job.completed_at < max(?3, ?4)
                   AND (job.completed_at, job.id) > (?1, ?2)
             ORDER BY job.completed_at, job.id LIMIT ?5",
        )
        .bind(text_of(after.0))
        .bind(after.1.to_string())
        .bind(text(before))
        .bind(text(failed_before))
        .bind(PAGE)
        .fetch_all(&self.readers)
        .await?;
        let mut expired = Vec::new();
        let mut next = None;
        for row in &found {
            let id = rows::uuid(row, "id")?;
            if row.try_get::<bool, _>("expired")? {
                expired.push(id);
            }
            next = Some((rows::time(row, "completed_at")?, id));
        }
        Ok(Swept {
            deleted: delete(&self.writer, &expired).await?,
            next,
        })
    }

    async fn delete_oldest_jobs(&self, limit: u32) -> Result<u64> {
        let found = sqlx::query(
            "SELECT id FROM jobs
             WHERE completed_at IS NOT NULL AND parent_id IS NULL
                   AND NOT EXISTS (SELECT 1 FROM jobs AS child
                                   WHERE child.parent_id = jobs.id AND child.completed_at IS NULL)
             ORDER BY completed_at, id LIMIT ?",
        )
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        let ids = found.iter().map(|row| rows::uuid(row, "id"));
        with_children(
            &self.readers,
            &self.writer,
            &ids.collect::<Result<Vec<_>>>()?,
        )
        .await
    }

    async fn delete_jobs_beyond(&self, most: u32) -> Result<u64> {
        let plugins: Vec<String> = sqlx::query_scalar("SELECT DISTINCT job_type FROM jobs")
            .fetch_all(&self.readers)
            .await?;
        let mut deleted = 0;
        for plugin in plugins {
            let found = sqlx::query(
                "SELECT id FROM jobs
                 WHERE job_type = ?1 AND parent_id IS NULL AND completed_at IS NOT NULL
                       AND NOT EXISTS (SELECT 1 FROM jobs AS child
                                       WHERE child.parent_id = jobs.id AND child.completed_at IS NULL)
                 ORDER BY created_at DESC, id DESC LIMIT ?2 OFFSET ?3",
            )
            .bind(plugin)
            .bind(PAGE)
            .bind(most)
            .fetch_all(&self.readers)
            .await?;
            let ids = found.iter().map(|row| rows::uuid(row, "id"));
            let ids = ids.collect::<Result<Vec<_>>>()?;
            deleted += with_children(&self.readers, &self.writer, &ids).await?;
        }
        Ok(deleted)
    }

    async fn vacuum(&self) -> Result<bool> {
        let before = self.size().await?;
        self.writer
            .run(|connection| {
                Box::pin(async move {
                    let vacuum = sqlx::AssertSqlSafe(format!("PRAGMA incremental_vacuum({PAGES})"));
                    sqlx::query(vacuum).fetch_all(&mut *connection).await?;
                    Ok(())
                })
            })
            .await?;
        let after = self.size().await?;
        Ok(after.free > 0 && after.free < before.free)
    }

    async fn size_of_plugins(&self) -> Result<u64> {
        let bytes: i64 = sqlx::query_scalar(
            "SELECT (SELECT coalesce(sum(octet_length(key) + octet_length(value)), 0)
                     FROM plugin_storage)
                  + (SELECT coalesce(sum(octet_length(bytes)), 0) FROM plugin_files)",
        )
        .fetch_one(&self.readers)
        .await?;
        Ok(bytes.unsigned_abs())
    }

    async fn size(&self) -> Result<Size> {
        let row = sqlx::query(
            "SELECT page_count * page_size AS bytes, freelist_count * page_size AS free
             FROM pragma_page_count, pragma_page_size, pragma_freelist_count",
        )
        .fetch_one(&self.readers)
        .await?;
        Ok(Size {
            bytes: row.try_get::<i64, _>("bytes")?.unsigned_abs(),
            free: row.try_get::<i64, _>("free")?.unsigned_abs(),
        })
    }
}

/// Removes up to 1000 child jobs of these jobs, and then the jobs without remaining child jobs.
async fn with_children(readers: &Readers, writer: &Writer, ids: &[Uuid]) -> Result<u64> {
    let children = sqlx::query(
        "SELECT id FROM jobs WHERE parent_id IN (SELECT value FROM json_each(?)) LIMIT 1000",
    )
    .bind(serde_json::json!(ids).to_string())
    .fetch_all(readers)
    .await?;
    let children = children.iter().map(|row| rows::uuid(row, "id"));
    let children = delete(writer, &children.collect::<Result<Vec<_>>>()?).await?;
    Ok(children + delete(writer, ids).await?)
}

/// Removes ended jobs that have no child jobs.
async fn delete(writer: &Writer, ids: &[Uuid]) -> Result<u64> {
    let mut deleted = 0;
    for chunk in ids.chunks(CHUNK) {
        let chunk = serde_json::json!(chunk).to_string();
        deleted += writer
            .run(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "DELETE FROM jobs
                         WHERE id IN (SELECT value FROM json_each(?)) AND completed_at IS NOT NULL
                               AND NOT EXISTS (SELECT 1 FROM jobs AS child
                                               WHERE child.parent_id = jobs.id)",
                    )
                    .bind(chunk)
                    .execute(&mut *connection)
                    .await?;
                    Ok(done.rows_affected())
                })
            })
            .await?;
    }
    Ok(deleted)
}
