//! Dispatch: everything between "committed" and "running".
//!
//! [`Dispatch`] enqueues jobs that are ready, decides whether a job from the queue may start, and gives
//! each job that starts a [`Lease`] on what it occupies: its worker slot, its devices, its plugin's
//! capacity and its entry among the running jobs. Dropping the lease releases all of it and wakes the
//! jobs that waited for it, so a panic leaks nothing.
//!
//! A job that may not start yet is parked outside the queue and without a slot:
//!
//! - `limits` holds the jobs that wait for a device or for their plugin's capacity,
//! - `paused` those that a pause covers,
//! - `compiling` those whose plugin is being compiled.
//!
//! The state of all three is in memory and rebuilt from the database: the `feeder` enqueues every
//! waiting job again, and each that still may not start is parked again. Several processes on one
//! database need other implementations of the limits and of the queue, behind the same handle.

mod compiling;
mod feeder;
mod lease;
mod limits;
mod paused;
mod queue;
mod recovery;
mod running;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::capabilities::{Policy, StopReason};
use crate::model::{
    Connection, ErrorCode, Job, JobError, JobLog, JobStatus, LogLevel, PauseAction, now,
};
use crate::pauses::{ActivePause, PauseVersion, Pauses};
use crate::registry::Registry;
use crate::storage::{Parent, ReadyJob, Storage, StorageError, WaitingJob};

use compiling::CompilingJobs;
use feeder::Feeder;
use limits::{ConcurrencyLimits, ResourceRequest};
use paused::PausedJobs;
use running::RunningJobs;

pub use lease::{Admitted, Lease, LeaseEnd};
pub use limits::{Resource, Usage, Waiter};
pub use queue::{PRIORITY_LIMIT, Queue};
pub use recovery::end_interrupted;

/// Capacity of the channel of [`JobEnded`]; a subscriber that lags polls the database.
pub const ENDED_EVENTS_CAPACITY: usize = 1_024;
/// Delay before a retry after a failure of the queue or the database.
const RETRY_DELAY: Duration = Duration::from_millis(250);
/// Interval at which ends of pauses are checked, in case the clock was changed.
const PAUSE_POLL_INTERVAL: Duration = Duration::from_secs(30);
/// Jobs enqueued at once.
const PAGE: usize = 2_000;
/// How long stopped jobs may take to end at a shutdown.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// One job is prefetched per this many worker slots, but at least [`MIN_PREFETCH`]. Taking several jobs
/// costs the same as taking one, but a more urgent job that arrives later waits for the prefetched
/// ones.
const SLOTS_PER_PREFETCHED_JOB: usize = 8;
/// Minimum number of prefetched jobs: short jobs end faster than jobs can be taken one by one.
const MIN_PREFETCH: usize = 2;

/// The event of a job that has ended, or of an attempt that has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobEnded {
    pub id: Uuid,
    /// The job that submitted it, or its batch.
    pub parent: Option<Uuid>,
}

/// Why a waiting job does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Names of targets, and `plugin NAME`.
    Resources(Vec<String>),
    Paused(ActivePause),
}

/// The dependencies of [`Dispatch`].
pub struct DispatchDeps {
    pub storage: Arc<dyn Storage>,
    pub queue: Queue,
    pub registry: Arc<Registry>,
    pub policy: Arc<Policy>,
    pub pauses: Arc<Pauses>,
    pub ended: broadcast::Sender<JobEnded>,
}

/// The handle of everything between "committed" and "running". Clones share their state.
#[derive(Clone)]
pub struct Dispatch {
    inner: Arc<Inner>,
}

struct Inner {
    storage: Arc<dyn Storage>,
    queue: Queue,
    registry: Arc<Registry>,
    policy: Arc<Policy>,
    pauses: Arc<Pauses>,
    feeder: Feeder,
    limits: ConcurrencyLimits,
    paused: PausedJobs,
    compiling: CompilingJobs,
    running: RunningJobs,
    /// A semaphore limits the running jobs, because a job releases its slot while it waits for a child.
    slots: Arc<Semaphore>,
    /// Number of jobs that are taken from the queue at once.
    prefetch: usize,
    /// Tasks of running jobs and of leases that are being released.
    tasks: TaskTracker,
    ended: broadcast::Sender<JobEnded>,
}

