//! The database: the one truth about jobs, connections and what plugins keep.
//!
//! [`Storage`] is what the rest of the host sees. Its methods are whole use cases of the state
//! machine, not rows: each is one transaction, and whatever it returned `Ok` for survives `kill -9`.

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

pub type Result<T> = std::result::Result<T, StorageError>;

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A name or key that is to be unique is there already.
    #[error("{0} already exists")]
    Exists(String),
    /// The database cannot be used now: it is locked, full, gone. The host's log says more.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A row that this version cannot read.
    #[error("the database contains data that this version cannot read: {0}")]
    Corrupt(String),
    /// The disk is full: nothing was written, and nothing is lost.
    #[error("the database's disk is full")]
    Full,
    /// So little is free on the disk that nothing new is accepted; what runs may end.
    #[error(transparent)]
    LowSpace(#[from] LowSpace),
    /// The database is damaged, or its files are gone.
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

/// A claimed job: only who holds this may write to the attempt.
#[derive(Clone, Debug)]
pub struct Claim {
    pub job_id: Uuid,
    pub attempt: u32,
    pub worker_id: String,
}

/// What an attempt is about to run, and what becomes of it after a crash.
#[derive(Clone, Debug)]
pub struct Runs {
    pub digest: String,
    pub on_interrupt: OnInterrupt,
}

/// A job that waits, and what decides when it may run.
#[derive(Clone, Debug)]
pub struct WaitingJob {
    pub job: Job,
    /// As far as they are still there.
    pub targets: Vec<Connection>,
    /// The jobs above it, the nearest first, up to what a batch stands over.
    pub parents: Vec<Parent>,
}

/// A job that submitted another.
#[derive(Clone, Debug)]
pub struct Parent {
    pub id: Uuid,
    pub plugin: String,
    pub status: JobStatus,
}

/// A job whose time has come.
#[derive(Clone, Debug)]
pub struct ReadyJob {
    pub id: Uuid,
    pub priority: i32,
    pub ready_at: DateTime<Utc>,
}

/// What a batch did when it was looked at.
#[derive(Clone, Debug, Default)]
pub struct BatchProgress {
    /// Child jobs that may run now, or at their time.
    pub started: Vec<ReadyJob>,
    /// Why no more are started, if that was decided.
    pub stopped: Option<String>,
    pub ended: Option<(JobStatus, BatchCounts)>,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    Completed(Value),
    Failed(JobError),
    /// Cancelled, with what was said about it.
    Cancelled(JobError),
    /// To be tried again at the given time, because of this error.
    Retry(JobError, DateTime<Utc>),
    /// Cut off by the end of the process; to be run again from the start.
    RunAgain(JobError),
}

/// What became of a request to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    NotFound,
    /// It was waiting, and is cancelled.
    Cancelled,
    /// It runs, and has been told to stop.
    Requested,
    /// It runs, and has been told to stop; but that could not be stored.
    Unrecorded,
    /// It had ended before.
    Finished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    NotFound,
    Deleted,
    /// It runs, or one of its child jobs does.
    Running,
}

/// Changes of connections, their sealed values and host keys that belong together.
#[derive(Clone, Debug, Default)]
pub struct ConnectionChange {
    /// A connection in its new form. A new name replaces the old where others jump through it.
    pub updated: Option<Connection>,
    /// Sealed values of other connections.
    pub sealed: Vec<SealedRow>,
    /// Host keys that are known by another route as well from now on, and no others there.
    pub moved_host_keys: Vec<(HostKeyPlace, HostKeyPlace)>,
    pub forgotten_host_keys: Option<HostKeyPlace>,
    /// A value that recognises the key that everything is sealed with now.
    pub master_key_check: Option<Vec<u8>>,
    /// Removes the digests of requests, which another key cannot compare.
    pub forgets_digests: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteConnectionOutcome {
    NotFound,
    Deleted,
    /// These connections, by name, jump through it.
    JumpedThrough(Vec<String>),
}

/// What came of adding a job.
#[derive(Clone, Debug)]
pub enum AddOutcome {
    Added,
    /// The same idempotency key and the same request: this is the first job.
    Same(Box<Job>),
    /// The same idempotency key with another request.
    KeyReused,
}

/// What came of adding a schedule.
#[derive(Clone, Debug)]
pub enum AddScheduleOutcome {
    Added,
    /// The same idempotency key and the same request: this is the first schedule.
    Same(Box<Schedule>),
    KeyReused,
}

/// A place in the order in which jobs ended.
pub type Place = (DateTime<Utc>, Uuid);

/// What a step of removing old jobs did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Swept {
    pub deleted: u64,
    /// Where to go on; none at the end.
    pub next: Option<Place>,
}

