//! The running job.

use std::time::Duration;

use crate::Result;
use crate::bindings::job_scheduler::plugin::{job, progress as host};
use crate::error::of_host;

/// The job that the plugin runs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Job {
    /// The job's id, a UUID.
    pub id: String,
    /// The plugin's name.
    pub plugin: String,
    /// The name of the only target; `None` without a target or with several.
    pub target: Option<String>,
    pub targets: Vec<String>,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The id of the job that submitted this one.
    pub parent_id: Option<String>,
    /// The submitter's description of the job.
    pub description: Option<String>,
}

impl Job {
    pub(crate) fn current() -> Self {
        Self {
            id: job::id(),
            plugin: job::plugin(),
            target: job::target(),
            targets: job::targets(),
            attempt: job::attempt(),
            parent_id: job::parent_id(),
            description: job::description(),
        }
    }
}

/// Waits; the waiting time does not count against the CPU budget.
///
/// # Errors
/// Code `invalid` if the time is out of range.
pub fn sleep(time: Duration) -> Result<()> {
    job::sleep(time.as_secs_f64()).map_err(of_host)
}

/// Reports the job's progress: `done` of `total`.
///
/// # Errors
/// If the host's database is not available.
pub fn progress(done: u64, total: impl Into<Option<u64>>, message: Option<&str>) -> Result<()> {
    host::progress(done, total.into(), message).map_err(of_host)
}
