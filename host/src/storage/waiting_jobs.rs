//! Waiting jobs: when they are ready, and what decides whether they may run.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Result;
use crate::model::{Connection, Job, JobError, JobStatus};

/// A waiting job with the data that decides when it may run.
#[derive(Clone, Debug)]
pub struct WaitingJob {
    pub job: Job,
    /// The targets that still exist.
    pub targets: Vec<Connection>,
    /// The job's ancestors, nearest first, without a batch at the top.
    pub parents: Vec<Parent>,
}

/// A job that submitted another.
#[derive(Clone, Debug)]
pub struct Parent {
    pub id: Uuid,
    pub plugin: String,
    pub status: JobStatus,
}

/// A job that may run from `ready_at` on.
#[derive(Clone, Debug)]
pub struct ReadyJob {
    pub id: Uuid,
    pub priority: i32,
    pub ready_at: DateTime<Utc>,
}

/// Jobs that wait for a worker.
#[async_trait]
pub trait WaitingJobStore: Send + Sync + 'static {
    /// Returns jobs that may run now, in the order in which they became ready, starting after a
    /// position.
    async fn ready_jobs(
        &self,
        after: (DateTime<Utc>, Uuid),
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<ReadyJob>>;
    /// Returns when the next waiting job becomes ready, after `now`.
    async fn next_ready_at(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>>;
    /// Returns a waiting job; `None` if it does not exist, is running or has ended.
    async fn waiting_job(&self, id: Uuid) -> Result<Option<WaitingJob>>;
    /// Cancels a waiting job with this reason. Returns `false` if the job is not waiting.
    async fn skip_job(&self, id: Uuid, reason: &JobError, now: DateTime<Utc>) -> Result<bool>;
}
