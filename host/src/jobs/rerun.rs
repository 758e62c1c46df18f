//! Reruns an ended job with the same parameters, or part of a batch.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Jobs, Submission, SubmitError};
use crate::model::{Job, JobFilter, JobStatus};
use crate::storage::StorageError;

/// The targets of a batch that a rerun includes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    #[default]
    All,
    /// Targets with a failed job.
    Failed,
    /// Targets without a completed job: failed, cancelled or not started.
    Unfinished,
}

#[derive(Debug, thiserror::Error)]
pub enum RerunError {
    #[error("job {0} not found")]
    NotFound(Uuid),
    #[error("the job has not ended: it is {0}")]
    NotEnded(JobStatus),
    #[error("`only` is not allowed: the job is not a batch")]
    NoBatch,
    #[error("no target of the batch to rerun: none is {}", match .0 {
        Only::All => "there",
        Only::Failed => "failed",
        Only::Unfinished => "unfinished",
    })]
    NothingLeft(Only),
    #[error(
        "the secrets of the job's inline connection were removed when it ended; submit a new job with \
         the connection"
    )]
    OwnConnection,
    #[error(transparent)]
    Refused(#[from] SubmitError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Jobs {
    /// Submits a job with the parameters and targets of an ended one. It runs the current version of
    /// the plugin.
    ///
    /// # Errors
    /// If the job does not exist or has not ended, no target is left to run, or the submission is
    /// rejected.
    pub async fn rerun(
        &self,
        id: Uuid,
        only: Only,
        idempotency: Option<(String, String)>,
        submitted_by: Option<String>,
    ) -> Result<(Uuid, JobStatus), RerunError> {
        let job = self.deps.storage.job(id).await?;
        let job = job.ok_or(RerunError::NotFound(id))?;
        if !job.status.is_final() {
            return Err(RerunError::NotEnded(job.status));
        }
        if job.batch.is_none() && only != Only::All {
            return Err(RerunError::NoBatch);
        }
        let targets = self.targets_left(&job, only).await?;
        if targets.is_empty() && !job.targets.is_empty() {
            return Err(RerunError::NothingLeft(only));
        }
        let submission = Submission {
            plugin: job.plugin,
            params: Some(job.params),
            targets,
            max_retries: Some(job.max_retries),
            timeout_seconds: job.timeout_seconds,
            priority: Some(job.priority),
            description: job.description,
            batch: job.batch,
            idempotency,
            rerun_of: Some(id),
            submitted_by,
            bounds: job.bounds,
            ..Submission::default()
        };
        Ok(self.submit(submission).await?)
    }

    /// Returns the ids of the remaining connections; names may have changed since.
    async fn targets_left(&self, job: &Job, only: Only) -> Result<Vec<String>, RerunError> {
        for target in &job.targets {
            let connection = self.deps.storage.connection(target.connection_id).await?;
            if connection.is_some_and(|connection| connection.owner_job_id.is_some()) {
                return Err(RerunError::OwnConnection);
            }
        }
        let wanted: HashSet<Uuid> = match only {
            Only::All => job
                .targets
                .iter()
                .map(|target| target.connection_id)
                .collect(),
            Only::Failed | Only::Unfinished => {
                let filter = JobFilter {
                    parent: Some(job.id),
                    limit: u32::MAX,
                    ..JobFilter::default()
                };
                let children = self.deps.storage.jobs(&filter).await?;
                let children = children.into_iter().map(|listed| listed.job);
                let is_left = |child: &Job| match only {
                    Only::Failed => child.status == JobStatus::Failed,
                    _ => child.status != JobStatus::Completed,
                };
                let left = children.filter(is_left);
                left.flat_map(|child| child.targets)
                    .map(|target| target.connection_id)
                    .collect()
            }
        };
        let in_order = job.targets.iter().map(|target| target.connection_id);
        let left = in_order.filter(|id| wanted.contains(id));
        Ok(left.map(|id| id.to_string()).collect())
    }
}
