//! Submits the jobs of schedules.
//!
//! There are two steps, and a crash at any point is safe. First, an occurrence is recorded as due and
//! its schedule is advanced, in one transaction. Then the job of each due occurrence is submitted with
//! the occurrence as its idempotency key, so that a repeated submission returns the same job.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Schedules, submission};
use crate::auth::Auth;
use crate::dispatch::Dispatch;
use crate::jobs::{Jobs, SubmitError};
use crate::model::{Due, OverlapDecision, Schedule, Tick, decide_overlap, due, now};
use crate::storage::{Result, Storage};

/// Poll interval, in case the clock was changed.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// Poll interval after a failure, and while an occurrence waits for a job to end, because that event
/// may be missed.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Delay between consecutive polls; coalesces events.
const COALESCE_DELAY: Duration = Duration::from_millis(50);

/// The task that submits the jobs of schedules.
pub struct ScheduleRunner {
    pub auth: Arc<Auth>,
    pub storage: Arc<dyn Storage>,
    pub jobs: Arc<Jobs>,
    pub schedules: Arc<Schedules>,
    pub dispatch: Dispatch,
}

impl ScheduleRunner {
    /// Runs until `shutdown` is cancelled.
    pub async fn run(&self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.run_loop()).await;
    }

    async fn run_loop(&self) {
        let started = now();
        let mut ended = self.dispatch.subscribe();
        let mut polled_at = DateTime::<Utc>::MAX_UTC;
        loop {
            let before = std::mem::replace(&mut polled_at, now());
            let polled = async {
                if polled_at < before {
                    self.bring_forward(polled_at).await?;
                }
                self.poll(polled_at, started).await
            };
            let pause = match polled.await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!(%error, "failed to poll the schedules; retrying");
                    RETRY_INTERVAL
                }
            };
            let until_next = match self.storage.next_schedule_at(polled_at).await {
                Ok(Some(next)) => (next - now()).to_std().unwrap_or_default().min(pause),
                Ok(None) | Err(_) => pause,
            };
            let job_ended = async {
                // Only an occurrence that waits for a job needs these events.
                if pause == POLL_INTERVAL {
                    std::future::pending::<()>().await;
                }
                let _ = ended.recv().await;
                // Coalesces events of jobs that end together.
                tokio::time::sleep(COALESCE_DELAY).await;
            };
            tokio::select! {
                () = tokio::time::sleep(until_next) => {}
                () = self.schedules.changed.notified() => {}
                () = job_ended => {}
            }
            if !ended.is_empty() {
                ended = ended.resubscribe();
            }
        }
    }

    /// Moves schedules to an earlier time after a start or when the clock was set back, so that none
    /// waits longer than necessary.
    async fn bring_forward(&self, now: DateTime<Utc>) -> Result<()> {
        for schedule in self.storage.schedules_after(now).await? {
            let next = schedule.next_after(now).unwrap_or_default();
            if let (Some(planned), Some(next)) = (schedule.next_run_at, next)
                && next < planned
            {
                let id = schedule.id;
                self.storage.move_schedule(id, planned, next).await?;
            }
        }
        Ok(())
    }

    /// Processes due schedules and occurrences; returns how long to wait before the next poll.
    async fn poll(&self, now: DateTime<Utc>, started: DateTime<Utc>) -> Result<Duration> {
        let mut waiting: HashSet<Uuid> = HashSet::new();
        let mut failed = false;
        // Occurrences that were due earlier come first.
        for tick in self.storage.due_ticks().await? {
            if self.try_submit(&tick, &mut failed).await {
                waiting.insert(tick.schedule_id);
            }
        }
        let schedules = self.storage.due_schedules(now).await?;
        let fired = !schedules.is_empty();
        for schedule in schedules {
            let Some(at) = schedule.next_run_at else {
                continue;
            };
            let tick = Tick {
                schedule_id: schedule.id,
                at,
            };
            let is_waiting = waiting.contains(&schedule.id);
            match self.fire(&schedule, &tick, now, started, is_waiting).await {
                Ok(false) => {}
                Ok(true) => {
                    if self.try_submit(&tick, &mut failed).await {
                        waiting.insert(schedule.id);
                    }
                }
                Err(error) => {
                    failed = true;
                    tracing::error!(schedule_id = %schedule.id, %error, "failed to advance a schedule; \
                         retrying");
                }
            }
        }
        Ok(if fired && !failed {
            // A late schedule may have another due occurrence.
            COALESCE_DELAY
        } else if failed || !waiting.is_empty() {
            RETRY_INTERVAL
        } else {
            POLL_INTERVAL
        })
    }

    /// Records an occurrence and advances the schedule; returns whether its job is due now.
    async fn fire(
        &self,
        schedule: &Schedule,
        tick: &Tick,
        now: DateTime<Utc>,
        started: DateTime<Utc>,
        waiting: bool,
    ) -> Result<bool> {
        let due = due(schedule.misfire, tick.at, now, started);
        let after = if due == Due::Run { tick.at } else { now };
        let mut left_out = None;
        let next = schedule.next_after(after).unwrap_or_else(|error| {
            left_out = Some(format!("refused: {error}"));
            None
        });
        if due == Due::Missed {
            left_out = Some("skipped: the server was not running".to_owned());
        } else if left_out.is_none() {
            let running = self.storage.schedule_is_busy(schedule.id).await?;
            if decide_overlap(schedule.overlap, running, waiting) == OverlapDecision::Skip {
                let why = if waiting {
                    "another job is already waiting"
                } else {
                    "the previous job is still running"
                };
                left_out = Some(format!("skipped: {why}"));
            }
        }
        if let Some(why) = &left_out {
            tracing::info!(schedule_id = %schedule.id, tick = %tick.at, why, "skipped a scheduled run");
        }
        let runs = left_out.is_none();
        Ok(self.storage.fire_tick(tick, next, left_out).await? && runs)
    }

    /// Submits the job of a due occurrence; returns whether the occurrence still waits.
    async fn try_submit(&self, tick: &Tick, failed: &mut bool) -> bool {
        match self.submit(tick).await {
            Ok(submitted) => !submitted,
            Err(error) => {
                *failed = true;
                tracing::error!(schedule_id = %tick.schedule_id, %error, "failed to submit a scheduled \
                     job; retrying");
                true
            }
        }
    }

    async fn submit(&self, tick: &Tick) -> Result<bool> {
        let Some(schedule) = self.storage.schedule(tick.schedule_id).await? else {
            return Ok(true);
        };
        let key = format!("schedule:{}:{}", schedule.id, tick.at.timestamp());
        // After a crash, the job may have been submitted already; then it must not wait for itself.
        if self.storage.job_with_key(&key).await?.is_none() {
            let running = self.storage.schedule_is_busy(schedule.id).await?;
            match decide_overlap(schedule.overlap, running, false) {
                OverlapDecision::Now => {}
                OverlapDecision::Wait => return Ok(false),
                OverlapDecision::Skip => {
                    let why = "skipped: the previous job is still running";
                    self.storage.settle_tick(tick, None, why).await?;
                    return Ok(true);
                }
            }
        }
        if let Some(owner) = &schedule.owner
            && let Some(reason) = self.auth.denies_submission(owner).await?
        {
            tracing::warn!(schedule_id = %schedule.id, name = %schedule.name, reason, "scheduled job \
                 rejected");
            let outcome = format!("refused: {reason}");
            self.storage.settle_tick(tick, None, &outcome).await?;
            return Ok(true);
        }
        let jitter = TimeDelta::seconds(jitter(schedule.jitter_seconds));
        let mut job = submission(&schedule);
        job.scheduled_for = Some(tick.at + jitter);
        job.idempotency = Some((key, "schedule".to_owned()));
        let (job_id, outcome) = match self.jobs.submit(job).await {
            Ok((id, _)) => (Some(id), "submitted".to_owned()),
            Err(SubmitError::Storage(error)) => return Err(error),
            // The occurrence waits until the plugin is compiled.
            Err(SubmitError::CompilingPlugin(_)) => return Ok(false),
            Err(error) => (None, refusal(&error)),
        };
        if job_id.is_none() {
            tracing::warn!(schedule_id = %schedule.id, name = %schedule.name, outcome, "scheduled job \
                 rejected");
        }
        self.storage.settle_tick(tick, job_id, &outcome).await?;
        Ok(true)
    }
}

fn refusal(error: &SubmitError) -> String {
    let mut text = format!("refused: {error}");
    if let SubmitError::Invalid(errors) = error {
        for error in errors.iter().take(5) {
            text.push_str(&format!("; {}: {}", error.pointer, error.message));
        }
    }
    text
}

/// Returns a random number of seconds from 0 to `most`.
fn jitter(most: u32) -> i64 {
    if most == 0 {
        return 0;
    }
    // Without random numbers there is no jitter.
    let random = getrandom::u32().unwrap_or_default();
    i64::from(random) % (i64::from(most) + 1)
}
