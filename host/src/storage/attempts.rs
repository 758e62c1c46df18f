//! Attempts: the claim of a job, its progress and its end.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::Result;
use crate::model::{Attempt, Job, JobError, OnInterrupt, Progress};

/// A claimed job. Only the holder of a valid claim may write to the attempt.
#[derive(Clone, Debug)]
pub struct Claim {
    pub job_id: Uuid,
    pub attempt: u32,
    pub worker_id: String,
}

/// The plugin version that an attempt runs, and how to handle the attempt after a crash.
#[derive(Clone, Debug)]
pub struct Runs {
    pub digest: String,
    pub on_interrupt: OnInterrupt,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    Completed(Value),
    Failed(JobError),
    /// Cancelled, with the error to record.
    Cancelled(JobError),
    /// To be retried at the given time because of this error.
    Retry(JobError, DateTime<Utc>),
    /// Interrupted by the end of the process; to be run again from the start.
    RunAgain(JobError),
}

/// Attempts at jobs. A write on behalf of an attempt needs its claim.
#[async_trait]
pub trait AttemptStore: Send + Sync + 'static {
    /// Moves a job from `pending` or `retrying` to `running`; `None` if it is claimed already or no
    /// longer waits.
    async fn claim_job(
        &self,
        id: Uuid,
        worker_id: &str,
        runs: Option<&Runs>,
        now: DateTime<Utc>,
    ) -> Result<Option<Job>>;
    /// Ends the attempt. Returns `false` without writing anything if the claim is no longer valid.
    /// Write intents without a result get one that says so.
    async fn finish_job(&self, claim: &Claim, outcome: Outcome, now: DateTime<Utc>)
    -> Result<bool>;
    async fn set_progress(&self, claim: &Claim, progress: &Progress) -> Result<()>;
    /// Returns all jobs with status `running`.
    async fn running_jobs(&self) -> Result<Vec<Job>>;
    /// Returns all attempts at a job, oldest first.
    async fn attempts(&self, job_id: Uuid) -> Result<Vec<Attempt>>;
}
