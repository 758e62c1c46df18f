//! Helpers on text that every job may call; they reach nothing.

use std::time::Duration;

use similar::TextDiff;

use super::{Result, limits};
use crate::model::{ErrorCode, JobError};

/// Lines shown around a change.
const CONTEXT_LINES: usize = 3;
/// After this long the diff is made less exact, so that hostile input costs no more.
const DIFF_TIME: Duration = Duration::from_millis(500);

/// A text without the lines that begin with one of the prefixes; what is left stays as it is.
#[must_use]
pub fn without_lines(text: &str, prefixes: &[String]) -> String {
    let keeps = |line: &&str| {
        !prefixes
            .iter()
            .any(|prefix| line.starts_with(prefix.as_str()))
    };
    text.split_inclusive('\n').filter(keeps).collect()
}

/// The lines in which two texts differ, as a unified diff without file names; empty when equal.
///
/// # Errors
/// Code `limit` for texts larger than [`limits::DIFF_BYTES`].
pub fn unified_diff(old: &str, new: &str) -> Result<String> {
    if old.len().max(new.len()) > limits::DIFF_BYTES {
        return Err(JobError::new(
            ErrorCode::LIMIT,
            format!(
                "diff: texts of at most {} bytes are allowed",
                limits::DIFF_BYTES
            ),
        ));
    }
    let diff = TextDiff::configure()
        .timeout(DIFF_TIME)
        .diff_lines(old, new);
    Ok(diff
        .unified_diff()
        .context_radius(CONTEXT_LINES)
        .missing_newline_hint(false)
        .to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_what_changed_and_where() {
        let old = "hostname a\ninterface eth0\n shutdown\n";
        let new = "hostname a\ninterface eth0\n no shutdown\n";
        let diff = unified_diff(old, new).unwrap();
        assert!(diff.starts_with("@@ -1,3 +1,3 @@\n"), "{diff}");
        assert!(diff.contains("\n- shutdown\n+ no shutdown\n"), "{diff}");
        assert_eq!(unified_diff(old, old).unwrap(), "");
    }

    #[test]
    fn lines_are_dropped_by_their_beginning() {
        let text = "! Last change\nhostname a\n!\n";
        let prefixes = ["! Last".to_owned()];
        assert_eq!(without_lines(text, &prefixes), "hostname a\n!\n");
    }
}
