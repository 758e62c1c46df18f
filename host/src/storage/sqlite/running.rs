//! Jobs from the worker's side: ready, claimed, writing results and logs, finished.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::bulk::{Bulk, BulkWork, Kinds, SqliteQuery};
use super::readers::Readers;
use super::writer::Writer;
use super::{
    Claim, JobUse, Measured, Outcome, Page, Parent, ReadyJob, Result, Runs, WaitingJob, bulk,
    in_flight, rows, text_of,
};
use crate::model::{Attempt, CommandResult, Job, JobError, JobLog, JobStatus, LogLevel, Progress};

pub(super) async fn ready(
    readers: &Readers,
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
    readers: &Readers,
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

/// A request to claim a job.
pub(super) struct ClaimJob {
    pub id: Uuid,
    pub worker_id: String,
    pub runs: Option<Runs>,
    pub now: DateTime<Utc>,
}

impl BulkWork for ClaimJob {
    type Answer = Option<Job>;

    // Each statement depends on the one before it: it claims the job if it is claimable, adds its
    // attempt, and marks a pending batch as running with its first child job.
    const STATEMENTS: &str = "
        UPDATE jobs
        SET status = 'running', attempt = attempt + 1, worker_id = $2, started_at = $3,
            completed_at = NULL, error_code = NULL, error_message = NULL, progress = NULL,
            plugin_digest = coalesce($4, plugin_digest), on_interrupt = coalesce($5, on_interrupt)
        WHERE id = $1 AND status IN ('pending', 'retrying') AND held = 0 AND ready_at <= $3
        RETURNING $0, *;

        INSERT INTO job_attempts (job_id, attempt, plugin_digest, worker_id, started_at, status)
        SELECT id, attempt, plugin_digest, worker_id, started_at, status
        FROM jobs WHERE id = $1 AND changes() = 1;

        UPDATE jobs SET status = 'running', started_at = $3
        WHERE id = (SELECT parent_id FROM jobs WHERE id = $1)
              AND batch IS NOT NULL AND status = 'pending' AND changes() = 1";
    const PARAMETERS: usize = 5;

    fn bulk(kinds: &mut Kinds) -> &mut Bulk<Self> {
        &mut kinds.claims
    }

    fn bind<'q>(&self, query: SqliteQuery<'q>) -> SqliteQuery<'q> {
        let runs = self.runs.as_ref();
        query
            .bind(self.id.to_string())
            .bind(&self.worker_id)
            .bind(text_of(self.now))
            .bind(runs.map(|runs| &runs.digest))
            .bind(runs.map(|runs| runs.on_interrupt.as_str()))
    }

    fn answer(&self, row: Option<&SqliteRow>) -> Result<Option<Job>> {
        row.map(rows::job).transpose()
    }
}

pub(super) async fn attempts(readers: &Readers, job_id: Uuid) -> Result<Vec<Attempt>> {
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
    let ending = EndAttempt::of(claim, outcome, now);
    if writer.one(ending.clone()).await? {
        return Ok(true);
    }
    // The claim is no longer valid, or a write intent has no result.
    let claim = claim.clone();
    writer
        .run(move |connection| {
            Box::pin(async move {
                for result in in_flight::without_answer(connection, &claim).await? {
                    if !bulk::do_one(connection, &result).await? {
                        return Ok(false);
                    }
                }
                bulk::do_one(connection, &ending).await
            })
        })
        .await
}

/// The end of an attempt.
#[derive(Clone)]
pub(super) struct EndAttempt {
    claim: Claim,
    status: JobStatus,
    error: Option<JobError>,
    result: Option<Value>,
    ready_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
}

impl EndAttempt {
    fn of(claim: &Claim, outcome: Outcome, now: DateTime<Utc>) -> Self {
        let (status, error, result, ready_at) = match outcome {
            Outcome::Completed(result) => (JobStatus::Completed, None, Some(result), None),
            Outcome::Failed(error) => (JobStatus::Failed, Some(error), None, None),
            Outcome::Cancelled(error) => (JobStatus::Cancelled, Some(error), None, None),
            Outcome::Retry(error, at) => (JobStatus::Retrying, Some(error), None, Some(at)),
            Outcome::RunAgain(error) => (JobStatus::Pending, Some(error), None, Some(now)),
        };
        Self {
            claim: claim.clone(),
            status,
            error,
            result,
            ready_at,
            now,
        }
    }
}

