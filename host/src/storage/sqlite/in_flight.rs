//! What is being sent to a device: noted before, so that a crash leaves a trace of it.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::running::{insert_result, lost};
use super::writer::Writer;
use super::{Claim, Result, rows, text_of};
use crate::model::{CommandKind, CommandResult, InFlight};

const NO_ANSWER: &str = "no answer was recorded; nobody knows whether the device did it";

pub(super) async fn begin(writer: &Writer, claim: &Claim, command: &InFlight) -> Result<()> {
    let (claim, command) = (claim.clone(), command.clone());
    writer
        .statement(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(
                    "INSERT INTO in_flight (id, job_id, attempt, target, kind, command, began_at)
                     SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
                     WHERE EXISTS (
                         SELECT 1 FROM jobs
                         WHERE id = ?2 AND attempt = ?3 AND worker_id = ?8 AND status = 'running')",
                )
                .bind(command.id.to_string())
                .bind(claim.job_id.to_string())
                .bind(claim.attempt)
                .bind(command.target)
                .bind(command.kind.as_str())
                .bind(command.command)
                .bind(text_of(command.began_at))
                .bind(&claim.worker_id)
                .execute(&mut *connection)
                .await?;
                match done.rows_affected() {
                    0 => Err(lost(&claim)),
                    _ => Ok(()),
                }
            })
        })
        .await
}

/// Goes with the result that tells how it ended.
pub(super) async fn forget(connection: &mut SqliteConnection, id: Uuid) -> Result<()> {
    sqlx::query("DELETE FROM in_flight WHERE id = ?")
        .bind(id.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn of_job(readers: &SqlitePool, job_id: Uuid) -> Result<Vec<InFlight>> {
    let found = sqlx::query("SELECT * FROM in_flight WHERE job_id = ? ORDER BY id")
        .bind(job_id.to_string())
        .fetch_all(readers)
        .await?;
    found.iter().map(read).collect()
}

/// With the end of its attempt, what has no result becomes one.
pub(super) async fn end(connection: &mut SqliteConnection, claim: &Claim) -> Result<()> {
    let found = sqlx::query("DELETE FROM in_flight WHERE job_id = ? RETURNING *")
        .bind(claim.job_id.to_string())
        .fetch_all(&mut *connection)
        .await?;
    let mut commands = found.iter().map(read).collect::<Result<Vec<_>>>()?;
    commands.sort_by_key(|command| command.id);
    for command in commands {
        let result = CommandResult {
            // Results are read on from the last one: this is the newest.
            id: Uuid::now_v7(),
            job_id: claim.job_id,
            attempt: claim.attempt,
            target: command.target,
            kind: command.kind,
            command: command.command,
            output: String::new(),
            error: Some(NO_ANSWER.to_owned()),
            exit_code: None,
            truncated: false,
            executed_at: command.began_at,
            duration_ms: 0,
            in_flight: None,
        };
        insert_result(connection, result, None).await?;
    }
    Ok(())
}

fn read(row: &SqliteRow) -> Result<InFlight> {
    Ok(InFlight {
        id: rows::uuid(row, "id")?,
        target: row.try_get("target")?,
        kind: rows::named(row, "kind", CommandKind::parse)?,
        command: row.try_get("command")?,
        began_at: rows::time(row, "began_at")?,
    })
}
