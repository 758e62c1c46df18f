//! A job: one execution of a plugin with parameters.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{BatchOptions, Bound, now};

/// The status of a job.
///
/// ```text
/// pending ──► running ──► completed | failed | cancelled
///    │          │  ▲
///    │          ▼  │
///    │        retrying
///    └──────────┴──────► cancelled
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    Pending,
    Running,
    Completed,
    Failed,
    Cancelled,
    Retrying,
}

impl JobStatus {
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Retrying,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Retrying => "retrying",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// The job has ended and will not change again.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The job waits for its turn: a worker may claim it, and it can be cancelled on the spot.
    #[must_use]
    pub fn is_waiting(self) -> bool {
        matches!(self, Self::Pending | Self::Retrying)
    }

    /// Whether a job may go from `self` to `next`.
    ///
    /// `running → pending` is the way back of a job whose process died and whose plugin says that
    /// it may be run again.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending | Self::Retrying => matches!(next, Self::Running | Self::Cancelled),
            Self::Running => next != Self::Running,
            Self::Completed | Self::Failed | Self::Cancelled => false,
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The outcome of a job that a crash or a shutdown interrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnInterrupt {
    /// The job fails. This is the default, because it is unknown what the device did.
    #[default]
    Fail,
    /// The job runs again from the start; the plugin declares that this is safe.
    Retry,
}

impl OnInterrupt {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Retry => "retry",
        }
    }
}

/// A connection that a job may reach, under the name the job knows it by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub connection_id: Uuid,
    pub name: String,
}

/// A job as it is stored.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: Uuid,
    pub plugin: String,
    pub plugin_digest: Option<String>,
    pub params: Value,
    pub targets: Vec<Target>,
    pub status: JobStatus,
    pub priority: i32,
    pub description: Option<String>,
    pub dry_run: bool,
    pub parent_id: Option<Uuid>,
    /// How many ancestors it has; bounds what jobs that submit jobs can grow to.
    pub depth: u32,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
    pub scheduled_for: Option<DateTime<Utc>>,
    /// The earliest time at which a worker may claim it.
    pub ready_at: DateTime<Utc>,
    pub cron_expression: Option<String>,
    /// The schedule that has submitted it.
    pub schedule_id: Option<Uuid>,
    /// Wall-clock limit of one attempt, seconds; the worker's default where absent.
    pub timeout_seconds: Option<u32>,
    /// Counts claims and never goes back: the fence that keeps a lost attempt from writing.
    pub attempt: u32,
    pub retry_count: u32,
    pub max_retries: u32,
    pub on_interrupt: OnInterrupt,
    pub cancel_requested: bool,
    pub error: Option<JobError>,
    pub worker_id: Option<String>,
    pub progress: Option<Progress>,
    pub result: Option<Value>,
    /// Of a batch: how it goes about its targets. It runs nothing itself.
    pub batch: Option<BatchOptions>,
    /// It is not to run: a batch itself, or a child job that its batch has not started.
    pub held: bool,
    /// The job that this one does once more.
    pub rerun_of: Option<Uuid>,
    /// The rights of its ancestors, which limit the job's.
    pub bounds: Vec<Bound>,
}

/// One try at a job, and how it ended.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Counts from 1.
    pub attempt: u32,
    pub plugin_digest: Option<String>,
    pub worker_id: String,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    /// What the job became with it.
    pub status: JobStatus,
    pub error: Option<JobError>,
    /// When it is tried again, where it is.
    pub next_at: Option<DateTime<Utc>>,
}

/// What a submission adds to the database; the rest of a [`Job`] follows from it.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub id: Uuid,
    pub plugin: String,
    pub params: Value,
    pub targets: Vec<Target>,
    pub priority: i32,
    pub description: Option<String>,
    pub parent_id: Option<Uuid>,
    pub depth: u32,
    pub created_at: DateTime<Utc>,
    pub scheduled_for: Option<DateTime<Utc>>,
    pub timeout_seconds: Option<u32>,
    pub max_retries: u32,
    pub on_interrupt: OnInterrupt,
    /// `(key, digest of the request)` of an `Idempotency-Key` header.
    pub idempotency: Option<(String, String)>,
    pub batch: Option<BatchOptions>,
    pub held: bool,
    pub rerun_of: Option<Uuid>,
    /// `(id, cron expression)` of the schedule that submits it.
    pub schedule: Option<(Uuid, String)>,
    /// The rights of its ancestors, which limit the job's.
    pub bounds: Vec<Bound>,
}

/// Why a job failed: a code to act on, a message to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobError {
    pub code: ErrorCode,
    pub message: String,
    /// Another attempt may do better.
    pub retryable: bool,
}