impl BulkWork for EndAttempt {
    /// Whether the end was written.
    type Answer = bool;

    // A cancellation requested while the attempt was ending wins: the job does not run again. The
    // attempt gets the resulting status of the job. Nothing is written while a write intent has no
    // result.
    const STATEMENTS: &str = "
        UPDATE jobs
        SET status = iif($5 IN ('retrying', 'pending') AND cancel_requested, 'cancelled', $5),
            completed_at = iif($5 IN ('retrying', 'pending') AND cancel_requested, $3, $6),
            error_code = iif($5 IN ('retrying', 'pending') AND cancel_requested, 'cancelled', $7),
            error_message = $8, result = $9, ready_at = coalesce($10, ready_at),
            retry_count = retry_count + $11
        WHERE id = $1 AND attempt = $2 AND worker_id = $4 AND status = 'running'
              AND NOT EXISTS (SELECT 1 FROM in_flight WHERE job_id = $1)
        RETURNING $0;

        UPDATE job_attempts
        SET ended_at = $3, status = job.status, error_code = job.error_code,
            error_message = job.error_message,
            next_at = iif(job.status IN ('retrying', 'pending'), job.ready_at, NULL)
        FROM (SELECT status, error_code, error_message, ready_at FROM jobs WHERE id = $1) AS job
        WHERE job_id = $1 AND attempt = $2 AND changes() = 1";
    const PARAMETERS: usize = 11;

    fn bulk(kinds: &mut Kinds) -> &mut Bulk<Self> {
        &mut kinds.ends
    }

    fn bind<'q>(&self, query: SqliteQuery<'q>) -> SqliteQuery<'q> {
        let error = self.error.as_ref();
        query
            .bind(self.claim.job_id.to_string())
            .bind(self.claim.attempt)
            .bind(text_of(self.now))
            .bind(&self.claim.worker_id)
            .bind(self.status.as_str())
            .bind(self.status.is_final().then(|| text_of(self.now)))
            .bind(error.map(|error| &*error.code.0))
            .bind(error.map(|error| &error.message))
            .bind(self.result.as_ref().map(Value::to_string))
            .bind(self.ready_at.map(text_of))
            .bind(i32::from(self.status == JobStatus::Retrying))
    }

    fn answer(&self, row: Option<&SqliteRow>) -> Result<bool> {
        Ok(row.is_some())
    }
}

pub(super) async fn job_use(readers: &Readers, job_id: Uuid) -> Result<JobUse> {
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM job_results WHERE job_id = ?1) AS results,
                (SELECT coalesce(sum(octet_length(output)), 0) FROM job_results
                 WHERE job_id = ?1) AS output_bytes,
                (SELECT count(*) FROM job_logs WHERE job_id = ?1) AS log_lines,
                (SELECT coalesce(sum(octet_length(message) + coalesce(octet_length(context), 0)), 0)
                 FROM job_logs WHERE job_id = ?1) AS log_bytes",
    )
    .bind(job_id.to_string())
    .fetch_one(readers)
    .await?;
    let number = |column: &str| Ok::<_, sqlx::Error>(row.try_get::<i64, _>(column)?.unsigned_abs());
    Ok(JobUse {
        results: number("results")?,
        output_bytes: number("output_bytes")?,
        log_lines: number("log_lines")?,
        log_bytes: number("log_bytes")?,
    })
}

pub(super) async fn running(readers: &Readers) -> Result<Vec<Job>> {
    let found = sqlx::query("SELECT * FROM jobs WHERE status = 'running' AND batch IS NULL")
        .fetch_all(readers)
        .await?;
    found.iter().map(rows::job).collect()
}

/// A command result, written only if the claim is valid. Removes the write intent of its command.
pub(super) struct AddResult {
    pub worker_id: String,
    pub result: CommandResult,
}

impl BulkWork for AddResult {
    /// Whether the claim is valid.
    type Answer = bool;

