//! Batches: their counts, and the steps that start their child jobs.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{ReadyJob, Result};
use crate::model::{BatchCounts, JobStatus};

/// The result of advancing a batch.
#[derive(Clone, Debug, Default)]
pub struct BatchProgress {
    /// Child jobs that may run now or at their scheduled time.
    pub started: Vec<ReadyJob>,
    /// Why no more child jobs are started, if the batch decided so.
    pub stopped: Option<String>,
    pub ended: Option<(JobStatus, BatchCounts)>,
}

/// Batches and their child jobs.
#[async_trait]
pub trait BatchStore: Send + Sync + 'static {
    /// Advances a batch as far as possible: starts child jobs, stops starting them, or ends the batch.
    async fn advance_batch(&self, id: Uuid, now: DateTime<Utc>) -> Result<BatchProgress>;
    async fn unfinished_batches(&self) -> Result<Vec<Uuid>>;
    /// Returns the numbers of child jobs by state for each batch.
    async fn batch_counts(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, BatchCounts>>;
    async fn running_children(&self, id: Uuid) -> Result<Vec<Uuid>>;
}
