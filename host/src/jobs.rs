//! Use cases for jobs: submit, cancel, delete, wait, rerun, and batches.
//!
//! A job is committed before it is enqueued, and enqueued before the submitter gets its id. If
//! enqueueing fails, the feeder finds the job in the database and enqueues it.

mod batches;
mod children;
mod rerun;
mod targets;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Datelike, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::capabilities::{Policy, Rights, StopReason};
use crate::connections::{ConnectionError, ConnectionInput, Connections};
use crate::disk::DiskSpace;
use crate::dispatch::{Dispatch, JobEnded, PRIORITY_LIMIT};
use crate::model::{
    BatchOptions, Bound, Connection, FieldError, Job, JobStatus, LoadError, NewJob, TargetMode, now,
};
use crate::registry::{Plugin, Registry};
use crate::storage::{AddOutcome, CancelOutcome, DeleteOutcome, ReadyJob, Storage, StorageError};

pub use rerun::{Only, RerunError};

/// Interval at which a waiter polls the database, in case it missed an event.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum timeout of an attempt, in seconds: one week.
pub const MAX_TIMEOUT: u32 = 604_800;
pub const MAX_RETRIES: u32 = 100;

/// A request to run a job.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    pub plugin: String,
    pub params: Option<Value>,
    pub targets: Vec<String>,
    pub inline: Option<ConnectionInput>,
    pub scheduled_for: Option<DateTime<Utc>>,
    pub max_retries: Option<u32>,
    pub timeout_seconds: Option<u32>,
    pub priority: Option<i32>,
    pub description: Option<String>,
    /// Rollout options for several targets; only for plugins that take one target per job.
    pub batch: Option<BatchOptions>,
    /// `(key, digest of the request)`.
    pub idempotency: Option<(String, String)>,
    /// The job that this one reruns.
    pub rerun_of: Option<Uuid>,
    /// `(id, cron expression)` of the schedule that submits it.
    pub schedule: Option<(Uuid, String)>,
    /// The name of the submitting user, or of the owner of the schedule.
    pub submitted_by: Option<String>,
    /// Rights that limit the job's own: those of the job that is rerun.
    pub bounds: Vec<Bound>,
}

/// Why a submission is rejected.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error("plugin `{0}` not found")]
    UnknownPlugin(String),
    #[error("plugin `{0}` failed to load: {1}")]
    BrokenPlugin(String, LoadError),
    #[error("plugin `{0}` is being compiled")]
    CompilingPlugin(String),
    /// The plugin needs more than the operator grants it.
    #[error("the server's policy does not grant plugin `{0}` what it needs: {list}", list = .1.join(", "))]
    NotGranted(String, Vec<String>),
    /// Invalid fields of the request, as JSON pointers.
    #[error("invalid job")]
    Invalid(Vec<FieldError>),
    #[error("the Idempotency-Key was already used with another request")]
    KeyReused,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Use cases for jobs.
pub struct Jobs {
    deps: JobsDeps,
    notified: batches::Notified,
}

/// The dependencies of [`Jobs`].
pub struct JobsDeps {
    pub storage: Arc<dyn Storage>,
    pub registry: Arc<Registry>,
    pub policy: Arc<Policy>,
    pub connections: Arc<Connections>,
    pub dispatch: Dispatch,
    pub space: Arc<DiskSpace>,
}

impl Jobs {
    #[must_use]
    pub fn new(deps: JobsDeps) -> Self {
        Self {
            deps,
            notified: batches::Notified::default(),
        }
    }

    /// Submits a job. Once this returns, the job is on disk.
    ///
    /// # Errors
    /// If the submission is rejected; see [`SubmitError`].
    pub async fn submit(&self, submission: Submission) -> Result<(Uuid, JobStatus), SubmitError> {
        self.deps.storage.condition().check()?;
        // A repeated request gets the first reply, even if the plugin or targets have changed since.
        if let Some((key, digest)) = &submission.idempotency
            && let Some((first, first_digest)) = self.deps.storage.job_with_key(key).await?
        {
            if first_digest != *digest {
                return Err(SubmitError::KeyReused);
            }
            return Ok((first.id, first.status));
        }
        let (job, inline) = self.prepare(submission).await?;
        self.add(job, inline.as_ref()).await
    }

