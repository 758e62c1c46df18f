//! Text functions for jobs. They need no rights, because they have no effects.

use std::borrow::Cow;
use std::time::Duration;

use similar::{ChangeTag, TextDiff};

use super::{Result, limits};
use crate::model::{ErrorCode, JobError};

/// Context lines shown around a change.
const CONTEXT_LINES: usize = 3;
/// After this time the diff becomes less exact, which limits the cost of hostile input.
const DIFF_TIME: Duration = Duration::from_millis(500);

/// Removes the lines that begin with one of the prefixes and keeps the others unchanged. The time grows
/// with the text and with the logarithm of the number of prefixes.
#[must_use]
pub fn without_lines(text: &str, prefixes: &[String]) -> String {
    let prefixes = shortest(prefixes);
    // No prefix begins with another one, so in sorted order no other prefix lies between a line and its
    // prefix.
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

/// Returns a unified diff of two texts without file names; empty if they are equal.
///
/// If only one of the texts ends with a line ending, its last line is not shown as changed; a line that
/// begins with a backslash notes the difference.
///
/// # Errors
/// Code `limit` for texts larger than [`limits::DIFF_BYTES`].
pub fn unified_diff(old: &str, new: &str) -> Result<String> {
    if old.len().max(new.len()) > limits::DIFF_BYTES {
        return Err(JobError::new(
            ErrorCode::LIMIT,
            format!(
                "diff: text too large: at most {} bytes are allowed",
                limits::DIFF_BYTES
            ),
        ));
    }
    let end = common_end(old, new);
    let unended = UnendedText::of(old, new);
    let (old, new) = (ended(old, end), ended(new, end));
    let diff = TextDiff::configure()
        .timeout(DIFF_TIME)
        .diff_lines(&*old, &*new);
    let lines = diff
        .ops()
        .last()
        .map_or((0, 0), |op| (op.old_range().end, op.new_range().end));
    let mut text = String::new();
    let mut is_said = unended.is_none();
    for hunk in diff
        .unified_diff()
        .context_radius(CONTEXT_LINES)
        .iter_hunks()
    {
        text.push_str(&format!("{}\n", hunk.header()));
        for change in hunk.iter_changes() {
            text.push_str(&format!("{}{}", change.tag(), change.value()));
            let Some(unended) = unended else { continue };
            let (index, count) = match unended {
                UnendedText::Old => (change.old_index(), lines.0),
                UnendedText::New => (change.new_index(), lines.1),
            };
            if index.is_some_and(|index| index + 1 == count) {
                text.push_str(unended.remark(change.tag()));
                is_said = true;
            }
        }
    }
    if let (false, Some(unended)) = (is_said, unended) {
        text.push_str(unended.remark(ChangeTag::Equal));
    }
    Ok(text)
}

/// The text, of two, that alone lacks a line ending after its last line.
#[derive(Clone, Copy)]
enum UnendedText {
    Old,
    New,
}

impl UnendedText {
    fn of(old: &str, new: &str) -> Option<Self> {
        match (is_ended(old), is_ended(new)) {
            (false, true) => Some(Self::Old),
            (true, false) => Some(Self::New),
            _ => None,
        }
    }

    /// Returns the note after the last line. For a line of both texts it names the text without the
    /// ending.
    fn remark(self, tag: ChangeTag) -> &'static str {
        match (tag, self) {
            (ChangeTag::Equal, Self::Old) => "\\ No newline at end of file (old text)\n",
            (ChangeTag::Equal, Self::New) => "\\ No newline at end of file (new text)\n",
            _ => "\\ No newline at end of file\n",
        }
    }
}

/// Returns whether the last line of a text has a line ending. An empty text counts as ended.
fn is_ended(text: &str) -> bool {
    text.is_empty() || last_end(text).is_some_and(|end| text.ends_with(end))
}

/// Returns the line ending to append where one is missing, so that equal lines compare equal.
fn common_end<'a>(old: &'a str, new: &'a str) -> &'a str {
    let at_the_end = |text| last_end(text).filter(|end| text.ends_with(end));
    at_the_end(old)
        .or_else(|| at_the_end(new))
        .or_else(|| last_end(old))
        .or_else(|| last_end(new))
        .unwrap_or("\n")
}

/// Returns the last line ending of a text, as the diff understands it: LF, CR LF or CR.
fn last_end(text: &str) -> Option<&str> {
    let place = text.rfind(['\n', '\r'])?;
    let before = text[..place].ends_with('\r') && text[place..].starts_with('\n');
    Some(&text[place - usize::from(before)..=place])
}

fn ended<'a>(text: &'a str, end: &str) -> Cow<'a, str> {
    if is_ended(text) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("{text}{end}"))
    }
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
    fn a_missing_end_of_line_is_said_and_changes_no_line() {
        for (old, new, diff) in [
            ("a", "a\nb", "@@ -1 +1,2 @@\n a\n+b\n"),
            ("a\nb", "a", "@@ -1,2 +1 @@\n a\n-b\n"),
            ("a", "a\r\nb", "@@ -1 +1,2 @@\n a\r\n+b\r\n"),
            (
                "a",
                "a\nb\n",
                "@@ -1 +1,2 @@\n a\n\\ No newline at end of file (old text)\n+b\n",
            ),
            (
                "a\n",
                "a\nb",
                "@@ -1 +1,2 @@\n a\n+b\n\\ No newline at end of file\n",
            ),
            (
                "a\nb",
                "a\n",
                "@@ -1,2 +1 @@\n a\n-b\n\\ No newline at end of file\n",
            ),
            ("a", "a\n", "\\ No newline at end of file (old text)\n"),
            ("a\r\n", "a", "\\ No newline at end of file (new text)\n"),
            (
                "a\nb",
                "a\nb\r\n",
                "\\ No newline at end of file (old text)\n",
            ),
            ("", "a", "@@ -0,0 +1 @@\n+a\n\\ No newline at end of file\n"),
            ("", "\n", "@@ -0,0 +1 @@\n+\n"),
            ("a", "a", ""),
            ("", "", ""),
        ] {
            assert_eq!(unified_diff(old, new).unwrap(), diff, "{old:?} {new:?}");
        }
        // Without a nearby change, the note is at the end.
        let old = format!("x\n{}", "y\n".repeat(20));
        let new = format!("z\n{}y", "y\n".repeat(19));
        let diff = unified_diff(&old, &new).unwrap();
        assert!(
            diff.ends_with("\n y\n\\ No newline at end of file (new text)\n"),
            "{diff}"
        );
        assert_eq!(diff.matches("\n-").count() + diff.matches("\n+").count(), 2);
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
