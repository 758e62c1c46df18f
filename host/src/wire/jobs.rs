//! Wire types of jobs and their results.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ConnectionRequest, JobPause};
use crate::capabilities::RunningCommand;
use crate::jobs::Only;
use crate::model::{
    Attempt, BatchCounts, BatchOptions, CommandKind, CommandResult, JobLog, JobStatus, ListedJob,
    LogLevel, Progress, StatusCounts,
};

/// A job to be submitted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateJob {
    /// The plugin's name.
    #[serde(alias = "job_type")]
    #[schema(example = "ssh-command")]
    pub plugin: String,
    /// The parameters, validated against the plugin's schema.
    #[serde(default, alias = "payload")]
    #[schema(value_type = Object, example = json!({"commands": ["show version"]}))]
    pub params: Option<Value>,
    /// Names of connections, or expressions such as `tag:access and not name:sw-lab-*`. Several targets
    /// make a batch if the plugin takes one target per job.
    #[serde(default)]
    #[schema(example = json!(["tag:access and not tag:lab"]))]
    pub targets: Vec<String>,
    /// Rollout options of a batch.
    #[serde(default)]
    pub batch: Option<BatchOptions>,
    /// The name of a connection, or an inline connection for this job only.
    #[serde(default)]
    #[schema(value_type = Option<ConnectionChoice>)]
    pub connection: Option<Value>,
    /// When to run the job; now, if absent.
    #[serde(default)]
    pub scheduled_for: Option<DateTime<Utc>>,
    /// Creates a schedule with this cron expression instead of a single job.
    #[serde(default)]
    pub cron_expression: Option<String>,
    /// Time zone of `cron_expression`, as an IANA name; UTC if absent.
    #[serde(default)]
    pub timezone: Option<String>,
    /// Maximum number of retries after a failure to reach the device.
    #[serde(default)]
    pub max_retries: Option<u32>,
    /// Timeout of one attempt; `worker.timeout_seconds` if absent.
    #[serde(default)]
    pub timeout_seconds: Option<u32>,
    /// Priority from -100 to 100; higher runs first.
    #[serde(default)]
    pub priority: Option<i32>,
    /// Not available in this version.
    #[serde(default)]
    pub dry_run: Option<bool>,
    #[serde(default)]
    pub description: Option<String>,
}

/// Documents [`CreateJob::connection`].
#[derive(ToSchema)]
#[schema(title = "ConnectionChoice")]
#[serde(untagged)]
pub enum ConnectionChoice {
    Name(String),
    Inline(Box<ConnectionRequest>),
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct JobAccepted {
    /// The id of the job, or of the schedule with `cron_expression`.
    pub id: Uuid,
    pub status: JobStatus,
    /// The id of the created schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_id: Option<Uuid>,
    /// The part of the request that was not executed, with the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct JobResponse {
    pub id: Uuid,
    pub plugin: String,
    /// SHA-256 of the plugin version that the last attempt ran.
    pub plugin_digest: Option<String>,
    /// The parameters; in a list, null if they are longer than 1 KiB.
    #[schema(value_type = Option<Object>)]
    pub params: Value,
    /// Length of the parameters as JSON, bytes.
    #[serde(default)]
    pub params_bytes: u64,
    pub status: JobStatus,
    /// The targets; in a list, the first 20.
    pub targets: Vec<String>,
    #[serde(default)]
    pub target_count: u64,
    pub parent_id: Option<Uuid>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
    pub scheduled_for: Option<DateTime<Utc>>,
    /// The time of the next attempt of a retrying job.
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub cron_expression: Option<String>,
    /// The schedule that submitted the job.
    pub schedule_id: Option<Uuid>,
    /// The submitting user, or the owner of the schedule that submitted it. Null if authentication was
    /// off.
    #[serde(default)]
    pub submitted_by: Option<String>,
    pub attempt: u32,
    pub retry_count: u32,
    pub max_retries: u32,
    pub timeout_seconds: Option<u32>,
    pub priority: i32,
    /// The kind of error: `refused`, `timeout`, `script`, …
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub worker_id: Option<String>,
    pub cancel_requested: bool,
    pub progress: Option<Progress>,
    /// The value that the plugin returned. Absent in a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Length of the result as JSON, bytes; null without a result.
    #[serde(default)]
    pub result_bytes: Option<u64>,
    pub description: Option<String>,
    pub dry_run: bool,
    /// The options of a batch, and the counts of its child jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchResponse>,
    /// The job that this job reruns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<Uuid>,
    /// Reasons why a queued job waits: the names of targets that other jobs hold, and `plugin NAME` at
    /// the concurrency limit of its plugin. In a list, the first 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<String>,
    /// The pause that withholds the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<JobPause>,
    /// Whether the job's batch has not started it yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BatchResponse {
    pub options: BatchOptions,
    pub counts: BatchCounts,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RerunJob {
    /// The targets of a batch to rerun: all, those that failed, or those that have not completed.
    #[serde(default)]
    pub only: Only,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AttemptList {
    pub attempts: Vec<AttemptResponse>,
    /// For the next page: `?after=`; null on the last.
    #[serde(default)]
    pub next_after: Option<u32>,
}

/// A comparison of the outputs of two jobs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Comparison {
    pub id: Uuid,
    /// The earlier job.
    pub with: Uuid,
    /// Whether anything differs.
    pub changed: bool,
    pub commands: Vec<ComparedCommand>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ComparedCommand {
    pub target: String,
    pub command: String,
    pub change: Change,
    /// The differing lines of the outputs, as a unified diff.
    pub diff: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Same,
    Changed,
    /// The earlier job did not run the command.
    Added,
    /// Only the earlier job ran the command.
    Removed,
}

/// An attempt at a job.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AttemptResponse {
    /// Number of the attempt, from 1.
    pub attempt: u32,
    pub plugin_digest: Option<String>,
    pub worker_id: String,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    /// The job's status after the attempt.
    pub status: JobStatus,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    /// The time of the retry, if there is one.
    pub next_attempt_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    pub jobs: Vec<JobResponse>,
    /// For the next page: `?cursor=`; null on the last.
    pub next_cursor: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct JobStats {
    pub by_status: StatusCounts,
    /// Counts of the jobs created in the last 24 hours.
    pub last_24h: StatusCounts,
}

#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ResultList {
    pub results: Vec<ResultResponse>,
    /// For the next page: `?after=`; null on the last.
    #[serde(default)]
    pub next_after: Option<Uuid>,
    /// Running commands.
    #[serde(default)]
    pub running: Vec<RunningResponse>,
}

/// A running command, with its output so far.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RunningResponse {
    pub target: String,
    pub command: String,
    pub started_at: DateTime<Utc>,
    pub output: String,
    /// Whether the output is longer; only its end is kept.
    pub cut: bool,
}

/// New output of a running command.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct OutputEvent {
    pub target: String,
    pub command: String,
    pub started_at: DateTime<Utc>,
    pub text: String,
    /// Whether the output is longer; only its end is kept.
    pub cut: bool,
}