/// A child job that has failed.
#[derive(Clone, Debug)]
pub struct FailedChild {
    pub job_id: Uuid,
    pub target: String,
    pub error: Option<JobError>,
}

/// What came of an attempt to send a message.
#[derive(Clone, Debug)]
pub enum Delivery {
    Sent,
    /// To be sent again at the given time, because of this error.
    Later(String, DateTime<Utc>),
    /// Not to be tried again, because of this error.
    GivenUp(String),
}

/// How large the database is, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub bytes: u64,
    /// Of these, unused.
    pub free: u64,
}

/// What the attempts at a job have stored together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobUse {
    pub results: u64,
    pub output_bytes: u64,
    pub log_lines: u64,
    pub log_bytes: u64,
}

/// A file that a job has downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadedFile {
    /// Below the operator's directory.
    pub path: String,
    pub plugin: String,
    pub bytes: u64,
}

/// Use of a plugin's store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageUse {
    pub keys: u64,
    /// Bytes of keys and values together.
    pub bytes: u64,
}

/// The bounds of one page of a listing.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The most entries.
    pub limit: u32,
    /// The most bytes of their texts.
    pub bytes: u64,
}

/// A page before it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Its entries.
    pub count: u32,
    /// The bytes of their texts.
    pub bytes: u64,
    /// Others follow.
    pub more: bool,
}

impl Page {
    /// Returns how much of entries with these sizes fits. One more than `limit` says whether others
    /// follow.
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

#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// A read and a write, for the health check.
    async fn ping(&self) -> Result<()>;

    // Jobs
    /// Adds a pending job, the connection that was given inline with it, and, if it is a batch, a
    /// child job with each of these ids: one per target, in their order.
    async fn add_job(
        &self,
        job: &NewJob,
        children: &[Uuid],
        inline: Option<&Connection>,
    ) -> Result<AddOutcome>;
    async fn job(&self, id: Uuid) -> Result<Option<Job>>;
    /// The job that was submitted with an idempotency key, and the digest of its request.
    async fn job_with_key(&self, key: &str) -> Result<Option<(Job, String)>>;
    /// Returns the job without its large fields.
    async fn listed_job(&self, id: Uuid) -> Result<Option<ListedJob>>;
    /// Returns the large fields of the job.
    async fn job_texts(&self, id: Uuid) -> Result<Option<JobTexts>>;
    /// Newest first, at most `filter.limit`.
    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<ListedJob>>;
    async fn count_jobs(&self, created_after: Option<DateTime<Utc>>) -> Result<StatusCounts>;
    /// How many child jobs a job has submitted.
    async fn count_children(&self, id: Uuid) -> Result<u64>;
    async fn cancel_job(&self, id: Uuid, now: DateTime<Utc>) -> Result<CancelOutcome>;
    async fn delete_job(&self, id: Uuid) -> Result<DeleteOutcome>;

