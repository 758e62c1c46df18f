//! Validation of fields that several resources have.

use crate::model::FieldError;
use chrono::{DateTime, Datelike, Utc};
use uuid::Uuid;

const MAX_NAME: usize = 100;

/// Rejects names that cannot be part of a URL or could be mistaken for an id.
pub(crate) fn check_name(name: &str) -> Option<FieldError> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let message = if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
        format!("expected 1 to {MAX_NAME} letters, digits, `-`, `_` and `.`")
    } else if matches!(name, "." | "..") {
        // Clients resolve these as path segments, so the resource could not be shown or removed.
        format!("`{name}` is not allowed: it has a special meaning in URLs")
    } else if Uuid::parse_str(name).is_ok() {
        "a name that is a UUID is not allowed: it could be confused with an id".to_owned()
    } else {
        return None;
    };
    Some(FieldError::new("/name", message))
}

/// Rejects times outside the years 1970 to 3000: arithmetic near chrono's limits overflows, and the
/// database stores four-digit years.
pub(crate) fn check_time(pointer: &str, time: Option<DateTime<Utc>>) -> Option<FieldError> {
    let fits = time.is_none_or(|time| (1970..=3000).contains(&time.year()));
    (!fits).then(|| FieldError::new(pointer, "expected a time in the years 1970 to 3000"))
}