/// A command with its output.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ResultResponse {
    pub id: Uuid,
    pub target: String,
    pub kind: CommandKind,
    pub command: String,
    pub output: String,
    /// The device's error message, or why there is no output.
    pub error: Option<String>,
    pub exit_code: Option<i32>,
    pub truncated: bool,
    pub attempt: u32,
    pub executed_at: DateTime<Utc>,
    pub duration_ms: u64,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LogList {
    pub logs: Vec<LogResponse>,
    /// For the next page: `?after=`; null if there are no further lines now.
    #[serde(default)]
    pub next_after: Option<i64>,
    /// The `?before=` of the previous page; absent if there are no earlier lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_before: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LogResponse {
    /// An increasing id; the last one seen is the `?after=` of the next request.
    pub id: i64,
    pub level: LogLevel,
    pub message: String,
    pub timestamp: DateTime<Utc>,
    pub context: Option<Value>,
}

impl From<ListedJob> for JobResponse {
    fn from(listed: ListedJob) -> Self {
        let ListedJob {
            job,
            params_bytes,
            result_bytes,
            target_count,
            is_same: _,
        } = listed;
        let (error_code, error_message) =
            job.error.map(|error| (error.code.0, error.message)).unzip();
        Self {
            id: job.id,
            plugin: job.plugin,
            plugin_digest: job.plugin_digest,
            params: job.params,
            params_bytes,
            status: job.status,
            targets: job.targets.into_iter().map(|target| target.name).collect(),
            target_count,
            parent_id: job.parent_id,
            created_at: job.created_at,
            started_at: job.started_at,
            completed_at: job.completed_at,
            scheduled_for: job.scheduled_for,
            next_attempt_at: (job.status == JobStatus::Retrying).then_some(job.ready_at),
            cron_expression: job.cron_expression,
            submitted_by: job.submitted_by,
            schedule_id: job.schedule_id,
            attempt: job.attempt,
            retry_count: job.retry_count,
            max_retries: job.max_retries,
            timeout_seconds: job.timeout_seconds,
            priority: job.priority,
            error_code,
            error_message,
            worker_id: job.worker_id,
            cancel_requested: job.cancel_requested,
            progress: job.progress,
            result: None,
            result_bytes,
            description: job.description,
            dry_run: job.dry_run,
            batch: job.batch.map(|options| BatchResponse {
                options,
                counts: BatchCounts::default(),
            }),
            rerun_of: job.rerun_of,
            waiting_for: Vec::new(),
            paused_by: None,
            held: job.held && job.status.is_waiting() && job.batch.is_none(),
        }
    }
}

impl From<Attempt> for AttemptResponse {
    fn from(attempt: Attempt) -> Self {
        let error = attempt.error.map(|error| (error.code.0, error.message));
        let (error_code, error_message) = error.unzip();
        Self {
            attempt: attempt.attempt,
            plugin_digest: attempt.plugin_digest,
            worker_id: attempt.worker_id,
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            status: attempt.status,
            error_code,
            error_message,
            next_attempt_at: attempt.next_at,
        }
    }
}

impl From<RunningCommand> for RunningResponse {
    fn from(running: RunningCommand) -> Self {
        Self {
            target: running.target,
            command: running.command,
            started_at: running.started_at,
            output: running.output,
            cut: running.cut,
        }
    }
}

impl From<CommandResult> for ResultResponse {
    fn from(result: CommandResult) -> Self {
        Self {
            id: result.id,
            target: result.target,
            kind: result.kind,
            command: result.command,
            output: result.output,
            error: result.error,
            exit_code: result.exit_code,
            truncated: result.truncated,
            attempt: result.attempt,
            executed_at: result.executed_at,
            duration_ms: result.duration_ms,
        }
    }
}

impl From<JobLog> for LogResponse {
    fn from(log: JobLog) -> Self {
        Self {
            id: log.id,
            level: log.level,
            message: log.message,
            timestamp: log.timestamp,
            context: log.context,
        }
    }
}
