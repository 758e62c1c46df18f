//! Maintenance of database files: check, back up, restore.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use tempfile::TempPath;

use super::files::{DatabaseFile, lock_beside};
use super::{BUSY_TIMEOUT, beside, check};
use crate::model::now;

/// Counts connections with secrets sealed under the master key.
const SEALED_CONNECTIONS: &str = "SELECT count(*) FROM ssh_connections
     WHERE password IS NOT NULL OR secret IS NOT NULL OR private_key IS NOT NULL
        OR passphrase IS NOT NULL";
/// Like [`SEALED_CONNECTIONS`], for schemas that have answers to questions.
const SEALED_CONNECTIONS_AND_ANSWERS: &str = "SELECT count(*) FROM ssh_connections
     WHERE password IS NOT NULL OR secret IS NOT NULL OR private_key IS NOT NULL
        OR passphrase IS NOT NULL OR answers LIKE '%\"sealed\"%'";
const HAS_ANSWERS: &str =
    "SELECT EXISTS (SELECT 1 FROM pragma_table_info('ssh_connections') WHERE name = 'answers')";
/// Maximum number of foreign key violations reported.
const MAX_BROKEN_KEYS: usize = 20;

/// The findings of a full check.
#[derive(Debug)]
pub struct Report {
    /// Problems; empty if the database is sound.
    pub problems: Vec<String>,
    pub schema: i64,
    /// Newest schema version that this binary knows.
    pub known_schema: i64,
    pub bytes: u64,
}

/// A copy of a database in a single file.
#[derive(Debug)]
pub struct Copied {
    pub bytes: u64,
    pub schema: i64,
    /// Number of connections with secrets that only the master key opens.
    pub sealed_connections: u64,
    /// Check value, sealed with the master key when the key was first used with the database.
    pub key_check: Option<Vec<u8>>,
}

/// The result of restoring a backup.
#[derive(Debug)]
pub struct Restored {
    pub copied: Copied,
    /// Path of the replaced database, if there was one.
    pub replaced: Option<PathBuf>,
}

/// Checks a whole database: structure, indexes, foreign keys and schema version.
///
/// Reads one snapshot, so a server may use the database at the same time.
///
/// # Errors
/// If the file cannot be read, or is not a database of this program.
pub async fn check_database(database: &Path) -> anyhow::Result<Report> {
    let mut reading = read(database).await?;
    let report = check_all(&mut reading.connection, database).await;
    reading.close().await;
    report
}

async fn check_all(connection: &mut SqliteConnection, database: &Path) -> anyhow::Result<Report> {
    let failed = || format!("failed to check {}", database.display());
    let mut report = Report {
        problems: Vec::new(),
        schema: 0,
        known_schema: check::newest_schema(),
        bytes: std::fs::metadata(database).with_context(failed)?.len(),
    };
    // Damage makes some checks fail instead of reporting a problem.
    let structure = check::problems(connection, "integrity_check", None).await;
    let structure = damage_or(structure, &mut report).with_context(failed)?;
    report.problems.extend(structure.unwrap_or_default());
    let schema = check::schema_of(connection).await;
    match damage_or(schema, &mut report).with_context(failed)? {
        Some(Some(schema)) => report.schema = schema,
        Some(None) if report.problems.is_empty() => bail!(
            "{} is not a database of the scheduler: schema not found",
            database.display()
        ),
        Some(None) | None => {}
    }
    check::expect_known(report.schema, database)?;
    let keys = broken_keys(connection).await;
    let keys = damage_or(keys, &mut report).with_context(failed)?;
    report.problems.extend(keys.unwrap_or_default());
    Ok(report)
}

