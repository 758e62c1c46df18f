//! Results of commands, and the write intents that precede them.

use async_trait::async_trait;
use uuid::Uuid;

use super::{Claim, Measured, Page, Result};
use crate::model::{CommandResult, InFlight};

/// The total that all attempts at a job have stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobUse {
    pub results: u64,
    pub output_bytes: u64,
    pub log_lines: u64,
    pub log_bytes: u64,
}

/// Results of commands, and write intents. A write needs the claim of its attempt.
#[async_trait]
pub trait ResultStore: Send + Sync + 'static {
    /// Records the intent to send a command, before it is sent.
    async fn begin_command(&self, claim: &Claim, command: &InFlight) -> Result<()>;
    /// Returns write intents without a result: commands that are being sent, or were when a process
    /// died.
    async fn commands_in_flight(&self, job_id: Uuid) -> Result<Vec<InFlight>>;
    async fn add_result(&self, claim: &Claim, result: CommandResult) -> Result<()>;
    /// Returns all results of a job, in order.
    async fn results(&self, job_id: Uuid) -> Result<Vec<CommandResult>> {
        self.results_after(job_id, Uuid::nil(), u32::MAX).await
    }
    /// Measures how many results of a job after `after` fit into the page; at least one.
    async fn measure_results(&self, job_id: Uuid, after: Uuid, page: Page) -> Result<Measured>;
    /// Returns results in order, starting after `after`, at most `limit`.
    async fn results_after(
        &self,
        job_id: Uuid,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<CommandResult>>;
    /// Returns the id of the last result, if it is after `after`.
    async fn last_result(&self, job_id: Uuid, after: Uuid) -> Result<Option<Uuid>>;
    /// Returns the size of all command output of a job, for all targets or for one, in bytes.
    async fn output_bytes(&self, job_id: Uuid, target: Option<&str>) -> Result<u64>;
    /// Returns the total that all attempts at a job have stored so far.
    async fn job_use(&self, job_id: Uuid) -> Result<JobUse>;
}