/// The kinds of failure, the same in both runtimes, in the API and in the database.
///
/// A string rather than an enum, because a plugin may throw a code of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorCode(pub String);

impl ErrorCode {
    /// The plugin's own code failed: an exception, a wrong type, a missing function.
    pub const SCRIPT: &'static str = "script";
    /// A limit of the sandbox was reached: depth, size, number.
    pub const LIMIT: &'static str = "limit";
    /// The plugin's code computed for longer than it may.
    pub const OUT_OF_CPU: &'static str = "out_of_cpu";
    /// The plugin's code asked for more memory than it may have.
    pub const OUT_OF_MEMORY: &'static str = "out_of_memory";
    /// The attempt took longer than its timeout, or a device did not answer in time.
    pub const TIMEOUT: &'static str = "timeout";
    /// The job was asked to stop.
    pub const CANCELLED: &'static str = "cancelled";
    /// The process that ran the job ended before the job did.
    pub const INTERRUPTED: &'static str = "interrupted";
    /// The plugin asked for something it did not declare, or that the job was not submitted for.
    pub const DENIED: &'static str = "denied";
    /// A plugin, connection, key or job that does not exist.
    pub const NOT_FOUND: &'static str = "not_found";
    /// An argument of a call makes no sense.
    pub const INVALID: &'static str = "invalid";
    /// A child job of a batch that was never started.
    pub const NOT_STARTED: &'static str = "not_started";
    /// Its time came in a pause that has jobs left out.
    pub const SKIPPED: &'static str = "skipped";
    /// The device let nobody in lately, and is left alone for a while.
    pub const UNAVAILABLE: &'static str = "unavailable";
    /// The server lacks something: file descriptors, memory, ports, disk space.
    pub const SERVER: &'static str = "server";
    /// Not all targets of a batch have completed.
    pub const BATCH: &'static str = "batch";
    /// A fault of the host itself; the details are in its log.
    pub const INTERNAL: &'static str = "internal";

    /// Errors that pass by themselves, so that another attempt is worth its while: the way to the
    /// device, not what the device said.
    fn is_retryable(&self) -> bool {
        matches!(
            self.0.as_str(),
            "network" | "timeout" | "disconnected" | "busy" | Self::UNAVAILABLE | Self::SERVER
        )
    }
}

impl ErrorCode {
    /// The code that a plugin gives its own error: a short word, and none by which the host says
    /// that it has stopped a job. Any other becomes [`Self::SCRIPT`].
    #[must_use]
    pub fn thrown(code: &str) -> Self {
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
        let is_free = (1..=64).contains(&code.len())
            && code.chars().all(is_word)
            && ![Self::CANCELLED, Self::INTERRUPTED, Self::INTERNAL].contains(&code);
        Self::from(if is_free { code } else { Self::SCRIPT })
    }
}

impl From<&str> for ErrorCode {
    fn from(code: &str) -> Self {
        Self(code.to_owned())
    }
}

impl JobError {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        let code = ErrorCode::from(code);
        Self {
            retryable: code.is_retryable(),
            code,
            message: message.into(),
        }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.0, self.message)
    }
}

/// The progress that a running job reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    pub done: u64,
    pub total: Option<u64>,
    pub message: Option<String>,
}

/// The kind of exchange with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommandKind {
    Exec,
    Configure,
    Commit,
    Rollback,
    Save,
    Upload,
    Download,
    /// An answer to a device's question: the question, and the given answer.
    Answer,
}

impl CommandKind {
    const ALL: [Self; 8] = [
        Self::Exec,
        Self::Configure,
        Self::Commit,
        Self::Rollback,
        Self::Save,
        Self::Upload,
        Self::Download,
        Self::Answer,
    ];

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Configure => "configure",
            Self::Commit => "commit",
            Self::Rollback => "rollback",
            Self::Save => "save",
            Self::Upload => "upload",
            Self::Download => "download",
            Self::Answer => "answer",
        }
    }
}

/// Something that is being sent to a device and may change it.
#[derive(Clone, Debug)]
pub struct InFlight {
    pub id: Uuid,
    pub target: String,
    pub kind: CommandKind,
    pub command: String,
    pub began_at: DateTime<Utc>,
}

