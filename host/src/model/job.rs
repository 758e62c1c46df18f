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

    /// Returns whether the job has ended and will not change again.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Returns whether the job is waiting: a worker may claim it, and a cancellation takes effect at
    /// once.
    #[must_use]
    pub fn is_waiting(self) -> bool {
        matches!(self, Self::Pending | Self::Retrying)
    }

    /// Returns whether a job may change from `self` to `next`.
    ///
    /// A job moves from `running` to `pending` if its process died and its plugin declares that it may
    /// be rerun.
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

/// A connection that a job may use, under the name that the job uses for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub connection_id: Uuid,
    pub name: String,
}

/// A job as stored.
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
    /// Number of ancestors; limits the nesting of child jobs.
    pub depth: u32,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
    pub scheduled_for: Option<DateTime<Utc>>,
    /// Earliest time at which a worker may claim the job.
    pub ready_at: DateTime<Utc>,
    pub cron_expression: Option<String>,
    /// The schedule that submitted the job.
    pub schedule_id: Option<Uuid>,
    /// Timeout of an attempt, in seconds of wall-clock time; `None` uses the worker's default.
    pub timeout_seconds: Option<u32>,
    /// Number of claims, which never decreases. Fences off writes of attempts that lost their claim.
    pub attempt: u32,
    pub retry_count: u32,
    pub max_retries: u32,
    pub on_interrupt: OnInterrupt,
    pub cancel_requested: bool,
    pub error: Option<JobError>,
    pub worker_id: Option<String>,
    pub progress: Option<Progress>,
    pub result: Option<Value>,
    /// Rollout options of a batch, which does not run a plugin itself.
    pub batch: Option<BatchOptions>,
    /// Whether the job must not run: a batch itself, or a child job that its batch has not started.
    pub held: bool,
    /// The job that this one reruns.
    pub rerun_of: Option<Uuid>,
    /// The name of the submitting user, or of the owner of the schedule that submitted it; `None` if
    /// authentication was off.
    pub submitted_by: Option<String>,
    /// Rights of the ancestors, which limit the job's own.
    pub bounds: Vec<Bound>,
}

/// An attempt at a job.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Number of the attempt, starting at 1.
    pub attempt: u32,
    pub plugin_digest: Option<String>,
    pub worker_id: String,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    /// Status of the job after the attempt.
    pub status: JobStatus,
    pub error: Option<JobError>,
    /// Time of the next attempt, if there is one.
    pub next_at: Option<DateTime<Utc>>,
}

/// The data of a new job; the other fields of [`Job`] follow from it.
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
    /// `(id, cron expression)` of the schedule that submits the job.
    pub schedule: Option<(Uuid, String)>,
    /// The name of the submitting user, or of the owner of the schedule that submitted it; `None` if
    /// authentication was off.
    pub submitted_by: Option<String>,
    /// Rights of the ancestors, which limit the job's own.
    pub bounds: Vec<Bound>,
}

/// The error of a failed job: a code for programs and a message for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobError {
    pub code: ErrorCode,
    pub message: String,
    /// Whether a retry may succeed.
    pub retryable: bool,
}

/// A kind of failure, with the same codes in both runtimes, the API and the database.
///
/// A string rather than an enum, because plugins may throw their own codes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorCode(pub String);

impl ErrorCode {
    /// The plugin's code failed: an exception, a wrong type, a missing function.
    pub const SCRIPT: &'static str = "script";
    /// A limit of the sandbox was reached, for example of depth, size or number.
    pub const LIMIT: &'static str = "limit";
    /// The plugin exceeded its CPU budget.
    pub const OUT_OF_CPU: &'static str = "out_of_cpu";
    /// The plugin exceeded its memory limit.
    pub const OUT_OF_MEMORY: &'static str = "out_of_memory";
    /// The attempt exceeded its timeout, or a device did not respond in time.
    pub const TIMEOUT: &'static str = "timeout";
    /// The job was cancelled.
    pub const CANCELLED: &'static str = "cancelled";
    /// The process ended before the job did.
    pub const INTERRUPTED: &'static str = "interrupted";
    /// The plugin used a right that it did not declare, or a target that the job was not submitted for.
    pub const DENIED: &'static str = "denied";
    /// A plugin, connection, key or job does not exist.
    pub const NOT_FOUND: &'static str = "not_found";
    /// An argument of a call is invalid.
    pub const INVALID: &'static str = "invalid";
    /// A child job of a batch that was never started.
    pub const NOT_STARTED: &'static str = "not_started";
    /// A pause skipped the job.
    pub const SKIPPED: &'static str = "skipped";
    /// The circuit breaker of the device is open after failed logins.
    pub const UNAVAILABLE: &'static str = "unavailable";
    /// The server lacks a resource: file descriptors, memory, ports or disk space.
    pub const SERVER: &'static str = "server";
    /// Not all targets of a batch completed.
    pub const BATCH: &'static str = "batch";
    /// The host itself failed; its log has the details.
    pub const INTERNAL: &'static str = "internal";

