//! Writing to people and to programs.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;
use serde_json::Value;

use super::Failure;

/// Longer cells are cut off: `show` has the whole.
const WIDEST_CELL: usize = 60;

/// Data, to stdout, as it is.
pub(super) fn data(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
            _ => anyhow::Error::new(error)
                .context("cannot write to stdout")
                .into(),
        })
}

/// The API's answer, unchanged but for the line end that a terminal wants.
pub(super) fn json(answer: &str) -> Result<(), Failure> {
    data(&format!("{}\n", answer.trim_end()))
}

/// Text from a device or a plugin. A terminal would obey the control characters in it, so there
/// they are made visible; a file or a pipe gets the bytes.
pub(super) fn device_text(text: &str) -> Result<(), Failure> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    if io::stdout().is_terminal() {
        data(&format!("{}{end}", printable(text)))
    } else {
        data(&format!("{text}{end}"))
    }
}

/// What is said beside the data.
pub(super) fn talk(text: &str) {
    // Not eprintln, which panics when stderr is closed.
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

/// Name and value pairs, one a line.
pub(super) fn properties(
    rows: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<(), Failure> {
    let mut text = String::new();
    for (name, value) in rows {
        if !value.is_empty() {
            text.push_str(&format!("{name:<14} {}\n", printable(&value)));
        }
    }
    data(&text)
}

/// A JSON value as people read it: texts as they are, everything else as indented JSON.
pub(super) fn readable(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}

/// A unit variant as the API spells it; nothing for what is not there.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

/// `2026-07-30T13:02:11Z`
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

/// The text with its control characters made visible, except line ends and tabs.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    // Bidirectional overrides are no control characters, and can still make a line read as
    // something else than it says.
    let hidden = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let text = text.replace("\r\n", "\n");
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

fn cell_text(text: &str) -> String {
    let one_line = text.replace(['\r', '\n', '\t'], " ");
    let mut cell: String = printable(&one_line).chars().take(WIDEST_CELL).collect();
    if cell.len() < one_line.len() {
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
    fn cells_stay_on_one_line_and_bearably_short() {
        assert_eq!(cell_text("a\nb"), "a b");
        let long = cell_text(&"ü".repeat(100));
        assert_eq!(long.chars().count(), WIDEST_CELL);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn durations() {
        assert_eq!(duration(41), "41 ms");
        assert_eq!(duration(1_250), "1.2 s");
        assert_eq!(duration(61_000), "1 min 01 s");
        assert_eq!(duration(7_500_000), "2 h 05 min");
    }
}
