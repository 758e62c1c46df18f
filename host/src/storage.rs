//! The database: the source of truth for jobs, connections and the data that plugins store.
//!
//! [`Storage`] is the interface that the rest of the host uses. Each method is a complete step of the
//! state machine and runs as one transaction; a write that returned `Ok` survives `kill -9`.

mod condition;
pub mod sqlite;

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::disk::LowSpace;
use crate::model::{
    Attempt, BatchCounts, CommandResult, Connection, HostKeyPlace, InFlight, Job, JobError,
    JobFilter, JobLog, JobStatus, JobTexts, KnownHostKey, ListedJob, ListedSchedule, LoadedVersion,
    LogLevel, NewJob, Notification, NotificationState, OnInterrupt, Pause, PluginFiles, PluginKind,
    PluginVersion, Progress, Schedule, SealedRow, StatusCounts, Tick,
};

pub use condition::{Condition, Fault};

/// Key of `meta` for a value sealed at the first start, which identifies a wrong master key.
pub(crate) const MASTER_KEY_CHECK: &str = "master_key_check";

pub type Result<T> = std::result::Result<T, StorageError>;

/// An error of the database.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A unique name or key already exists.
    #[error("{0} already exists")]
    Exists(String),
    /// The database cannot be used at the moment, for example because it is locked or unreachable. The
    /// host's log has the details.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A row has a form that this version cannot read.
    #[error("the database contains data that this version cannot read: {0}")]
    Corrupt(String),
    /// The disk is full: the write failed, and earlier data is intact.
    #[error("the database's disk is full")]
    Full,
    /// Free disk space is so low that no new work is accepted; running jobs may finish.
    #[error(transparent)]
    LowSpace(#[from] LowSpace),
    /// The database is damaged, or its files were deleted or replaced.
    #[error("{0}")]
    Unusable(Fault),
    #[error("database: {0}")]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        if sqlite::is_full(&error) {
            return Self::Full;
        }
        if let Some(fault) = sqlite::damage_of(&error) {
            return Self::Unusable(fault);
        }
        match error {
            sqlx::Error::ColumnDecode { .. } => Self::Corrupt(error.to_string()),
            _ => Self::Database(error),
        }
    }
}

/// A claimed job. Only the holder of a valid claim may write to the attempt.
#[derive(Clone, Debug)]
pub struct Claim {
    pub job_id: Uuid,
    pub attempt: u32,
    pub worker_id: String,
}

/// The plugin version that an attempt runs, and how to handle the attempt after a crash.
#[derive(Clone, Debug)]
pub struct Runs {
    pub digest: String,
    pub on_interrupt: OnInterrupt,
}

/// A waiting job with the data that decides when it may run.
#[derive(Clone, Debug)]
pub struct WaitingJob {
    pub job: Job,
    /// The targets that still exist.
    pub targets: Vec<Connection>,
    /// The job's ancestors, nearest first, without a batch at the top.
    pub parents: Vec<Parent>,
}

/// A job that submitted another.
#[derive(Clone, Debug)]
pub struct Parent {
    pub id: Uuid,
    pub plugin: String,
    pub status: JobStatus,
}

/// A job that may run from `ready_at` on.
#[derive(Clone, Debug)]
pub struct ReadyJob {
    pub id: Uuid,
    pub priority: i32,
    pub ready_at: DateTime<Utc>,
}

/// The result of advancing a batch.
#[derive(Clone, Debug, Default)]
pub struct BatchProgress {
    /// Child jobs that may run now or at their scheduled time.
    pub started: Vec<ReadyJob>,
    /// Why no more child jobs are started, if the batch decided so.
    pub stopped: Option<String>,
    pub ended: Option<(JobStatus, BatchCounts)>,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    Completed(Value),
    Failed(JobError),
    /// Cancelled, with the error to record.
    Cancelled(JobError),
    /// To be retried at the given time because of this error.
    Retry(JobError, DateTime<Utc>),
    /// Interrupted by the end of the process; to be run again from the start.
    RunAgain(JobError),
}

/// The result of a request to cancel a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    NotFound,
    /// The job was waiting and is now cancelled.
    Cancelled,
    /// The job is running and was asked to stop.
    Requested,
    /// The job is running and was asked to stop, but the request could not be stored.
    Unrecorded,
    /// The job had already ended.
    Finished,
}

