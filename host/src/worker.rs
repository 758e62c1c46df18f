//! The worker: takes job ids from the queue, claims the jobs, runs them and records their outcome.
//!
//! Each job runs in its own task, which ends with the job, at its timeout or on a stop signal; Apalis
//! only delivers ids. A semaphore limits the number of running jobs, because a job releases its slot
//! while it waits for a child job.

mod dispatcher;
mod held_back;
mod recovery;
mod running;
mod turns;
mod uncompiled;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

use crate::capabilities::{JobContext, Services, Slot, Stop, StopReason, limits};
use crate::config::Config;
use crate::jobs::Batches;
use crate::model::{
    Connection, ErrorCode, Job, JobError, JobLog, JobStatus, LogLevel, OnInterrupt, PauseAction,
    now,
};
use crate::pauses::{HeldBack, Pauses};
use crate::queue::{Handler, Queue};
use crate::registry::{Plugin, Registry};
use crate::storage::{Claim, JobUse, Outcome, Parent, Runs, Storage, StorageError, WaitingJob};

use turns::Needed;
use uncompiled::UncompiledJobs;

pub use dispatcher::Dispatcher;
pub use held_back::HeldBackJobs;
pub use recovery::end_interrupted;
pub use running::Running;
pub use turns::{Next, Resource, Turns};

/// How long a stopped job may take to end before the worker abandons it.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);
/// Delay before Apalis' worker is restarted after a failure.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(250);
/// Interval at which ends of pauses are checked, in case the clock was changed.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// Jobs enqueued at once when a pause ends.
const PAGE: usize = 2_000;
/// Retry interval for recording an outcome while the database is unavailable.
const RECORD_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// One job is prefetched per this many worker slots, but at least [`LEAST_AHEAD`]. Taking several jobs
/// costs the same as taking one, but a more urgent job that arrives later waits for the prefetched
/// ones.
const SLOTS_PER_PREFETCHED_JOB: usize = 8;
/// Minimum number of prefetched jobs: short jobs end faster than jobs can be taken one by one.
const MIN_PREFETCH: usize = 2;

/// The worker of this process.
pub struct Worker {
    name: String,
    storage: Arc<dyn Storage>,
    queue: Queue,
    registry: Arc<Registry>,
    services: Services,
    dispatcher: Dispatcher,
    batches: Batches,
    running: Running,
    turns: Turns,
    pauses: Arc<Pauses>,
    held_back: HeldBackJobs,
    uncompiled: UncompiledJobs,
    ended: broadcast::Sender<Uuid>,
    places: Arc<Semaphore>,
    /// Number of prefetched jobs.
    ahead: usize,
    default_timeout: u32,
    delays: RetryDelays,
    grace: Duration,
    tasks: TaskTracker,
}

/// The result of trying to claim a job.
enum Claimed {
    Run(Claim, Box<Job>, Result<Arc<Plugin>, JobError>),
    /// A pause covers the job.
    HeldBack(Next),
    /// The job's plugin is being compiled.
    Uncompiled(Next),
    Nothing,
}

/// The dependencies of [`Worker`], besides its configuration.
pub struct Parts {
    pub storage: Arc<dyn Storage>,
    pub queue: Queue,
    pub registry: Arc<Registry>,
    pub services: Services,
    pub dispatcher: Dispatcher,
    pub batches: Batches,
    pub running: Running,
    pub turns: Turns,
    pub pauses: Arc<Pauses>,
    pub held_back: HeldBackJobs,
    pub ended: broadcast::Sender<Uuid>,
}

impl Worker {
    #[must_use]
    pub fn new(parts: Parts, config: &Config) -> Arc<Self> {
        let delays = RetryDelays::of(config);
        let config = &config.worker;
        Arc::new(Self {
            name: worker_name(),
            storage: parts.storage,
            queue: parts.queue,
            registry: parts.registry,
            services: parts.services,
            dispatcher: parts.dispatcher,
            batches: parts.batches,
            running: parts.running,
            turns: parts.turns,
            pauses: parts.pauses,
            held_back: parts.held_back,
            uncompiled: UncompiledJobs::default(),
            ended: parts.ended,
            places: Arc::new(Semaphore::new(config.concurrency)),
            ahead: (config.concurrency / SLOTS_PER_PREFETCHED_JOB)
                .max(MIN_PREFETCH.min(config.concurrency)),
            default_timeout: u32::try_from(config.timeout_seconds).unwrap_or(u32::MAX),
            delays,
            grace: Duration::from_secs(config.shutdown_grace_seconds),
            tasks: TaskTracker::new(),
        })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of running jobs.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.count()
    }

