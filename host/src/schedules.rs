//! Use cases for schedules: create, replace, enable, disable, delete, trigger.

mod runner;

use std::sync::Arc;

use tokio::sync::{Mutex, Notify};
use uuid::Uuid;

use crate::fields::{check_name, check_time};
use crate::jobs::{Jobs, Submission, SubmitError};
use crate::model::{FieldError, Schedule, Tick, TimingError, now};
use crate::storage::{AddScheduleOutcome, Storage, StorageError};

pub use runner::ScheduleRunner;

/// Maximum jitter, in seconds: one day.
pub const MAX_JITTER: u32 = 86_400;
/// Maximum number of schedules.
pub const MAX_SCHEDULES: u64 = 10_000;

/// Why a schedule is rejected.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    #[error("schedule `{0}` not found")]
    NotFound(String),
    #[error("too many schedules: at most {MAX_SCHEDULES} are allowed")]
    TooMany,
    /// Jobs of the schedule would be rejected.
    #[error(transparent)]
    Job(#[from] SubmitError),
}

impl From<StorageError> for ScheduleError {
    fn from(error: StorageError) -> Self {
        Self::Job(error.into())
    }
}

/// Use cases for schedules.
pub struct Schedules {
    storage: Arc<dyn Storage>,
    jobs: Arc<Jobs>,
    /// Upper bound of the number of schedules; may include deleted ones.
    at_most: Mutex<u64>,
    pub(crate) changed: Notify,
}

impl Schedules {
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>, jobs: Arc<Jobs>) -> Self {
        Self {
            storage,
            jobs,
            at_most: Mutex::new(u64::MAX),
            changed: Notify::new(),
        }
    }

    /// Finds a schedule by id or name.
    ///
    /// # Errors
    /// If it does not exist or the database is unavailable.
    pub async fn find(&self, id: &str) -> Result<Schedule, ScheduleError> {
        if let Ok(id) = Uuid::parse_str(id)
            && let Some(schedule) = self.storage.schedule(id).await?
        {
            return Ok(schedule);
        }
        let named = self.storage.schedule_named(id).await?;
        named.ok_or_else(|| ScheduleError::NotFound(id.to_owned()))
    }

    /// Stores a schedule. `idempotency` is `(key, digest of the request)`: a repeated request returns
    /// the first schedule.
    ///
    /// # Errors
    /// If it is invalid, its jobs would be rejected, or the name or key is taken.
    pub async fn create(
        &self,
        mut schedule: Schedule,
        idempotency: Option<(String, String)>,
    ) -> Result<Schedule, ScheduleError> {
        if let Some((key, digest)) = &idempotency {
            if let Some((first, first_digest)) = self.storage.schedule_with_key(key).await? {
                return match first_digest == *digest {
                    true => Ok(first),
                    false => Err(SubmitError::KeyReused.into()),
                };
            }
            if self.storage.job_with_key(key).await?.is_some() {
                return Err(SubmitError::KeyReused.into());
            }
        }
        self.check(&schedule).await?;
        self.expect_room().await?;
        schedule.next_run_at = next_run(&schedule)?;
        match self
            .storage
            .add_schedule(&schedule, idempotency.as_ref())
            .await?
        {
            AddScheduleOutcome::Added => *self.at_most.lock().await += 1,
            AddScheduleOutcome::Same(first) => return Ok(*first),
            AddScheduleOutcome::KeyReused => return Err(SubmitError::KeyReused.into()),
        }
        tracing::info!(schedule_id = %schedule.id, name = %schedule.name, "schedule created");
        self.changed.notify_one();
        Ok(schedule)
    }

    /// Rejects a schedule beyond the maximum. Counts the schedules only when the bound is reached, so
    /// that the cost of storing one does not grow with their number.
    async fn expect_room(&self) -> Result<(), ScheduleError> {
        let mut at_most = self.at_most.lock().await;
        if *at_most >= MAX_SCHEDULES {
            *at_most = self.storage.count_schedules().await?;
        }
        match *at_most >= MAX_SCHEDULES {
            true => Err(ScheduleError::TooMany),
            false => Ok(()),
        }
    }

    /// Replaces a schedule.
    ///
    /// # Errors
    /// Like [`Self::create`], and if it does not exist.
    pub async fn replace(&self, mut schedule: Schedule) -> Result<Schedule, ScheduleError> {
        self.check(&schedule).await?;
        schedule.next_run_at = next_run(&schedule)?;
        self.store(schedule).await
    }

    /// Enables or disables a schedule. Occurrences that pass while it is disabled are not made up for.
    ///
    /// # Errors
    /// If it does not exist or cannot be read, or the database is unavailable.
    pub async fn set_enabled(&self, id: &str, enabled: bool) -> Result<Schedule, ScheduleError> {
        let mut schedule = self.find(id).await?;
        if schedule.enabled == enabled {
            return Ok(schedule);
        }
        schedule.enabled = enabled;
        schedule.next_run_at = next_run(&schedule)?;
        self.store(schedule).await
    }

    async fn store(&self, mut schedule: Schedule) -> Result<Schedule, ScheduleError> {
        schedule.updated_at = now();
        if !self.storage.update_schedule(&schedule).await? {
            return Err(ScheduleError::NotFound(schedule.id.to_string()));
        }
        self.changed.notify_one();
        Ok(schedule)
    }

    /// Deletes a schedule; its jobs are kept.
    ///
    /// # Errors
    /// If it does not exist or the database is unavailable.
    pub async fn delete(&self, id: &str) -> Result<(), ScheduleError> {
        let schedule = self.find(id).await?;
        if !self.storage.delete_schedule(schedule.id).await? {
            return Err(ScheduleError::NotFound(id.to_owned()));
        }
        tracing::info!(schedule_id = %schedule.id, name = %schedule.name, "schedule deleted");
        Ok(())
    }

    /// Submits a job of the schedule now, even if the schedule is disabled or a job of it runs.
    ///
    /// # Errors
    /// If the schedule does not exist, or the job is rejected.
    pub async fn trigger(
        &self,
        id: &str,
        submitted_by: Option<String>,
    ) -> Result<Uuid, ScheduleError> {
        let schedule = self.find(id).await?;
        let job = Submission {
            submitted_by,
            ..submission(&schedule)
        };
        let (job_id, _) = self.jobs.submit(job).await?;
        let tick = Tick {
            schedule_id: schedule.id,
            at: now(),
        };
        let settled = self
            .storage
            .settle_tick(&tick, Some(job_id), "triggered")
            .await;
        if let Err(error) = settled {
            // The job is submitted nevertheless.
            tracing::warn!(schedule_id = %schedule.id, %error, "failed to record a trigger");
        }
        Ok(job_id)
    }

    async fn check(&self, schedule: &Schedule) -> Result<(), SubmitError> {
        let mut errors = check_fields(schedule);
        match self.jobs.check(submission(schedule)).await {
            Ok(()) => {}
            Err(SubmitError::Invalid(more)) => errors.extend(more),
            Err(error) => return Err(error),
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(SubmitError::Invalid(errors))
    }
}

