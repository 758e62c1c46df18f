//! What goes over the wire. Not the model: a field here is a promise to clients.

mod notifications;
mod schedules;

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::capabilities::{Policy, RunningCommand};
use crate::jobs::Only;
use crate::model::{
    Algorithms, Attempt, BatchCounts, BatchOptions, CommandKind, CommandResult, Connection, Job,
    JobLog, JobStatus, KnownHostKey, LoadError, LogLevel, Needs, PluginKind, Progress, SecretField,
    StatusCounts, TargetMode,
};
use crate::registry::Entry;
pub use notifications::{
    ChannelHealth, NotificationAnswer, NotificationHealth, NotificationList, NotificationTest,
    TestNotification,
};
pub use schedules::{
    NEXT_RUNS, PreviewSchedule, ScheduleAnswer, ScheduleList, SchedulePreview, WriteSchedule,
};

/// A job to be submitted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateJob {
    /// The plugin's name.
    #[serde(alias = "job_type")]
    #[schema(example = "ssh-command")]
    pub plugin: String,
    /// Held against the plugin's schema.
    #[serde(default, alias = "payload")]
    #[schema(value_type = Object, example = json!({"commands": ["show version"]}))]
    pub params: Option<Value>,
    /// Names of connections, or expressions that find some: `tag:access and not name:sw-lab-*`.
    /// Several make a batch, if the plugin takes one target a job.
    #[serde(default)]
    #[schema(example = json!(["tag:access and not tag:lab"]))]
    pub targets: Vec<String>,
    /// How a batch goes about its targets.
    #[serde(default)]
    pub batch: Option<BatchOptions>,
    /// A connection's name, or a connection for this job alone.
    #[serde(default)]
    #[schema(value_type = Option<ConnectionChoice>)]
    pub connection: Option<Value>,
    /// When to run it; now, if absent.
    #[serde(default)]
    pub scheduled_for: Option<DateTime<Utc>>,
    /// Makes a schedule: when to run it, again and again.
    #[serde(default)]
    pub cron_expression: Option<String>,
    /// Of `cron_expression`: an IANA name; UTC if absent.
    #[serde(default)]
    pub timezone: Option<String>,
    /// How often to try again after a failure on the way to the device.
    #[serde(default)]
    pub max_retries: Option<u32>,
    /// Limit of one attempt; `worker.timeout_seconds` if absent.
    #[serde(default)]
    pub timeout_seconds: Option<u32>,
    /// -100 to 100; higher goes first.
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
    Inline(Box<WriteConnection>),
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct JobAccepted {
    /// The job's, or with `cron_expression` the schedule's.
    pub id: Uuid,
    pub status: JobStatus,
    /// The schedule that was made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_id: Option<Uuid>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct JobAnswer {
    pub id: Uuid,
    pub plugin: String,
    /// SHA-256 of what the last attempt ran.
    pub plugin_digest: Option<String>,
    #[schema(value_type = Object)]
    pub params: Value,
    pub status: JobStatus,
    pub targets: Vec<String>,
    pub parent_id: Option<Uuid>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
    pub scheduled_for: Option<DateTime<Utc>>,
    /// While it is retrying: the time of the next attempt.
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub cron_expression: Option<String>,
    /// The schedule that has submitted it.
    pub schedule_id: Option<Uuid>,
    pub attempt: u32,
    pub retry_count: u32,
    pub max_retries: u32,
    pub timeout_seconds: Option<u32>,
    pub priority: i32,
    /// What kind of error: `refused`, `timeout`, `script`, …
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub worker_id: Option<String>,
    pub cancel_requested: bool,
    pub progress: Option<Progress>,
    /// What the plugin returned.
    pub result: Option<Value>,
    pub description: Option<String>,
    pub dry_run: bool,
    /// Of a batch: its options, and how its child jobs stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchAnswer>,
    /// The job that this one does once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<Uuid>,
    /// While it waits for its turn on a device: the names of its targets that are taken by others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<String>,
    /// It was not started yet by the batch that it belongs to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BatchAnswer {
    pub options: BatchOptions,
    pub counts: BatchCounts,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RerunJob {
    /// Which targets of a batch: all of them, those that failed, or those that have not completed.
    #[serde(default)]
    pub only: Only,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AttemptList {
    pub attempts: Vec<AttemptAnswer>,
}

/// What two jobs' commands answered, held against one another.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Comparison {
    pub id: Uuid,
    /// The earlier job.
    pub with: Uuid,
    /// Something is not the same.
    pub changed: bool,
    pub commands: Vec<ComparedCommand>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ComparedCommand {
    pub target: String,
    pub command: String,
    pub change: Change,
    /// The lines in which the outputs differ, as a unified diff.
    pub diff: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Same,
    Changed,
    /// The earlier job has not run it.
    Added,
    /// Only the earlier job has run it.
    Removed,
}

/// One try at a job.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AttemptAnswer {
    /// Counts from 1.
    pub attempt: u32,
    pub plugin_digest: Option<String>,
    pub worker_id: String,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    /// What the job became with it.
    pub status: JobStatus,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    /// When it is tried again, where it is.
    pub next_attempt_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    pub jobs: Vec<JobAnswer>,
    /// For the next page: `?cursor=`; null on the last.
    pub next_cursor: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct JobStats {
    pub by_status: StatusCounts,
    /// Of the jobs created in the last 24 hours.
    pub last_24h: StatusCounts,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ResultList {
    pub results: Vec<ResultAnswer>,
    /// Commands that have not ended.
    #[serde(default)]
    pub running: Vec<RunningAnswer>,
}

/// A command that runs, and the lines that it has printed so far.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RunningAnswer {
    pub target: String,
    pub command: String,
    pub started_at: DateTime<Utc>,
    pub output: String,
    /// It has printed more; this is the end of it.
    pub cut: bool,
}

/// What a running command has printed since it was told last.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct OutputEvent {
    pub target: String,
    pub command: String,
    pub started_at: DateTime<Utc>,
    pub text: String,
    /// It has printed more; this is the end of it.
    pub cut: bool,
}

/// One command, and what the device answered.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ResultAnswer {
    pub id: Uuid,
    pub target: String,
    pub kind: CommandKind,
    pub command: String,
    pub output: String,
    /// The device's refusal, or why there is no answer.
    pub error: Option<String>,
    pub exit_code: Option<i32>,
    pub truncated: bool,
    pub attempt: u32,
    pub executed_at: DateTime<Utc>,
    pub duration_ms: u64,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LogList {
    pub logs: Vec<LogAnswer>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LogAnswer {
    /// Grows; the last one seen is the next request's `?after=`.
    pub id: i64,
    pub level: LogLevel,
    pub message: String,
    pub timestamp: DateTime<Utc>,
    pub context: Option<Value>,
}

/// A connection to be stored. A secret that is absent stays as it is; null takes it away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteConnection {
    #[schema(example = "core-1")]
    pub name: Option<String>,
    /// A host name or an IP address.
    #[schema(example = "192.0.2.1")]
    pub host: String,
    #[serde(default = "port_22")]
    #[schema(default = 22)]
    pub port: u16,
    pub username: String,
    /// The platform, as netmiko names it.
    #[schema(example = "cisco_ios")]
    pub device_type: String,
    /// Limit of one command.
    #[serde(default = "thirty_seconds")]
    #[schema(default = 30)]
    pub timeout_seconds: u32,
    #[serde(default)]
    pub tags: Vec<String>,
    /// The only host key to accept: `SHA256:…`, or a public key as OpenSSH writes it.
    #[serde(default)]
    pub host_key: Option<String>,
    /// Names of the connections to go through, in order from here to the device; one name may
    /// stand alone. How the first is reached is its own `jump`'s business.
    #[serde(default, deserialize_with = "one_or_several")]
    #[schema(value_type = Option<JumpChoice>, example = json!(["bastion"]))]
    pub jump: Vec<String>,
    /// `legacy` offers what old devices need as well: SHA-1, CBC, 1024-bit groups.
    #[serde(default)]
    pub algorithms: Algorithms,
    /// An OpenSSH user certificate, for the private key or for one that the agent has.
    #[serde(default)]
    pub certificate: Option<String>,
    /// Whether to log in by the server's ssh-agent (`devices.ssh_agent`).
    #[serde(default)]
    pub agent: bool,
    /// How many jobs may have sessions to the device at once, 1 to 64.
    #[serde(default = "one")]
    #[schema(default = 1)]
    pub max_sessions: u32,
    #[serde(default, with = "written_secret")]
    #[schema(value_type = Option<String>, write_only)]
    pub password: WrittenSecret,
    /// OpenSSH or PEM text.
    #[serde(default, with = "written_secret")]
    #[schema(value_type = Option<String>, write_only)]
    pub private_key: WrittenSecret,
    /// Of the private key.
    #[serde(default, with = "written_secret")]
    #[schema(value_type = Option<String>, write_only)]
    pub passphrase: WrittenSecret,
    /// What `enable` asks for.
    #[serde(default, with = "written_secret")]
    #[schema(value_type = Option<String>, write_only)]
    pub secret: WrittenSecret,
}

/// Absent, null, or a text.
pub type WrittenSecret = Option<Option<secrecy::SecretString>>;

mod written_secret {
    use secrecy::SecretString;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<super::WrittenSecret, D::Error> {
        // An error of serde's own would show what it found.
        match Option::<serde_json::Value>::deserialize(deserializer)? {
            None => Ok(Some(None)),
            Some(serde_json::Value::String(text)) => Ok(Some(Some(SecretString::from(text)))),
            Some(_) => Err(D::Error::custom("is a text, or null")),
        }
    }
}

/// Documents [`WriteConnection::jump`].
#[derive(ToSchema)]
#[schema(title = "JumpChoice")]
#[serde(untagged)]
pub enum JumpChoice {
    One(String),
    Several(Vec<String>),
}

fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(Vec::new()),
        Value::String(name) => Ok(vec![name]),
        other => serde_json::from_value(other)
            .map_err(|_| D::Error::custom("is a name or a list of names")),
    }
}