    /// Checks whether a submission would be accepted now, without adding a job.
    ///
    /// # Errors
    /// Like [`Self::submit`], except that the idempotency key is not checked.
    pub async fn check(&self, submission: Submission) -> Result<(), SubmitError> {
        self.prepare(submission).await.map(drop)
    }

    async fn prepare(
        &self,
        submission: Submission,
    ) -> Result<(NewJob, Option<Connection>), SubmitError> {
        let plugin = self.plugin(&submission.plugin)?;
        let id = Uuid::now_v7();
        let mut errors = check_numbers(&submission);
        let params = submission.params.unwrap_or_else(|| serde_json::json!({}));
        let (params, wrong) = complete(&plugin, params).await?;
        errors.extend(wrong);
        let inline = self.inline(submission.inline, id, &mut errors).await?;
        let resolved = self
            .resolve(&plugin, &submission.targets, inline.as_ref(), &mut errors)
            .await?;
        let asked = submission.batch;
        let fans_out = resolved.several || asked.is_some();
        if plugin.description.targets != TargetMode::Each && asked.is_some() {
            let message = format!(
                "a batch is not allowed: plugin `{}` does not take one target per job",
                plugin.name
            );
            errors.push(FieldError::new("/batch", message));
        }
        if !errors.is_empty() {
            return Err(SubmitError::Invalid(errors));
        }
        let is_batch = plugin.description.targets == TargetMode::Each && fans_out;
        let job = NewJob {
            id,
            plugin: submission.plugin,
            params,
            targets: resolved.targets,
            priority: submission.priority.unwrap_or_default(),
            description: submission.description,
            parent_id: None,
            depth: 0,
            created_at: now(),
            scheduled_for: submission.scheduled_for,
            timeout_seconds: submission.timeout_seconds,
            max_retries: submission.max_retries.unwrap_or_default(),
            on_interrupt: plugin.description.on_interrupt,
            idempotency: submission.idempotency,
            batch: is_batch.then(|| asked.unwrap_or_default()),
            held: is_batch,
            rerun_of: submission.rerun_of,
            schedule: submission.schedule,
            submitted_by: submission.submitted_by,
            bounds: submission.bounds,
        };
        Ok((job, inline))
    }

    async fn add(
        &self,
        job: NewJob,
        inline: Option<&Connection>,
    ) -> Result<(Uuid, JobStatus), SubmitError> {
        self.deps.space.check().map_err(StorageError::from)?;
        // Ascending ids, in the order of the targets.
        let targets = job.targets.iter().filter(|_| job.batch.is_some());
        let children: Vec<_> = targets.map(|_| Uuid::now_v7()).collect();
        match self.deps.storage.add_job(&job, &children, inline).await? {
            AddOutcome::Added => {}
            AddOutcome::Same(first) => return Ok((first.id, first.status)),
            AddOutcome::KeyReused => return Err(SubmitError::KeyReused),
        }
        tracing::info!(
            job_id = %job.id,
            plugin = %job.plugin,
            targets = job.targets.len(),
            submitted_by = job.submitted_by,
            "job submitted"
        );
        if job.batch.is_some() {
            self.notified.add(job.id);
        } else {
            let ready = ReadyJob {
                id: job.id,
                priority: job.priority,
                ready_at: job.scheduled_for.unwrap_or(job.created_at),
            };
            self.deps.dispatch.enqueue(&[ready]).await;
        }
        Ok((job.id, JobStatus::Pending))
    }

