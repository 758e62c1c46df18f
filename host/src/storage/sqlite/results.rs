//! Results of commands, and write intents: commands are recorded before they are sent, so that a crash
//! leaves a trace.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqliteExecutor};
use uuid::Uuid;

use super::batching::{BatchedWrite, SqliteQuery};
use super::{Result, SqliteStorage, rows, text_of, while_claimed};
use crate::model::{CommandKind, CommandResult, InFlight};
use crate::storage::{Claim, JobUse, Measured, Page, ResultStore};

const NO_RESPONSE: &str = "no response was recorded; it is unknown whether the device executed it";

#[async_trait]
impl ResultStore for SqliteStorage {
    async fn begin_command(&self, claim: &Claim, command: &InFlight) -> Result<()> {
        let write = AddIntent {
            claim: claim.clone(),
            command: command.clone(),
        };
        while_claimed(claim, self.writer.batched(write).await?)
    }

    async fn commands_in_flight(&self, job_id: Uuid) -> Result<Vec<InFlight>> {
        intents_of(&self.readers, job_id).await
    }

    async fn add_result(&self, claim: &Claim, result: CommandResult) -> Result<()> {
        let write = AddResult {
            worker_id: claim.worker_id.clone(),
            result,
        };
        let added = self.writer.batched(write).await;
        let added = added.and_then(|is_valid| while_claimed(claim, is_valid));
        self.publish_if_ok(claim.job_id, added)
    }

    async fn results_after(
        &self,
        job_id: Uuid,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<CommandResult>> {
        let found = sqlx::query(
            "SELECT * FROM job_results WHERE job_id = ? AND id > ? ORDER BY id LIMIT ?",
        )
        .bind(job_id.to_string())
        .bind(after.to_string())
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        found.iter().map(rows::result).collect()
    }

    // Lengths are read from the row headers; no output is loaded.
    async fn measure_results(&self, job_id: Uuid, after: Uuid, page: Page) -> Result<Measured> {
        let sizes: Vec<i64> = sqlx::query_scalar(
            "SELECT octet_length(output) + octet_length(command) + coalesce(octet_length(error), 0)
             FROM job_results WHERE job_id = ? AND id > ? ORDER BY id LIMIT ?",
        )
        .bind(job_id.to_string())
        .bind(after.to_string())
        .bind(page.limit.saturating_add(1))
        .fetch_all(&self.readers)
        .await?;
        Ok(page.measure(sizes.into_iter().map(i64::unsigned_abs)))
    }

    async fn last_result(&self, job_id: Uuid, after: Uuid) -> Result<Option<Uuid>> {
        let row = sqlx::query("SELECT max(id) AS id FROM job_results WHERE job_id = ? AND id > ?")
            .bind(job_id.to_string())
            .bind(after.to_string())
            .fetch_one(&self.readers)
            .await?;
        rows::optional(&row, "id", rows::uuid)
    }

    async fn output_bytes(&self, job_id: Uuid, target: Option<&str>) -> Result<u64> {
        let bytes: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(octet_length(command) + octet_length(output)), 0) FROM job_results
             WHERE job_id = ?1 AND (?2 IS NULL OR target = ?2)",
        )
        .bind(job_id.to_string())
        .bind(target)
        .fetch_one(&self.readers)
        .await?;
        Ok(bytes.unsigned_abs())
    }

    async fn job_use(&self, job_id: Uuid) -> Result<JobUse> {
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM job_results WHERE job_id = ?1) AS results,
                    (SELECT coalesce(sum(octet_length(output)), 0) FROM job_results
                     WHERE job_id = ?1) AS output_bytes,
                    (SELECT count(*) FROM job_logs WHERE job_id = ?1) AS log_lines,
                    (SELECT coalesce(sum(octet_length(message) + coalesce(octet_length(context), 0)), 0)
                     FROM job_logs WHERE job_id = ?1) AS log_bytes",
        )
        .bind(job_id.to_string())
        .fetch_one(&self.readers)
        .await?;
        let number =
            |column: &str| Ok::<_, sqlx::Error>(row.try_get::<i64, _>(column)?.unsigned_abs());
        Ok(JobUse {
            results: number("results")?,
            output_bytes: number("output_bytes")?,
            log_lines: number("log_lines")?,
            log_bytes: number("log_bytes")?,
        })
    }
}