/// The result of a request to delete a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    NotFound,
    Deleted,
    /// The job or one of its child jobs is running.
    Running,
}

/// Changes to connections, sealed values and host keys that are made in one transaction.
#[derive(Clone, Debug, Default)]
pub struct ConnectionChange {
    /// The updated connection. If its name changes, connections that jump through it are updated too.
    pub updated: Option<Connection>,
    /// New sealed values of other connections.
    pub sealed: Vec<SealedRow>,
    /// Host keys to copy from one place to another, where they replace the existing keys.
    pub moved_host_keys: Vec<(HostKeyPlace, HostKeyPlace)>,
    pub forgotten_host_keys: Option<HostKeyPlace>,
    /// The new check value of the master key.
    pub master_key_check: Option<Vec<u8>>,
    /// Removes request digests, which cannot be compared under another master key.
    pub forgets_digests: bool,
}

/// The result of a request to delete a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteConnectionOutcome {
    NotFound,
    Deleted,
    /// Connections that jump through it, by name.
    JumpedThrough(Vec<String>),
}

/// The result of adding a job.
#[derive(Clone, Debug)]
pub enum AddOutcome {
    Added,
    /// The idempotency key exists with the same request: this is the first job.
    Same(Box<Job>),
    /// The idempotency key exists with a different request.
    KeyReused,
}

/// The result of adding a schedule.
#[derive(Clone, Debug)]
pub enum AddScheduleOutcome {
    Added,
    /// The idempotency key exists with the same request: this is the first schedule.
    Same(Box<Schedule>),
    KeyReused,
}

/// A position in the order in which jobs ended.
pub type Place = (DateTime<Utc>, Uuid);

/// The result of one step of removing old jobs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Swept {
    pub deleted: u64,
    /// Position to continue from; `None` at the end.
    pub next: Option<Place>,
}

/// A failed child job.
#[derive(Clone, Debug)]
pub struct FailedChild {
    pub job_id: Uuid,
    pub target: String,
    pub error: Option<JobError>,
}

/// The result of an attempt to send a message.
#[derive(Clone, Debug)]
pub enum Delivery {
    Sent,
    /// To be sent again at the given time because of this error.
    Later(String, DateTime<Utc>),
    /// Not to be retried because of this error.
    GivenUp(String),
}

/// The size of the database, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub bytes: u64,
    /// Unused bytes, included in `bytes`.
    pub free: u64,
}

/// The total that all attempts at a job have stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobUse {
    pub results: u64,
    pub output_bytes: u64,
    pub log_lines: u64,
    pub log_bytes: u64,
}

/// A downloaded file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadedFile {
    /// Path relative to the operator's download directory.
    pub path: String,
    pub plugin: String,
    pub bytes: u64,
}

/// Use of a plugin's store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageUse {
    pub keys: u64,
    /// Total size of keys and values.
    pub bytes: u64,
}

/// The limits of one page of a listing.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Maximum number of entries.
    pub limit: u32,
    /// Maximum total size of their texts, in bytes.
    pub bytes: u64,
}

/// The size of a page, measured before the page is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Number of entries.
    pub count: u32,
    /// Total size of their texts, in bytes.
    pub bytes: u64,
    /// Whether more entries follow.
    pub more: bool,
}

impl Page {
    /// Returns how many entries of these sizes fit; at least one, if there is one. Callers pass one
    /// size more than `limit` so that `more` is known.
    pub fn measure(self, sizes: impl IntoIterator<Item = u64>) -> Measured {
        let mut page = Measured::default();
        for size in sizes {
            let full = page.count == self.limit || page.bytes.saturating_add(size) > self.bytes;
            if full && page.count > 0 {
                page.more = true;
                break;
            }
            page.count += 1;
            page.bytes = page.bytes.saturating_add(size);
        }
        page
    }
}

