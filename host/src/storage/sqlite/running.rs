//! Jobs as workers see them: ready, claimed, writing results and logs, finished.

use chrono::{DateTime, Utc};
use sqlx::sqlite::SqlitePool;
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::writer::Writer;
use super::{
    Claim, Outcome, Parent, ReadyJob, Result, Runs, StorageError, WaitingJob, in_flight, rows,
    text_of,
};
use crate::model::{Attempt, CommandResult, Job, JobError, JobLog, JobStatus, LogLevel, Progress};

pub(super) async fn ready(
    readers: &SqlitePool,
    (after, after_id): (DateTime<Utc>, Uuid),
    now: DateTime<Utc>,
    limit: u32,
) -> Result<Vec<ReadyJob>> {
    let found = sqlx::query(
        "SELECT id, priority, ready_at FROM jobs INDEXED BY jobs_waiting
         WHERE status IN ('pending', 'retrying') AND held = 0 AND ready_at <= ?3 AND (ready_at, id) > (?1, ?2)
         ORDER BY ready_at, id LIMIT ?4",
    )
    .bind(text_of(after))
    .bind(after_id.to_string())
    .bind(text_of(now))
    .bind(limit)
    .fetch_all(readers)
    .await?;
    found.iter().map(rows::ready_job).collect()
}

