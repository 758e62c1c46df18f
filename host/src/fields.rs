//! What fields of several kinds of things have in common.

use chrono::{DateTime, Datelike, Utc};
use uuid::Uuid;

use crate::registry::ParamError;

const MAX_NAME: usize = 100;

/// A name that can stand in a URL, and that is taken for no id.
pub(crate) fn check_name(name: &str) -> Option<ParamError> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let message = if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
        format!("expected 1 to {MAX_NAME} letters, digits, `-`, `_` and `.`")
    } else if matches!(name, "." | "..") {
        // Clients take it for a step in a URL's path, so it could not be shown or removed.
        format!("`{name}` is not allowed: it has a special meaning in URLs")
    } else if Uuid::parse_str(name).is_ok() {
        "a name that is a UUID is not allowed: it could be confused with an id".to_owned()
    } else {
        return None;
    };
    Some(ParamError::new("/name", message))
}

/// A time of which a bit more and a bit less are times, too, and which is stored with four digits.
pub(crate) fn check_time(pointer: &str, time: Option<DateTime<Utc>>) -> Option<ParamError> {
    let fits = time.is_none_or(|time| (1970..=3000).contains(&time.year()));
    (!fits).then(|| ParamError::new(pointer, "expected a time in the years 1970 to 3000"))
}
