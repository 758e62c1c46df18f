//! The job's log.

use serde::Serialize;

use crate::Result;
use crate::bindings::job_scheduler::plugin::log;
use crate::error::of_host;

/// Adds a line at a level given by name: `debug`, `info`, `warn` or `error`.
///
/// # Errors
/// Code `invalid` for another name.
pub fn write(level: &str, message: impl AsRef<str>) -> Result<()> {
    log::write(level, message.as_ref(), None).map_err(of_host)
}

/// [`write()`], with fields beside the message: what is written as a JSON object.
///
/// # Errors
/// Code `invalid` for another name; `script` for fields that are not JSON.
pub fn write_with(level: &str, message: impl AsRef<str>, fields: impl Serialize) -> Result<()> {
    let fields = serde_json::to_string(&fields)?;
    log::write(level, message.as_ref(), Some(&fields)).map_err(of_host)
}

// Whether a line reached the log changes nothing for the plugin: a job that is to stop does not
// come back from the call.

pub fn info(message: impl AsRef<str>) {
    let _ = log::info(message.as_ref(), None);
}

pub fn warn(message: impl AsRef<str>) {
    let _ = log::warn(message.as_ref(), None);
}

pub fn error(message: impl AsRef<str>) {
    let _ = log::error(message.as_ref(), None);
}