/// Returns the job that a schedule submits.
pub(crate) fn submission(schedule: &Schedule) -> Submission {
    Submission {
        plugin: schedule.plugin.clone(),
        params: schedule.params.clone(),
        targets: schedule.targets.clone(),
        max_retries: schedule.max_retries,
        timeout_seconds: schedule.timeout_seconds,
        priority: schedule.priority,
        description: schedule.description.clone(),
        batch: schedule.batch,
        schedule: Some((schedule.id, schedule.cron_expression.clone())),
        submitted_by: schedule.owner.clone(),
        ..Submission::default()
    }
}

fn next_run(schedule: &Schedule) -> Result<Option<chrono::DateTime<chrono::Utc>>, SubmitError> {
    schedule
        .next_after(now())
        .map_err(|error| SubmitError::Invalid(vec![invalid_timing(error)]))
}

/// Converts a timing error into an error of a request field.
pub(crate) fn invalid_timing(error: TimingError) -> FieldError {
    FieldError::new(format!("/{}", error.field), error.message)
}

fn check_fields(schedule: &Schedule) -> Vec<FieldError> {
    let mut errors = Vec::from_iter(check_name(&schedule.name));
    if schedule.jitter_seconds > MAX_JITTER {
        errors.push(FieldError::new(
            "/jitter_seconds",
            format!("expected 0 to {MAX_JITTER}"),
        ));
    }
    errors.extend(check_time("/starts_at", schedule.starts_at));
    errors.extend(check_time("/ends_at", schedule.ends_at));
    if let (Some(start), Some(end)) = (schedule.starts_at, schedule.ends_at)
        && end < start
    {
        errors.push(FieldError::new(
            "/ends_at",
            "expected a time not before starts_at".to_owned(),
        ));
    }
    let enabled = Schedule {
        enabled: true,
        ends_at: None,
        ..schedule.clone()
    };
    match enabled.next_runs(now(), 1) {
        Ok(runs) if runs.is_empty() => errors.push(FieldError::new(
            "/cron_expression",
            "no time matches the expression".to_owned(),
        )),
        Ok(_) => {}
        Err(error) => errors.push(invalid_timing(error)),
    }
    errors
}