/// A command result, written only if the claim is valid. Removes the write intent of its command.
pub(super) struct AddResult {
    pub worker_id: String,
    pub result: CommandResult,
}

impl BatchedWrite for AddResult {
    /// Whether the claim is valid.
    type Output = bool;

    const STATEMENTS: &str = "
        INSERT INTO job_results (id, job_id, attempt, target, kind, command, output,
                                 error, exit_code, truncated, executed_at, duration_ms)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12
        WHERE EXISTS (SELECT 1 FROM jobs
                      WHERE id = $2 AND attempt = $3 AND worker_id = $13 AND status = 'running')
        RETURNING $0;

        DELETE FROM in_flight WHERE id = $14 AND changes() = 1";
    const PARAMETERS: usize = 14;

    fn bind<'q>(&self, query: SqliteQuery<'q>) -> SqliteQuery<'q> {
        let result = &self.result;
        query
            .bind(result.id.to_string())
            .bind(result.job_id.to_string())
            .bind(result.attempt)
            .bind(&result.target)
            .bind(result.kind.as_str())
            .bind(&result.command)
            .bind(&result.output)
            .bind(&result.error)
            .bind(result.exit_code)
            .bind(result.truncated)
            .bind(text_of(result.executed_at))
            .bind(i64::try_from(result.duration_ms).unwrap_or(i64::MAX))
            .bind(&self.worker_id)
            .bind(result.in_flight.map(|intent| intent.to_string()))
    }

    fn output(&self, row: Option<&SqliteRow>) -> Result<bool> {
        Ok(row.is_some())
    }
}

/// The intent to send a command.
pub(super) struct AddIntent {
    pub claim: Claim,
    pub command: InFlight,
}

impl BatchedWrite for AddIntent {
    /// Whether the claim is valid.
    type Output = bool;

    const STATEMENTS: &str = "
        INSERT INTO in_flight (id, job_id, attempt, target, kind, command, began_at)
        SELECT $1, $2, $3, $4, $5, $6, $7
        WHERE EXISTS (SELECT 1 FROM jobs
                      WHERE id = $2 AND attempt = $3 AND worker_id = $8 AND status = 'running')
        RETURNING $0";
    const PARAMETERS: usize = 8;

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

    fn output(&self, row: Option<&SqliteRow>) -> Result<bool> {
        Ok(row.is_some())
    }
}

async fn intents_of(connection: impl SqliteExecutor<'_>, job_id: Uuid) -> Result<Vec<InFlight>> {
    let found = sqlx::query("SELECT * FROM in_flight WHERE job_id = ? ORDER BY id")
        .bind(job_id.to_string())
        .fetch_all(connection)
        .await?;
    found.iter().map(intent).collect()
}

/// Builds a result for each write intent of a job that has none; it says that no response was recorded.
pub(super) async fn without_response(
    connection: &mut SqliteConnection,
    claim: &Claim,
) -> Result<Vec<AddResult>> {
    let commands = intents_of(connection, claim.job_id).await?;
    let results = commands.into_iter().map(|command| AddResult {
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
            error: Some(NO_RESPONSE.to_owned()),
            exit_code: None,
            truncated: false,
            executed_at: command.began_at,
            duration_ms: 0,
            in_flight: Some(command.id),
        },
    });
    Ok(results.collect())
}

fn intent(row: &SqliteRow) -> Result<InFlight> {
    Ok(InFlight {
        id: rows::uuid(row, "id")?,
        target: row.try_get("target")?,
        kind: rows::named(row, "kind", CommandKind::parse)?,
        command: row.try_get("command")?,
        began_at: rows::time(row, "began_at")?,
    })
}
