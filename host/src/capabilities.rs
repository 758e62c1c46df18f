//! The host API: everything that a job can do, defined once.
//!
//! Both runtimes bind to [`JobContext`] and add nothing of their own: checks, limits and error codes are
//! defined here. A context belongs to one attempt at one job. Every call that can wait returns as soon
//! as the job is asked to stop.
//!
//! Start reading at [`JobContext`]; each capability has its own file.

pub mod arguments;
pub mod limits;
mod live;
mod log;
mod parse;
mod policy;
mod progress;
mod queue;
mod results;
mod ssh;
mod stop;
mod store;
mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::connections::Connections;
use crate::model::{ErrorCode, Job, JobError, Needs, Target};
use crate::storage::{Claim, JobUse, Storage, StorageError};
use limits::Allowance;

pub use live::{LiveOutput, RunningCommand};
pub use parse::Parser;
pub use policy::{Policy, Rights};
pub use queue::{ChildJob, ChildJobs, ChildOutcome, ParentJob, check_params_size};
pub use ssh::{
    CommitOptions, ConfigureOptions, Configured, Device, ExecReply, Files, OnRefused, Question,
    split_config,
};
pub use stop::{Stop, StopReason};
pub use store::check_value_size;
pub use text::{unified_diff, without_lines};

/// The result of a capability call.
pub type Result<T> = std::result::Result<T, JobError>;

/// The host's services that all jobs share.
#[derive(Clone)]
pub struct Services {
    pub storage: Arc<dyn Storage>,
    /// The grants of all plugins.
    pub policy: Arc<Policy>,
    pub connections: Arc<Connections>,
    /// Open sessions, pooled for the next job on the same device.
    pub sessions: netssh_core::Pool,
    /// The output of running commands so far.
    pub live: LiveOutput,
    /// The directory for file transfers; `None` if the operator configured none.
    pub files: Option<Files>,
    /// The `TextFSM` templates; `None` if the operator configured no directory.
    pub templates: Option<Arc<Parser>>,
    pub children: Arc<dyn ChildJobs>,
    /// Permits for jobs that wait for child jobs.
    pub waiting: Arc<Semaphore>,
}

/// One attempt at a job, and the host API that its plugin calls.
pub struct JobContext {
    services: Services,
    job: JobFacts,
    claim: Claim,
    rights: Rights,
    stop: Arc<Stop>,
    slot: Arc<dyn Slot>,
    log: log::LogWriter,
    progress: progress::ProgressWriter,
    results: results::ResultWriter,
    sessions: ssh::Sessions,
    allowance: Allowance,
    /// Whether a command was sent to a device, or a child job submitted.
    acted: AtomicBool,
    result_count: AtomicU32,
    output_bytes: AtomicU64,
    /// Time that the host computed on the plugin's behalf, in nanoseconds.
    computed: AtomicU64,
    /// The exchange with a device that was interrupted when the job was stopped.
    cut_off: Mutex<Option<CutOff>>,
}

/// An exchange with a device that a stop interrupted.
#[derive(Clone, Debug)]
struct CutOff {
    /// The command, or a description of the step.
    command: String,
    target: String,
    /// Whether it may have changed the device.
    changes: bool,
}

/// The facts about a job that its plugin may see.
#[derive(Clone, Debug)]
pub struct JobFacts {
    pub id: Uuid,
    pub plugin: String,
    pub targets: Vec<Target>,
    pub parent_id: Option<Uuid>,
    pub attempt: u32,
    pub description: Option<String>,
    pub params: Value,
    depth: u32,
    submitted_by: Option<String>,
}

impl JobFacts {
    /// Returns the name of the job's target if it has exactly one.
    #[must_use]
    pub fn only_target(&self) -> Option<&str> {
        match self.targets.as_slice() {
            [only] => Some(&only.name),
            _ => None,
        }
    }
}

/// The worker slot of a running job, released while the job only waits for another.
#[async_trait]
pub trait Slot: Send + Sync {
    fn release(&self);
    async fn take_again(&self);
}