/// The database, as the rest of the host uses it.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// Reads and writes a row, for the health check.
    async fn ping(&self) -> Result<()>;

    // Jobs
    /// Adds a pending job and its inline connection. For a batch, also adds one child job per target:
    /// `children` has their ids, in the order of the targets.
    async fn add_job(
        &self,
        job: &NewJob,
        children: &[Uuid],
        inline: Option<&Connection>,
    ) -> Result<AddOutcome>;
    async fn job(&self, id: Uuid) -> Result<Option<Job>>;
    /// Returns the job with an idempotency key, and the digest of its request.
    async fn job_with_key(&self, key: &str) -> Result<Option<(Job, String)>>;
    /// Returns the job without its large fields.
    async fn listed_job(&self, id: Uuid) -> Result<Option<ListedJob>>;
    /// Returns the large fields of the job.
    async fn job_texts(&self, id: Uuid) -> Result<Option<JobTexts>>;
    /// Lists jobs, newest first, at most `filter.limit`.
    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<ListedJob>>;
    async fn count_jobs(&self, created_after: Option<DateTime<Utc>>) -> Result<StatusCounts>;
    /// Counts the child jobs of a job.
    async fn count_children(&self, id: Uuid) -> Result<u64>;
    async fn cancel_job(&self, id: Uuid, now: DateTime<Utc>) -> Result<CancelOutcome>;
    async fn delete_job(&self, id: Uuid) -> Result<DeleteOutcome>;

    // Batches
    /// Advances a batch as far as possible: starts child jobs, stops starting them, or ends the batch.
    async fn advance_batch(&self, id: Uuid, now: DateTime<Utc>) -> Result<BatchProgress>;
    async fn unfinished_batches(&self) -> Result<Vec<Uuid>>;
    /// Returns the numbers of child jobs by state for each batch.
    async fn batch_counts(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, BatchCounts>>;
    async fn running_children(&self, id: Uuid) -> Result<Vec<Uuid>>;
    /// Returns all attempts at a job, oldest first.
    async fn attempts(&self, job_id: Uuid) -> Result<Vec<Attempt>>;

    // Dispatch
    /// Returns jobs that may run now, in the order in which they became ready, starting after a
    /// position.
    async fn ready_jobs(
        &self,
        after: (DateTime<Utc>, Uuid),
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<ReadyJob>>;
    /// Returns when the next waiting job becomes ready, after `now`.
    async fn next_ready_at(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>>;
    /// Returns a waiting job; `None` if it does not exist, is running or has ended.
    async fn waiting_job(&self, id: Uuid) -> Result<Option<WaitingJob>>;
    /// Moves a job from `pending` or `retrying` to `running`; `None` if it is claimed already or no
    /// longer waits.
    async fn claim_job(
        &self,
        id: Uuid,
        worker_id: &str,
        runs: Option<&Runs>,
        now: DateTime<Utc>,
    ) -> Result<Option<Job>>;
    /// Cancels a waiting job with this reason. Returns `false` if the job is not waiting.
    async fn skip_job(&self, id: Uuid, reason: &JobError, now: DateTime<Utc>) -> Result<bool>;
    /// Ends the attempt. Returns `false` without writing anything if the claim is no longer valid.
    /// Write intents without a result get one that says so.
    async fn finish_job(&self, claim: &Claim, outcome: Outcome, now: DateTime<Utc>)
    -> Result<bool>;
    /// Returns all jobs with status `running`.
    async fn running_jobs(&self) -> Result<Vec<Job>>;

    // Records of running jobs; writes that take a claim fail once it is lost
    async fn add_result(&self, claim: &Claim, result: CommandResult) -> Result<()>;
    /// Records the intent to send a command, before it is sent.
    async fn begin_command(&self, claim: &Claim, command: &InFlight) -> Result<()>;
    /// Returns write intents without a result: commands that are being sent, or were when a process
    /// died.
    async fn commands_in_flight(&self, job_id: Uuid) -> Result<Vec<InFlight>>;
    /// Writes log lines independently: if one cannot be written, the others are.
    async fn add_logs(&self, logs: Vec<JobLog>) -> Result<()>;
    async fn set_progress(&self, claim: &Claim, progress: &Progress) -> Result<()>;
    /// Returns the size of all command output of a job, for all targets or for one, in bytes.
    async fn output_bytes(&self, job_id: Uuid, target: Option<&str>) -> Result<u64>;
    async fn results(&self, job_id: Uuid) -> Result<Vec<CommandResult>>;
    /// Measures how many results of a job after `after` fit into the page; at least one.
    async fn measure_results(&self, job_id: Uuid, after: Uuid, page: Page) -> Result<Measured>;
    /// Returns results in order, starting after `after`, at most `limit`.
    async fn results_after(
        &self,
        job_id: Uuid,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<CommandResult>>;
    /// Measures the next log lines of a job, like [`Storage::measure_results`].
    async fn measure_logs(
        &self,
        job_id: Uuid,
        after: i64,
        least: Option<LogLevel>,
        page: Page,
    ) -> Result<Measured>;
    /// Returns log lines with ids above `after`, oldest first, at most `limit`.
    async fn logs(
        &self,
        job_id: Uuid,
        after: i64,
        least: Option<LogLevel>,
        limit: u32,
    ) -> Result<Vec<JobLog>>;

    /// Measures the last log lines before an id, like [`Storage::measure_logs`].
    async fn measure_logs_before(
        &self,
        job_id: Uuid,
        before: i64,
        least: Option<LogLevel>,
        page: Page,
    ) -> Result<Measured>;
    /// Returns the last log lines before an id, oldest first, at most `limit`.
    async fn logs_before(
        &self,
        job_id: Uuid,
        before: i64,
        least: Option<LogLevel>,
        limit: u32,
    ) -> Result<Vec<JobLog>>;
    /// Returns the id of the last log line, if it is after `after`.
    async fn last_log(&self, job_id: Uuid, after: i64) -> Result<Option<i64>>;
    /// Returns the id of the last result, if it is after `after`.
    async fn last_result(&self, job_id: Uuid, after: Uuid) -> Result<Option<Uuid>>;

    // Connections
    async fn add_connection(&self, connection: &Connection) -> Result<()>;
    /// Applies a change in one transaction and returns how many host keys were removed; `None`, with
    /// nothing changed, if the connection to update does not exist.
    async fn change_connections(&self, change: ConnectionChange) -> Result<Option<u64>>;
    async fn delete_connection(&self, id: Uuid) -> Result<DeleteConnectionOutcome>;
    async fn connection(&self, id: Uuid) -> Result<Option<Connection>>;
    async fn connection_named(&self, name: &str) -> Result<Option<Connection>>;
    /// Returns the connections by name, without those that belong to a job.
    async fn connections(&self) -> Result<Vec<Connection>>;
    /// Returns a page of [`Storage::connections`] after a name, and whether others follow.
    async fn connections_page(&self, after: &str, page: Page) -> Result<(Vec<Connection>, bool)>;
    /// Returns the inline connections of jobs that have secrets.
    async fn sealed_inline_connections(&self) -> Result<Vec<Connection>>;

    // Host keys trusted on first use; host names are case-insensitive
    async fn host_keys(&self, place: &HostKeyPlace) -> Result<Vec<KnownHostKey>>;
    /// `key` is (algorithm, key, fingerprint).
    async fn add_host_key(
        &self,
        place: &HostKeyPlace,
        key: (&str, &str, &str),
        now: DateTime<Utc>,
    ) -> Result<()>;

    // Logins to devices
    /// Returns the login records that have not expired, by address; latest expiry first, at most
    /// `most`.
    async fn device_logins(&self, now: DateTime<Utc>, most: u32) -> Result<Vec<(String, Value)>>;
    /// Stores the login record of an address, replacing the previous one.
    async fn set_device_logins(
        &self,
        address: &str,
        record: &Value,
        expires_at: DateTime<Utc>,
    ) -> Result<()>;
    /// Removes expired login records, and the earliest to expire beyond `most`; returns how many.
    async fn sweep_device_logins(&self, now: DateTime<Utc>, most: u32) -> Result<u64>;

    // Data of plugins
    async fn plugin_value(&self, plugin: &str, key: &str) -> Result<Option<Value>>;
    /// Writes the value if the plugin stays within `limit`; otherwise returns what the plugin would
    /// use.
    async fn set_plugin_value(
        &self,
        plugin: &str,
        key: &str,
        value: &Value,
        limit: StorageUse,
        now: DateTime<Utc>,
    ) -> Result<std::result::Result<(), StorageUse>>;
    async fn delete_plugin_value(&self, plugin: &str, key: &str) -> Result<bool>;
    /// Returns the keys with a prefix, in order, at most `limit`.
    async fn plugin_keys(&self, plugin: &str, prefix: &str, limit: u32) -> Result<Vec<String>>;

    // Versions of plugins
    /// Records loaded versions and stores their files. Files are kept for the newest versions of each
    /// plugin and for versions that unfinished jobs need.
    async fn keep_versions(&self, versions: Vec<LoadedVersion>, now: DateTime<Utc>) -> Result<()>;
    /// Returns the versions of a plugin, last loaded first.
    async fn plugin_versions(&self, plugin: &str) -> Result<Vec<PluginVersion>>;
    /// Returns the files of a version while they are stored.
    async fn plugin_files(
        &self,
        plugin: &str,
        digest: &str,
    ) -> Result<Option<(PluginKind, PluginFiles)>>;

    // Schedules
    /// `idempotency` is (key, digest of the request).
    async fn add_schedule(
        &self,
        schedule: &Schedule,
        idempotency: Option<&(String, String)>,
    ) -> Result<AddScheduleOutcome>;
    /// Updates a schedule except for the state that its runs write; returns `false` if it does not
    /// exist.
    async fn update_schedule(&self, schedule: &Schedule) -> Result<bool>;
    /// Returns `false` if the schedule does not exist.
    async fn delete_schedule(&self, id: Uuid) -> Result<bool>;
    async fn schedule(&self, id: Uuid) -> Result<Option<Schedule>>;
    async fn schedule_named(&self, name: &str) -> Result<Option<Schedule>>;
    /// Returns the schedule with an idempotency key, and the digest of its request.
    async fn schedule_with_key(&self, key: &str) -> Result<Option<(Schedule, String)>>;
    /// Returns a page of the schedules ordered by name, starting after a name, without large fields,
    /// and whether more follow.
    async fn schedules_page(&self, after: &str, page: Page) -> Result<(Vec<ListedSchedule>, bool)>;
    async fn count_schedules(&self) -> Result<u64>;
    /// Returns the schedules that are due.
    async fn due_schedules(&self, now: DateTime<Utc>) -> Result<Vec<Schedule>>;
    /// Returns the next time of any schedule after `after`.
    async fn next_schedule_at(&self, after: DateTime<Utc>) -> Result<Option<DateTime<Utc>>>;
    /// Returns the schedules with a next time after `time`.
    async fn schedules_after(&self, time: DateTime<Utc>) -> Result<Vec<Schedule>>;
    /// Changes the next time of a schedule from `from` to `to`.
    async fn move_schedule(&self, id: Uuid, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<()>;
    /// Records an occurrence and advances its schedule to `next`, in one transaction. The occurrence is
    /// due, unless `left_out` says why it is skipped. Returns `false` if this was done before or the
    /// schedule has changed.
    async fn fire_tick(
        &self,
        tick: &Tick,
        next: Option<DateTime<Utc>>,
        left_out: Option<String>,
    ) -> Result<bool>;
    /// Returns occurrences without a submitted job, earliest first.
    async fn due_ticks(&self) -> Result<Vec<Tick>>;
    /// Records the result of an occurrence or of a manual trigger.
    async fn settle_tick(&self, tick: &Tick, job_id: Option<Uuid>, outcome: &str) -> Result<()>;
    /// Returns whether a job of the schedule has not ended.
    async fn schedule_is_busy(&self, id: Uuid) -> Result<bool>;

    // Pauses, by name
    async fn pauses(&self) -> Result<Vec<Pause>>;
    /// Stores a pause, replacing the one with the same id; fails with `Exists` if another pause has its
    /// name.
    async fn set_pause(&self, pause: &Pause) -> Result<()>;
    async fn delete_pause(&self, id: Uuid) -> Result<bool>;

    /// Returns the total that all attempts at a job have stored so far.
    async fn job_use(&self, job_id: Uuid) -> Result<JobUse>;

    // Downloaded files
    async fn downloaded_files(&self) -> Result<Vec<DownloadedFile>>;
    /// Records a file, replacing the record of the same path.
    async fn add_downloaded_file(&self, file: &DownloadedFile) -> Result<()>;
    /// Removes the records of files that no longer exist.
    async fn forget_downloaded_files(&self, paths: &[String]) -> Result<()>;

    // Retention
    /// Examines the next jobs in the order in which they ended, starting after a position. Removes
    /// failed jobs that ended before `failed_before`, and others that ended before `before`; `None`
    /// keeps all.
    async fn sweep_jobs(
        &self,
        after: Place,
        before: Option<DateTime<Utc>>,
        failed_before: Option<DateTime<Utc>>,
    ) -> Result<Swept>;
    /// Removes some of each plugin's oldest ended jobs beyond `most`; returns how many.
    async fn delete_jobs_beyond(&self, most: u32) -> Result<u64>;
    /// Removes the oldest ended jobs regardless of age, at most `limit` plus their child jobs; returns
    /// how many.
    async fn delete_oldest_jobs(&self, limit: u32) -> Result<u64>;
    /// Returns some unused space to the file system; `true` if there may be more.
    async fn vacuum(&self) -> Result<bool>;
    async fn size(&self) -> Result<Size>;
    /// Returns the size of what plugins store and of the files of their versions, bytes: what no
    /// removed job gives back.
    async fn size_of_plugins(&self) -> Result<u64>;

    // Notifications
    /// Sets whether ends of jobs are recorded for notifications. Disabling removes existing records.
    async fn note_ended_jobs(&self, note: bool) -> Result<()>;
    /// Returns ended jobs that the outbox has not processed yet, in the order in which they ended.
    async fn ended_jobs(&self, limit: u32) -> Result<Vec<Uuid>>;
    /// Adds the messages about an ended job to the outbox and removes the record of its end, in one
    /// transaction. If too many messages wait for a channel, drops the oldest; returns how many.
    async fn notify(
        &self,
        job_id: Uuid,
        messages: Vec<Notification>,
        now: DateTime<Utc>,
    ) -> Result<u64>;
    /// Returns the outcome of the previous comparable job: the last one of the same schedule, or else
    /// of the same plugin and targets, that completed or failed.
    async fn outcome_before(&self, job: &Job) -> Result<Option<JobStatus>>;
    /// Returns the durations of earlier completed jobs of the same plugin, newest first, in
    /// milliseconds.
    async fn durations_before(&self, job: &Job, limit: u32) -> Result<Vec<i64>>;
    /// Returns failed child jobs in the order of the targets, at most `limit`.
    async fn failed_children(&self, id: Uuid, limit: u32) -> Result<Vec<FailedChild>>;
    /// Returns the first message that may be sent to a channel now.
    async fn due_notification(
        &self,
        channel: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Notification>>;
    /// Drops that message because it cannot be read.
    async fn give_up_due_notification(
        &self,
        channel: &str,
        error: &str,
        now: DateTime<Utc>,
    ) -> Result<()>;
    /// Returns when the next message to a channel may be sent.
    async fn next_notification_at(&self, channel: &str) -> Result<Option<DateTime<Utc>>>;
    /// Records an attempt to send a message, and removes the oldest settled messages.
    async fn settle_notification(
        &self,
        id: Uuid,
        delivery: Delivery,
        now: DateTime<Utc>,
    ) -> Result<()>;
    /// Drops messages that wait for channels other than these; returns how many.
    async fn abandon_other_channels(&self, channels: &[String], now: DateTime<Utc>) -> Result<u64>;
    /// Lists notifications, newest first, starting after one of them.
    async fn notifications(
        &self,
        state: Option<NotificationState>,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Notification>>;

    /// Subscribes to the ids of jobs with a changed record, result or log. A receiver that lags misses
    /// ids and has to poll.
    fn changes(&self) -> broadcast::Receiver<Uuid>;

    /// Returns the health of the database.
    fn condition(&self) -> &Condition;
    /// Compares the database's files with those that were opened, and records a mismatch in the
    /// condition.
    fn probe_files(&self);

    // Facts about the database
    async fn meta(&self, key: &str) -> Result<Option<Vec<u8>>>;
    async fn set_meta(&self, key: &str, value: &[u8]) -> Result<()>;

    /// Writes pending operations and closes the files.
    async fn close(&self);
}