pub(super) async fn next_ready_at(
    readers: &SqlitePool,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>> {
    let row = sqlx::query(
        "SELECT ready_at FROM jobs INDEXED BY jobs_waiting
         WHERE status IN ('pending', 'retrying') AND held = 0 AND ready_at > ?
         ORDER BY ready_at LIMIT 1",
    )
    .bind(text_of(now))
    .fetch_optional(readers)
    .await?;
    row.map(|row| rows::time(&row, "ready_at")).transpose()
}

pub(super) async fn claim(
    writer: &Writer,
    id: Uuid,
    worker_id: &str,
    runs: Option<&Runs>,
    now: DateTime<Utc>,
) -> Result<Option<Job>> {
    let (id, worker_id, runs) = (id.to_string(), worker_id.to_owned(), runs.cloned());
    writer
        .run(move |connection| {
            Box::pin(async move {
                let (digest, on_interrupt) = runs
                    .map(|runs| (runs.digest, runs.on_interrupt.as_str()))
                    .unzip();
                // Each statement goes on from the one before it: the job, if it is there to be
                // claimed, its attempt, and with the first of its child jobs a batch runs.
                let claimed = sqlx::query(
                    "UPDATE jobs
                     SET status = 'running', attempt = attempt + 1, worker_id = ?2,
                         started_at = ?3, completed_at = NULL, error_code = NULL,
                         error_message = NULL, progress = NULL,
                         plugin_digest = coalesce(?4, plugin_digest),
                         on_interrupt = coalesce(?5, on_interrupt)
                     WHERE id = ?1 AND status IN ('pending', 'retrying') AND held = 0 AND ready_at <= ?3
                     RETURNING *;

                     INSERT INTO job_attempts (job_id, attempt, plugin_digest, worker_id, started_at, status)
                     SELECT id, attempt, plugin_digest, worker_id, started_at, status
                     FROM jobs WHERE id = ?1 AND changes() = 1;

                     UPDATE jobs SET status = 'running', started_at = ?3
                     WHERE id = (SELECT parent_id FROM jobs WHERE id = ?1)
                           AND batch IS NOT NULL AND status = 'pending' AND changes() = 1",
                )
                .bind(id)
                .bind(worker_id)
                .bind(text_of(now))
                .bind(digest)
                .bind(on_interrupt)
                .fetch_all(&mut *connection)
                .await?;
                claimed.first().map(rows::job).transpose()
            })
        })
        .await
}

pub(super) async fn attempts(readers: &SqlitePool, job_id: Uuid) -> Result<Vec<Attempt>> {
    let found = sqlx::query("SELECT * FROM job_attempts WHERE job_id = ? ORDER BY attempt")
        .bind(job_id.to_string())
        .fetch_all(readers)
        .await?;
    found.iter().map(rows::attempt).collect()
}

pub(super) async fn skip(
    writer: &Writer,
    id: Uuid,
    reason: &JobError,
    now: DateTime<Utc>,
) -> Result<bool> {
    let (id, reason) = (id.to_string(), reason.clone());
    writer
        .statement(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE jobs
                     SET status = 'cancelled', completed_at = ?2, error_code = ?3, error_message = ?4
                     WHERE id = ?1 AND status IN ('pending', 'retrying') AND held = 0 AND ready_at <= ?2",
                )
                .bind(id)
                .bind(text_of(now))
                .bind(&reason.code.0)
                .bind(&reason.message)
                .execute(&mut *connection)
                .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
}

pub(super) async fn finish(
    writer: &Writer,
    claim: &Claim,
    outcome: Outcome,
    now: DateTime<Utc>,
) -> Result<bool> {
    let claim = claim.clone();
    writer
        .run(move |connection| {
            Box::pin(async move {
                let end = End::of(outcome, now);
                let ended = sqlx::query(
                    // A cancellation that came while the attempt was ending is kept to: the job does
                    // not run again. Its attempt ends as it does.
                    "UPDATE jobs
                     SET status = iif(?5 IN ('retrying', 'pending') AND cancel_requested, 'cancelled', ?5),
                         completed_at = iif(?5 IN ('retrying', 'pending') AND cancel_requested, ?3, ?6),
                         error_code = iif(?5 IN ('retrying', 'pending') AND cancel_requested, 'cancelled', ?7),
                         error_message = ?8,
                         result = ?9, ready_at = coalesce(?10, ready_at),
                         retry_count = retry_count + ?11
                     WHERE id = ?1 AND attempt = ?2 AND worker_id = ?4 AND status = 'running'
                     RETURNING EXISTS (SELECT 1 FROM in_flight WHERE job_id = ?1) AS in_flight;

                     UPDATE job_attempts
                     SET ended_at = ?3, status = job.status, error_code = job.error_code,
                         error_message = job.error_message,
                         next_at = iif(job.status IN ('retrying', 'pending'), job.ready_at, NULL)
                     FROM (SELECT status, error_code, error_message, ready_at FROM jobs WHERE id = ?1) AS job
                     WHERE job_id = ?1 AND attempt = ?2 AND changes() = 1",
                )
                .bind(claim.job_id.to_string())
                .bind(claim.attempt)
                .bind(text_of(now))
                .bind(&claim.worker_id)
                .bind(end.status.as_str())
                .bind(end.status.is_final().then(|| text_of(now)))
                .bind(end.error.as_ref().map(|error| error.code.0.clone()))
                .bind(end.error.map(|error| error.message))
                .bind(end.result.map(|result| result.to_string()))
                .bind(end.ready_at.map(text_of))
                .bind(i32::from(end.status == JobStatus::Retrying))
                .fetch_all(&mut *connection)
                .await?;
                let Some(ended) = ended.first() else {
                    return Ok(false);
                };
                if ended.try_get("in_flight")? {
                    in_flight::end(connection, &claim).await?;
                }
                Ok(true)
            })
        })
        .await
}

/// An [`Outcome`] as columns.
struct End {
    status: JobStatus,
    error: Option<JobError>,
    result: Option<serde_json::Value>,
    ready_at: Option<DateTime<Utc>>,
}

impl End {
    fn of(outcome: Outcome, now: DateTime<Utc>) -> Self {
        let (status, error, result, ready_at) = match outcome {
            Outcome::Completed(result) => (JobStatus::Completed, None, Some(result), None),
            Outcome::Failed(error) => (JobStatus::Failed, Some(error), None, None),
            Outcome::Cancelled(error) => (JobStatus::Cancelled, Some(error), None, None),
            Outcome::Retry(error, at) => (JobStatus::Retrying, Some(error), None, Some(at)),
            Outcome::RunAgain(error) => (JobStatus::Pending, Some(error), None, Some(now)),
        };
        Self {
            status,
            error,
            result,
            ready_at,
        }
    }
}

pub(super) async fn running(readers: &SqlitePool) -> Result<Vec<Job>> {
    let found = sqlx::query("SELECT * FROM jobs WHERE status = 'running' AND batch IS NULL")
        .fetch_all(readers)
        .await?;
    found.iter().map(rows::job).collect()
}

pub(super) async fn add_result(
    writer: &Writer,
    claim: &Claim,
    result: &CommandResult,
) -> Result<()> {
    let (claim, result) = (claim.clone(), result.clone());
    let Some(in_flight) = result.in_flight else {
        return writer
            .statement(move |connection| {
                Box::pin(async move { insert_of(connection, &claim, result).await })
            })
            .await;
    };
    writer
        .run(move |connection| {
            Box::pin(async move {
                insert_of(connection, &claim, result).await?;
                in_flight::forget(connection, in_flight).await
            })
        })
        .await
}

/// A result that is written while the claim holds alone.
async fn insert_of(
    connection: &mut SqliteConnection,
    claim: &Claim,
    result: CommandResult,
) -> Result<()> {
    match insert_result(connection, result, Some(&claim.worker_id)).await? {
        true => Ok(()),
        false => Err(lost(claim)),
    }
}

/// `false` when a worker is given, and the attempt is no longer this worker's.
pub(super) async fn insert_result(
    connection: &mut SqliteConnection,
    result: CommandResult,
    worker_id: Option<&str>,
) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO job_results (id, job_id, attempt, target, kind, command, output,
                                  error, exit_code, truncated, executed_at, duration_ms)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12
         WHERE ?13 IS NULL OR EXISTS (
             SELECT 1 FROM jobs
             WHERE id = ?2 AND attempt = ?3 AND worker_id = ?13 AND status = 'running')",
    )
    .bind(result.id.to_string())
    .bind(result.job_id.to_string())
    .bind(result.attempt)
    .bind(result.target)
    .bind(result.kind.as_str())
    .bind(result.command)
    .bind(result.output)
    .bind(result.error)
    .bind(result.exit_code)
    .bind(result.truncated)
    .bind(text_of(result.executed_at))
    .bind(i64::try_from(result.duration_ms).unwrap_or(i64::MAX))
    .bind(worker_id)
    .execute(&mut *connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn add_logs(writer: &Writer, logs: Vec<JobLog>) -> Result<()> {
    writer
        .run(move |connection| {
            Box::pin(async move {
                for log in logs {
                    sqlx::query(
                        "INSERT INTO job_logs (job_id, level, message, timestamp, context)
                         VALUES (?, ?, ?, ?, ?)",
                    )
                    .bind(log.job_id.to_string())
                    .bind(log.level.as_str())
                    .bind(log.message)
                    .bind(text_of(log.timestamp))
                    .bind(log.context.map(|context| context.to_string()))
                    .execute(&mut *connection)
                    .await?;
                }
                Ok(())
            })
        })
        .await
}

/// What decides when a job that waits may run.
pub(super) async fn waiting(readers: &SqlitePool, id: Uuid) -> Result<Option<WaitingJob>> {
    // One connection for all of it: taking one, and giving it back, costs as much as a query.
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

pub(super) async fn set_progress(
    writer: &Writer,
    claim: &Claim,
    progress: &Progress,
) -> Result<()> {
    let claim = claim.clone();
    let progress = serde_json::to_string(progress)
        .map_err(|error| StorageError::Corrupt(error.to_string()))?;
    writer
        .statement(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE jobs SET progress = ?4
                     WHERE id = ?1 AND attempt = ?2 AND worker_id = ?3 AND status = 'running'",
                )
                .bind(claim.job_id.to_string())
                .bind(claim.attempt)
                .bind(&claim.worker_id)
                .bind(progress)
                .execute(&mut *connection)
                .await?;
                if done.rows_affected() == 0 {
                    return Err(lost(&claim));
                }
                Ok(())
            })
        })
        .await
}