    const STATEMENTS: &str = "
        INSERT INTO job_results (id, job_id, attempt, target, kind, command, output,
                                 error, exit_code, truncated, executed_at, duration_ms)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12
        WHERE EXISTS (SELECT 1 FROM jobs
                      WHERE id = $2 AND attempt = $3 AND worker_id = $13 AND status = 'running')
        RETURNING $0;

        DELETE FROM in_flight WHERE id = $14 AND changes() = 1";
    const PARAMETERS: usize = 14;

    fn bulk(kinds: &mut Kinds) -> &mut Bulk<Self> {
        &mut kinds.results
    }

    fn bind<'q>(&self, query: SqliteQuery<'q>) -> SqliteQuery<'q> {
        let result = &self.result;
        query
            .bind(result.id.to_string())
            .bind(result.job_id.to_string())
            .bind(result.attempt)
            .bind(&result.target)
            .bind(result.kind.as_str())
            .bind(&result.command)
            .bind(&result.output)
            .bind(&result.error)
            .bind(result.exit_code)
            .bind(result.truncated)
            .bind(text_of(result.executed_at))
            .bind(i64::try_from(result.duration_ms).unwrap_or(i64::MAX))
            .bind(&self.worker_id)
            .bind(result.in_flight.map(|note| note.to_string()))
    }

    fn answer(&self, row: Option<&SqliteRow>) -> Result<bool> {
        Ok(row.is_some())
    }
}

impl BulkWork for JobLog {
    type Answer = ();

    const STATEMENTS: &str = "INSERT INTO job_logs (job_id, level, message, timestamp, context) VALUES ($1, $2, $3, $4, $5)";
    const PARAMETERS: usize = 5;

    fn bulk(kinds: &mut Kinds) -> &mut Bulk<Self> {
        &mut kinds.lines
    }

    fn bind<'q>(&self, query: SqliteQuery<'q>) -> SqliteQuery<'q> {
        query
            .bind(self.job_id.to_string())
            .bind(self.level.as_str())
            .bind(&self.message)
            .bind(text_of(self.timestamp))
            .bind(self.context.as_ref().map(Value::to_string))
    }

    fn answer(&self, _: Option<&SqliteRow>) -> Result<()> {
        Ok(())
    }
}

/// Reads the data that decides when a waiting job may run.
pub(super) async fn waiting(readers: &Readers, id: Uuid) -> Result<Option<WaitingJob>> {
    readers.noted(read_waiting(readers, id).await)
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

/// The progress of an attempt.
pub(super) struct SetProgress {
    pub claim: Claim,
    pub progress: Progress,
}

impl BulkWork for SetProgress {
    /// Whether the claim is valid.
    type Answer = bool;

    const STATEMENTS: &str = "
        UPDATE jobs SET progress = $4
        WHERE id = $1 AND attempt = $2 AND worker_id = $3 AND status = 'running'
        RETURNING $0";
    const PARAMETERS: usize = 4;

    fn bulk(kinds: &mut Kinds) -> &mut Bulk<Self> {
        &mut kinds.progress
    }

    fn bind<'q>(&self, query: SqliteQuery<'q>) -> SqliteQuery<'q> {
        query
            .bind(self.claim.job_id.to_string())
            .bind(self.claim.attempt)
            .bind(&self.claim.worker_id)
            .bind(json!(self.progress).to_string())
    }

    fn answer(&self, row: Option<&SqliteRow>) -> Result<bool> {
        Ok(row.is_some())
    }
}

