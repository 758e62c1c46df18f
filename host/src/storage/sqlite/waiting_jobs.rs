//! Waiting jobs: those that are ready, and what decides whether a job may run.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Row;
use uuid::Uuid;

use super::readers::Readers;
use super::{Result, SqliteStorage, rows, text_of};
use crate::model::{JobError, JobStatus};
use crate::storage::{Parent, ReadyJob, WaitingJob, WaitingJobStore};

#[async_trait]
impl WaitingJobStore for SqliteStorage {
    async fn ready_jobs(
        &self,
        after: (DateTime<Utc>, Uuid),
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<ReadyJob>> {
        let found = sqlx::query(
            "SELECT id, priority, ready_at FROM jobs INDEXED BY jobs_waiting
             WHERE status IN ('pending', 'retrying') AND held = 0 AND ready_at <= ?3 AND (ready_at, id) > (?1, ?2)
             ORDER BY ready_at, id LIMIT ?4",
        )
        .bind(text_of(after.0))
        .bind(after.1.to_string())
        .bind(text_of(now))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        found.iter().map(rows::ready_job).collect()
    }

    async fn next_ready_at(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
        let row = sqlx::query(
            "SELECT ready_at FROM jobs INDEXED BY jobs_waiting
             WHERE status IN ('pending', 'retrying') AND held = 0 AND ready_at > ?
             ORDER BY ready_at LIMIT 1",
        )
        .bind(text_of(now))
        .fetch_optional(&self.readers)
        .await?;
        row.map(|row| rows::time(&row, "ready_at")).transpose()
    }

    async fn waiting_job(&self, id: Uuid) -> Result<Option<WaitingJob>> {
        self.readers.noted(read_waiting(&self.readers, id).await)
    }

    async fn skip_job(&self, id: Uuid, reason: &JobError, now: DateTime<Utc>) -> Result<bool> {
        let (key, reason) = (id.to_string(), reason.clone());
        let skipped = self
            .writer
            .statement(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "UPDATE jobs
                         SET status = 'cancelled', completed_at = ?2, error_code = ?3, error_message = ?4
                         WHERE id = ?1 AND status IN ('pending', 'retrying') AND held = 0 AND ready_at <= ?2",
                    )
                    .bind(key)
                    .bind(text_of(now))
                    .bind(&reason.code.0)
                    .bind(&reason.message)
                    .execute(&mut *connection)
                    .await?;
                    Ok(done.rows_affected() == 1)
                })
            })
            .await;
        self.publish_if_ok(id, skipped)
    }
}

async fn read_waiting(readers: &Readers, id: Uuid) -> Result<Option<WaitingJob>> {
    // Uses one connection for all queries: acquiring one costs about the same as a query.
    let mut connection = readers.acquire().await?;
    let row = sqlx::query(
        "SELECT *, EXISTS (SELECT 1 FROM jobs AS parent
                           WHERE parent.id = jobs.parent_id AND parent.batch IS NULL) AS belongs
         FROM jobs WHERE id = ? AND status IN ('pending', 'retrying')",
    )
    .bind(id.to_string())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let job = rows::job(&row)?;
    let mut parents = Vec::new();
    let mut above = job.parent_id;
    if !row.try_get::<bool, _>("belongs")? {
        above = None;
    }
    while let Some(parent) = above {
        let row = sqlx::query(
            "SELECT id, job_type, status, parent_id FROM jobs WHERE id = ? AND batch IS NULL",
        )
        .bind(parent.to_string())
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { break };
        above = rows::optional(&row, "parent_id", rows::uuid)?;
        parents.push(Parent {
            id: parent,
            plugin: row.try_get("job_type")?,
            status: rows::named(&row, "status", JobStatus::parse)?,
        });
    }
    let targets = sqlx::query(
        "SELECT * FROM ssh_connections
         WHERE id IN (SELECT connection_id FROM job_targets WHERE job_id = ?)",
    )
    .bind(id.to_string())
    .fetch_all(&mut *connection)
    .await?;
    let targets = targets.iter().map(rows::connection);
    Ok(Some(WaitingJob {
        targets: targets.collect::<Result<_>>()?,
        job,
        parents,
    }))
}