pub(super) async fn output_bytes(
    readers: &SqlitePool,
    job_id: Uuid,
    target: Option<&str>,
) -> Result<u64> {
    let bytes: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(octet_length(command) + octet_length(output)), 0) FROM job_results
         WHERE job_id = ?1 AND (?2 IS NULL OR target = ?2)",
    )
    .bind(job_id.to_string())
    .bind(target)
    .fetch_one(readers)
    .await?;
    Ok(bytes.unsigned_abs())
}

pub(super) async fn results_after(
    readers: &SqlitePool,
    job_id: Uuid,
    after: Uuid,
    limit: u32,
) -> Result<Vec<CommandResult>> {
    let found =
        sqlx::query("SELECT * FROM job_results WHERE job_id = ? AND id > ? ORDER BY id LIMIT ?")
            .bind(job_id.to_string())
            .bind(after.to_string())
            .bind(limit)
            .fetch_all(readers)
            .await?;
    found.iter().map(rows::result).collect()
}

pub(super) async fn logs(
    readers: &SqlitePool,
    job_id: Uuid,
    after: i64,
    least: Option<LogLevel>,
    limit: u32,
) -> Result<Vec<JobLog>> {
    let levels: Vec<&str> = LogLevel::ALL
        .into_iter()
        .filter(|level| least.is_none_or(|least| *level >= least))
        .map(LogLevel::as_str)
        .collect();
    let found = sqlx::query(
        "SELECT * FROM job_logs
         WHERE job_id = ?1 AND id > ?2 AND level IN (SELECT value FROM json_each(?3))
         ORDER BY id LIMIT ?4",
    )
    .bind(job_id.to_string())
    .bind(after)
    .bind(serde_json::json!(levels).to_string())
    .bind(limit)
    .fetch_all(readers)
    .await?;
    found.iter().map(rows::log).collect()
}

pub(super) fn lost(claim: &Claim) -> StorageError {
    StorageError::Unavailable(format!(
        "attempt {} of job {} is no longer this worker's",
        claim.attempt, claim.job_id
    ))
}
