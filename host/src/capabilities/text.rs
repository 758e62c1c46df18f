//! Helpers on text that every job may call; they reach nothing.

use std::time::Duration;

use similar::TextDiff;

use super::{Result, limits};
use crate::model::{ErrorCode, JobError};

/// Lines shown around a change.
const CONTEXT_LINES: usize = 3;
/// After this long the diff is made less exact, so that hostile input costs no more.
const DIFF_TIME: Duration = Duration::from_millis(500);

/// Removes the lines that begin with one of the prefixes; the others stay as they are. The time grows
/// with the text and with the logarithm of the number of prefixes.
#[must_use]
pub fn without_lines(text: &str, prefixes: &[String]) -> String {
    let prefixes = shortest(prefixes);
    // No prefix begins with another one, so between a prefix of the line and the line itself, in
    // order, there is no other prefix.
    let keeps = |line: &&str| {
        let after = prefixes.partition_point(|prefix| *prefix <= *line);
        let nearest = after.checked_sub(1).map(|place| prefixes[place]);
        !nearest.is_some_and(|prefix| line.starts_with(prefix))
    };
    text.split_inclusive('\n').filter(keeps).collect()
}

/// Returns the prefixes in order, without those that begin with another one.
fn shortest(prefixes: &[String]) -> Vec<&str> {
    let mut sorted: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let mut shortest: Vec<&str> = Vec::with_capacity(sorted.len());
    for prefix in sorted {
        if !shortest.last().is_some_and(|last| prefix.starts_with(last)) {
            shortest.push(prefix);
        }
    }
    shortest
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
        let texts =
            |texts: &[&str]| -> Vec<String> { texts.iter().map(|&text| text.into()).collect() };
        for (prefixes, left) in [
            (texts(&[]), text),
            (texts(&[""]), ""),
            (texts(&["!", "! Last", "! Lasting"]), "hostname a\n"),
            (
                texts(&["hostname b", "hostname", "host", "i"]),
                "! Last change\n!\n",
            ),
            (
                texts(&["hostname a!", "hostname a\n!", "\u{10ffff}", "! L"]),
                "hostname a\n!\n",
            ),
        ] {
            assert_eq!(without_lines(text, &prefixes), left, "{prefixes:?}");
        }
    }

    #[test]
    fn many_prefixes_cost_little() {
        let prefixes: Vec<String> = (0..100_000)
            .map(|number| format!("prefix {number} "))
            .collect();
        let text = "prefix 7 x\na line\n".repeat(100_000);
        assert_eq!(without_lines(&text, &prefixes), "a line\n".repeat(100_000));
    }
}