/// The decision about a job from the queue.
enum Admission {
    Granted(Box<Admitted>),
    /// It waits outside the queue, or no longer waits at all.
    NotNow,
}

impl Dispatch {
    /// Creates the handle. `concurrency` is the number of worker slots.
    #[must_use]
    pub fn new(deps: DispatchDeps, concurrency: usize) -> Self {
        let inner = Inner {
            storage: deps.storage,
            queue: deps.queue,
            registry: deps.registry,
            policy: deps.policy,
            pauses: deps.pauses,
            feeder: Feeder::default(),
            limits: ConcurrencyLimits::default(),
            paused: PausedJobs::default(),
            compiling: CompilingJobs::default(),
            running: RunningJobs::default(),
            slots: Arc::new(Semaphore::new(concurrency)),
            prefetch: (concurrency / SLOTS_PER_PREFETCHED_JOB).max(MIN_PREFETCH.min(concurrency)),
            tasks: TaskTracker::new(),
            ended: deps.ended,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Enqueues committed jobs that are ready, and wakes the feeder for those that become ready later.
    ///
    /// If the queue fails, the feeder finds the jobs in the database and retries.
    pub async fn enqueue(&self, jobs: &[ReadyJob]) {
        let now = now();
        let is_ready = |job: &&ReadyJob| job.ready_at <= now;
        let ready: Vec<_> = jobs.iter().filter(is_ready).map(Waiter::from).collect();
        if ready.len() < jobs.len() {
            self.inner.feeder.wake();
        }
        self.push(&ready).await;
    }

    /// Removes a job that was cancelled or deleted while it waited.
    pub async fn withdraw(&self, id: Uuid) {
        // A stale entry is harmless: there is nothing to claim.
        if let Err(error) = self.inner.queue.remove(id).await {
            tracing::warn!(job_id = %id, %error, "failed to remove a withdrawn job from the queue");
        }
        self.unpark(id).await;
    }

    /// Requests a check of all parked jobs, because some may have been cancelled or deleted with their
    /// batch.
    pub fn withdraw_stale(&self) {
        self.inner.feeder.request_check();
    }

    /// Stops a job if it runs in this process; returns whether it does.
    pub fn stop(&self, id: Uuid, reason: StopReason) -> bool {
        self.inner.running.stop(id, reason)
    }

    /// Returns the number of running jobs.
    #[must_use]
    pub fn running(&self) -> usize {
        self.inner.running.count()
    }

    /// Returns why a waiting job does not start, if it is parked.
    #[must_use]
    pub fn blocked_by(&self, job: &Job) -> Option<Blocked> {
        if !job.status.is_waiting() {
            return None;
        }
        let pause = self.inner.paused.pause_of(job.id);
        let active = pause.and_then(|version| self.inner.pauses.active(version, now()));
        if let Some(active) = active {
            return Some(Blocked::Paused(active));
        }
        let resources = self.inner.limits.blocked_on(job);
        (!resources.is_empty()).then_some(Blocked::Resources(resources))
    }

    /// Returns the number of jobs that a pause withholds.
    #[must_use]
    pub fn count_paused(&self, pause: PauseVersion) -> u64 {
        self.inner.paused.count(pause)
    }

    /// Returns the devices and plugins with jobs that hold or wait for them.
    #[must_use]
    pub fn usage(&self) -> Vec<Usage> {
        self.inner.limits.usage()
    }

    /// Returns the number of jobs in the queue, including those that run.
    ///
    /// # Errors
    /// If the queue file cannot be read.
    pub async fn queue_length(&self) -> anyhow::Result<u64> {
        self.inner.queue.length().await
    }

    /// Subscribes to the ends of jobs.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<JobEnded> {
        self.inner.ended.subscribe()
    }

    /// Publishes the end of a job that did not run here: a batch, or a job cancelled while it waited.
    pub fn publish(&self, ended: JobEnded) {
        // An error means that there are no subscribers.
        let _ = self.inner.ended.send(ended);
    }

    /// Takes jobs from the queue and calls `start` for each that is admitted, in a task of its own, for
    /// as long as it is polled.
    pub async fn run<F, T>(&self, start: F)
    where
        F: Fn(Admitted) -> T + Clone + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        tokio::select! {
            () = self.consume(start) => {}
            () = self.feed() => {}
            () = self.release_paused() => {}
            () = self.release_compiled() => {}
        }
    }

