//! Log lines of jobs.

use async_trait::async_trait;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::batching::{BatchedWrite, SqliteQuery};
use super::readers::Readers;
use super::{Result, SqliteStorage, rows, text_of};
use crate::model::{JobLog, LogLevel};
use crate::storage::{LogStore, Measured, Page};

/// Selects the log lines after an id that have one of the given levels.
const LINES_AFTER: &str = "FROM job_logs
     WHERE job_id = ?1 AND id > ?2 AND level IN (SELECT value FROM json_each(?3)) ORDER BY id LIMIT ?4";

/// Selects the log lines before an id that have one of the given levels, last ones first.
const LINES_BEFORE: &str = "FROM job_logs
     WHERE job_id = ?1 AND id < ?2 AND level IN (SELECT value FROM json_each(?3))
     ORDER BY id DESC LIMIT ?4";

#[async_trait]
impl LogStore for SqliteStorage {
    async fn add_logs(&self, logs: Vec<JobLog>) -> Result<()> {
        let job_id = logs.first().map(|line| line.job_id);
        let added = self.writer.batched_all(logs).await;
        if let Some(job_id) = job_id {
            // Some lines may have been written even if others failed.
            self.publish(job_id);
        }
        added.map(drop)
    }

    async fn measure_logs(
        &self,
        job_id: Uuid,
        after: i64,
        least: Option<LogLevel>,
        page: Page,
    ) -> Result<Measured> {
        measure_lines(&self.readers, job_id, LINES_AFTER, after, least, page).await
    }

    async fn logs(
        &self,
        job_id: Uuid,
        after: i64,
        least: Option<LogLevel>,
        limit: u32,
    ) -> Result<Vec<JobLog>> {
        lines(&self.readers, job_id, LINES_AFTER, after, least, limit).await
    }

    async fn measure_logs_before(
        &self,
        job_id: Uuid,
        before: i64,
        least: Option<LogLevel>,
        page: Page,
    ) -> Result<Measured> {
        measure_lines(&self.readers, job_id, LINES_BEFORE, before, least, page).await
    }

    async fn logs_before(
        &self,
        job_id: Uuid,
        before: i64,
        least: Option<LogLevel>,
        limit: u32,
    ) -> Result<Vec<JobLog>> {
        let mut found = lines(&self.readers, job_id, LINES_BEFORE, before, least, limit).await?;
        found.reverse();
        Ok(found)
    }

    async fn last_log(&self, job_id: Uuid, after: i64) -> Result<Option<i64>> {
        let last = sqlx::query_scalar("SELECT max(id) FROM job_logs WHERE job_id = ? AND id > ?")
            .bind(job_id.to_string())
            .bind(after)
            .fetch_one(&self.readers)
            .await?;
        Ok(last)
    }
}

impl BatchedWrite for JobLog {
    type Output = ();

    const STATEMENTS: &str = "INSERT INTO job_logs (job_id, level, message, timestamp, context) VALUES ($1, $2, $3, $4, $5)";
    const PARAMETERS: usize = 5;

    fn bind<'q>(&self, query: SqliteQuery<'q>) -> SqliteQuery<'q> {
        query
            .bind(self.job_id.to_string())
            .bind(self.level.as_str())
            .bind(&self.message)
            .bind(text_of(self.timestamp))
            .bind(self.context.as_ref().map(Value::to_string))
    }

    fn output(&self, _: Option<&SqliteRow>) -> Result<()> {
        Ok(())
    }
}

fn levels_from(least: Option<LogLevel>) -> String {
    let levels: Vec<&str> = LogLevel::ALL
        .into_iter()
        .filter(|level| least.is_none_or(|least| *level >= least))
        .map(LogLevel::as_str)
        .collect();
    serde_json::json!(levels).to_string()
}

/// Measures the log lines that follow or precede an id.
async fn measure_lines(
    readers: &Readers,
    job_id: Uuid,
    lines: &str,
    place: i64,
    least: Option<LogLevel>,
    page: Page,
) -> Result<Measured> {
    let query =
        format!("SELECT octet_length(message) + coalesce(octet_length(context), 0) {lines}");
    let sizes: Vec<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
        .bind(job_id.to_string())
        .bind(place)
        .bind(levels_from(least))
        .bind(page.limit.saturating_add(1))
        .fetch_all(readers)
        .await?;
    Ok(page.measure(sizes.into_iter().map(i64::unsigned_abs)))
}

async fn lines(
    readers: &Readers,
    job_id: Uuid,
    lines: &str,
    place: i64,
    least: Option<LogLevel>,
    limit: u32,
) -> Result<Vec<JobLog>> {
    let query = sqlx::AssertSqlSafe(format!("SELECT * {lines}"));
    let found = sqlx::query(query)
        .bind(job_id.to_string())
        .bind(place)
        .bind(levels_from(least))
        .bind(limit)
        .fetch_all(readers)
        .await?;
    found.iter().map(rows::log).collect()
}
