//! Helpers on text.

use serde::de::DeserializeOwned;

use crate::Result;
use crate::bindings::job_scheduler::plugin::text;
use crate::error::of_host;

/// The records in a command's output, by the operator's templates for the platform.
///
/// # Errors
/// Code `unsupported` where the operator has no templates, `not_found` where none is for this
/// command, `mismatch` when the output does not fit.
pub fn parse<T: DeserializeOwned>(platform: &str, command: &str, output: &str) -> Result<Vec<T>> {
    let records = text::parse(platform, command, output).map_err(of_host)?;
    Ok(serde_json::from_str(&records)?)
}

/// The lines in which two texts differ, as a unified diff; empty when they do not.
///
/// # Errors
/// Code `limit` for texts of many megabytes.
pub fn diff(old: &str, new: &str) -> Result<String> {
    text::diff(old, new).map_err(of_host)
}

/// Splits a whole configuration into elements for [`crate::ssh::Device::configure`]: lines, and
/// lines with the text that belongs to them, such as a banner.
///
/// # Errors
/// Code `invalid` if such a text does not end.
pub fn split_config(platform: &str, text: &str) -> Result<Vec<String>> {
    text::split_config(platform, text).map_err(of_host)
}

/// A text without the lines that begin with one of the prefixes.
#[must_use]
pub fn without_lines(text: &str, prefixes: &[&str]) -> String {
    let prefixes: Vec<String> = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
    text::without_lines(text, &prefixes)
}
