//! The job's log.

use serde::Serialize;

use crate::Result;
use crate::bindings::job_scheduler::plugin::log;
use crate::error::of_host;

/// Writes a line at a level: `debug`, `info`, `warn` or `error`.
///
/// # Errors
/// Code `invalid` for another level.
pub fn write(level: &str, message: impl AsRef<str>) -> Result<()> {
    log::write(level, message.as_ref(), None).map_err(of_host)
}

/// Writes a line like [`write()`], with additional fields that serialize to a JSON object.
///
/// # Errors
/// Code `invalid` for another level; `script` if the fields do not serialize to JSON.
pub fn write_with(level: &str, message: impl AsRef<str>, fields: impl Serialize) -> Result<()> {
    let fields = serde_json::to_string(&fields)?;
    log::write(level, message.as_ref(), Some(&fields)).map_err(of_host)
}

// These functions ignore errors: a plugin cannot act on a lost line, and the call does not return
// to a job that is being stopped.

pub fn info(message: impl AsRef<str>) {
    let _ = log::info(message.as_ref(), None);
}

pub fn warn(message: impl AsRef<str>) {
    let _ = log::warn(message.as_ref(), None);
}

pub fn error(message: impl AsRef<str>) {
    let _ = log::error(message.as_ref(), None);
}
