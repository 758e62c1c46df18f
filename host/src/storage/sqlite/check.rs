//! Checks of the database: its structure within a time limit, and which version wrote it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::damage_of;

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("../migrations/sqlite");

/// Large tables, checked last: they hold nearly all data of a large database.
const LARGE_TABLES: [&str; 5] = [
    "notifications",
    "plugin_files",
    "jobs",
    "job_logs",
    "job_results",
];
/// Steps of SQLite's virtual machine between checks of the deadline.
const STEPS: i32 = 10_000;
/// Maximum number of problems reported by one check.
const MAX_PROBLEMS: usize = 20;

/// The findings of a check.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Problems, as SQLite reports them.
    pub(super) problems: Vec<String>,
    /// Tables that were checked together with their indexes.
    pub(super) tables: Vec<String>,
    /// Tables that were not checked for lack of time.
    pub(super) unchecked: Vec<String>,
}

/// Returns the newest schema version that this binary knows.
pub(super) fn newest_schema() -> i64 {
    MIGRATOR.iter().map(|step| step.version).max().unwrap_or(0)
}

/// Returns the schema version of the database; `None` if no version of this program has written it.
pub(super) async fn schema_of(connection: &mut SqliteConnection) -> sqlx::Result<Option<i64>> {
    let is_ours: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations')",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !is_ours {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
        .fetch_one(connection)
        .await
}

/// Rejects a schema that a newer version has created.
///
/// # Errors
/// If the schema is newer than the newest one this binary knows.
pub(super) fn expect_known(schema: i64, database: &Path) -> anyhow::Result<()> {
    let known = newest_schema();
    if schema > known {
        bail!(
            "the database {} was written by a newer version: got schema {schema}, expected at most \
             {known} (this is version {}); install the newer version again, or restore a backup made \
             by this version",
            database.display(),
            env!("CARGO_PKG_VERSION"),
        );
    }
    Ok(())
}

/// Checks table by table, small ones first, until the time limit.
///
/// # Errors
/// If the database cannot be read for a reason other than damage.
pub(super) async fn quick_check(
    connection: &mut SqliteConnection,
    limit: Duration,
) -> sqlx::Result<Checked> {
    let deadline = Instant::now() + limit;
    let mut handle = connection.lock_handle().await?;
    handle.set_progress_handler(STEPS, move || Instant::now() < deadline);
    drop(handle);
    let checked = check_tables(connection, deadline).await;
    connection.lock_handle().await?.remove_progress_handler();
    checked
}

async fn check_tables(
    connection: &mut SqliteConnection,
    deadline: Instant,
) -> sqlx::Result<Checked> {
    let mut checked = Checked::default();
    let tables: sqlx::Result<Vec<String>> = sqlx::query_scalar(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name",
    )
    .fetch_all(&mut *connection)
    .await;
    let mut tables = match tables {
        Ok(tables) => tables,
        Err(error) if damage_of(&error).is_some() => {
            checked.problems.push(error.to_string());
            return Ok(checked);
        }
        Err(error) => return Err(error),
    };
    tables.sort_by_key(|table| LARGE_TABLES.iter().position(|large| large == table));
    // The check of the schema table also covers the free list.
    tables.insert(0, "sqlite_schema".to_owned());
    let mut left = tables.into_iter();
    for table in left.by_ref() {
        if Instant::now() >= deadline {
            checked.unchecked.push(table);
            break;
        }
        match problems(connection, "quick_check", Some(&table)).await {
            Ok(problems) => {
                checked.problems.extend(problems);
                checked.tables.push(table);
            }
            Err(error) if is_interrupted(&error) => {
                checked.unchecked.push(table);
                break;
            }
            Err(error) if damage_of(&error).is_some() => {
                checked.problems.push(format!("{table}: {error}"));
                checked.tables.push(table);
            }
            Err(error) => return Err(error),
        }
        if checked.problems.len() >= MAX_PROBLEMS {
            break;
        }
    }
    checked.unchecked.extend(left);
    Ok(checked)
}

/// Runs `quick_check` or `integrity_check` on one table or on the whole database.
///
/// # Errors
/// If the check did not finish.
pub(super) async fn problems(
    connection: &mut SqliteConnection,
    check: &'static str,
    table: Option<&str>,
) -> sqlx::Result<Vec<String>> {
    let argument = match table {
        Some(table) => format!("\"{}\"", table.replace('"', "\"\"")),
        None => MAX_PROBLEMS.to_string(),
    };
    let pragma = AssertSqlSafe(format!("PRAGMA {check}({argument})"));
    let mut found: Vec<String> = sqlx::query_scalar(pragma).fetch_all(connection).await?;
    found.retain(|line| line != "ok");
    // SQLite reports several problems of one b-tree in one row.
    let lines = found.iter().flat_map(|row| row.lines());
    Ok(lines.take(MAX_PROBLEMS).map(ToOwned::to_owned).collect())
}

fn is_interrupted(error: &sqlx::Error) -> bool {
    super::primary_code(error) == Some(9)
}
