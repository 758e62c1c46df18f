//! Log lines of jobs.

use async_trait::async_trait;
use uuid::Uuid;

use super::{Measured, Page, Result};
use crate::model::{JobLog, LogLevel};

/// Log lines of jobs.
#[async_trait]
pub trait LogStore: Send + Sync + 'static {
    /// Writes log lines independently: if one cannot be written, the others are.
    async fn add_logs(&self, logs: Vec<JobLog>) -> Result<()>;
    /// Measures the next log lines of a job, like [`ResultStore::measure_results`](super::ResultStore::measure_results).
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
    /// Measures the last log lines before an id, like [`LogStore::measure_logs`].
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
}
