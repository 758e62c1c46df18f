//! SQLite: WAL, foreign keys on, `synchronous=FULL`, files with mode 0600.
//!
//! Reads use a pool. All writes go through one `writer`, which commits waiting operations as one
//! transaction (group commit). With a single writer, no statement of this process fails with
//! `SQLITE_BUSY`.

mod batches;
mod bulk;
mod check;
mod connections;
mod device_logins;
mod downloads;
mod files;
mod in_flight;
mod jobs;
mod keys;
mod maintenance;
mod notifications;
mod pauses;
mod readers;
mod retention;
mod rows;
mod running;
mod schedules;
mod versions;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;
use sqlx::error::DatabaseError;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::broadcast;
use uuid::Uuid;

use super::{
    AddOutcome, AddScheduleOutcome, BatchProgress, CancelOutcome, Claim, Condition,
    ConnectionChange, DeleteConnectionOutcome, DeleteOutcome, Delivery, DownloadedFile,
    FailedChild, Fault, JobUse, Measured, Outcome, Page, Parent, Place, ReadyJob, Result, Runs,
    Size, Storage, StorageError, StorageUse, Swept, WaitingJob,
};
use crate::model::{
    Attempt, BatchCounts, CommandResult, Connection, HostKeyPlace, InFlight, Job, JobError,
    JobFilter, JobLog, JobStatus, JobTexts, KnownHostKey, ListedJob, ListedSchedule, LoadedVersion,
    LogLevel, NewJob, Notification, NotificationState, Pause, PluginFiles, PluginKind,
    PluginVersion, Progress, Schedule, StatusCounts, Tick, now,
};
use files::{DatabaseFile, WatchedFiles};
pub use files::{beside, create_private, lock_beside};
use in_flight::AddNote;
pub use maintenance::{Copied, Report, Restored, back_up, check_database, restore};
use readers::Readers;
use running::{AddResult, ClaimJob, SetProgress};
use writer::{Guard, Writer};

/// How long a statement waits for a lock that another process holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The SQLite implementation of [`Storage`].
pub struct SqliteStorage {
    readers: Readers,
    writer: Writer,
    changes: broadcast::Sender<Uuid>,
    condition: Condition,
    files: Arc<WatchedFiles>,
    /// Closed after all connections.
    file: Arc<DatabaseFile>,
}

/// How many changes a slow subscriber may lag behind.
const CHANGES: usize = 1_024;
/// Pages of WAL before a checkpoint: 16 MiB. A checkpoint copies each page once, however often it was
/// written.
const CHECKPOINT_PAGES: &str = "4096";
/// Overwrites deleted content with zeros on pages that are written anyway. `ON` also writes each page
/// that becomes free: deleting large results took eight times as long, and needs space in the WAL even
/// on a full disk.
const SECURE_DELETE: &str = "FAST";
/// Cache size of the writer: at most 4 MiB. SQLite takes a negative value as KiB.
const WRITER_CACHE: &str = "-4096";
/// Cache size of each reading connection: at most 512 KiB. All of them together would otherwise take
/// 16 MB; the system's cache of the file is shared and nearly as fast.
const READER_CACHE: &str = "-512";

impl SqliteStorage {
    /// Publishes a change of the job if `outcome` is `Ok`; returns `outcome` unchanged.
    fn told<T>(&self, job_id: Uuid, outcome: Result<T>) -> Result<T> {
        if outcome.is_ok() {
            // Fails only without subscribers.
            let _ = self.changes.send(job_id);
        }
        outcome
    }

    /// Opens or creates the database, checks it for at most `check`, and migrates it to the newest
    /// schema.
    ///
    /// # Errors
    /// If the file cannot be created, opened or migrated, is damaged, is in use, or was written by a
    /// newer version; each error names the file.
    pub async fn open(url: &str, max_connections: u32, check: Duration) -> anyhow::Result<Self> {
        let path = file_of(url)?;
        let file = DatabaseFile::open(&path)?;
        let opened = Self::open_locked(url, &path, file, max_connections, check).await;
        opened.map_err(|error| match damage_in(&error) {
            Some(fault) => anyhow::anyhow!("{}: {fault}", path.display()),
            None => error,
        })
    }