pub(super) async fn output_bytes(
    readers: &Readers,
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
    readers: &Readers,
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

/// Measures results. Lengths are read from the row headers; no output is loaded.
pub(super) async fn measure_results(
    readers: &Readers,
    job_id: Uuid,
    after: Uuid,
    page: Page,
) -> Result<Measured> {
    let sizes: Vec<i64> = sqlx::query_scalar(
        "SELECT octet_length(output) + octet_length(command) + coalesce(octet_length(error), 0)
         FROM job_results WHERE job_id = ? AND id > ? ORDER BY id LIMIT ?",
    )
    .bind(job_id.to_string())
    .bind(after.to_string())
    .bind(page.limit.saturating_add(1))
    .fetch_all(readers)
    .await?;
    Ok(page.measure(sizes.into_iter().map(i64::unsigned_abs)))
}

/// Selects the log lines after an id that have one of the given levels.
const LINES_AFTER: &str = "FROM job_logs
     WHERE job_id = ?1 AND id > ?2 AND level IN (SELECT value FROM json_each(?3)) ORDER BY id LIMIT ?4";

/// Selects the log lines before an id that have one of the given levels, last ones first.
const LINES_BEFORE: &str = "FROM job_logs
     WHERE job_id = ?1 AND id < ?2 AND level IN (SELECT value FROM json_each(?3))
     ORDER BY id DESC LIMIT ?4";

fn levels_from(least: Option<LogLevel>) -> String {
    let levels: Vec<&str> = LogLevel::ALL
        .into_iter()
        .filter(|level| least.is_none_or(|least| *level >= least))
        .map(LogLevel::as_str)
        .collect();
    serde_json::json!(levels).to_string()
}

/// Measures the log lines that follow or precede an id.
async fn measure_lines(
    readers: &Readers,
    job_id: Uuid,
    lines: &str,
    place: i64,
    least: Option<LogLevel>,
    page: Page,
) -> Result<Measured> {
    let query =
        format!("SELECT octet_length(message) + coalesce(octet_length(context), 0) {lines}");
    let sizes: Vec<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
        .bind(job_id.to_string())
        .bind(place)
        .bind(levels_from(least))
        .bind(page.limit.saturating_add(1))
        .fetch_all(readers)
        .await?;
    Ok(page.measure(sizes.into_iter().map(i64::unsigned_abs)))
}

async fn lines(
    readers: &Readers,
    job_id: Uuid,
    lines: &str,
    place: i64,
    least: Option<LogLevel>,
    limit: u32,
) -> Result<Vec<JobLog>> {
    let query = sqlx::AssertSqlSafe(format!("SELECT * {lines}"));
    let found = sqlx::query(query)
        .bind(job_id.to_string())
        .bind(place)
        .bind(levels_from(least))
        .bind(limit)
        .fetch_all(readers)
        .await?;
    found.iter().map(rows::log).collect()
}

pub(super) async fn measure_logs(
    readers: &Readers,
    job_id: Uuid,
    after: i64,
    least: Option<LogLevel>,
    page: Page,
) -> Result<Measured> {
    measure_lines(readers, job_id, LINES_AFTER, after, least, page).await
}

pub(super) async fn logs(
    readers: &Readers,
    job_id: Uuid,
    after: i64,
    least: Option<LogLevel>,
    limit: u32,
) -> Result<Vec<JobLog>> {
    lines(readers, job_id, LINES_AFTER, after, least, limit).await
}

pub(super) async fn measure_logs_before(
    readers: &Readers,
    job_id: Uuid,
    before: i64,
    least: Option<LogLevel>,
    page: Page,
) -> Result<Measured> {
    measure_lines(readers, job_id, LINES_BEFORE, before, least, page).await
}

pub(super) async fn logs_before(
    readers: &Readers,
    job_id: Uuid,
    before: i64,
    least: Option<LogLevel>,
    limit: u32,
) -> Result<Vec<JobLog>> {
    let mut found = lines(readers, job_id, LINES_BEFORE, before, least, limit).await?;
    found.reverse();
    Ok(found)
}

pub(super) async fn last_log(readers: &Readers, job_id: Uuid, after: i64) -> Result<Option<i64>> {
    let last = sqlx::query_scalar("SELECT max(id) FROM job_logs WHERE job_id = ? AND id > ?")
        .bind(job_id.to_string())
        .bind(after)
        .fetch_one(readers)
        .await?;
    Ok(last)
}

pub(super) async fn last_result(
    readers: &Readers,
    job_id: Uuid,
    after: Uuid,
) -> Result<Option<Uuid>> {
    let row = sqlx::query("SELECT max(id) AS id FROM job_results WHERE job_id = ? AND id > ?")
        .bind(job_id.to_string())
        .bind(after.to_string())
        .fetch_one(readers)
        .await?;
    rows::optional(&row, "id", rows::uuid)
}
