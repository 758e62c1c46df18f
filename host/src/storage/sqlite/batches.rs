//! Batches: counts and starts child jobs, and ends the batch.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::{Result, SqliteStorage, rows, text_of};
use crate::model::{BatchCounts, BatchOptions, BatchStep, ErrorCode, JobStatus};
use crate::storage::{BatchProgress, BatchStore, ReadyJob};

/// Grouped in the order of the index `jobs_by_parent`, which avoids a sort.
const COUNT: &str = "SELECT parent_id, status, held, error_code, count(*) AS jobs
     FROM jobs WHERE parent_id IN (SELECT value FROM json_each(?))
     GROUP BY parent_id, status, held, error_code";

#[async_trait]
impl BatchStore for SqliteStorage {
    async fn batch_counts(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, BatchCounts>> {
        let found = sqlx::query(COUNT)
            .bind(serde_json::json!(ids).to_string())
            .fetch_all(&self.readers)
            .await?;
        let mut counts: HashMap<Uuid, BatchCounts> = HashMap::new();
        for row in &found {
            let of_batch = counts.entry(rows::uuid(row, "parent_id")?).or_default();
            add(of_batch, row)?;
        }
        Ok(counts)
    }

    async fn unfinished_batches(&self) -> Result<Vec<Uuid>> {
        let found = sqlx::query(
            "SELECT id FROM jobs INDEXED BY jobs_unfinished_batches
             WHERE batch IS NOT NULL AND status IN ('pending', 'running')",
        )
        .fetch_all(&self.readers)
        .await?;
        found.iter().map(|row| rows::uuid(row, "id")).collect()
    }

    async fn running_children(&self, id: Uuid) -> Result<Vec<Uuid>> {
        let found = sqlx::query("SELECT id FROM jobs WHERE parent_id = ? AND status = 'running'")
            .bind(id.to_string())
            .fetch_all(&self.readers)
            .await?;
        found.iter().map(|row| rows::uuid(row, "id")).collect()
    }

    async fn advance_batch(&self, id: Uuid, now: DateTime<Utc>) -> Result<BatchProgress> {
        let advanced = self
            .writer
            .run(move |connection| Box::pin(async move { advance(connection, id, now).await }))
            .await;
        self.publish_if_ok(id, advanced)
    }
}

/// Advances a batch as far as possible.
async fn advance(
    connection: &mut SqliteConnection,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<BatchProgress> {
    let mut progress = BatchProgress::default();
    let row = sqlx::query(
        "SELECT batch, cancel_requested FROM jobs
         WHERE id = ? AND batch IS NOT NULL AND status IN ('pending', 'running')",
    )
    .bind(id.to_string())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(progress) };
    let options: BatchOptions = rows::json(&row, "batch")?;
    let cancel_requested: bool = row.try_get("cancel_requested")?;
    // Repeated, because each step changes the counts that decide the next one.
    loop {
        let counts = count(connection, id).await?;
        match options.next(&counts, cancel_requested) {
            BatchStep::Wait => return Ok(progress),
            BatchStep::Start(number) => {
                let started = start(connection, id, number, now).await?;
                progress.started.extend(started);
            }
            BatchStep::StopStarting(reason) => {
                stop_starting(connection, id, &reason, now).await?;
                progress.stopped = Some(reason);
            }
            BatchStep::End(status) => {
                end(connection, id, status, &counts, now).await?;
                progress.ended = Some((status, counts));
                return Ok(progress);
            }
        }
    }
}

async fn count(connection: &mut SqliteConnection, id: Uuid) -> Result<BatchCounts> {
    let found = sqlx::query(COUNT)
        .bind(serde_json::json!([id]).to_string())
        .fetch_all(&mut *connection)
        .await?;
    let mut counts = BatchCounts::default();
    for row in &found {
        add(&mut counts, row)?;
    }
    Ok(counts)
}

fn add(counts: &mut BatchCounts, row: &SqliteRow) -> Result<()> {
    let number = row.try_get::<i64, _>("jobs")?.unsigned_abs();
    let error_code: Option<String> = row.try_get("error_code")?;
    let of_status = match rows::named(row, "status", JobStatus::parse)? {
        JobStatus::Pending if row.try_get("held")? => &mut counts.held,
        JobStatus::Pending | JobStatus::Retrying => &mut counts.waiting,
        JobStatus::Running => &mut counts.running,
        JobStatus::Completed => &mut counts.completed,
        JobStatus::Failed => &mut counts.failed,
        JobStatus::Cancelled if error_code.as_deref() == Some(ErrorCode::NOT_STARTED) => {
            &mut counts.not_started
        }
        JobStatus::Cancelled => &mut counts.cancelled,
    };
    *of_status += number;
    counts.total += number;
    Ok(())
}

/// Releases the next held child jobs, in the order of their targets. `ready_at` is at least `now`, so
/// that the feeder's poll of recently ready jobs finds them.
async fn start(
    connection: &mut SqliteConnection,
    id: Uuid,
    number: u64,
    now: DateTime<Utc>,
) -> Result<Vec<ReadyJob>> {
    let found = sqlx::query(
        "UPDATE jobs SET held = 0, ready_at = max(ready_at, ?2)
         WHERE id IN (SELECT id FROM jobs WHERE parent_id = ?1 AND held = 1 AND status = 'pending'
                      ORDER BY id LIMIT ?3)
         RETURNING id, priority, ready_at",
    )
    .bind(id.to_string())
    .bind(text_of(now))
    .bind(i64::try_from(number).unwrap_or(i64::MAX))
    .fetch_all(&mut *connection)
    .await?;
    let mut started = found
        .iter()
        .map(rows::ready_job)
        .collect::<Result<Vec<_>>>()?;
    started.sort_by_key(|job| job.id);
    Ok(started)
}

async fn stop_starting(
    connection: &mut SqliteConnection,
    id: Uuid,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query(
        "UPDATE jobs SET status = 'cancelled', completed_at = ?2, error_code = ?3, error_message = ?4
         WHERE parent_id = ?1 AND held = 1 AND status = 'pending'",
    )
    .bind(id.to_string())
    .bind(text_of(now))
    .bind(ErrorCode::NOT_STARTED)
    .bind(format!("not started: {reason}"))
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// Ends the batch. Its result groups the targets by outcome; the output for each target is the result
/// of its child job.
async fn end(
    connection: &mut SqliteConnection,
    id: Uuid,
    status: JobStatus,
    counts: &BatchCounts,
    now: DateTime<Utc>,
) -> Result<()> {
    let (code, message) = match status {
        JobStatus::Completed => (None, None),
        JobStatus::Cancelled => (Some(ErrorCode::CANCELLED), Some(counts.summary())),
        _ => (Some(ErrorCode::BATCH), Some(counts.summary())),
    };
    sqlx::query(
        "UPDATE jobs
         SET status = ?2, completed_at = ?3, started_at = coalesce(started_at, ?3),
             error_code = ?4, error_message = ?5,
             result = (SELECT json_group_object(how, json(targets)) FROM (
                 SELECT iif(child.error_code = 'not_started', 'not_started', child.status) AS how,
                        json_group_array(job_targets.name ORDER BY child.id) AS targets
                 FROM jobs AS child JOIN job_targets ON job_targets.job_id = child.id
                 WHERE child.parent_id = ?1 GROUP BY how))
         WHERE id = ?1",
    )
    .bind(id.to_string())
    .bind(status.as_str())
    .bind(text_of(now))
    .bind(code)
    .bind(message)
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// Requests cancellation of a batch. Cancels child jobs that wait, marks running ones, and leaves held
/// ones to [`stop_starting`].
pub(super) async fn request_cancel(
    connection: &mut SqliteConnection,
    id: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query("UPDATE jobs SET cancel_requested = 1 WHERE id = ?1 OR (parent_id = ?1 AND status = 'running')")
        .bind(id)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "UPDATE jobs SET status = 'cancelled', cancel_requested = 1, completed_at = ?2,
                error_code = ?3, error_message = 'cancelled with its batch'
         WHERE parent_id = ?1 AND held = 0 AND status IN ('pending', 'retrying')",
    )
    .bind(id)
    .bind(text_of(now))
    .bind(ErrorCode::CANCELLED)
    .execute(&mut *connection)
    .await?;
    Ok(())
}