    async fn open_locked(
        url: &str,
        path: &Path,
        file: DatabaseFile,
        max_connections: u32,
        check: Duration,
    ) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::from_str(url)
            .with_context(|| format!("invalid database.url: expected an SQLite URL, got `{url}`"))?
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();

        let mut writing = options
            .clone()
            .pragma("cache_size", WRITER_CACHE)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .pragma("secure_delete", SECURE_DELETE);
        if file.is_empty()? {
            // In an existing database, this pragma would write at every start.
            writing = writing.auto_vacuum(SqliteAutoVacuum::Incremental);
        }
        let mut connected = writing.connect().await;
        if connected.as_ref().is_err_and(is_full) && file.free_reserve() {
            connected = writing.connect().await;
        }
        let mut connection =
            connected.with_context(|| format!("failed to open the database {}", path.display()))?;
        check_at_start(&mut connection, path, check).await?;
        if let Some(schema) = check::schema_of(&mut connection).await? {
            check::expect_known(schema, path)?;
        }
        check::MIGRATOR
            .run(&mut connection)
            .await
            .with_context(|| {
                format!(
                    "failed to migrate {} to the schema of this version",
                    path.display()
                )
            })?;
        give_space_back(&mut connection).await;
        // Keeps rollback data of statements and savepoints in memory, not in files. Set only after the
        // VACUUM above, which would otherwise hold a copy of the whole database in memory.
        sqlx::query("PRAGMA temp_store = MEMORY")
            .execute(&mut connection)
            .await
            .with_context(|| format!("failed to set up {}", path.display()))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(BUSY_TIMEOUT)
            // A file does not disconnect; the test would double the cost of a query.
            .test_before_acquire(false)
            .connect_with(options.read_only(true).pragma("cache_size", READER_CACHE))
            .await
            .with_context(|| format!("failed to open the database {}", path.display()))?;
        file.keep_reserve();
        let condition = Condition::default();
        let files = Arc::new(file.watch()?);
        let file = Arc::new(file);
        let guard = Guard {
            condition: condition.clone(),
            files: Arc::clone(&files),
            _file: Arc::clone(&file),
        };
        Ok(Self {
            readers: Readers::new(readers, condition.clone()),
            writer: Writer::start(connection, guard),
            changes: broadcast::channel(CHANGES).0,
            condition,
            files,
            file,
        })
    }
}

/// Checks the database before anything is written to it.
async fn check_at_start(
    connection: &mut SqliteConnection,
    path: &Path,
    limit: Duration,
) -> anyhow::Result<()> {
    if limit.is_zero() {
        return Ok(());
    }
    let begun = Instant::now();
    let checked = check::quick_check(connection, limit)
        .await
        .with_context(|| format!("failed to check the database {}", path.display()))?;
    if !checked.problems.is_empty() {
        let fault = Fault::Damaged(checked.problems.join("; "));
        return Err(anyhow::Error::new(fault).context(format!("{}", path.display())));
    }
    let (tables, took) = (checked.tables.len(), begun.elapsed());
    if checked.unchecked.is_empty() {
        tracing::debug!(tables, ?took, "database check passed");
    } else {
        tracing::info!(
            checked = checked.tables.join(", "),
            not_checked = checked.unchecked.join(", "),
            ?took,
            "the database check timed out (database.check_seconds); `scheduler db check` checks all \
             tables"
        );
    }
    Ok(())
}

/// Returns SQLite's primary result code, see <https://www.sqlite.org/rescode.html>.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i32>().ok().map(|code| code & 0xff)
}

/// Returns the fault that `SQLITE_CORRUPT` or `SQLITE_NOTADB` indicates, for any statement.
pub(super) fn damage_of(error: &sqlx::Error) -> Option<Fault> {
    matches!(primary_code(error), Some(11 | 26)).then(|| {
        let message = error.as_database_error().map(DatabaseError::message);
        Fault::Damaged(message.unwrap_or_default().to_owned())
    })
}

/// Returns whether a write failed for lack of space.
pub(crate) fn is_full(error: &sqlx::Error) -> bool {
    let no_room_for_the_index_of_the_log = Some("4874");
    let code = error.as_database_error().and_then(DatabaseError::code);
    primary_code(error) == Some(13) || code.as_deref() == no_room_for_the_index_of_the_log
}

