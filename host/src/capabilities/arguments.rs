//! Parsing and validation of arguments, shared by both runtimes.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::{OnRefused, Result, limits};
use crate::json::reserved_field;
use crate::model::{ErrorCode, JobError, LogLevel};
use crate::{json, numbers};

/// The default wait for a child job: the maximum run time of a job.
const MAX_WAIT: Duration = Duration::from_secs(604_800);

/// Parses a number of seconds.
///
/// # Errors
/// Code `invalid` if it is negative, not finite, or too large.
pub fn seconds(function: &str, seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        invalid(format!(
            "{function}: invalid time: expected a number of seconds, got {seconds}"
        ))
    })
}

/// Parses an optional wait time in seconds.
///
/// # Errors
/// Like [`seconds`].
pub fn wait_time(function: &str, time: Option<f64>) -> Result<Duration> {
    time.map_or(Ok(MAX_WAIT), |time| seconds(function, time))
}

/// Parses the id of a job.
///
/// # Errors
/// Code `invalid` if it is not a UUID.
pub fn job_id(function: &str, id: &str) -> Result<Uuid> {
    Uuid::parse_str(id).map_err(|_| {
        invalid(format!(
            "{function}: invalid job id `{id}`: expected a \
         UUID"
        ))
    })
}

/// Parses the name of a log level.
///
/// # Errors
/// Code `invalid` for any other name.
pub fn level(name: &str) -> Result<LogLevel> {
    LogLevel::parse(name).ok_or_else(|| {
        invalid(format!(
            "log::write: invalid level: expected \"debug\", \"info\", \"warn\" or \"error\", got \
             \"{name}\""
        ))
    })
}

/// Parses `stop` or `continue`.
///
/// # Errors
/// Code `invalid` for any other word.
pub fn on_refused(choice: &str) -> Result<OnRefused> {
    match choice {
        "stop" => Ok(OnRefused::Stop),
        "continue" => Ok(OnRefused::Continue),
        other => Err(invalid(format!(
            "configure: invalid on_refused: expected \"stop\" or \"continue\", got \"{other}\""
        ))),
    }
}

/// Parses JSON with values that take no more than `most` bytes of memory.
///
/// # Errors
/// If the text is not valid JSON, its values take too much memory, or a number in it is out of range.
pub fn json(function: &str, text: &str, most: usize) -> Result<Value> {
    limits::check_values(text, most)
        .map_err(|message| JobError::new(ErrorCode::LIMIT, format!("{function}: {message}")))?;
    if let Some((place, message)) = reserved_field(text.as_bytes()) {
        return Err(invalid(format!("{function}: {message}, at {place:?}")));
    }
    let value = json::parse(text).map_err(|reason| invalid(format!("{function}: {reason}")))?;
    match numbers::out_of_range(&value) {
        Some((place, message)) => Err(invalid(format!("{function}: {message}, at {place:?}"))),
        None => Ok(value),
    }
}

/// Returns an error with code `invalid`.
pub fn invalid(message: String) -> JobError {
    JobError::new(ErrorCode::INVALID, message)
}
