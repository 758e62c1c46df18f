//! Write intents: commands are recorded before they are sent, so that a crash leaves a trace.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqliteExecutor};
use uuid::Uuid;

use super::bulk::{Bulk, BulkWork, Kinds, SqliteQuery};
use super::running::AddResult;
use super::{Claim, Result, rows, text_of};
use crate::model::{CommandKind, CommandResult, InFlight};

const NO_ANSWER: &str = "no response was recorded; it is unknown whether the device executed it";

/// The intent to send a command.
pub(super) struct AddNote {
    pub claim: Claim,
    pub command: InFlight,
}

impl BulkWork for AddNote {
    /// Whether the claim is valid.
    type Answer = bool;

    const STATEMENTS: &str = "
        INSERT INTO in_flight (id, job_id, attempt, target, kind, command, began_at)
        SELECT $1, $2, $3, $4, $5, $6, $7
        WHERE EXISTS (SELECT 1 FROM jobs
                      WHERE id = $2 AND attempt = $3 AND worker_id = $8 AND status = 'running')
        RETURNING $0";
    const PARAMETERS: usize = 8;

    fn bulk(kinds: &mut Kinds) -> &mut Bulk<Self> {
        &mut kinds.notes
    }

    fn bind<'q>(&self, query: SqliteQuery<'q>) -> SqliteQuery<'q> {
        let (claim, command) = (&self.claim, &self.command);
        query
            .bind(command.id.to_string())
            .bind(claim.job_id.to_string())
            .bind(claim.attempt)
            .bind(&command.target)
            .bind(command.kind.as_str())
            .bind(&command.command)
            .bind(text_of(command.began_at))
            .bind(&claim.worker_id)
    }

    fn answer(&self, row: Option<&SqliteRow>) -> Result<bool> {
        Ok(row.is_some())
    }
}

pub(super) async fn of_job(
    connection: impl SqliteExecutor<'_>,
    job_id: Uuid,
) -> Result<Vec<InFlight>> {
    let found = sqlx::query("SELECT * FROM in_flight WHERE job_id = ? ORDER BY id")
        .bind(job_id.to_string())
        .fetch_all(connection)
        .await?;
    found.iter().map(read).collect()
}

/// Builds a result for each write intent of a job that has none; it says that no answer was recorded.
pub(super) async fn without_answer(
    connection: &mut SqliteConnection,
    claim: &Claim,
) -> Result<Vec<AddResult>> {
    let commands = of_job(connection, claim.job_id).await?;
    let answers = commands.into_iter().map(|command| AddResult {
        worker_id: claim.worker_id.clone(),
        result: CommandResult {
            // Clients page from the last id they have seen, so this one has to be the newest.
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
            in_flight: Some(command.id),
        },
    });
    Ok(answers.collect())
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