    /// Takes and runs jobs until `shutdown` resolves, then drains: takes no new jobs, gives running
    /// ones the grace period, then stops the rest and records them as interrupted.
    pub async fn run(self: Arc<Self>, shutdown: impl Future<Output = ()>) {
        let dispatching = self.dispatcher.clone();
        let dispatching = dispatching.run(
            Arc::clone(&self.storage),
            self.queue.clone(),
            self.running.clone(),
            self.turns.clone(),
            self.held_back.clone(),
        );
        let taking = async {
            tokio::select! {
                () = Arc::clone(&self).take_jobs() => {}
                () = dispatching => {}
                () = self.end_pauses() => {}
                () = self.requeue_compiled() => {}
                () = self.storage.condition().failed() => {
                    // Takes no new jobs; running ones continue until the shutdown.
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            () = shutdown => {}
            () = taking => {}
        }
        self.drain().await;
    }

    /// Consumes the queue forever. Apalis stops at a database error and is restarted.
    async fn take_jobs(self: Arc<Self>) {
        loop {
            let handler = Arc::new(Taking(Arc::clone(&self)));
            // A new name each time: Apalis rejects a worker name that was active just before.
            let ended = self
                .queue
                .hand_out(&worker_name(), self.ahead, handler)
                .await;
            match ended {
                Ok(()) => tracing::warn!("the queue's worker stopped; restarting it"),
                Err(error) => {
                    tracing::error!(error = %format!("{error:#}"), "the queue's worker failed; \
                         restarting it");
                }
            }
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            self.dispatcher.look_at_all();
        }
    }

    /// Requeues jobs after their pause has ended.
    async fn end_pauses(&self) {
        let mut look_at = Instant::now() + POLL_INTERVAL;
        loop {
            let left = self.held_back.next_end().map(|end| end - now());
            let left = left.map(|left| left.to_std().unwrap_or_default());
            let due = left.map_or(look_at, |left| look_at.min(Instant::now() + left));
            tokio::select! {
                // The earliest end may have changed.
                () = self.held_back.news() => continue,
                () = self.pauses.changed() => {}
                () = tokio::time::sleep_until(due) => {}
            }
            look_at = Instant::now() + POLL_INTERVAL;
            let now = now();
            let (in_force, until) = (self.pauses.in_force(now), self.pauses.next_end(now));
            for page in self.held_back.take_unless(&in_force, until).chunks(PAGE) {
                self.let_go(page).await;
            }
        }
    }

    /// Requeues jobs after their plugin was compiled.
    async fn requeue_compiled(&self) {
        let mut seen = 0;
        loop {
            self.registry.changed_since(&mut seen).await;
            let is_compiling = |plugin: &str| self.registry.is_compiling(plugin);
            for page in self.uncompiled.take_unless(is_compiling).chunks(PAGE) {
                self.let_go(page).await;
            }
        }
    }

    async fn drain(&self) {
        self.places.close();
        self.tasks.close();
        let count = self.running.count();
        if count > 0 {
            tracing::info!(jobs = count, grace = ?self.grace, "waiting for running jobs to end");
        }
        if tokio::time::timeout(self.grace, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                jobs = self.running.count(),
                "shutdown grace period is over; interrupting the running jobs"
            );
            self.running.stop_all(StopReason::Shutdown);
            let _ = tokio::time::timeout(STOPPED_WITHIN * 2, self.tasks.wait()).await;
        }
    }

    /// Claims a job and runs it until it ends.
    async fn run_job(self: Arc<Self>, id: Uuid, permit: OwnedSemaphorePermit) {
        let place = Arc::new(Place::new(Arc::clone(&self.places), permit));
        // Registered before the claim, so that a cancellation that finds the job running can stop it.
        // `None` if the queue delivered the id twice: the first delivery removes it from the queue.
        let Some(stop) = self.running.add(id) else {
            return;
        };
        let (mut again, mut retried) = (false, false);
        let (mut held_back, mut uncompiled) = (None, None);
        match self.claim(id).await {
            Ok(Claimed::Run(claim, job, plugin)) => {
                let outcome = match plugin {
                    Ok(plugin) => {
                        let attempt = self.attempt(&claim, &job, &plugin, stop, place);
                        let ended = AssertUnwindSafe(attempt).catch_unwind().await;
                        ended.unwrap_or_else(|panic| Outcome::Failed(panicked(&*panic)))
                    }
                    Err(error) => Outcome::Failed(error),
                };
                self.record(&claim, &outcome).await;
                retried = matches!(outcome, Outcome::Retry(..));
                // The parent may be a batch.
                job.parent_id
                    .inspect(|parent| self.batches.look_at(*parent));
            }
            Ok(Claimed::HeldBack(next)) => held_back = Some(next),
            Ok(Claimed::Uncompiled(next)) => uncompiled = Some(next),
            // Cancelled, deleted, skipped, claimed by another worker, or waiting for a concurrency
            // limit.
            Ok(Claimed::Nothing) => {}
            Err(error) => {
                tracing::error!(job_id = %id, %error, "failed to claim a job; retrying");
                again = true;
            }
        }
        self.running.remove(id);
        let mut next = Vec::new();
        if !self.turns.waits(id) {
            next = self.turns.release(id);
        }
        if let Err(error) = self.queue.remove(id).await {
            tracing::warn!(job_id = %id, %error, "failed to remove a job from the queue");
        }
        // Checked after the removal: while this job was still in the queue, enqueueing it again had no
        // effect.
        next.extend(self.turns.may_go(id));
        next.extend(held_back.filter(|_| !self.held_back.contains(id)));
        next.extend(uncompiled.filter(|_| !self.uncompiled.contains(id)));
        self.let_go(&next).await;
        if retried {
            self.dispatcher.look();
        }
        if again {
            // Only after the removal above can the dispatcher enqueue the job again.
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            self.dispatcher.look_at_all();
        }
        let _ = self.ended.send(id);
    }

    /// Enqueues jobs that may run now.
    async fn let_go(&self, next: &[Next]) {
        if next.is_empty() {
            return;
        }
        let jobs: Vec<_> = next.iter().map(|next| (next.id, next.priority)).collect();
        if let Err(error) = self.queue.push(&jobs).await {
            tracing::error!(%error, "failed to enqueue jobs; retrying");
            self.dispatcher.look_at_all();
        }
    }

    async fn claim(&self, id: Uuid) -> Result<Claimed, StorageError> {
        // Held until the claim, so that no pause comes into force in between.
        let _claiming = self.pauses.claiming().await;
        let Some(waiting) = self.storage.waiting_job(id).await? else {
            // The job may have waited for a limit until it was cancelled or deleted.
            self.give_up_turn(id).await;
            return Ok(Claimed::Nothing);
        };
        let WaitingJob {
            job,
            targets,
            parents,
        } = waiting;
        // A running parent waits for its child jobs, so pauses do not apply to them.
        let belongs_to_running = parents
            .first()
            .is_some_and(|parent| parent.status == JobStatus::Running);
        if !belongs_to_running && let Some(held) = self.pauses.holding(&job.plugin, &targets, now())
        {
            self.give_up_turn(id).await;
            return match held.action {
                PauseAction::Wait => self.hold_back(&job, held).await,
                PauseAction::Skip => self.skip(&job, &held).await,
            };
        }
        if self.registry.is_compiling(&job.plugin) {
            self.give_up_turn(id).await;
            return self.wait_for_compiler(&job).await;
        }
        let needed = self.needed(&job, &parents, &targets);
        let tried = self.turns.take(id, job.priority, &needed);
        self.let_go(&tried.next).await;
        if !tried.taken {
            return Ok(Claimed::Nothing);
        }
        self.claim_now(&job).await
    }

    fn needed(&self, job: &Job, parents: &[Parent], targets: &[Connection]) -> Vec<Needed> {
        let family = parents.last().map_or(job.id, |first| first.id);
        let devices = targets.iter().map(|target| Needed {
            resource: Resource::Device(target.id),
            most: target.max_sessions as usize,
            family,
        });
        // A job waiting for a child job of the same plugin would otherwise block it.
        let within_its_own = parents.iter().any(|parent| parent.plugin == job.plugin);
        let most = self.services.policy.max_running(&job.plugin);
        let place = most.filter(|_| !within_its_own).map(|most| Needed {
            resource: Resource::Plugin(job.plugin.clone()),
            most,
            family: job.id,
        });
        devices.chain(place).collect()
    }

    async fn give_up_turn(&self, id: Uuid) {
        let next = self.turns.release(id);
        self.let_go(&next).await;
    }

    async fn hold_back(&self, job: &Job, held: HeldBack) -> Result<Claimed, StorageError> {
        let next = Next {
            id: job.id,
            priority: job.priority,
        };
        let message = format!("job paused: {}", held.describe());
        self.note(job.id, LogLevel::Info, message).await?;
        self.held_back.hold(next, &held);
        let job = self.storage.job(job.id).await?;
        let waits = job.is_some_and(|job| job.status.is_waiting());
        if !waits || self.pauses.why(held.version, now()).is_none() {
            // The job no longer waits, or the pause ended in the meantime.
            self.held_back.forget(next.id);
        }
        Ok(Claimed::HeldBack(next))
    }

    async fn wait_for_compiler(&self, job: &Job) -> Result<Claimed, StorageError> {
        let next = Next {
            id: job.id,
            priority: job.priority,
        };
        if self.uncompiled.hold(next, &job.plugin) {
            let message = format!("waiting until plugin `{}` is compiled", job.plugin);
            self.note(job.id, LogLevel::Info, message).await?;
        }
        if !self.registry.is_compiling(&job.plugin) {
            self.uncompiled.forget(next.id);
        }
        Ok(Claimed::Uncompiled(next))
    }

    async fn skip(&self, job: &Job, held: &HeldBack) -> Result<Claimed, StorageError> {
        let message = format!("job skipped: {}", held.describe());
        let reason = JobError::new(ErrorCode::SKIPPED, &message);
        if self.storage.skip_job(job.id, &reason, now()).await? {
            tracing::info!(plugin = %job.plugin, "{message}");
            job.parent_id
                .inspect(|parent| self.batches.look_at(*parent));
            self.note(job.id, LogLevel::Warn, message).await?;
        }
        Ok(Claimed::Nothing)
    }

    /// Writes a line to the log of a job that is not running.
    async fn note(&self, id: Uuid, level: LogLevel, message: String) -> Result<(), StorageError> {
        let line = JobLog::of(id, level, message);
        self.storage.add_logs(vec![line]).await
    }

    async fn claim_now(&self, job: &Job) -> Result<Claimed, StorageError> {
        // A job continues with the version of its first attempt.
        let plugin = match &job.plugin_digest {
            Some(digest) => self.registry.version(&job.plugin, digest).await,
            None => self.registry.get(&job.plugin).ok_or_else(|| {
                JobError::new(
                    ErrorCode::NOT_FOUND,
                    format!("plugin `{}` not found", job.plugin),
                )
            }),
        };
        let runs = plugin.as_ref().ok().map(|plugin| Runs {
            digest: plugin.digest.clone(),
            on_interrupt: plugin.description.on_interrupt,
        });
        let claimed = self
            .storage
            .claim_job(job.id, &self.name, runs.as_ref(), now())
            .await?;
        let Some(job) = claimed else {
            return Ok(Claimed::Nothing);
        };
        let claim = Claim {
            job_id: job.id,
            attempt: job.attempt,
            worker_id: self.name.clone(),
        };
        Ok(Claimed::Run(claim, Box::new(job), plugin))
    }

    async fn attempt(
        &self,
        claim: &Claim,
        job: &Job,
        plugin: &Arc<Plugin>,
        stop: Arc<Stop>,
        place: Arc<Place>,
    ) -> Outcome {
        let context = JobContext::new(
            self.services.clone(),
            job,
            claim.clone(),
            &plugin.description.needs,
            Arc::clone(&stop),
            place,
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
        let used = self.storage.job_use(claim.job_id).await;
        used.unwrap_or_else(|error| {
            tracing::warn!(%error, "failed to read the quota used by earlier attempts; counting this \
                                    attempt only");
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
        match tokio::time::timeout(STOPPED_WITHIN, program).await {
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
            let finished = self.storage.finish_job(claim, outcome.clone(), now()).await;
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
                    tokio::time::sleep(RECORD_RETRY_INTERVAL).await;
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
    limits::cut(&mut error.message, limits::LOG_MESSAGE_BYTES);
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

/// Handles ids from the queue: waits for a worker slot and starts the job. Apalis delivers the next id
/// after that.
struct Taking(Arc<Worker>);

#[async_trait]
impl Handler for Taking {
    async fn handle(&self, job_id: Uuid) {
        let worker = Arc::clone(&self.0);
        // Closed while draining: the job stays pending in the database.
        let Ok(permit) = Arc::clone(&worker.places).acquire_owned().await else {
            return;
        };
        let span = tracing::info_span!("job", job_id = %job_id);
        let tasks = worker.tasks.clone();
        tasks.spawn(worker.run_job(job_id, permit).instrument(span));
    }
}

/// The worker slot of a running job.
struct Place {
    places: Arc<Semaphore>,
    permit: std::sync::Mutex<Option<OwnedSemaphorePermit>>,
}

impl Place {
    fn new(places: Arc<Semaphore>, permit: OwnedSemaphorePermit) -> Self {
        Self {
            places,
            permit: std::sync::Mutex::new(Some(permit)),
        }
    }

    fn hold(&self, permit: Option<OwnedSemaphorePermit>) {
        *self
            .permit
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = permit;
    }
}

#[async_trait]
impl Slot for Place {
    fn release(&self) {
        self.hold(None);
    }

    async fn take_again(&self) {
        // A closed semaphore means that the worker is draining and no new job takes a slot.
        if let Ok(permit) = Arc::clone(&self.places).acquire_owned().await {
            self.hold(Some(permit));
        }
    }
}

/// Delays before a job is retried.
#[derive(Clone, Copy, Debug)]
struct RetryDelays {
    first: TimeDelta,
    longest: TimeDelta,
    /// Minimum delay while the circuit breaker of a device is open.
    unavailable: TimeDelta,
}

impl RetryDelays {
    fn of(config: &Config) -> Self {
        let seconds = |seconds: u32| TimeDelta::seconds(seconds.into());
        Self {
            first: seconds(config.worker.retry_delay_seconds),
            longest: seconds(config.worker.retry_delay_max_seconds),
            unavailable: seconds(config.devices.breaker_seconds),
        }
    }

    /// Returns the time of the next attempt after `retries` retries. The delay doubles each time, plus
    /// random jitter of up to half of it, so that jobs that failed together do not retry together.
    fn next_attempt(self, retries: u32, now: DateTime<Utc>) -> DateTime<Utc> {
        let delay = self
            .first
            .checked_mul(1 << retries.min(16))
            .unwrap_or(self.longest)
            .min(self.longest);
        let mut random = [0; 4];
        let jitter = match getrandom::fill(&mut random) {
            Ok(()) => f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX) / 2.0,
            Err(_) => 0.0,
        };
        let milliseconds = (delay.num_milliseconds() as f64 * (1.0 + jitter)) as i64;
        now + TimeDelta::milliseconds(milliseconds)
    }
}

/// Returns a unique name from host, process id and a random part.
fn worker_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let random = Uuid::now_v7().simple().to_string();
    format!(
        "{}-{}-{}",
        host.trim(),
        std::process::id(),
        &random[random.len() - 8..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_wait_longer_each_time_up_to_a_bound() {
        let (now, delays) = (now(), RetryDelays::of(&Config::default()));
        let mut shortest = TimeDelta::zero();
        for retries in 0..40 {
            let delay = delays.next_attempt(retries, now) - now;
            assert!(delay >= shortest, "retry {retries} after {delay}");
            assert!(
                delay <= delays.longest * 3 / 2,
                "retry {retries} after {delay}"
            );
            shortest = (delays.first * (1 << retries.min(6))).min(delays.longest);
        }
    }

    #[test]
    fn no_two_workers_have_one_name() {
        assert_ne!(worker_name(), worker_name());
    }
}
