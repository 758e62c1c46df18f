//! Output for people and for programs.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use netssh_core::visible;
use serde::Serialize;
use serde_json::Value;

use super::Failure;
use crate::json::escape_hidden;

/// The column in which values of properties begin.
const PROPERTY_INDENT: usize = 15;

/// Longer table cells are truncated; `show` prints the whole value.
const WIDEST_CELL: usize = 60;

/// Writes data to stdout unmodified.
pub(super) fn data(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
            _ => anyhow::Error::new(error)
                .context("failed to write to stdout")
                .into(),
        })
}

/// Prints an API response with a final line ending. On a terminal, control characters are replaced by
/// JSON escapes, which leaves the value the same.
pub(super) fn json(answer: &str) -> Result<(), Failure> {
    let answer = answer.trim_end();
    if io::stdout().is_terminal() {
        data(&format!("{}\n", terminal_json(answer)))
    } else {
        data(&format!("{answer}\n"))
    }
}

/// Escapes hidden characters. Line endings only occur between values; inside strings they are escaped
/// already.
fn terminal_json(answer: &str) -> String {
    let lines: Vec<_> = answer.lines().map(escape_hidden).collect();
    lines.join("\n")
}

/// Prints text from a device or a plugin. On a terminal, control characters are made visible instead of
/// being obeyed; a file or a pipe gets the raw bytes.
pub(super) fn device_text(text: &str) -> Result<(), Failure> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    if io::stdout().is_terminal() {
        data(&format!("{}{end}", printable(text)))
    } else {
        data(&format!("{text}{end}"))
    }
}

/// Prints a message to stderr.
pub(super) fn talk(text: &str) {
    // `eprintln!` would panic when stderr is closed.
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

pub(super) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| cell_text(&cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    data(&format!("{}\n", table.trim_fmt()))
}

/// Prints name and value pairs, one per line.
pub(super) fn properties(
    rows: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<(), Failure> {
    let mut text = String::new();
    for (name, value) in rows {
        if !value.is_empty() {
            let value = indented(&value, PROPERTY_INDENT);
            text.push_str(&format!("{name:<14} {value}\n"));
        }
    }
    data(&text)
}

/// Formats a JSON value for people: strings as they are, everything else as indented JSON.
pub(super) fn readable(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}

/// Returns the API's name of a unit variant, or an empty string if there is none.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

/// Formats a time, as in `2026-07-30T13:02:11Z`.
pub(super) fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

pub(super) fn duration(milliseconds: i64) -> String {
    match milliseconds {
        ..=999 => format!("{milliseconds} ms"),
        1_000..=59_999 => format!("{}.{} s", milliseconds / 1_000, milliseconds % 1_000 / 100),
        _ => {
            let seconds = milliseconds / 1_000;
            let (hours, minutes) = (seconds / 3_600, seconds % 3_600 / 60);
            if hours > 0 {
                format!("{hours} h {minutes:02} min")
            } else {
                format!("{minutes} min {:02} s", seconds % 60)
            }
        }
    }
}

/// Makes hidden characters visible, except line endings and tabs.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    match text.contains("\r\n") {
        true => Cow::Owned(visible::lines(&text.replace("\r\n", "\n")).into_owned()),
        false => visible::lines(text),
    }
}

/// Returns the text on one line, with line endings and other hidden characters made visible.
pub(super) fn line(text: &str) -> Cow<'_, str> {
    visible::one_line(text)
}

/// Returns the printable text with all lines but the first indented, so that they cannot pass for lines
/// of this program.
pub(super) fn indented(text: &str, columns: usize) -> String {
    let end = format!("\n{}", " ".repeat(columns));
    printable(text.trim_end_matches(['\r', '\n'])).replace('\n', &end)
}

fn cell_text(text: &str) -> String {
    let one_line = text.replace(['\r', '\n', '\t'], " ");
    let shown = line(&one_line);
    let mut cell: String = shown.chars().take(WIDEST_CELL).collect();
    if cell.len() < shown.len() {
        cell.pop();
        cell.push('…');
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(printable("plain\ttext\n"), "plain\ttext\n");
        assert_eq!(
            printable("\u{1b}[2Jgone\r\nnext\u{7}\u{9b}"),
            "\\u{1b}[2Jgone\nnext\\u{7}\\u{9b}"
        );
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn foreign_text_cannot_look_like_lines_of_ours() {
        assert_eq!(
            line("a\nstatus         completed"),
            "a\\nstatus         completed"
        );
        assert_eq!(indented("a\r\nb\n", 2), "a\n  b");
        assert_eq!(printable("\u{2028}\u{200f}"), "\\u{2028}\\u{200f}");
    }

    #[test]
    fn json_on_a_terminal_is_the_same_value() {
        let value = serde_json::json!({"a": "\u{9b}2J\u{202e}\u{7f}\n", "b": [1]});
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let shown = terminal_json(&pretty);
        assert!(
            shown.lines().all(|line| !line.contains(visible::is_hidden)),
            "{shown}"
        );
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }

    #[test]
    fn cells_stay_on_one_line_and_bearably_short() {
        assert_eq!(cell_text("a\nb"), "a b");
        let long = cell_text(&"ü".repeat(100));
        assert_eq!(long.chars().count(), WIDEST_CELL);
        assert!(long.ends_with('…'));
        assert_eq!(cell_text("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn durations() {
        assert_eq!(duration(41), "41 ms");
        assert_eq!(duration(1_250), "1.2 s");
        assert_eq!(duration(61_000), "1 min 01 s");
        assert_eq!(duration(7_500_000), "2 h 05 min");
    }
}