    // Batches
    /// Starts child jobs, or decides that no more are started, or ends the batch: as far as it goes.
    async fn advance_batch(&self, id: Uuid, now: DateTime<Utc>) -> Result<BatchProgress>;
    async fn unfinished_batches(&self) -> Result<Vec<Uuid>>;
    /// How the child jobs of each stand.
    async fn batch_counts(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, BatchCounts>>;
    async fn running_children(&self, id: Uuid) -> Result<Vec<Uuid>>;
    /// Every attempt at a job, the first first.
    async fn attempts(&self, job_id: Uuid) -> Result<Vec<Attempt>>;

    // The dispatcher's side
    /// Jobs that may run now, in the order in which they became ready, from after a place in it.
    async fn ready_jobs(
        &self,
        after: (DateTime<Utc>, Uuid),
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<ReadyJob>>;
    /// When the next waiting job becomes ready, after `now`.
    async fn next_ready_at(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>>;
    /// `pending | retrying → running`; `None` when someone else has it, or it no longer waits.
    /// A job that waits; none when it is gone, runs, or has ended.
    async fn waiting_job(&self, id: Uuid) -> Result<Option<WaitingJob>>;
    async fn claim_job(
        &self,
        id: Uuid,
        worker_id: &str,
        runs: Option<&Runs>,
        now: DateTime<Utc>,
    ) -> Result<Option<Job>>;
    /// Leaves out a job that waits: it is cancelled, with this reason. `false` when it does not wait.
    async fn skip_job(&self, id: Uuid, reason: &JobError, now: DateTime<Utc>) -> Result<bool>;
    /// Ends the attempt; `false` when the claim no longer holds, and nothing was written. What was
    /// noted as being sent and has no result becomes one that says so.
    async fn finish_job(&self, claim: &Claim, outcome: Outcome, now: DateTime<Utc>)
    -> Result<bool>;
    /// Jobs that stand as running.
    async fn running_jobs(&self) -> Result<Vec<Job>>;

    // What a running job leaves behind; each is refused once the claim is lost
    async fn add_result(&self, claim: &Claim, result: CommandResult) -> Result<()>;
    /// Notes what is about to be sent to a device, before it is.
    async fn begin_command(&self, claim: &Claim, command: &InFlight) -> Result<()>;
    /// What was noted and has no result: it is being sent, or was when a process died.
    async fn commands_in_flight(&self, job_id: Uuid) -> Result<Vec<InFlight>>;
    /// Each line is by itself: when one cannot be written, the others stand.
    async fn add_logs(&self, logs: Vec<JobLog>) -> Result<()>;
    async fn set_progress(&self, claim: &Claim, progress: &Progress) -> Result<()>;
    /// How much the commands of a job have answered, on all its targets or on one, bytes.
    async fn output_bytes(&self, job_id: Uuid, target: Option<&str>) -> Result<u64>;
    async fn results(&self, job_id: Uuid) -> Result<Vec<CommandResult>>;
    /// Measures the results of a job that follow `after`: as many as fit into the page, at least one.
    async fn measure_results(&self, job_id: Uuid, after: Uuid, page: Page) -> Result<Measured>;
    /// In order, after a result, at most `limit`.
    async fn results_after(
        &self,
        job_id: Uuid,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<CommandResult>>;
    /// Measures the next lines of a job's log, as [`Storage::measure_results`].
    async fn measure_logs(
        &self,
        job_id: Uuid,
        after: i64,
        least: Option<LogLevel>,
        page: Page,
    ) -> Result<Measured>;
    /// Oldest first, at most `limit`, with ids above `after`.
    async fn logs(
        &self,
        job_id: Uuid,
        after: i64,
        least: Option<LogLevel>,
        limit: u32,
    ) -> Result<Vec<JobLog>>;

    /// Measures the last lines before an id, as [`Storage::measure_logs`].
    async fn measure_logs_before(
        &self,
        job_id: Uuid,
        before: i64,
        least: Option<LogLevel>,
        page: Page,
    ) -> Result<Measured>;
    /// The last lines before an id, oldest first, at most `limit`.
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
    /// Makes changes that belong together, and returns how many host keys were forgotten; `None`, and
    /// nothing is changed, when the connection to update does not exist.
    async fn change_connections(&self, change: ConnectionChange) -> Result<Option<u64>>;
    async fn delete_connection(&self, id: Uuid) -> Result<DeleteConnectionOutcome>;
    async fn connection(&self, id: Uuid) -> Result<Option<Connection>>;
    async fn connection_named(&self, name: &str) -> Result<Option<Connection>>;
    /// By name; those that belong to a job are left out.
    async fn connections(&self) -> Result<Vec<Connection>>;
    /// Returns a page of [`Storage::connections`] after a name, and whether others follow.
    async fn connections_page(&self, after: &str, page: Page) -> Result<(Vec<Connection>, bool)>;
    /// Those of jobs that have secrets.
    async fn sealed_inline_connections(&self) -> Result<Vec<Connection>>;

    // Host keys accepted at first sight; host names in any case
    async fn host_keys(&self, place: &HostKeyPlace) -> Result<Vec<KnownHostKey>>;
    /// `key` is (algorithm, key, fingerprint).
    async fn add_host_key(
        &self,
        place: &HostKeyPlace,
        key: (&str, &str, &str),
        now: DateTime<Utc>,
    ) -> Result<()>;

    // Logins to devices
    /// What is known of the logins by address, unless it has expired; the last to expire first, at
    /// most so many.
    async fn device_logins(&self, now: DateTime<Utc>, most: u32) -> Result<Vec<(String, Value)>>;
    /// Stores what is known of the logins to an address, instead of what was stored before.
    async fn set_device_logins(
        &self,
        address: &str,
        record: &Value,
        expires_at: DateTime<Utc>,
    ) -> Result<()>;
    /// Removes what has expired, and all beyond so many, the first to expire first; returns how many.
    async fn sweep_device_logins(&self, now: DateTime<Utc>, most: u32) -> Result<u64>;

    // What plugins keep
    async fn plugin_value(&self, plugin: &str, key: &str) -> Result<Option<Value>>;
    /// Writes the value if the plugin then stays within `limit`; else says what it would use.
    async fn set_plugin_value(
        &self,
        plugin: &str,
        key: &str,
        value: &Value,
        limit: StorageUse,
        now: DateTime<Utc>,
    ) -> Result<std::result::Result<(), StorageUse>>;
    async fn delete_plugin_value(&self, plugin: &str, key: &str) -> Result<bool>;
    /// Keys with a prefix, in order, at most `limit`.
    async fn plugin_keys(&self, plugin: &str, prefix: &str, limit: u32) -> Result<Vec<String>>;

    // Versions of plugins
    /// Remembers versions that were loaded, and keeps their files; of each plugin the newest ones,
    /// and those that a job is yet to run.
    async fn keep_versions(&self, versions: Vec<LoadedVersion>, now: DateTime<Utc>) -> Result<()>;
    /// The one loaded last first.
    async fn plugin_versions(&self, plugin: &str) -> Result<Vec<PluginVersion>>;
    /// The files of a version, as long as they are kept.
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
    /// Everything but what its runs have left there; `false` when it does not exist.
    async fn update_schedule(&self, schedule: &Schedule) -> Result<bool>;
    /// `false` when it does not exist.
    async fn delete_schedule(&self, id: Uuid) -> Result<bool>;
    async fn schedule(&self, id: Uuid) -> Result<Option<Schedule>>;
    async fn schedule_named(&self, name: &str) -> Result<Option<Schedule>>;
    /// The schedule that was made with an idempotency key, and the digest of its request.
    async fn schedule_with_key(&self, key: &str) -> Result<Option<(Schedule, String)>>;
    /// Returns a page of the schedules after a name, by name, without large fields, and whether
    /// others follow.
    async fn schedules_page(&self, after: &str, page: Page) -> Result<(Vec<ListedSchedule>, bool)>;
    async fn count_schedules(&self) -> Result<u64>;
    /// Those whose time has come.
    async fn due_schedules(&self, now: DateTime<Utc>) -> Result<Vec<Schedule>>;
    /// The next time of any schedule after `after`.
    async fn next_schedule_at(&self, after: DateTime<Utc>) -> Result<Option<DateTime<Utc>>>;
    /// Those that wait for a time after `time`.
    async fn schedules_after(&self, time: DateTime<Utc>) -> Result<Vec<Schedule>>;
    /// Makes a schedule that is to run at `from` run at `to`.
    async fn move_schedule(&self, id: Uuid, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<()>;
    /// Records a time and moves its schedule on to `next`, both or neither; due, unless it is
    /// `left_out`, for that reason. `false` when that was done before, or the schedule has changed.
    async fn fire_tick(
        &self,
        tick: &Tick,
        next: Option<DateTime<Utc>>,
        left_out: Option<String>,
    ) -> Result<bool>;
    /// Times whose jobs are yet to be submitted, the earliest first.
    async fn due_ticks(&self) -> Result<Vec<Tick>>;
    /// What came of a due time, or of a trigger.
    async fn settle_tick(&self, tick: &Tick, job_id: Option<Uuid>, outcome: &str) -> Result<()>;
    /// Whether a job of the schedule has not ended.
    async fn schedule_is_busy(&self, id: Uuid) -> Result<bool>;

    // Pauses, by name
    async fn pauses(&self) -> Result<Vec<Pause>>;
    /// Stores a pause, in place of the one with its id if there is one; `Exists` when another has
    /// its name.
    async fn set_pause(&self, pause: &Pause) -> Result<()>;
    async fn delete_pause(&self, id: Uuid) -> Result<bool>;

    /// What the attempts at a job have stored so far.
    async fn job_use(&self, job_id: Uuid) -> Result<JobUse>;

    // Downloaded files
    async fn downloaded_files(&self) -> Result<Vec<DownloadedFile>>;
    /// Records a file, in place of one of the same path.
    async fn add_downloaded_file(&self, file: &DownloadedFile) -> Result<()>;
    /// Records that files are no longer there.
    async fn forget_downloaded_files(&self, paths: &[String]) -> Result<()>;

    // Retention
    /// Of the next jobs after a place in the order in which they ended, removes those that ended
    /// before a time, and the failed ones that ended before another; `None` keeps all.
    async fn sweep_jobs(
        &self,
        after: Place,
        before: Option<DateTime<Utc>>,
        failed_before: Option<DateTime<Utc>>,
    ) -> Result<Swept>;
    /// Removes some of each plugin's oldest ended jobs beyond so many; says how many.
    async fn delete_jobs_beyond(&self, most: u32) -> Result<u64>;
    /// Removes the oldest ended jobs, whatever their age, at most `limit` and their child jobs; says
    /// how many.
    async fn delete_oldest_jobs(&self, limit: u32) -> Result<u64>;
    /// Gives some unused space back to the file system; `true` when there may be more.
    async fn vacuum(&self) -> Result<bool>;
    async fn size(&self) -> Result<Size>;

    // Notifications
    /// Whether the ends of jobs are noted from now on. If not, those noted before are forgotten.
    async fn note_ended_jobs(&self, note: bool) -> Result<()>;
    /// Jobs that have ended and that nobody was told of, in the order of their ends.
    async fn ended_jobs(&self, limit: u32) -> Result<Vec<Uuid>>;
    /// Puts what is to be said of an ended job into the outbox and forgets its end, both or neither.
    /// Of too many that wait for a channel the oldest are given up; says how many.
    async fn notify(
        &self,
        job_id: Uuid,
        messages: Vec<Notification>,
        now: DateTime<Utc>,
    ) -> Result<u64>;
    /// How the same work ended before: the last job of the same schedule, or else of the same plugin
    /// and targets, that completed or failed.
    async fn outcome_before(&self, job: &Job) -> Result<Option<JobStatus>>;
    /// How long jobs of the same plugin took that completed before, the last ones first, milliseconds.
    async fn durations_before(&self, job: &Job, limit: u32) -> Result<Vec<i64>>;
    /// In the order of the targets, at most `limit`.
    async fn failed_children(&self, id: Uuid, limit: u32) -> Result<Vec<FailedChild>>;
    /// The first message that may be sent to a channel now.
    async fn due_notification(
        &self,
        channel: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Notification>>;
    /// Gives that message up, because it cannot be read.
    async fn give_up_due_notification(
        &self,
        channel: &str,
        error: &str,
        now: DateTime<Utc>,
    ) -> Result<()>;
    /// When the next message to a channel may be sent.
    async fn next_notification_at(&self, channel: &str) -> Result<Option<DateTime<Utc>>>;
    /// Notes an attempt to send a message, and removes the oldest of those that are done with.
    async fn settle_notification(
        &self,
        id: Uuid,
        delivery: Delivery,
        now: DateTime<Utc>,
    ) -> Result<()>;
    /// Gives up what waits for any other channel than these; says how many.
    async fn abandon_other_channels(&self, channels: &[String], now: DateTime<Utc>) -> Result<u64>;
    /// The newest first, from after one of them.
    async fn notifications(
        &self,
        state: Option<NotificationState>,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Notification>>;

    /// Ids of jobs whose record, results or log have changed. A slow listener misses some of them,
    /// and has to look.
    fn changes(&self) -> broadcast::Receiver<Uuid>;

    /// Whether the database can still be trusted.
    fn condition(&self) -> &Condition;
    /// Compares the database's files with those that were opened; the result is in the condition.
    fn probe_files(&self);

    // Facts about the database
    async fn meta(&self, key: &str) -> Result<Option<Vec<u8>>>;
    async fn set_meta(&self, key: &str, value: &[u8]) -> Result<()>;

    /// Writes what waits, and closes the files.
    async fn close(&self);
}
