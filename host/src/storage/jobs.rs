//! Jobs as they are submitted, listed, cancelled and deleted.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::broadcast;
use uuid::Uuid;

use super::Result;
use crate::model::{Connection, Job, JobFilter, JobTexts, ListedJob, NewJob, StatusCounts};

/// The result of adding a job.
#[derive(Clone, Debug)]
pub enum AddOutcome {
    Added,
    /// The idempotency key exists with the same request: this is the first job.
    Same(Box<Job>),
    /// The idempotency key exists with a different request.
    KeyReused,
}

/// The result of a request to cancel a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    NotFound,
    /// The job was waiting and is now cancelled.
    Cancelled,
    /// The job is running and was asked to stop.
    Requested,
    /// The job is running and was asked to stop, but the request could not be stored.
    Unrecorded,
    /// The job had already ended.
    Finished,
}

/// The result of a request to delete a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    NotFound,
    Deleted,
    /// The job or one of its child jobs is running.
    Running,
}

/// Submitted jobs.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    /// Adds a pending job and its inline connection. For a batch, also adds one child job per target:
    /// `children` has their ids, in the order of the targets.
    async fn add_job(
        &self,
        job: &NewJob,
        children: &[Uuid],
        inline: Option<&Connection>,
    ) -> Result<AddOutcome>;
    async fn job(&self, id: Uuid) -> Result<Option<Job>>;
    /// Returns the job with an idempotency key, and the digest of its request.
    async fn job_with_key(&self, key: &str) -> Result<Option<(Job, String)>>;
    /// Returns the job without its large fields.
    async fn listed_job(&self, id: Uuid) -> Result<Option<ListedJob>>;
    /// Returns the large fields of the job.
    async fn job_texts(&self, id: Uuid) -> Result<Option<JobTexts>>;
    /// Lists jobs, newest first, at most `filter.limit`.
    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<ListedJob>>;
    async fn count_jobs(&self, created_after: Option<DateTime<Utc>>) -> Result<StatusCounts>;
    /// Counts the child jobs of a job.
    async fn count_children(&self, id: Uuid) -> Result<u64>;
    async fn cancel_job(&self, id: Uuid, now: DateTime<Utc>) -> Result<CancelOutcome>;
    async fn delete_job(&self, id: Uuid) -> Result<DeleteOutcome>;
    /// Subscribes to the ids of jobs with a changed record, result or log. A receiver that lags misses
    /// ids and has to poll.
    fn changes(&self) -> broadcast::Receiver<Uuid>;
}
