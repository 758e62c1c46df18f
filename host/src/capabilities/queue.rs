//! Capability `queue`: submits child jobs and waits for them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use uuid::Uuid;

use super::{JobContext, JobFacts, Result, limits, storage_failed};
use crate::model::{Bound, ErrorCode, JobError, JobStatus, Target};

/// A job that another job submits.
#[derive(Clone, Debug)]
pub struct ChildJob {
    pub plugin: String,
    pub params: Value,
    /// Names of targets, each of which must be one of the parent's.
    pub targets: Vec<String>,
    pub description: Option<String>,
}

/// The outcome of a child job.
#[derive(Clone, Debug)]
pub struct ChildOutcome {
    pub id: Uuid,
    pub status: JobStatus,
    pub result: Option<Value>,
    pub error: Option<JobError>,
}

/// The backend of this capability, implemented in [`crate::jobs`].
#[async_trait]
pub trait ChildJobs: Send + Sync {
    async fn submit(&self, parent: &ParentJob<'_>, child: ChildJob) -> Result<Uuid>;
    /// Waits until the job has ended.
    async fn wait(&self, id: Uuid) -> Result<ChildOutcome>;
    /// Asks the job to stop.
    async fn cancel(&self, id: Uuid);
}

/// The properties of a parent that limit its child.
pub struct ParentJob<'a> {
    pub id: Uuid,
    pub depth: u32,
    pub targets: &'a [Target],
    pub submitted_by: Option<&'a str>,
    /// The bounds of the child's rights.
    pub bounds: Vec<Bound>,
}

impl JobContext {
    /// Submits a child job and returns its id.
    ///
    /// # Errors
    /// If the plugin did not declare the capability, a target is not one of this job's, the job has
    /// submitted too many children, or the submission itself is rejected.
    pub async fn queue_submit(&self, child: ChildJob) -> Result<Uuid> {
        self.may_submit(&child.plugin).await?;
        check_params_size(crate::json::length(&child.params))?;
        for name in &child.targets {
            self.name_target(Some(name))?;
        }
        if self.job.depth >= limits::DEPTH {
            return Err(JobError::new(
                ErrorCode::LIMIT,
                format!(
                    "too many nested jobs: at most {} levels of child jobs are allowed",
                    limits::DEPTH
                ),
            ));
        }
        self.unless_stopped(async {
            let storage = &self.services.storage;
            let children = storage
                .count_children(self.job.id)
                .await
                .map_err(|error| storage_failed(&error))?;
            if children >= limits::CHILDREN {
                return Err(JobError::new(
                    ErrorCode::LIMIT,
                    format!(
                        "too many child jobs: at most {} are allowed",
                        limits::CHILDREN
                    ),
                ));
            }
            self.acted.store(true, Ordering::Relaxed);
            let bounds = self.bounds_of_child(&child.plugin);
            let parent = parent(&self.job, bounds);
            self.services.children.submit(&parent, child).await
        })
        .await
    }

    /// Waits until a child job has ended. This job releases its worker slot meanwhile, so one slot is
    /// enough for a parent and its child. If this job is stopped, the child is cancelled.
    ///
    /// # Errors
    /// If the job is not a child of this one, `timeout` has passed, or this job is stopped.
    pub async fn queue_wait(&self, id: Uuid, timeout: Duration) -> Result<ChildOutcome> {
        let not_mine = || JobError::new(ErrorCode::NOT_FOUND, format!("child job {id} not found"));
        let child = self.services.storage.job(id).await;
        let child = child
            .map_err(|error| storage_failed(&error))?
            .ok_or_else(not_mine)?;
        if child.parent_id != Some(self.job.id) {
            return Err(not_mine());
        }
        let _waiting = self.services.waiting.try_acquire().map_err(|_| {
            let most = limits::WAITING;
            JobError::new(
                ErrorCode::LIMIT,
                format!(
                    "too many jobs are waiting for child jobs: at most {most} are allowed on this \
                         server"
                ),
            )
        })?;
        self.slot.release();
        let waited = self
            .unless_stopped(async {
                let ended = self.services.children.wait(id);
                tokio::time::timeout(timeout, ended).await.map_err(|_| {
                    JobError::new(
                        ErrorCode::TIMEOUT,
                        format!(
                            "timeout: child job {id} did not end within {} s",
                            timeout.as_secs_f64()
                        ),
                    )
                })?
            })
            .await;
        if self.stop.reason().is_some() {
            self.services.children.cancel(id).await;
            return waited;
        }
        self.unless_stopped(async {
            self.slot.take_again().await;
            Ok(())
        })
        .await?;
        waited
    }
}

/// Checks the length of a child's parameters as JSON.
///
/// # Errors
/// Code `limit`.
pub fn check_params_size(size: usize) -> Result<()> {
    let most = limits::PARAMS_BYTES;
    if size > most {
        return Err(JobError::new(
            ErrorCode::LIMIT,
            format!(
                "the child job's parameters are too large: {size} bytes as JSON, at most {most} \
                     are allowed"
            ),
        ));
    }
    Ok(())
}

fn parent(job: &JobFacts, bounds: Vec<Bound>) -> ParentJob<'_> {
    ParentJob {
        submitted_by: job.submitted_by.as_deref(),
        id: job.id,
        depth: job.depth,
        targets: &job.targets,
        bounds,
    }
}
