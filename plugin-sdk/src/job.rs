//! The job that runs.

use std::time::Duration;

use crate::Result;
use crate::bindings::job_scheduler::plugin::{job, progress as host};
use crate::error::of_host;

/// What a plugin may know of the job it runs as.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Job {
    /// A UUID.
    pub id: String,
    /// The plugin's name.
    pub plugin: String,
    /// The name of the only target; none where there is no target, or several.
    pub target: Option<String>,
    pub targets: Vec<String>,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// The job that submitted this one.
    pub parent_id: Option<String>,
    /// What the submitter wrote about it.
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

/// Waits; what is waited costs no CPU budget.
///
/// # Errors
/// Code `invalid` for a time that is none.
pub fn sleep(time: Duration) -> Result<()> {
    job::sleep(time.as_secs_f64()).map_err(of_host)
}

/// Says how far the job is: `done` of `total`.
///
/// # Errors
/// When the host's database is not available.
pub fn progress(done: u64, total: impl Into<Option<u64>>, message: Option<&str>) -> Result<()> {
    host::progress(done, total.into(), message).map_err(of_host)
}