fn one() -> u32 {
    1
}

fn port_22() -> u16 {
    22
}

fn thirty_seconds() -> u32 {
    30
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ConnectionAnswer {
    pub id: Uuid,
    pub name: String,
    pub host: String,
    pub port: u16,
    pub username: String,
    pub device_type: String,
    pub timeout_seconds: u32,
    pub tags: Vec<String>,
    pub host_key: Option<String>,
    pub jump: Vec<String>,
    pub algorithms: Algorithms,
    pub certificate: Option<String>,
    pub agent: bool,
    /// How many jobs may have sessions to the device at once.
    pub max_sessions: u32,
    /// Which of `password`, `private_key`, `passphrase` and `secret` are stored.
    pub secrets_set: Vec<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ConnectionList {
    pub connections: Vec<ConnectionAnswer>,
}

/// The host keys known for a connection's address.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct HostKeyList {
    pub host: String,
    pub port: u16,
    pub host_keys: Vec<HostKeyAnswer>,
}

/// A host key accepted at first sight.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct HostKeyAnswer {
    #[schema(example = "ssh-ed25519")]
    pub algorithm: String,
    #[schema(example = "SHA256:…")]
    pub fingerprint: String,
    /// As OpenSSH writes it.
    pub key: String,
    pub first_seen: DateTime<Utc>,
}

