//! SQLite: WAL, foreign keys on, `synchronous=FULL`, files with mode 0600.
//!
//! Reads use a pool. All writes go through one `writer`, which commits waiting writes as one transaction
//! (group commit). With a single writer, no statement of this process fails with `SQLITE_BUSY`.
//!
//! This file opens and closes the database. Each role of [`Storage`](super::Storage) is implemented in
//! the file that has its SQL.

mod attempts;
mod batches;
mod batching;
mod check;
mod commit;
#[cfg(test)]
mod conformance_tests;
mod connections;
mod device_logins;
mod downloads;
mod files;
mod jobs;
mod logs;
mod maintenance;
mod meta;
mod notifications;
mod pauses;
mod plugin_values;
mod plugin_versions;
mod readers;
mod results;
mod retention;
mod rows;
mod schedules;
mod users;
mod waiting_jobs;
mod writer;
mod writes;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use sqlx::error::DatabaseError;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::broadcast;
use uuid::Uuid;

use super::{Claim, Condition, Fault, HealthStore, MetaStore, Result, StorageError};
use crate::model::now;
use files::{DatabaseFile, WatchedFiles};
pub use files::{beside, create_private, lock_beside};
pub use maintenance::{Copied, Report, Restored, back_up, check_database, restore};
use readers::Readers;
use writer::{Guard, Writer};

/// How long a statement waits for a lock that another process holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The SQLite implementation of [`Storage`](super::Storage).
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
const CHANGES_CAPACITY: usize = 1_024;
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
            changes: broadcast::channel(CHANGES_CAPACITY).0,
            condition,
            files,
            file,
        })
    }

    /// Publishes a change of the job if `result` is `Ok`; returns `result` unchanged.
    fn publish_if_ok<T>(&self, job_id: Uuid, result: Result<T>) -> Result<T> {
        if result.is_ok() {
            self.publish(job_id);
        }
        result
    }

    fn publish(&self, job_id: Uuid) {
        // Fails only without subscribers.
        let _ = self.changes.send(job_id);
    }
}

#[async_trait]
impl HealthStore for SqliteStorage {
    async fn ping(&self) -> Result<()> {
        self.probe_files();
        self.condition.check()?;
        self.set_meta("last_ping", text_of(now()).as_bytes())
            .await?;
        self.meta("last_ping").await.map(drop)
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

/// Rejects a write if the attempt's claim is no longer valid.
fn while_claimed(claim: &Claim, is_valid: bool) -> Result<()> {
    if is_valid {
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