impl JobContext {
    #[must_use]
    pub fn new(
        services: Services,
        job: &Job,
        claim: Claim,
        needs: &Needs,
        stop: Arc<Stop>,
        slot: Arc<dyn Slot>,
    ) -> Self {
        let policy = &services.policy;
        let rights = policy.rights_within(&job.plugin, needs, &job.bounds);
        let storage = || Arc::clone(&services.storage);
        let log = log::LogWriter::start(storage(), job.id);
        let progress = progress::ProgressWriter::new(storage(), claim.clone());
        let results = results::ResultWriter::new(storage(), claim.clone());
        Self {
            services,
            job: JobFacts {
                id: job.id,
                plugin: job.plugin.clone(),
                targets: job.targets.clone(),
                parent_id: job.parent_id,
                attempt: claim.attempt,
                description: job.description.clone(),
                params: job.params.clone(),
                submitted_by: job.submitted_by.clone(),
                depth: job.depth,
            },
            claim,
            rights,
            stop,
            slot,
            log,
            progress,
            results,
            sessions: ssh::Sessions::default(),
            allowance: Allowance::after(JobUse::default()),
            acted: AtomicBool::new(false),
            result_count: AtomicU32::new(0),
            output_bytes: AtomicU64::new(0),
            computed: AtomicU64::new(0),
            cut_off: Mutex::default(),
        }
    }

    /// Subtracts the storage used by earlier attempts from the allowance of this one.
    #[must_use]
    pub fn after(mut self, earlier: JobUse) -> Self {
        self.allowance = Allowance::after(earlier);
        self.log.allow(self.allowance);
        self
    }

    #[must_use]
    pub fn job(&self) -> &JobFacts {
        &self.job
    }

    /// Returns the stop signal of the job, with the reason.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Returns whether the attempt has had effects outside this server, which another attempt would
    /// repeat.
    #[must_use]
    pub fn has_acted(&self) -> bool {
        self.acted.load(Ordering::Relaxed)
    }

    /// Returns the time that the host computed on the plugin's behalf. It counts as the plugin's own.
    #[must_use]
    pub fn computed(&self) -> Duration {
        Duration::from_nanos(self.computed.load(Ordering::Relaxed))
    }

