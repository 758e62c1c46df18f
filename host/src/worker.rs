//! The worker: claims admitted jobs, runs them and records their outcome.
//!
//! Each job runs in its own task, which ends with the job, at its timeout or on a stop signal. What the
//! job occupies meanwhile is its lease, see [`crate::dispatch`].

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt as _;

use crate::backoff::Backoff;
use crate::capabilities::{JobContext, Services, StopReason, limits};
use crate::config::Config;
use crate::dispatch::{Admitted, Dispatch, Lease, LeaseEnd, unique_name};
use crate::model::{ErrorCode, Job, JobError, LogLevel, OnInterrupt, now};
use crate::registry::{Plugin, Registry};
use crate::storage::{Claim, JobUse, Outcome, Runs, Storage, StorageError};

/// How long a stopped job may take to end before the worker abandons it.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Retry interval for recording an outcome while the database is unavailable.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);

/// The worker of this process.
pub struct Worker {
    name: String,
    deps: WorkerDeps,
    default_timeout: u32,
    delays: RetryDelays,
    grace: Duration,
}

/// The dependencies of [`Worker`], besides its configuration.
pub struct WorkerDeps {
    pub storage: Arc<dyn Storage>,
    pub registry: Arc<Registry>,
    pub services: Services,
    pub dispatch: Dispatch,
}

/// A claimed job with its plugin, or the reason why that cannot run.
type Claimed = (Claim, Job, Result<Arc<Plugin>, JobError>);