    /// Returns whether the error is transient, so that a retry may succeed: a failure to reach the
    /// device, not a response of the device.
    fn is_retryable(&self) -> bool {
        matches!(
            self.0.as_str(),
            "network" | "timeout" | "disconnected" | "busy" | Self::UNAVAILABLE | Self::SERVER
        )
    }
}

impl ErrorCode {
    /// Returns the code of an error that a plugin throws: a short word that is not reserved for jobs
    /// stopped by the host. Other codes become [`Self::SCRIPT`].
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

/// A write intent: a command that is being sent to a device and may change it.
#[derive(Clone, Debug)]
pub struct InFlight {
    pub id: Uuid,
    pub target: String,
    pub kind: CommandKind,
    pub command: String,
    pub began_at: DateTime<Utc>,
}

/// A command sent to a device, and its result.
#[derive(Clone, Debug)]
pub struct CommandResult {
    pub id: Uuid,
    pub job_id: Uuid,
    pub attempt: u32,
    pub target: String,
    pub kind: CommandKind,
    pub command: String,
    pub output: String,
    /// The error that the device reported, or why there is no output.
    pub error: Option<String>,
    pub exit_code: Option<i32>,
    /// Whether the output was truncated.
    pub truncated: bool,
    pub executed_at: DateTime<Utc>,
    pub duration_ms: u64,
    /// The write intent recorded before the command was sent; removed when the result is stored.
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
    /// Id, which increases with time within a job; 0 before the line is stored.
    pub id: i64,
    pub job_id: Uuid,
    pub level: LogLevel,
    pub message: String,
    pub timestamp: DateTime<Utc>,
    /// JSON object with additional data from the plugin.
    pub context: Option<Value>,
}

impl JobLog {
    /// Creates a line of the host, with the current time.
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

/// A filter of job listings, which are sorted newest first.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    pub status: Option<JobStatus>,
    pub plugin: Option<String>,
    pub target: Option<String>,
    pub parent: Option<Uuid>,
    pub created_after: Option<DateTime<Utc>>,
    pub created_before: Option<DateTime<Utc>>,
    /// Position to continue from: the last job of the previous page.
    pub after: Option<(DateTime<Utc>, Uuid)>,
    /// Marks jobs with the same parameters and targets as this one: [`ListedJob::is_same`].
    pub same_as: Option<Uuid>,
    pub limit: u32,
}

/// A job as listings show it, without its large fields.
#[derive(Clone, Debug)]
pub struct ListedJob {
    /// The job without result and bounds, with at most [`ListedJob::TARGETS`] targets, a truncated
    /// error message, and without parameters longer than [`ListedJob::PARAMS_BYTES`].
    pub job: Job,
    /// Length of the parameters as JSON, in bytes.
    pub params_bytes: u64,
    /// Length of the result as JSON, in bytes.
    pub result_bytes: Option<u64>,
    pub target_count: u64,
    /// Whether it has the parameters and targets of [`JobFilter::same_as`].
    pub is_same: bool,
}

impl ListedJob {
    /// Maximum length of parameters in a listing, in bytes.
    pub const PARAMS_BYTES: u32 = 1_024;
    /// Maximum number of targets in a listing.
    pub const TARGETS: u32 = 20;
    /// Maximum length of an error message in a listing, in characters.
    pub const ERROR_CHARS: u32 = 2_000;

    /// Returns whether the parameters are included.
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