/// Converts an error that indicates damage into a problem of the report.
fn damage_or<T>(result: sqlx::Result<T>, report: &mut Report) -> sqlx::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if super::damage_of(&error).is_some() => {
            let problem = error.to_string();
            if !report.problems.contains(&problem) {
                report.problems.push(problem);
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn broken_keys(connection: &mut SqliteConnection) -> sqlx::Result<Vec<String>> {
    let rows = sqlx::query("PRAGMA foreign_key_check")
        .fetch_all(connection)
        .await?;
    let broken = rows.iter().take(MAX_BROKEN_KEYS).map(|row| {
        let (table, parent): (String, String) = (row.try_get(0)?, row.try_get(2)?);
        let id: Option<i64> = row.try_get(1)?;
        let id = id.map_or_else(String::new, |id| format!(" {id}"));
        Ok(format!(
            "row{id} of {table} refers to a missing row of {parent}"
        ))
    });
    broken.collect()
}

/// Copies a database into a single file with mode 0600. The file appears only once it is complete and
/// synced. A server may use the database at the same time.
///
/// # Errors
/// If the database is damaged or has a newer schema, if the file exists and `replace` is `false`, or if
/// it cannot be written.
pub async fn back_up(database: &Path, to: &Path, replace: bool) -> anyhow::Result<Copied> {
    if let Ok(existing) = std::fs::metadata(to) {
        let own = std::fs::metadata(database)
            .with_context(|| format!("failed to read {}", database.display()))?;
        ensure!(
            (existing.dev(), existing.ino()) != (own.dev(), own.ino()),
            "{} is the database itself; name another file for its backup",
            to.display()
        );
        ensure!(
            replace && existing.is_file(),
            "{} already exists; name another file, or replace it with --replace",
            to.display()
        );
    }
    let (aside, copied) = copy_aside(database, to).await?;
    let written = match replace {
        true => aside.persist(to),
        false => aside.persist_noclobber(to),
    };
    written.with_context(|| format!("failed to write {}", to.display()))?;
    sync_directory(to)?;
    Ok(copied)
}

/// Replaces a database that no server uses with a backup. The old database and its WAL are kept beside
/// it under a dated name.
///
/// # Errors
/// If a server uses the database, or the backup is damaged, has a newer schema, or is not a database of
/// this program; the database is then unchanged.
pub async fn restore(database: &Path, from: &Path) -> anyhow::Result<Restored> {
    let _lock = lock_beside(database)?;
    let target = resolved(database)?;
    let is_there = target.exists();
    if is_there && let Ok(same) = std::fs::metadata(from) {
        let own = std::fs::metadata(&target)?;
        ensure!(
            (same.dev(), same.ino()) != (own.dev(), own.ino()),
            "{} is the database itself; name the file of its backup",
            from.display()
        );
    }
    // Locks the inode as well: a server may have the file open under another name.
    let _locked = match is_there {
        true => Some(DatabaseFile::open(&target)?),
        false => None,
    };
    let (aside, copied) = copy_aside(from, &target).await?;
    let name = format!(".replaced-{}", now().format("%Y%m%dT%H%M%S%.3fZ"));
    let kept = beside(&target, &name);
    let failed = || format!("failed to replace {}", target.display());
    // In this order, a crash in between leaves no database, which the next start reports, rather than a
    // database without its WAL.
    let replaced = rename_if_there(&target, &kept).with_context(failed)?;
    rename_if_there(&beside(&target, "-wal"), &beside(&kept, "-wal")).with_context(failed)?;
    remove_if_there(&beside(&target, "-shm")).with_context(failed)?;
    sync_directory(&target)?;
    aside.persist(&target).with_context(failed)?;
    sync_directory(&target)?;
    Ok(Restored {
        copied,
        replaced: replaced.then_some(kept),
    })
}

/// Copies a database into a temporary file in the directory of `place`, and checks the copy.
async fn copy_aside(from: &Path, place: &Path) -> anyhow::Result<(TempPath, Copied)> {
    let failed = || format!("failed to copy {}", from.display());
    let mut source = read(from).await?;
    let copied = async {
        match check::schema_of(&mut source.connection)
            .await
            .with_context(failed)?
        {
            Some(schema) => check::expect_known(schema, from)?,
            None => bail!("{} is not a database of the scheduler", from.display()),
        }
        let aside = tempfile::Builder::new()
            .prefix(".scheduler-")
            .suffix(".tmp")
            .tempfile_in(directory_of(place))
            .with_context(|| format!("failed to write to {}", directory_of(place).display()))?
            .into_temp_path();
        let path = aside.to_str().context("the path is not UTF-8")?;
        // Reads one snapshot despite concurrent writes, and includes pages that are only in the WAL.
        sqlx::query("VACUUM INTO ?")
            .bind(path)
            .execute(&mut source.connection)
            .await
            .with_context(failed)?;
        anyhow::Ok(aside)
    }
    .await;
    source.close().await;
    let aside = copied?;
    let copied = examine(&aside).await.with_context(failed)?;
    File::open(&aside)?.sync_all().with_context(failed)?;
    Ok((aside, copied))
}

/// Checks a copy and counts the secrets in it.
async fn examine(copy: &Path) -> anyhow::Result<Copied> {
    let mut reading = read(copy).await?;
    let connection = &mut reading.connection;
    let examined = async {
        let report = check_all(&mut *connection, copy).await?;
        ensure!(
            report.problems.is_empty(),
            "it is damaged: {}",
            report.problems.join("; ")
        );
        let sealed = match sqlx::query_scalar(HAS_ANSWERS)
            .fetch_one(&mut *connection)
            .await?
        {
            true => SEALED_CONNECTIONS_AND_ANSWERS,
            false => SEALED_CONNECTIONS,
        };
        let sealed: i64 = sqlx::query_scalar(sealed)
            .fetch_one(&mut *connection)
            .await?;
        let key_check = sqlx::query_scalar("SELECT value FROM meta WHERE key = ?")
            .bind(crate::storage::MASTER_KEY_CHECK)
            .fetch_optional(&mut *connection)
            .await?;
        anyhow::Ok(Copied {
            bytes: report.bytes,
            schema: report.schema,
            sealed_connections: sealed.unsigned_abs(),
            key_check,
        })
    }
    .await;
    reading.close().await;
    examined
}

/// A database opened read-only.
struct Reading {
    connection: SqliteConnection,
    /// Files that SQLite creates beside the database and that did not exist before.
    made: Vec<PathBuf>,
}

impl Reading {
    /// Closes the database and removes the files that reading has created beside it; a read-only
    /// connection does not remove them itself.
    async fn close(self) {
        let _ = self.connection.close().await;
        // The WAL first: if it is not empty, a server has started to use the database in the meantime.
        for file in self.made {
            let is_log = file.to_string_lossy().ends_with("-wal");
            if is_log && std::fs::metadata(&file).is_ok_and(|file| file.len() > 0) {
                return;
            }
            if let Err(error) = remove_if_there(&file) {
                tracing::debug!(%error, file = %file.display(), "failed to remove a file of SQLite");
            }
        }
    }
}

/// Opens a database read-only: a damaged one is not changed, not even by a checkpoint.
async fn read(path: &Path) -> anyhow::Result<Reading> {
    ensure!(
        std::fs::metadata(path)
            .with_context(|| format!("failed to read {}", path.display()))?
            .is_file(),
        "{} is not a file",
        path.display()
    );
    let made = ["-wal", "-shm"].map(|suffix| beside(path, suffix));
    let made = made.into_iter().filter(|file| !file.exists()).collect();
    let connection = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
        .connect()
        .await
        .with_context(|| format!("failed to open the database {}", path.display()))?;
    Ok(Reading { connection, made })
}

/// Returns the file that a path refers to, which need not exist.
fn resolved(path: &Path) -> anyhow::Result<PathBuf> {
    if path.exists() {
        return Ok(path.canonicalize()?);
    }
    let directory = directory_of(path);
    let directory = directory
        .canonicalize()
        .with_context(|| format!("failed to find the directory {}", directory.display()))?;
    let name = path.file_name().context("the path has no file name")?;
    Ok(directory.join(name))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes renames survive a power failure.
fn sync_directory(file: &Path) -> anyhow::Result<()> {
    let directory = directory_of(file);
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .with_context(|| format!("failed to sync the directory {}", directory.display()))
}

/// Renames a file; returns whether it existed.
fn rename_if_there(from: &Path, to: &Path) -> std::io::Result<bool> {
    match std::fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
