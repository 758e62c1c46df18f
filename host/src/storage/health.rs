//! The database as a whole: its health and its end.

use async_trait::async_trait;

use super::{Condition, Result};

/// The database as a whole.
#[async_trait]
pub trait HealthStore: Send + Sync + 'static {
    /// Reads and writes a row, for the health check.
    async fn ping(&self) -> Result<()>;
    /// Returns the health of the database.
    fn condition(&self) -> &Condition;
    /// Compares the database's files with those that were opened, and records a mismatch in the
    /// condition.
    fn probe_files(&self);
    /// Writes pending operations and closes the files.
    async fn close(&self);
}