/// Returns the damage that caused an error at startup.
fn damage_in(error: &anyhow::Error) -> Option<Fault> {
    error.chain().find_map(|cause| {
        let fault = cause.downcast_ref::<Fault>().cloned();
        fault.or_else(|| damage_of(cause.downcast_ref::<sqlx::Error>()?))
    })
}

/// Rebuilds a database without incremental auto-vacuum once, so that unused space can be reclaimed.
async fn give_space_back(connection: &mut SqliteConnection) {
    let incremental: sqlx::Result<i64> = sqlx::query_scalar("PRAGMA auto_vacuum")
        .fetch_one(&mut *connection)
        .await;
    if matches!(incremental, Ok(2)) {
        return;
    }
    tracing::info!("rewriting the database once, to enable incremental vacuum");
    let vacuum = "PRAGMA auto_vacuum = INCREMENTAL; VACUUM";
    if let Err(error) = sqlx::raw_sql(vacuum).execute(connection).await {
        tracing::warn!(%error, "failed to rewrite the database, which needs free space of its size; \
                                unused space is not released");
    }
}

/// Returns the file that an SQLite URL names.
///
/// # Errors
/// For an in-memory database, which is unsupported: readers and writer are separate connections.
pub fn file_of(url: &str) -> anyhow::Result<PathBuf> {
    let rest = url
        .strip_prefix("sqlite://")
        .or_else(|| url.strip_prefix("sqlite:"))
        .with_context(|| format!("invalid database URL `{url}`: expected sqlite:PATH"))?;
    let path = rest.split('?').next().unwrap_or(rest);
    anyhow::ensure!(
        !path.is_empty() && path != ":memory:",
        "invalid database URL `{url}`: expected a file, for example sqlite:scheduler.db"
    );
    Ok(PathBuf::from(path))
}