/// What a terminal's client says in a text message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TerminalCommand {
    /// The terminal has another size, in characters.
    Resize { columns: u16, rows: u16 },
}

/// What the server says in a text message of a terminal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TerminalEvent {
    /// The login is done; what is typed goes to the device.
    Opened {},
    /// The last message: it failed.
    Error { code: String, message: String },
    /// The last message: it is over.
    Closed { reason: CloseReason },
}

/// Who has ended a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// The device, as after `exit`.
    Device,
    /// Nothing was typed or shown for `devices.terminal_idle_seconds`.
    Idle,
    /// The server is stopping.
    Shutdown,
}

impl CloseReason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Idle => "idle",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What came of connecting and logging in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ConnectionTest {
    pub ok: bool,
    /// What the device's prompt looks like.
    pub prompt: Option<String>,
    /// The platform that the session was opened as.
    pub platform: Option<String>,
    pub duration_ms: u64,
    pub error_code: Option<String>,
    pub error: Option<String>,
}

/// What kind of device it seems to be.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ConnectionDetection {
    pub ok: bool,
    /// What the connection says that it is.
    pub device_type: String,
    /// What it may be, the likeliest first.
    pub candidates: Vec<DetectedPlatform>,
    /// How its SSH server calls itself.
    pub server: Option<String>,
    pub prompt: Option<String>,
    pub duration_ms: u64,
    pub error_code: Option<String>,
    pub error: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DetectedPlatform {
    pub device_type: String,
    /// 1 to 100.
    pub certainty: u8,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DeviceList {
    /// Devices that jobs hold or wait for.
    pub devices: Vec<DeviceAnswer>,
    /// Addresses that are left alone because they let nobody in.
    pub left_alone: Vec<LeftAloneAnswer>,
}

/// An address that is not tried for now.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LeftAloneAnswer {
    #[schema(example = "192.0.2.1:22")]
    pub address: String,
    /// The last failure.
    pub reason: String,
    /// Until one try is let through; 0 when it may come.
    pub retry_after_seconds: u64,
}