    fn add_computed(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.computed.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Runs CPU-bound work on a blocking thread, where it cannot delay other jobs and requests. Its time
    /// counts as the plugin's own.
    ///
    /// # Errors
    /// The errors of the work; also if the job is stopped meanwhile.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.unless_stopped(async {
            let working = tokio::task::spawn_blocking(move || {
                let begun = std::time::Instant::now();
                (work(), begun.elapsed())
            });
            let (done, elapsed) = working.await.map_err(|error| {
                tracing::error!(%error, "a plugin's task panicked");
                JobError::new(
                    ErrorCode::INTERNAL,
                    "internal error in the host; see the server's log",
                )
            })?;
            self.add_computed(elapsed);
            done
        })
        .await
    }

    /// Returns the stop signal, for waits outside a call.
    #[must_use]
    pub fn stop_signal(&self) -> Arc<Stop> {
        Arc::clone(&self.stop)
    }

    /// Sleeps until the time has passed or the job is stopped.
    ///
    /// # Errors
    /// If the job is stopped.
    pub async fn sleep(&self, time: Duration) -> Result<()> {
        self.unless_stopped(async {
            tokio::time::sleep(time).await;
            Ok(())
        })
        .await
    }

    /// Closes the job's sessions, releases its worker slot, and waits until all results are stored.
    ///
    /// # Errors
    /// If a result could not be stored.
    pub async fn close(&self) -> Result<()> {
        self.close_sessions().await;
        // Only database work remains: the next job can start already.
        self.slot.release();
        self.results.flush().await
    }

    /// Flushes log and progress. The last call on a context.
    pub async fn end(&self) {
        tokio::join!(self.log.flush(), self.progress.flush());
    }

    /// Runs a call until it completes or the job is stopped.
    async fn unless_stopped<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            reason = self.stop.stopped() => Err(reason.into()),
            result = call => result,
        }
    }

    /// Like [`Self::unless_stopped`], but records the exchange with a device if a stop interrupts it, so
    /// that the job's error can name it.
    async fn unless_cut_off<T>(
        &self,
        cut_off: impl FnOnce() -> CutOff,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            biased;
            reason = self.stop.stopped() => {
                self.was_cut_off(cut_off());
                Err(reason.into())
            }
            result = call => result,
        }
    }

    fn was_cut_off(&self, cut_off: CutOff) {
        let mut known = self.cut_off.lock();
        // A cleanup after a change must not replace the record of the interrupted change.
        if !known.as_ref().is_some_and(|known| known.changes) {
            *known = Some(cut_off);
        }
    }

    /// Adds the interrupted exchange to the error of a stopped job.
    #[must_use]
    pub fn explain_stop(&self, error: JobError) -> JobError {
        /// Longer commands are truncated.
        const COMMAND_BYTES: usize = 256;
        let Some(reason) = self.stop.reason() else {
            return error;
        };
        let cut_off = self.cut_off.lock();
        let doing = match &*cut_off {
            Some(cut_off) => {
                let CutOff {
                    command,
                    target,
                    changes,
                } = cut_off;
                let mut lines = command.lines();
                let mut command = lines.next().unwrap_or_default().to_owned();
                if lines.next().is_some() {
                    command.push_str(" …");
                }
                crate::text::cut(&mut command, COMMAND_BYTES);
                match changes {
                    true => format!(
                        "`{command}` on {target} was being sent; it is unknown whether the device \
                         executed it"
                    ),
                    false => format!(
                        "`{command}` on {target} was running; no change was being sent to a device"
                    ),
                }
            }
            None if reason == StopReason::Shutdown => {
                "no change was being sent to a device".to_owned()
            }
            None => return error,
        };
        JobError {
            message: format!("{}; {doing}", error.message),
            ..error
        }
    }

    fn name_target(&self, name: Option<&str>) -> Result<&Target> {
        let targets = &self.job.targets;
        let names = || {
            let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
            names.join(", ")
        };
        match name {
            Some(name) => targets
                .iter()
                .find(|target| target.name == name)
                .ok_or_else(|| {
                    JobError::new(
                        ErrorCode::DENIED,
                        format!(
                            "`{name}` is not a target of this job; its targets are: {}",
                            names()
                        ),
                    )
                }),
            None => match targets.as_slice() {
                [only] => Ok(only),
                [] => Err(JobError::new(ErrorCode::DENIED, "this job has no target")),
                _ => Err(JobError::new(
                    ErrorCode::INVALID,
                    format!("this job has several targets; name one of: {}", names()),
                )),
            },
        }
    }
}

/// Returns a plugin's result unless it is too large to store.
///
/// # Errors
/// Code `limit`, with the size. The message says that the job's work is not undone and that the
/// devices' answers are stored.
pub fn check_result(result: Value) -> Result<Value> {
    check_result_size(crate::json::length(&result))?;
    Ok(result)
}

/// Checks the length of a result as JSON.
///
/// # Errors
/// Like [`check_result`].
pub fn check_result_size(size: usize) -> Result<()> {
    let most = limits::RESULT_BYTES;
    if size > most {
        return Err(JobError::new(
            ErrorCode::LIMIT,
            format!(
                "the job's result is too large: {size} bytes as JSON, at most {most} are allowed; the \
                 job ran to its end, and the devices' outputs are stored"
            ),
        ));
    }
    Ok(())
}

/// Converts a storage error for a job: with what it can act on, without the host's internals.
fn storage_failed(error: &StorageError) -> JobError {
    tracing::error!(%error, "host call failed: database error");
    let message = match error {
        StorageError::Full => {
            "the database's disk is full; nothing can be stored until space is freed".to_owned()
        }
        StorageError::Unusable(fault) => fault.to_string(),
        _ => "database error in the host; see the server's log".to_owned(),
    };
    JobError::new(ErrorCode::INTERNAL, message)
}