/// Formats a time for the database. The width is fixed, so that text order is time order.
fn text_of(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[async_trait]
impl Storage for SqliteStorage {
    async fn ping(&self) -> Result<()> {
        self.probe_files();
        self.condition.check()?;
        keys::set_meta(&self.writer, "last_ping", text_of(now()).as_bytes()).await?;
        keys::meta(&self.readers, "last_ping").await.map(drop)
    }

    async fn add_job(
        &self,
        job: &NewJob,
        children: &[Uuid],
        inline: Option<&Connection>,
    ) -> Result<AddOutcome> {
        jobs::add(&self.readers, &self.writer, job, children, inline).await
    }

    async fn job(&self, id: Uuid) -> Result<Option<Job>> {
        jobs::get(&self.readers, id).await
    }

    async fn job_with_key(&self, key: &str) -> Result<Option<(Job, String)>> {
        jobs::with_key(&self.readers, key).await
    }

    async fn listed_job(&self, id: Uuid) -> Result<Option<ListedJob>> {
        jobs::listed(&self.readers, id).await
    }

    async fn job_texts(&self, id: Uuid) -> Result<Option<JobTexts>> {
        jobs::texts(&self.readers, id).await
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<ListedJob>> {
        jobs::list(&self.readers, filter).await
    }

    async fn count_jobs(&self, created_after: Option<DateTime<Utc>>) -> Result<StatusCounts> {
        jobs::count(&self.readers, created_after).await
    }

    async fn count_children(&self, id: Uuid) -> Result<u64> {
        jobs::count_children(&self.readers, id).await
    }

    async fn cancel_job(&self, id: Uuid, now: DateTime<Utc>) -> Result<CancelOutcome> {
        self.told(id, jobs::cancel(&self.writer, id, now).await)
    }

    async fn delete_job(&self, id: Uuid) -> Result<DeleteOutcome> {
        self.told(id, jobs::delete(&self.writer, id).await)
    }

    async fn advance_batch(&self, id: Uuid, now: DateTime<Utc>) -> Result<BatchProgress> {
        let advanced = batches::advance(&self.writer, id, now).await;
        self.told(id, advanced)
    }

    async fn unfinished_batches(&self) -> Result<Vec<Uuid>> {
        batches::unfinished(&self.readers).await
    }

    async fn batch_counts(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, BatchCounts>> {
        batches::counts(&self.readers, ids).await
    }

    async fn running_children(&self, id: Uuid) -> Result<Vec<Uuid>> {
        batches::running_children(&self.readers, id).await
    }

    async fn attempts(&self, job_id: Uuid) -> Result<Vec<Attempt>> {
        running::attempts(&self.readers, job_id).await
    }

    async fn ready_jobs(
        &self,
        after: (DateTime<Utc>, Uuid),
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<ReadyJob>> {
        running::ready(&self.readers, after, now, limit).await
    }

    async fn next_ready_at(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
        running::next_ready_at(&self.readers, now).await
    }

    async fn waiting_job(&self, id: Uuid) -> Result<Option<WaitingJob>> {
        running::waiting(&self.readers, id).await
    }

    async fn claim_job(
        &self,
        id: Uuid,
        worker_id: &str,
        runs: Option<&Runs>,
        now: DateTime<Utc>,
    ) -> Result<Option<Job>> {
        let claiming = ClaimJob {
            id,
            worker_id: worker_id.to_owned(),
            runs: runs.cloned(),
            now,
        };
        self.told(id, self.writer.one(claiming).await)
    }

    async fn skip_job(&self, id: Uuid, reason: &JobError, now: DateTime<Utc>) -> Result<bool> {
        let skipped = running::skip(&self.writer, id, reason, now).await;
        self.told(id, skipped)
    }

    async fn finish_job(
        &self,
        claim: &Claim,
        outcome: Outcome,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let finished = running::finish(&self.writer, claim, outcome, now).await;
        self.told(claim.job_id, finished)
    }

    async fn running_jobs(&self) -> Result<Vec<Job>> {
        running::running(&self.readers).await
    }

    async fn add_result(&self, claim: &Claim, result: CommandResult) -> Result<()> {
        let answering = AddResult {
            worker_id: claim.worker_id.clone(),
            result,
        };
        let added = self.writer.one(answering).await;
        self.told(
            claim.job_id,
            added.and_then(|holds| while_claimed(claim, holds)),
        )
    }

    async fn begin_command(&self, claim: &Claim, command: &InFlight) -> Result<()> {
        let noting = AddNote {
            claim: claim.clone(),
            command: command.clone(),
        };
        while_claimed(claim, self.writer.one(noting).await?)
    }

    async fn commands_in_flight(&self, job_id: Uuid) -> Result<Vec<InFlight>> {
        in_flight::of_job(&self.readers, job_id).await
    }

    async fn add_logs(&self, logs: Vec<JobLog>) -> Result<()> {
        let job_id = logs.first().map(|line| line.job_id);
        let added = self.writer.all(logs).await;
        if let Some(job_id) = job_id {
            // Some lines may have been written even if others failed.
            let _ = self.changes.send(job_id);
        }
        added.map(drop)
    }

    async fn set_progress(&self, claim: &Claim, progress: &Progress) -> Result<()> {
        let progressing = SetProgress {
            claim: claim.clone(),
            progress: progress.clone(),
        };
        let set = self.writer.one(progressing).await;
        self.told(
            claim.job_id,
            set.and_then(|holds| while_claimed(claim, holds)),
        )
    }

    async fn output_bytes(&self, job_id: Uuid, target: Option<&str>) -> Result<u64> {
        running::output_bytes(&self.readers, job_id, target).await
    }

    async fn results(&self, job_id: Uuid) -> Result<Vec<CommandResult>> {
        running::results_after(&self.readers, job_id, Uuid::nil(), u32::MAX).await
    }

    async fn measure_results(&self, job_id: Uuid, after: Uuid, page: Page) -> Result<Measured> {
        running::measure_results(&self.readers, job_id, after, page).await
    }

    async fn results_after(
        &self,
        job_id: Uuid,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<CommandResult>> {
        running::results_after(&self.readers, job_id, after, limit).await
    }

    async fn job_use(&self, job_id: Uuid) -> Result<JobUse> {
        running::job_use(&self.readers, job_id).await
    }

    async fn downloaded_files(&self) -> Result<Vec<DownloadedFile>> {
        downloads::all(&self.readers).await
    }

    async fn add_downloaded_file(&self, file: &DownloadedFile) -> Result<()> {
        downloads::add(&self.writer, file).await
    }

    async fn forget_downloaded_files(&self, paths: &[String]) -> Result<()> {
        downloads::forget(&self.writer, paths).await
    }

    async fn sweep_jobs(
        &self,
        after: Place,
        before: Option<DateTime<Utc>>,
        failed_before: Option<DateTime<Utc>>,
    ) -> Result<Swept> {
        retention::sweep(&self.readers, &self.writer, after, before, failed_before).await
    }

    async fn delete_jobs_beyond(&self, most: u32) -> Result<u64> {
        retention::beyond(&self.readers, &self.writer, most).await
    }

    async fn delete_oldest_jobs(&self, limit: u32) -> Result<u64> {
        retention::oldest(&self.readers, &self.writer, limit).await
    }

    async fn vacuum(&self) -> Result<bool> {
        retention::vacuum(&self.readers, &self.writer).await
    }

    async fn size(&self) -> Result<Size> {
        retention::size(&self.readers).await
    }

    async fn size_of_plugins(&self) -> Result<u64> {
        retention::size_of_plugins(&self.readers).await
    }

    fn changes(&self) -> broadcast::Receiver<Uuid> {
        self.changes.subscribe()
    }

    async fn logs(
        &self,
        job_id: Uuid,
        after: i64,
        least: Option<LogLevel>,
        limit: u32,
    ) -> Result<Vec<JobLog>> {
        running::logs(&self.readers, job_id, after, least, limit).await
    }

    async fn measure_logs_before(
        &self,
        job_id: Uuid,
        before: i64,
        least: Option<LogLevel>,
        page: Page,
    ) -> Result<Measured> {
        running::measure_logs_before(&self.readers, job_id, before, least, page).await
    }

    async fn logs_before(
        &self,
        job_id: Uuid,
        before: i64,
        least: Option<LogLevel>,
        limit: u32,
    ) -> Result<Vec<JobLog>> {
        running::logs_before(&self.readers, job_id, before, least, limit).await
    }

    async fn last_log(&self, job_id: Uuid, after: i64) -> Result<Option<i64>> {
        running::last_log(&self.readers, job_id, after).await
    }

    async fn last_result(&self, job_id: Uuid, after: Uuid) -> Result<Option<Uuid>> {
        running::last_result(&self.readers, job_id, after).await
    }

    async fn measure_logs(
        &self,
        job_id: Uuid,
        after: i64,
        least: Option<LogLevel>,
        page: Page,
    ) -> Result<Measured> {
        running::measure_logs(&self.readers, job_id, after, least, page).await
    }

    async fn add_connection(&self, connection: &Connection) -> Result<()> {
        connections::add(&self.writer, connection).await
    }

    async fn change_connections(&self, change: ConnectionChange) -> Result<Option<u64>> {
        connections::change(&self.writer, change).await
    }

    async fn delete_connection(&self, id: Uuid) -> Result<DeleteConnectionOutcome> {
        connections::delete(&self.writer, id).await
    }

    async fn connection(&self, id: Uuid) -> Result<Option<Connection>> {
        connections::get(&self.readers, id).await
    }

    async fn connection_named(&self, name: &str) -> Result<Option<Connection>> {
        connections::named(&self.readers, name).await
    }

    async fn connections(&self) -> Result<Vec<Connection>> {
        connections::list(&self.readers).await
    }

    async fn connections_page(&self, after: &str, page: Page) -> Result<(Vec<Connection>, bool)> {
        connections::page(&self.readers, after, page).await
    }

    async fn sealed_inline_connections(&self) -> Result<Vec<Connection>> {
        connections::sealed_inline(&self.readers).await
    }

    async fn host_keys(&self, place: &HostKeyPlace) -> Result<Vec<KnownHostKey>> {
        connections::host_keys(&self.readers, place).await
    }

    async fn add_host_key(
        &self,
        place: &HostKeyPlace,
        key: (&str, &str, &str),
        now: DateTime<Utc>,
    ) -> Result<()> {
        connections::add_host_key(&self.writer, place, key, now).await
    }

    async fn plugin_value(&self, plugin: &str, key: &str) -> Result<Option<Value>> {
        keys::plugin_value(&self.readers, plugin, key).await
    }

    async fn set_plugin_value(
        &self,
        plugin: &str,
        key: &str,
        value: &Value,
        limit: StorageUse,
        now: DateTime<Utc>,
    ) -> Result<std::result::Result<(), StorageUse>> {
        keys::set_plugin_value(&self.writer, plugin, key, value, limit, now).await
    }

    async fn delete_plugin_value(&self, plugin: &str, key: &str) -> Result<bool> {
        keys::delete_plugin_value(&self.writer, plugin, key).await
    }

    async fn plugin_keys(&self, plugin: &str, prefix: &str, limit: u32) -> Result<Vec<String>> {
        keys::plugin_keys(&self.readers, plugin, prefix, limit).await
    }

    async fn keep_versions(&self, versions: Vec<LoadedVersion>, now: DateTime<Utc>) -> Result<()> {
        versions::keep(&self.writer, versions, now).await
    }

    async fn plugin_versions(&self, plugin: &str) -> Result<Vec<PluginVersion>> {
        versions::of_plugin(&self.readers, plugin).await
    }

    async fn plugin_files(
        &self,
        plugin: &str,
        digest: &str,
    ) -> Result<Option<(PluginKind, PluginFiles)>> {
        versions::files(&self.readers, plugin, digest).await
    }

    async fn add_schedule(
        &self,
        schedule: &Schedule,
        idempotency: Option<&(String, String)>,
    ) -> Result<AddScheduleOutcome> {
        schedules::add(&self.readers, &self.writer, schedule, idempotency).await
    }

    async fn update_schedule(&self, schedule: &Schedule) -> Result<bool> {
        schedules::update(&self.writer, schedule).await
    }

    async fn delete_schedule(&self, id: Uuid) -> Result<bool> {
        schedules::delete(&self.writer, id).await
    }

    async fn schedule(&self, id: Uuid) -> Result<Option<Schedule>> {
        schedules::get(&self.readers, id).await
    }

    async fn schedule_named(&self, name: &str) -> Result<Option<Schedule>> {
        schedules::named(&self.readers, name).await
    }

    async fn schedule_with_key(&self, key: &str) -> Result<Option<(Schedule, String)>> {
        schedules::with_key(&self.readers, key).await
    }

    async fn schedules_page(&self, after: &str, page: Page) -> Result<(Vec<ListedSchedule>, bool)> {
        schedules::page(&self.readers, after, page).await
    }

    async fn count_schedules(&self) -> Result<u64> {
        schedules::count(&self.readers).await
    }

    async fn due_schedules(&self, now: DateTime<Utc>) -> Result<Vec<Schedule>> {
        schedules::due(&self.readers, now).await
    }

    async fn next_schedule_at(&self, after: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
        schedules::next(&self.readers, after).await
    }

    async fn schedules_after(&self, time: DateTime<Utc>) -> Result<Vec<Schedule>> {
        schedules::after(&self.readers, time).await
    }

    async fn move_schedule(&self, id: Uuid, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<()> {
        schedules::bring_forward(&self.writer, id, from, to).await
    }

    async fn fire_tick(
        &self,
        tick: &Tick,
        next: Option<DateTime<Utc>>,
        left_out: Option<String>,
    ) -> Result<bool> {
        schedules::fire(&self.writer, tick, next, left_out).await
    }

    async fn due_ticks(&self) -> Result<Vec<Tick>> {
        schedules::due_ticks(&self.readers).await
    }

    async fn settle_tick(&self, tick: &Tick, job_id: Option<Uuid>, outcome: &str) -> Result<()> {
        schedules::settle(&self.writer, tick, job_id, outcome).await
    }

    async fn pauses(&self) -> Result<Vec<Pause>> {
        pauses::list(&self.readers).await
    }

    async fn set_pause(&self, pause: &Pause) -> Result<()> {
        pauses::set(&self.writer, pause).await
    }

    async fn delete_pause(&self, id: Uuid) -> Result<bool> {
        pauses::delete(&self.writer, id).await
    }

    async fn schedule_is_busy(&self, id: Uuid) -> Result<bool> {
        schedules::is_busy(&self.readers, id).await
    }

    async fn note_ended_jobs(&self, note: bool) -> Result<()> {
        notifications::note_ended_jobs(&self.writer, note).await
    }

    async fn ended_jobs(&self, limit: u32) -> Result<Vec<Uuid>> {
        notifications::ended_jobs(&self.readers, limit).await
    }

    async fn notify(
        &self,
        job_id: Uuid,
        messages: Vec<Notification>,
        now: DateTime<Utc>,
    ) -> Result<u64> {
        notifications::notify(&self.writer, job_id, messages, now).await
    }

    async fn outcome_before(&self, job: &Job) -> Result<Option<JobStatus>> {
        notifications::outcome_before(&self.readers, job).await
    }

    async fn durations_before(&self, job: &Job, limit: u32) -> Result<Vec<i64>> {
        notifications::durations_before(&self.readers, job, limit).await
    }

    async fn failed_children(&self, id: Uuid, limit: u32) -> Result<Vec<FailedChild>> {
        notifications::failed_children(&self.readers, id, limit).await
    }

    async fn due_notification(
        &self,
        channel: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Notification>> {
        notifications::due(&self.readers, channel, now).await
    }

    async fn give_up_due_notification(
        &self,
        channel: &str,
        error: &str,
        now: DateTime<Utc>,
    ) -> Result<()> {
        notifications::give_up_due(&self.writer, channel, error, now).await
    }

    async fn next_notification_at(&self, channel: &str) -> Result<Option<DateTime<Utc>>> {
        notifications::next_at(&self.readers, channel).await
    }

    async fn settle_notification(
        &self,
        id: Uuid,
        delivery: Delivery,
        now: DateTime<Utc>,
    ) -> Result<()> {
        notifications::settle(&self.writer, id, delivery, now).await
    }

    async fn abandon_other_channels(&self, channels: &[String], now: DateTime<Utc>) -> Result<u64> {
        notifications::abandon_others(&self.writer, channels, now).await
    }

    async fn notifications(
        &self,
        state: Option<NotificationState>,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Notification>> {
        notifications::list(&self.readers, state, after, limit).await
    }

    async fn meta(&self, key: &str) -> Result<Option<Vec<u8>>> {
        keys::meta(&self.readers, key).await
    }

    async fn set_meta(&self, key: &str, value: &[u8]) -> Result<()> {
        keys::set_meta(&self.writer, key, value).await
    }

    async fn device_logins(&self, now: DateTime<Utc>, most: u32) -> Result<Vec<(String, Value)>> {
        device_logins::all(&self.readers, now, most).await
    }

    async fn set_device_logins(
        &self,
        address: &str,
        record: &Value,
        expires_at: DateTime<Utc>,
    ) -> Result<()> {
        device_logins::set(&self.writer, address, record, expires_at).await
    }

    async fn sweep_device_logins(&self, now: DateTime<Utc>, most: u32) -> Result<u64> {
        device_logins::sweep(&self.writer, now, most).await
    }

    fn condition(&self) -> &Condition {
        &self.condition
    }

    fn probe_files(&self) {
        if let Some(fault) = self.files.changed() {
            self.condition.fail(fault);
        }
    }

    async fn close(&self) {
        // The last connection to close checkpoints the WAL, which a read-only connection cannot do.
        self.readers.close().await;
        self.writer.close().await;
        // The reserve may have been used by a start on a full disk, and may fit again.
        self.file.keep_reserve();
    }
}

/// Rejects a write if the attempt's claim is no longer valid.
fn while_claimed(claim: &Claim, holds: bool) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(StorageError::Unavailable(format!(
        "attempt {} of job {} no longer belongs to this worker",
        claim.attempt, claim.job_id
    )))
}

fn is_unique(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(DatabaseError::is_unique_violation)
}

/// Returns `Exists` for a unique violation of a table that has no unique text but the name. `what`
/// includes the article, as in `a schedule`.
fn named_already(error: sqlx::Error, what: &str, name: &str) -> StorageError {
    if is_unique(&error) {
        StorageError::Exists(format!("{what} named `{name}`"))
    } else {
        error.into()
    }
}