/// One command sent to a device, and what came of it.
#[derive(Clone, Debug)]
pub struct CommandResult {
    pub id: Uuid,
    pub job_id: Uuid,
    pub attempt: u32,
    pub target: String,
    pub kind: CommandKind,
    pub command: String,
    pub output: String,
    /// The device's refusal, or why there is no answer.
    pub error: Option<String>,
    pub exit_code: Option<i32>,
    /// The output was longer than what is kept.
    pub truncated: bool,
    pub executed_at: DateTime<Utc>,
    pub duration_ms: u64,
    /// The note of it that was made before it was sent; it goes when this is stored.
    pub in_flight: Option<Uuid>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

impl LogLevel {
    pub const ALL: [Self; 4] = [Self::Debug, Self::Info, Self::Warn, Self::Error];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

/// One line of a job's log.
#[derive(Clone, Debug)]
pub struct JobLog {
    /// Grows with time within a job; 0 before it is stored.
    pub id: i64,
    pub job_id: Uuid,
    pub level: LogLevel,
    pub message: String,
    pub timestamp: DateTime<Utc>,
    /// A JSON object of whatever the plugin wants to say beside the message.
    pub context: Option<Value>,
}

impl JobLog {
    /// What the host says of a job now.
    #[must_use]
    pub fn of(job_id: Uuid, level: LogLevel, message: String) -> Self {
        Self {
            id: 0,
            job_id,
            level,
            message,
            timestamp: now(),
            context: None,
        }
    }
}

/// Which jobs a listing shows; newest first.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    pub status: Option<JobStatus>,
    pub plugin: Option<String>,
    pub target: Option<String>,
    pub parent: Option<Uuid>,
    pub created_after: Option<DateTime<Utc>>,
    pub created_before: Option<DateTime<Utc>>,
    /// The place to go on from: the last job of the page before.
    pub after: Option<(DateTime<Utc>, Uuid)>,
    /// Marks the jobs that do the same as this one: [`ListedJob::is_same`].
    pub same_as: Option<Uuid>,
    pub limit: u32,
}

/// A job as listings show it, without its large fields.
#[derive(Clone, Debug)]
pub struct ListedJob {
    /// Without its result and bounds; with [`ListedJob::TARGETS`] targets at most, a cut error
    /// message, and without parameters of more than [`ListedJob::PARAMS_BYTES`].
    pub job: Job,
    /// The length of its parameters as JSON, bytes.
    pub params_bytes: u64,
    /// The length of its result as JSON, bytes.
    pub result_bytes: Option<u64>,
    pub target_count: u64,
    /// It has the parameters and targets of [`JobFilter::same_as`].
    pub is_same: bool,
}

impl ListedJob {
    /// The longest parameters that a listing shows, bytes.
    pub const PARAMS_BYTES: u32 = 1_024;
    /// The most targets that a listing shows.
    pub const TARGETS: u32 = 20;
    /// The longest error message that a listing shows, characters.
    pub const ERROR_CHARS: u32 = 2_000;

    /// Whether the parameters are shown.
    #[must_use]
    pub fn shows_params(&self) -> bool {
        self.params_bytes <= u64::from(Self::PARAMS_BYTES)
    }
}

impl From<Job> for ListedJob {
    fn from(job: Job) -> Self {
        Self {
            params_bytes: 0,
            result_bytes: None,
            target_count: job.targets.len() as u64,
            is_same: false,
            job,
        }
    }
}

/// The large fields of a job, as JSON.
#[derive(Clone, Debug)]
pub struct JobTexts {
    pub params: String,
    pub result: Option<String>,
    pub targets: Vec<Target>,
    pub error_message: Option<String>,
}

/// Number of jobs in each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusCounts {
    pub pending: u64,
    pub running: u64,
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub retrying: u64,
}

impl StatusCounts {
    pub fn of(&mut self, status: JobStatus) -> &mut u64 {
        match status {
            JobStatus::Pending => &mut self.pending,
            JobStatus::Running => &mut self.running,
            JobStatus::Completed => &mut self.completed,
            JobStatus::Failed => &mut self.failed,
            JobStatus::Cancelled => &mut self.cancelled,
            JobStatus::Retrying => &mut self.retrying,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_status_never_changes() {
        for status in JobStatus::ALL {
            let ways_out = JobStatus::ALL
                .into_iter()
                .filter(|next| status.may_become(*next));
            assert_eq!(status.is_final(), ways_out.count() == 0, "{status}");
        }
    }

    #[test]
    fn every_status_is_reached_from_pending() {
        let mut reached = vec![JobStatus::Pending];
        let mut next = 0;
        while let Some(&status) = reached.get(next) {
            for other in JobStatus::ALL {
                if status.may_become(other) && !reached.contains(&other) {
                    reached.push(other);
                }
            }
            next += 1;
        }
        assert_eq!(reached.len(), JobStatus::ALL.len());
    }

    #[test]
    fn names_round_trip() {
        for status in JobStatus::ALL {
            assert_eq!(JobStatus::parse(status.as_str()), Some(status));
        }
    }
}