/// Who has a device, and who waits for it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DeviceAnswer {
    /// The connection's name; null where it is a job's own, or deleted.
    pub connection: Option<String>,
    /// Jobs that run on it.
    pub held_by: Vec<Uuid>,
    /// Jobs that wait for it, in the order of their turns.
    pub waiting: Vec<Uuid>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PluginList {
    pub plugins: Vec<PluginAnswer>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PluginAnswer {
    pub name: String,
    pub kind: PluginKind,
    /// SHA-256 of what serves; null for one that never loaded.
    pub digest: Option<String>,
    pub summary: Option<String>,
    /// JSON Schema of the parameters.
    pub params_schema: Option<Value>,
    pub needs: Option<Needs>,
    pub targets: Option<TargetMode>,
    pub loaded_at: Option<DateTime<Utc>>,
    pub status: PluginStatus,
    /// What the plugin needs and the operator's policy does not grant it: its jobs are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_granted: Vec<String>,
    /// The name of another file that claims this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<String>,
    /// Why the file as it is now does not load; what loaded last goes on serving.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<LoadError>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PluginVersions {
    /// The one loaded last first.
    pub versions: Vec<PluginVersionAnswer>,
}

/// A version of a plugin that was loaded at some time.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PluginVersionAnswer {
    /// SHA-256 of what it is made of.
    pub digest: String,
    pub kind: PluginKind,
    pub first_seen: DateTime<Utc>,
    /// When it was loaded last.
    pub last_seen: DateTime<Utc>,
    /// How many jobs ran it, as far as they are still kept.
    pub jobs: u64,
    /// It is what a job submitted now would run.
    pub serving: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PluginStatus {
    Ready,
    Broken,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Health {
    pub status: HealthStatus,
    pub version: String,
    pub uptime_seconds: u64,
    pub storage: StorageHealth,
    pub queue: QueueHealth,
    pub workers: WorkerHealth,
    pub plugins: PluginHealth,
    #[serde(default)]
    pub notifications: NotificationHealth,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    #[default]
    Healthy,
    Unhealthy,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StorageHealth {
    pub status: HealthStatus,
    /// The database's size, without what is yet to be moved into it from its log.
    #[serde(default)]
    pub bytes: u64,
    /// Of these, unused: filled before the file grows.
    #[serde(default)]
    pub free_bytes: u64,
    /// There is no room to write.
    #[serde(default)]
    pub disk_full: bool,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct QueueHealth {
    pub status: HealthStatus,
    /// Jobs in the queue, handed out or not.
    pub length: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkerHealth {
    pub status: HealthStatus,
    pub name: String,
    pub running: usize,
    pub concurrency: usize,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PluginHealth {
    pub status: HealthStatus,
    pub ready: usize,
    pub broken: usize,
}

impl From<Job> for JobAnswer {
    fn from(job: Job) -> Self {
        let (error_code, error_message) =
            job.error.map(|error| (error.code.0, error.message)).unzip();
        Self {
            id: job.id,
            plugin: job.plugin,
            plugin_digest: job.plugin_digest,
            params: job.params,
            status: job.status,
            targets: job.targets.into_iter().map(|target| target.name).collect(),
            parent_id: job.parent_id,
            created_at: job.created_at,
            started_at: job.started_at,
            completed_at: job.completed_at,
            scheduled_for: job.scheduled_for,
            next_attempt_at: (job.status == JobStatus::Retrying).then_some(job.ready_at),
            cron_expression: job.cron_expression,
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
            result: job.result,
            description: job.description,
            dry_run: job.dry_run,
            batch: job.batch.map(|options| BatchAnswer {
                options,
                counts: BatchCounts::default(),
            }),
            rerun_of: job.rerun_of,
            waiting_for: Vec::new(),
            held: job.held && job.batch.is_none(),
        }
    }
}

impl From<Attempt> for AttemptAnswer {
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

impl From<RunningCommand> for RunningAnswer {
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

impl From<CommandResult> for ResultAnswer {
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

impl From<JobLog> for LogAnswer {
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

impl From<Connection> for ConnectionAnswer {
    fn from(connection: Connection) -> Self {
        let secrets_set = SecretField::ALL
            .into_iter()
            .filter(|field| connection.secrets.get(*field).is_some())
            .map(|field| field.as_str().to_owned())
            .collect();
        Self {
            id: connection.id,
            name: connection.name,
            host: connection.host,
            port: connection.port,
            username: connection.username,
            device_type: connection.device_type,
            timeout_seconds: connection.timeout_seconds,
            tags: connection.tags,
            host_key: connection.host_key,
            jump: connection.jump,
            algorithms: connection.algorithms,
            certificate: connection.certificate,
            agent: connection.agent,
            max_sessions: connection.max_sessions,
            secrets_set,
            created_at: connection.created_at,
            updated_at: connection.updated_at,
        }
    }
}

impl From<KnownHostKey> for HostKeyAnswer {
    fn from(known: KnownHostKey) -> Self {
        Self {
            algorithm: known.algorithm,
            fingerprint: known.fingerprint,
            key: known.key,
            first_seen: known.first_seen,
        }
    }
}

impl PluginAnswer {
    pub(super) fn of(entry: Entry, policy: &Policy) -> Self {
        let plugin = entry.plugin.as_deref();
        let description = plugin.map(|plugin| &plugin.description);
        Self {
            name: entry.name.to_string(),
            kind: entry.kind,
            digest: plugin.map(|plugin| plugin.digest.clone()),
            summary: description.map(|description| description.summary.clone()),
            params_schema: description.map(|description| description.params.clone()),
            needs: description.map(|description| description.needs.clone()),
            targets: description.map(|description| description.targets),
            loaded_at: plugin.map(|plugin| plugin.loaded_at),
            not_granted: description.map_or_else(Vec::new, |description| {
                let rights = policy.rights(entry.name.as_str(), &description.needs);
                rights.missing()
            }),
            conflict: entry.conflict,
            status: match entry.error {
                None => PluginStatus::Ready,
                Some(_) => PluginStatus::Broken,
            },
            error: entry.error,
        }
    }
}