    /// Cancels a waiting job, or asks a running job to stop.
    ///
    /// # Errors
    /// If the database is unavailable.
    pub async fn cancel(&self, id: Uuid) -> Result<CancelOutcome, StorageError> {
        let outcome = match self.deps.storage.cancel_job(id, now()).await {
            Ok(outcome) => outcome,
            Err(error) => return self.cancel_unrecorded(id, error).await,
        };
        match outcome {
            CancelOutcome::Requested => {
                self.deps.dispatch.stop(id, StopReason::Cancelled);
                // Running child jobs of a batch. Its waiting ones are cancelled already, so no more can
                // start.
                for child in self.deps.storage.running_children(id).await? {
                    self.deps.dispatch.stop(child, StopReason::Cancelled);
                }
                self.deps.dispatch.withdraw_stale();
                self.notified.add(id);
            }
            CancelOutcome::Cancelled => {
                tracing::info!(job_id = %id, "job cancelled before it started");
                self.deps.dispatch.withdraw(id).await;
                // If it cannot be read, polling advances its batch.
                let job = self.deps.storage.job(id).await.ok().flatten();
                let parent = job.and_then(|job| job.parent_id);
                self.deps.dispatch.publish(JobEnded { id, parent });
            }
            CancelOutcome::NotFound | CancelOutcome::Finished | CancelOutcome::Unrecorded => {}
        }
        Ok(outcome)
    }

    /// Stops the running parts of a job although the database cannot store the cancellation: a full
    /// disk must not keep a job changing a device.
    async fn cancel_unrecorded(
        &self,
        id: Uuid,
        error: StorageError,
    ) -> Result<CancelOutcome, StorageError> {
        let mut stopped = self.deps.dispatch.stop(id, StopReason::Cancelled);
        for child in self
            .deps
            .storage
            .running_children(id)
            .await
            .unwrap_or_default()
        {
            stopped |= self.deps.dispatch.stop(child, StopReason::Cancelled);
        }
        if !stopped {
            return Err(error);
        }
        tracing::warn!(job_id = %id, %error, "failed to store a cancellation; the running job is \
             stopped anyway");
        Ok(CancelOutcome::Unrecorded)
    }

    /// Deletes a job that is not running, with its results, logs and child jobs.
    ///
    /// # Errors
    /// If the database is unavailable.
    pub async fn delete(&self, id: Uuid) -> Result<DeleteOutcome, StorageError> {
        let outcome = self.deps.storage.delete_job(id).await?;
        if outcome == DeleteOutcome::Deleted {
            tracing::info!(job_id = %id, "job deleted");
            self.deps.dispatch.withdraw(id).await;
            // Its child jobs are deleted with it.
            self.deps.dispatch.withdraw_stale();
        }
        Ok(outcome)
    }

    /// Waits until a job has ended, and returns it; `None` if it does not exist.
    ///
    /// # Errors
    /// If the database is unavailable.
    pub async fn wait(&self, id: Uuid) -> Result<Option<Job>, StorageError> {
        let mut events = self.deps.dispatch.subscribe();
        loop {
            match self.deps.storage.job(id).await? {
                Some(job) if !job.status.is_final() => {}
                other => return Ok(other),
            }
            let heard = async { while events.recv().await.is_ok_and(|ended| ended.id != id) {} };
            // Polls as well: events may be missed because of lag or because another process ended the
            // job.
            let _ = tokio::time::timeout(POLL_INTERVAL, heard).await;
        }
    }

    fn plugin(&self, name: &str) -> Result<Arc<Plugin>, SubmitError> {
        let entry = self.deps.registry.entry(name);
        let entry = entry.ok_or_else(|| SubmitError::UnknownPlugin(name.to_owned()))?;
        let compiling = entry.is_compiling();
        match (entry.plugin, entry.error) {
            (Some(plugin), _) => match self.rights(&plugin).missing() {
                missing if missing.is_empty() => Ok(plugin),
                missing => Err(SubmitError::NotGranted(name.to_owned(), missing)),
            },
            (None, Some(error)) => Err(SubmitError::BrokenPlugin(name.to_owned(), error)),
            (None, None) if compiling => Err(SubmitError::CompilingPlugin(name.to_owned())),
            (None, None) => Err(SubmitError::UnknownPlugin(name.to_owned())),
        }
    }