impl Worker {
    #[must_use]
    pub fn new(deps: WorkerDeps, config: &Config) -> Arc<Self> {
        Arc::new(Self {
            name: unique_name(),
            deps,
            default_timeout: u32::try_from(config.worker.timeout_seconds).unwrap_or(u32::MAX),
            delays: RetryDelays::of(config),
            grace: Duration::from_secs(config.worker.shutdown_grace_seconds),
        })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs admitted jobs until `shutdown` is ready, then drains: running jobs get the grace period, and
    /// those that still run afterwards are stopped and recorded as interrupted.
    pub async fn run(self: Arc<Self>, shutdown: impl Future<Output = ()>) {
        let dispatch = self.deps.dispatch.clone();
        let worker = Arc::clone(&self);
        let running = async {
            tokio::select! {
                () = dispatch.run(move |job| Arc::clone(&worker).run_job(job)) => {}
                () = self.deps.storage.condition().failed() => {
                    // Running jobs continue; only the shutdown stops them.
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            () = shutdown => {}
            () = running => {}
        }
        dispatch.drain(self.grace).await;
    }

    /// Claims a job, runs an attempt at it and records the outcome.
    async fn run_job(self: Arc<Self>, admitted: Admitted) {
        let Admitted {
            mut lease,
            job,
            rules,
        } = admitted;
        let claimed = self.claim(&job).await;
        // The job is running, or no longer waits: a new pause does not affect it.
        drop(rules);
        let (claim, job, plugin) = match claimed {
            Ok(Some(claimed)) => claimed,
            Ok(None) => return lease.set_end(LeaseEnd::NotWaiting),
            Err(error) => {
                tracing::error!(%error, "failed to claim a job; retrying");
                return lease.set_end(LeaseEnd::Failed);
            }
        };
        let parent = job.parent_id;
        lease.set_end(LeaseEnd::Ended { parent });
        let outcome = match plugin {
            Ok(plugin) => {
                let attempt = self.attempt(&claim, &job, &plugin, &lease);
                let ended = AssertUnwindSafe(attempt).catch_unwind().await;
                ended.unwrap_or_else(|panic| Outcome::Failed(panicked(&*panic)))
            }
            Err(error) => Outcome::Failed(error),
        };
        let recorded = AssertUnwindSafe(self.record(&claim, &outcome)).catch_unwind();
        if let Err(panic) = recorded.await {
            let outcome = Outcome::Failed(panicked(&*panic));
            self.record(&claim, &outcome).await;
        } else if matches!(outcome, Outcome::Retry(..)) {
            lease.set_end(LeaseEnd::Rescheduled { parent });
        }
    }

    /// Claims a job for this worker; `None` if it no longer waits. Later attempts run the version of the
    /// plugin that the first one ran.
    async fn claim(&self, job: &Job) -> Result<Option<Claimed>, StorageError> {
        let plugin = match &job.plugin_digest {
            Some(digest) => self.deps.registry.version(&job.plugin, digest).await,
            None => self.deps.registry.get(&job.plugin).ok_or_else(|| {
                JobError::new(
                    ErrorCode::NOT_FOUND,
                    format!(
                        "plugin `{}` not found; it was removed after the job was submitted",
                        job.plugin
                    ),
                )
            }),
        };
        let runs = plugin.as_ref().ok().map(|plugin| Runs {
            digest: plugin.digest.clone(),
            on_interrupt: plugin.description.on_interrupt,
        });
        let storage = &self.deps.storage;
        let claimed = storage.claim_job(job.id, &self.name, runs.as_ref(), now());
        Ok(claimed.await?.map(|job| {
            let claim = Claim {
                job_id: job.id,
                attempt: job.attempt,
                worker_id: self.name.clone(),
            };
            (claim, job, plugin)
        }))
    }

    async fn attempt(
        &self,
        claim: &Claim,
        job: &Job,
        plugin: &Arc<Plugin>,
        lease: &Lease,
    ) -> Outcome {
        let context = JobContext::new(
            self.deps.services.clone(),
            job,
            claim.clone(),
            &plugin.description.needs,
            Arc::clone(lease.stop()),
            lease.slot(),
        );
        let context = Arc::new(context.after(self.earlier_use(claim).await));
        tracing::info!(plugin = %job.plugin, attempt = claim.attempt, "job started");
        // A panic in a host function must not keep the job's device, plugin slot and worker slot.
        let ended = AssertUnwindSafe(self.run_program(plugin, &context, job)).catch_unwind();
        let ended = ended.await.unwrap_or_else(|panic| Err(panicked(&*panic)));
        // Stores all results first: an attempt with a result that could not be stored has failed.
        let closed = context.close().await;
        let ended = ended.and_then(|result| closed.map(|()| result));
        let ended = ended.map_err(|error| context.explain_stop(error));
        let stop = context.stop();
        let again_is_safe =
            !context.has_acted() || plugin.description.on_interrupt == OnInterrupt::Retry;
        let outcome = outcome(
            job,
            plugin,
            ended,
            stop.reason(),
            again_is_safe.then_some(self.delays),
        );
        match &outcome {
            Outcome::Completed(_) => tracing::info!("job completed"),
            Outcome::Cancelled(error) => context.note(LogLevel::Warn, error.to_string()).await,
            Outcome::Failed(error) | Outcome::RunAgain(error) => {
                context.note(LogLevel::Error, error.to_string()).await;
            }
            Outcome::Retry(error, at) => {
                let message = format!("{error}; next attempt at {}", at.format("%H:%M:%SZ"));
                context.note(LogLevel::Warn, message).await;
            }
        }
        context.end().await;
        outcome
    }

    /// Returns the total that earlier attempts at the job have stored.
    async fn earlier_use(&self, claim: &Claim) -> JobUse {
        if claim.attempt <= 1 {
            return JobUse::default();
        }
        let used = self.deps.storage.job_use(claim.job_id).await;
        used.unwrap_or_else(|error| {
            tracing::warn!(%error, "failed to read the quota used by earlier attempts; counting this attempt only");
            JobUse::default()
        })
    }

    async fn run_program(
        &self,
        plugin: &Plugin,
        context: &Arc<JobContext>,
        job: &Job,
    ) -> Result<serde_json::Value, JobError> {
        let seconds = job.timeout_seconds.unwrap_or(self.default_timeout);
        let stop = context.stop();
        let program = plugin.program.run(Arc::clone(context));
        tokio::pin!(program);
        tokio::select! {
            ended = &mut program => return ended,
            () = tokio::time::sleep(Duration::from_secs(seconds.into())) => {
                stop.now(StopReason::Timeout { seconds });
            }
            _ = stop.stopped() => {}
        }
        let reason = stop.stopped().await;
        match tokio::time::timeout(STOP_TIMEOUT, program).await {
            Ok(ended) => ended,
            Err(_) => {
                tracing::error!("timeout while stopping a job; abandoning its task");
                Err(reason.into())
            }
        }
    }

    /// Records the outcome of an attempt; retries until the database is available.
    async fn record(&self, claim: &Claim, outcome: &Outcome) {
        loop {
            let finished = self
                .deps
                .storage
                .finish_job(claim, outcome.clone(), now())
                .await;
            match finished {
                Ok(true) => break,
                Ok(false) => {
                    tracing::warn!(
                        "the attempt no longer belongs to this worker; its outcome is not stored"
                    );
                    break;
                }
                Err(error @ StorageError::Unusable(_)) => {
                    tracing::error!(%error, "failed to store the outcome of a job");
                    break;
                }
                Err(error) => {
                    tracing::error!(%error, "failed to store the outcome of a job; retrying");
                    tokio::time::sleep(RECORD_INTERVAL).await;
                }
            }
        }
    }
}

/// Logs a panic of the host during an attempt, and returns the job's error.
fn panicked(panic: &(dyn Any + Send)) -> JobError {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text, "panic while running a job");
    JobError::new(
        ErrorCode::INTERNAL,
        "internal error while running the job; see the server's log",
    )
}

/// Returns the outcome of an ended attempt. The stop signal, not an error code thrown by the plugin,
/// decides whether the attempt was stopped.
fn outcome(
    job: &Job,
    plugin: &Plugin,
    ended: Result<serde_json::Value, JobError>,
    stopped: Option<StopReason>,
    again: Option<RetryDelays>,
) -> Outcome {
    let mut error = match ended {
        Ok(result) => return Outcome::Completed(result),
        Err(error) => error,
    };
    crate::text::cut(&mut error.message, limits::LOG_MESSAGE_BYTES);
    match stopped {
        Some(StopReason::Cancelled) => return Outcome::Cancelled(error),
        Some(StopReason::Shutdown) => {
            return match plugin.description.on_interrupt {
                OnInterrupt::Fail => Outcome::Failed(error),
                OnInterrupt::Retry => Outcome::RunAgain(error),
            };
        }
        Some(StopReason::Timeout { .. }) | None => {}
    }
    // After a change was sent, retries only if the plugin declares that safe.
    if let Some(delays) = again
        && plugin.description.retry.allow(&error)
        && job.retry_count < job.max_retries
    {
        let mut at = delays.next_attempt(job.retry_count, now());
        if error.code.0 == ErrorCode::UNAVAILABLE {
            at = at.max(now() + delays.unavailable);
        }
        return Outcome::Retry(error, at);
    }
    Outcome::Failed(error)
}

/// Delays before a job is retried.
#[derive(Clone, Copy, Debug)]
struct RetryDelays {
    backoff: Backoff,
    /// Minimum delay while the circuit breaker of a device is open.
    unavailable: TimeDelta,
}

impl RetryDelays {
    fn of(config: &Config) -> Self {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Self {
            backoff: Backoff::new(
                seconds(config.worker.retry_delay_seconds),
                seconds(config.worker.retry_delay_max_seconds),
            ),
            unavailable: TimeDelta::seconds(config.devices.breaker_seconds.into()),
        }
    }

    /// Returns the time of the next attempt after `retries` retries.
    fn next_attempt(self, retries: u32, now: DateTime<Utc>) -> DateTime<Utc> {
        let delay = self.backoff.delay(retries.saturating_add(1));
        now + TimeDelta::milliseconds(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_begin_with_the_configured_delay_and_grow_to_the_configured_maximum() {
        let (now, config) = (now(), Config::default());
        let delay = |retries| RetryDelays::of(&config).next_attempt(retries, now) - now;
        for (retries, least) in [
            (0, config.worker.retry_delay_seconds),
            (1, config.worker.retry_delay_seconds * 2),
            (40, config.worker.retry_delay_max_seconds),
        ] {
            let least = TimeDelta::seconds(least.into());
            let delay = delay(retries);
            assert!(
                delay >= least && delay <= least * 3 / 2,
                "{retries}: {delay}"
            );
        }
    }
}