    /// Admits no more jobs and waits for the running ones; after `grace`, stops those that still run.
    pub async fn drain(&self, grace: Duration) {
        let Inner {
            slots,
            tasks,
            running,
            ..
        } = &*self.inner;
        slots.close();
        tasks.close();
        if running.count() > 0 {
            tracing::info!(
                jobs = running.count(),
                ?grace,
                "waiting for running jobs to end"
            );
        }
        if tokio::time::timeout(grace, tasks.wait()).await.is_ok() {
            return;
        }
        tracing::warn!(
            jobs = running.count(),
            "shutdown grace period is over; interrupting the running jobs"
        );
        running.stop_all(StopReason::Shutdown);
        let _ = tokio::time::timeout(STOP_TIMEOUT, tasks.wait()).await;
    }

    /// Closes the queue file.
    pub async fn close(&self) {
        self.inner.queue.close().await;
    }

    /// Consumes the queue forever. Apalis' worker ends at a database error and is restarted.
    async fn consume<F, T>(&self, start: F)
    where
        F: Fn(Admitted) -> T + Clone + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        loop {
            let (dispatch, start) = (self.clone(), start.clone());
            let handle = move |id| {
                let (dispatch, start) = (dispatch.clone(), start.clone());
                async move { dispatch.take(id, start).await }
            };
            // Apalis rejects a worker name that it has seen recently.
            let name = unique_name();
            let ended = self.inner.queue.consume(&name, self.inner.prefetch, handle);
            match ended.await {
                Ok(()) => tracing::warn!("the queue's worker stopped; restarting it"),
                Err(error) => {
                    tracing::error!(error = %format!("{error:#}"), "the queue's worker failed; restarting it");
                }
            }
            tokio::time::sleep(RETRY_DELAY).await;
            self.inner.feeder.request_sweep();
        }
    }

    /// Waits for a worker slot and starts the job in a task; Apalis delivers the next id afterwards.
    async fn take<F, T>(self, id: Uuid, start: F)
    where
        F: Fn(Admitted) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        // Closed while the server drains: the job stays pending in the database.
        let Ok(permit) = Arc::clone(&self.inner.slots).acquire_owned().await else {
            return;
        };
        let span = tracing::info_span!("job", job_id = %id);
        let tasks = self.inner.tasks.clone();
        let job = async move {
            if let Admission::Granted(admitted) = self.admit(id, permit).await {
                start(*admitted).await;
            }
        };
        tasks.spawn(job.instrument(span));
    }

    /// Enqueues jobs whose pause has ended.
    async fn release_paused(&self) {
        let (paused, pauses) = (&self.inner.paused, &self.inner.pauses);
        let mut poll_at = tokio::time::Instant::now() + PAUSE_POLL_INTERVAL;
        loop {
            let left = paused.next_end().map(|end| end - now());
            let left = left.map(|left| left.to_std().unwrap_or_default());
            let due = left.map_or(poll_at, |left| {
                poll_at.min(tokio::time::Instant::now() + left)
            });
            tokio::select! {
                // The next end may have changed.
                () = paused.changed() => continue,
                () = pauses.changed() => {}
                () = tokio::time::sleep_until(due) => {}
            }
            poll_at = tokio::time::Instant::now() + PAUSE_POLL_INTERVAL;
            let now = now();
            let (in_force, until) = (pauses.in_force(now), pauses.next_end(now));
            for page in paused.release_expired(&in_force, until).chunks(PAGE) {
                self.push(page).await;
            }
        }
    }

    /// Enqueues jobs whose plugin has been compiled.
    async fn release_compiled(&self) {
        let registry = &self.inner.registry;
        let mut seen = 0;
        loop {
            registry.changed_since(&mut seen).await;
            let is_compiling = |plugin: &str| registry.is_compiling(plugin);
            let released = self.inner.compiling.release_unless(is_compiling);
            for page in released.chunks(PAGE) {
                self.push(page).await;
            }
        }
    }

    /// Decides whether a job from the queue may start.
    async fn admit(&self, id: Uuid, permit: OwnedSemaphorePermit) -> Admission {
        // Registered before the claim, so that a cancellation that sees it running reaches it. A job
        // that is delivered twice runs already: its lease removes it from the queue.
        let Some(stop) = self.inner.running.add(id) else {
            return Admission::NotNow;
        };
        let slots = Arc::clone(&self.inner.slots);
        let mut lease = Lease::new(self.clone(), id, stop, slots, permit);
        // Held until the job is claimed, so that a new pause finds it either waiting or running.
        let rules = self.inner.pauses.claiming().await;
        let end = match self.decide(id).await {
            Ok(Decision::Start(job)) => {
                return Admission::Granted(Box::new(Admitted { lease, job, rules }));
            }
            Ok(Decision::Withhold(waiter)) => LeaseEnd::Withheld(waiter),
            Ok(Decision::Limit) => LeaseEnd::Limited,
            Ok(Decision::Ignore) => LeaseEnd::NotWaiting,
            Ok(Decision::Skip { parent }) => LeaseEnd::Ended { parent },
            Err(error @ StorageError::Corrupt(_)) => {
                tracing::error!(job_id = %id, %error, "failed to read a waiting job; skipping it until \
                     the next sweep");
                self.unpark(id).await;
                LeaseEnd::NotWaiting
            }
            Err(error) => {
                tracing::error!(job_id = %id, %error, "failed to admit a job; retrying");
                LeaseEnd::Failed
            }
        };
        lease.set_end(end);
        Admission::NotNow
    }

    async fn decide(&self, id: Uuid) -> Result<Decision, StorageError> {
        let Some(waiting) = self.inner.storage.waiting_job(id).await? else {
            // It may have waited for a limit until it was cancelled or deleted.
            self.stop_waiting_for_limits(id).await;
            return Ok(Decision::Ignore);
        };
        let WaitingJob {
            job,
            targets,
            parents,
        } = waiting;
        // A running job waits for its child jobs, so a pause does not affect them.
        let belongs_to_running = parents
            .first()
            .is_some_and(|parent| parent.status == JobStatus::Running);
        let pauses = &self.inner.pauses;
        if !belongs_to_running
            && let Some(pause) = pauses.blocking_pause(&job.plugin, &targets, now())
        {
            self.stop_waiting_for_limits(id).await;
            return match pause.action {
                PauseAction::Wait => self.park_paused(&job, &pause).await,
                PauseAction::Skip => self.skip(&job, &pause).await,
            };
        }
        if self.inner.registry.is_compiling(&job.plugin) {
            self.stop_waiting_for_limits(id).await;
            return self.park_compiling(&job).await;
        }
        let requests = self.requests(&job, &parents, &targets);
        let limits = &self.inner.limits;
        let acquired = limits.try_acquire(id, job.priority, &requests);
        self.push(&acquired.wake).await;
        Ok(match acquired.granted {
            true => Decision::Start(Box::new(job)),
            false => Decision::Limit,
        })
    }

    /// Returns the resources that a job needs: its devices, and its plugin if the policy limits it.
    fn requests(
        &self,
        job: &Job,
        parents: &[Parent],
        targets: &[Connection],
    ) -> Vec<ResourceRequest> {
        let root = parents.last().map_or(job.id, |root| root.id);
        let devices = targets.iter().map(|target| ResourceRequest {
            resource: Resource::Device(target.id),
            capacity: target.max_sessions as usize,
            owner: root,
        });
        // A job that waits for a child job of its own plugin would otherwise deadlock.
        let within_its_own = parents.iter().any(|parent| parent.plugin == job.plugin);
        let limit = self.inner.policy.max_running(&job.plugin);
        let plugin = limit
            .filter(|_| !within_its_own)
            .map(|limit| ResourceRequest {
                resource: Resource::Plugin(job.plugin.clone()),
                capacity: limit,
                owner: job.id,
            });
        devices.chain(plugin).collect()
    }

    async fn park_paused(&self, job: &Job, pause: &ActivePause) -> Result<Decision, StorageError> {
        let waiter = Waiter::from(job);
        let message = format!("job paused: {}", pause.describe());
        self.log(job.id, LogLevel::Info, message).await?;
        self.inner.paused.add(waiter, pause);
        let job = self.inner.storage.job(job.id).await;
        let job = job.inspect_err(|_| self.inner.paused.remove(waiter.id))?;
        let is_waiting = job.is_some_and(|job| job.status.is_waiting());
        if !is_waiting || self.inner.pauses.active(pause.version, now()).is_none() {
            // The job was withdrawn or the pause ended in the meantime.
            self.inner.paused.remove(waiter.id);
        }
        Ok(Decision::Withhold(waiter))
    }

    async fn park_compiling(&self, job: &Job) -> Result<Decision, StorageError> {
        let waiter = Waiter::from(job);
        if self.inner.compiling.add(waiter, &job.plugin) {
            let message = format!("waiting until plugin `{}` is compiled", job.plugin);
            let logged = self.log(job.id, LogLevel::Info, message).await;
            logged.inspect_err(|_| self.inner.compiling.remove(waiter.id))?;
        }
        if !self.inner.registry.is_compiling(&job.plugin) {
            self.inner.compiling.remove(waiter.id);
        }
        Ok(Decision::Withhold(waiter))
    }

    async fn skip(&self, job: &Job, pause: &ActivePause) -> Result<Decision, StorageError> {
        let message = format!("job skipped: {}", pause.describe());
        let reason = JobError::new(ErrorCode::SKIPPED, &message);
        if !self.inner.storage.skip_job(job.id, &reason, now()).await? {
            return Ok(Decision::Ignore);
        }
        tracing::info!(plugin = %job.plugin, "{message}");
        // The job has ended, with the reason as its error; its log is not worth a retry.
        if let Err(error) = self.log(job.id, LogLevel::Warn, message).await {
            tracing::warn!(job_id = %job.id, %error, "failed to log why a job was skipped");
        }
        Ok(Decision::Skip {
            parent: job.parent_id,
        })
    }

    /// Writes a line to the log of a job that does not run.
    async fn log(&self, id: Uuid, level: LogLevel, message: String) -> Result<(), StorageError> {
        let line = JobLog::of(id, level, message);
        self.inner.storage.add_logs(vec![line]).await
    }

    /// Removes a job from where it is parked.
    async fn unpark(&self, id: Uuid) {
        self.inner.paused.remove(id);
        self.inner.compiling.remove(id);
        self.stop_waiting_for_limits(id).await;
    }

    /// Removes a job from the queues of the limits, and enqueues the jobs that this unblocks.
    async fn stop_waiting_for_limits(&self, id: Uuid) {
        let unblocked = self.inner.limits.withdraw(id);
        self.push(&unblocked).await;
    }

    async fn push(&self, jobs: &[Waiter]) {
        if jobs.is_empty() {
            return;
        }
        if let Err(error) = self.inner.queue.push(jobs).await {
            tracing::error!(jobs = jobs.len(), %error, "failed to enqueue jobs; retrying");
            self.inner.feeder.request_sweep();
        }
    }
}

/// The outcome of [`Dispatch::decide`].
enum Decision {
    Start(Box<Job>),
    /// The job waits until a pause ends or a plugin is compiled.
    Withhold(Waiter),
    /// The job waits for a limit.
    Limit,
    /// A pause ended the job.
    Skip {
        parent: Option<Uuid>,
    },
    /// The job does not wait anymore.
    Ignore,
}

/// Returns a unique name, made of the host name, the process id and random characters.
#[must_use]
pub fn unique_name() -> String {
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
    fn unique_names_differ() {
        assert_ne!(unique_name(), unique_name());
    }
}
