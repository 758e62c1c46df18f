//! Text utilities.

use serde::de::DeserializeOwned;

use crate::Result;
use crate::bindings::job_scheduler::plugin::text;
use crate::error::of_host;

/// Parses a command's output into records, with the operator's templates for the platform.
///
/// # Errors
/// Code `unsupported` if the operator has no templates, `not_found` if none is for this command,
/// `mismatch` if the output does not match the template.
pub fn parse<T: DeserializeOwned>(platform: &str, command: &str, output: &str) -> Result<Vec<T>> {
    let records = text::parse(platform, command, output).map_err(of_host)?;
    Ok(serde_json::from_str(&records)?)
}

/// Returns the differences between two texts as a unified diff; empty if they are equal.
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

/// Removes the lines that begin with one of the prefixes.
#[must_use]
pub fn without_lines(text: &str, prefixes: &[&str]) -> String {
    let prefixes: Vec<String> = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
    text::without_lines(text, &prefixes)
}
