//! Claims, progress and ends of attempts.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::batching::{self, BatchedWrite, SqliteQuery};
use super::{Result, SqliteStorage, results, rows, text_of, while_claimed};
use crate::model::{Attempt, Job, JobError, JobStatus, Progress};
use crate::storage::{AttemptStore, Claim, Outcome, Runs};

#[async_trait]
impl AttemptStore for SqliteStorage {
    async fn claim_job(
        &self,
        id: Uuid,
        worker_id: &str,
        runs: Option<&Runs>,
        now: DateTime<Utc>,
    ) -> Result<Option<Job>> {
        let claim = ClaimJob {
            id,
            worker_id: worker_id.to_owned(),
            runs: runs.cloned(),
            now,
        };
        self.publish_if_ok(id, self.writer.batched(claim).await)
    }

    async fn finish_job(
        &self,
        claim: &Claim,
        outcome: Outcome,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let finished = self
            .end_attempt(claim, EndAttempt::of(claim, outcome, now))
            .await;
        self.publish_if_ok(claim.job_id, finished)
    }

    async fn set_progress(&self, claim: &Claim, progress: &Progress) -> Result<()> {
        let write = SetProgress {
            claim: claim.clone(),
            progress: progress.clone(),
        };
        let set = self.writer.batched(write).await;
        let set = set.and_then(|is_valid| while_claimed(claim, is_valid));
        self.publish_if_ok(claim.job_id, set)
    }

    async fn running_jobs(&self) -> Result<Vec<Job>> {
        let found = sqlx::query("SELECT * FROM jobs WHERE status = 'running' AND batch IS NULL")
            .fetch_all(&self.readers)
            .await?;
        found.iter().map(rows::job).collect()
    }

    async fn attempts(&self, job_id: Uuid) -> Result<Vec<Attempt>> {
        let found = sqlx::query("SELECT * FROM job_attempts WHERE job_id = ? ORDER BY attempt")
            .bind(job_id.to_string())
            .fetch_all(&self.readers)
            .await?;
        found.iter().map(rows::attempt).collect()
    }
}

impl SqliteStorage {
    async fn end_attempt(&self, claim: &Claim, end: EndAttempt) -> Result<bool> {
        if self.writer.batched(end.clone()).await? {
            return Ok(true);
        }
        // The claim is no longer valid, or a write intent has no result.
        let claim = claim.clone();
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    for result in results::without_response(connection, &claim).await? {
                        if !batching::execute_one(connection, &result).await? {
                            return Ok(false);
                        }
                    }
                    batching::execute_one(connection, &end).await
                })
            })
            .await
    }
}

/// A request to claim a job.
pub(super) struct ClaimJob {
    pub id: Uuid,
    pub worker_id: String,
    pub runs: Option<Runs>,
    pub now: DateTime<Utc>,
}

impl BatchedWrite for ClaimJob {
    type Output = Option<Job>;

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

    fn bind<'q>(&self, query: SqliteQuery<'q>) -> SqliteQuery<'q> {
        let runs = self.runs.as_ref();
        query
            .bind(self.id.to_string())
            .bind(&self.worker_id)
            .bind(text_of(self.now))
            .bind(runs.map(|runs| &runs.digest))
            .bind(runs.map(|runs| runs.on_interrupt.as_str()))
    }

    fn output(&self, row: Option<&SqliteRow>) -> Result<Option<Job>> {
        row.map(rows::job).transpose()
    }
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

impl BatchedWrite for EndAttempt {
    /// Whether the end was written.
    type Output = bool;

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

    fn output(&self, row: Option<&SqliteRow>) -> Result<bool> {
        Ok(row.is_some())
    }
}

/// The progress of an attempt.
pub(super) struct SetProgress {
    pub claim: Claim,
    pub progress: Progress,
}

impl BatchedWrite for SetProgress {
    /// Whether the claim is valid.
    type Output = bool;

    const STATEMENTS: &str = "
        UPDATE jobs SET progress = $4
        WHERE id = $1 AND attempt = $2 AND worker_id = $3 AND status = 'running'
        RETURNING $0";
    const PARAMETERS: usize = 4;

    fn bind<'q>(&self, query: SqliteQuery<'q>) -> SqliteQuery<'q> {
        query
            .bind(self.claim.job_id.to_string())
            .bind(self.claim.attempt)
            .bind(&self.claim.worker_id)
            .bind(json!(self.progress).to_string())
    }

    fn output(&self, row: Option<&SqliteRow>) -> Result<bool> {
        Ok(row.is_some())
    }
}