    fn rights(&self, plugin: &Plugin) -> Rights {
        let needs = &plugin.description.needs;
        self.deps.policy.rights(plugin.name.as_str(), needs)
    }

    async fn inline(
        &self,
        input: Option<ConnectionInput>,
        job_id: Uuid,
        errors: &mut Vec<FieldError>,
    ) -> Result<Option<Connection>, StorageError> {
        let Some(input) = input else { return Ok(None) };
        match self.deps.connections.inline(input, job_id).await {
            Ok(connection) => return Ok(Some(connection)),
            Err(ConnectionError::Storage(error)) => return Err(error),
            Err(ConnectionError::Invalid(fields)) => {
                let fields = fields.into_iter();
                errors.extend(fields.map(|error| error.within("/connection")));
            }
            Err(error) => errors.push(FieldError::new("/connection", error.to_string())),
        }
        Ok(None)
    }
}

/// Fills in defaults of parameters and checks them; large ones on a blocking thread.
async fn complete(
    plugin: &Arc<Plugin>,
    mut params: Value,
) -> Result<(Value, Vec<FieldError>), StorageError> {
    if !has_many_values(&params) {
        plugin.fill_defaults(&mut params);
        let errors = check_params(plugin, &params);
        return Ok((params, errors));
    }
    let plugin = Arc::clone(plugin);
    let completed = tokio::task::spawn_blocking(move || {
        plugin.fill_defaults(&mut params);
        let errors = check_params(&plugin, &params);
        (params, errors)
    });
    let failed =
        |_| StorageError::Unavailable("internal error while checking the parameters".to_owned());
    completed.await.map_err(failed)
}

/// Returns whether checking a value may take more than some milliseconds.
fn has_many_values(value: &Value) -> bool {
    const MANY: usize = 10_000;
    fn count(value: &Value, counted: &mut usize) {
        *counted += match value {
            // Longer texts take longer to match against patterns.
            Value::String(text) => 1 + text.len() / 64,
            _ => 1,
        };
        if *counted >= MANY {
            return;
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| count(item, counted)),
            Value::Object(fields) => fields.values().for_each(|value| count(value, counted)),
            _ => {}
        }
    }
    let mut counted = 0;
    count(value, &mut counted);
    counted >= MANY
}

fn check_params(plugin: &Plugin, params: &Value) -> Vec<FieldError> {
    let errors = plugin.check_params(params).err().unwrap_or_default();
    let errors = errors.into_iter();
    errors.map(|error| error.within("/params")).collect()
}

fn check_numbers(submission: &Submission) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut expect = |holds: bool, pointer: &str, message: String| {
        if !holds {
            errors.push(FieldError::new(pointer, message));
        }
    };
    expect(
        submission
            .timeout_seconds
            .is_none_or(|seconds| (1..=MAX_TIMEOUT).contains(&seconds)),
        "/timeout_seconds",
        format!("expected 1 to {MAX_TIMEOUT}"),
    );
    expect(
        submission
            .scheduled_for
            .is_none_or(|time| (1970..=9999).contains(&time.year())),
        "/scheduled_for",
        "expected a time in the years 1970 to 9999".to_owned(),
    );
    expect(
        submission
            .max_retries
            .is_none_or(|retries| retries <= MAX_RETRIES),
        "/max_retries",
        format!("expected 0 to {MAX_RETRIES}"),
    );
    expect(
        submission
            .priority
            .is_none_or(|priority| priority.abs() <= PRIORITY_LIMIT),
        "/priority",
        format!("expected -{PRIORITY_LIMIT} to {PRIORITY_LIMIT}"),
    );
    expect(
        submission
            .description
            .as_ref()
            .is_none_or(|text| text.len() <= 1_000),
        "/description",
        "expected at most 1000 bytes".to_owned(),
    );
    errors
}
