//! Makes foreign text safe to show in a log line, an error or a terminal.
//!
//! Devices, plugins and clients control such text. A newline in it forges a log line, an escape
//! sequence takes over a terminal, and a bidirectional override changes how a line reads.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Returns whether a character is invisible or changes how text is laid out: controls (C0, DEL,
/// C1), line and paragraph separators, bidirectional controls, zero-width characters and tags.
///
/// U+200C and U+200D are not hidden: scripts and emoji need them, and they move no text.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Returns the text as one line, with hidden characters escaped (`\n`, `\u{1b}`).
///
/// Backslashes are unchanged, so that paths and `DOMAIN\user` stay greppable.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// Returns the text with hidden characters escaped, except newlines and tabs.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_hidden(c) && c != '\n' && c != '\t')
}

/// Converts a device's message to one line of at most 200 characters.
pub(crate) fn printable(words: &str) -> String {
    let clean = |character: char| {
        if is_hidden(character) { ' ' } else { character }
    };
    words.trim().chars().take(200).map(clean).collect()
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// A writer that escapes text like [`one_line`] and passes it on.
#[derive(Debug)]
pub struct OneLine<W>(pub W);

impl<W: Write> Write for OneLine<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(&one_line(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_or_hides_text_is_escaped() {
        for hidden in [
            '\0',
            '\u{7}',
            '\u{8}',
            '\n',
            '\u{b}',
            '\u{c}',
            '\r',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{9b}',
            '\u{61c}',
            '\u{200b}',
            '\u{200e}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{2066}',
            '\u{2069}',
            '\u{feff}',
            '\u{e0041}',
        ] {
            let text = format!("a{hidden}b");
            let line = one_line(&text);
            assert!(!line.contains(hidden), "{line:?}");
            assert!(line.starts_with("a\\") && line.ends_with('b'), "{line:?}");
        }
    }

    #[test]
    fn text_that_people_read_stays_as_it_is() {
        for text in ["Straße 日本語 שלום 👩‍👧", "C:\\temp CORP\\user", ""] {
            assert!(matches!(one_line(text), Cow::Borrowed(shown) if shown == text));
        }
    }

    #[test]
    fn lines_keep_line_ends_and_tabs() {
        assert_eq!(lines("a\tb\nc\r\n\u{9b}2J"), "a\tb\nc\\r\n\\u{9b}2J");
        assert_eq!(one_line("a\tb\n"), "a\\tb\\n");
    }

    #[test]
    fn a_writer_escapes_what_is_written_in_pieces() {
        let mut writer = OneLine(String::new());
        let (plain, debug, separator) = ("a\n", "b\u{202e}", '\u{2028}');
        write!(writer, "{plain}{debug:?}{separator}").unwrap();
        assert!(!writer.0.contains(is_hidden), "{}", writer.0);
    }
}
