//! Decides which commands only read, by an allow-list per platform.
//!
//! A command that only reads may be sent twice, needs no write intent, keeps its session reusable,
//! and is sent together with its sentinel. Therefore an unknown command counts as a write, and so
//! does any text that even one CLI might take for a second command or an output redirection.

use serde::Deserialize;

use super::Pattern;
use super::phrase::{Phrase, Word};

/// Maximum length of a command that only reads.
const MAX_COMMAND_BYTES: usize = 2000;
/// Maximum number of words that [`Reads::before`] may match.
const MAX_WORDS_BEFORE: usize = 8;
/// Characters that begin another command, group commands or redirect output on some platform.
const CHAINING: [char; 7] = [';', '&', '<', '>', '{', '}', '\\'];

/// The commands that only read: they ask nothing, and change neither the device nor the effect of
/// the session's next command.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Reads {
    /// The commands, without the filters after a `|`.
    pub(super) commands: Vec<Phrase>,
    /// Words that may precede a command: `do`, `run`, or the path of its menu.
    pub(super) before: Vec<Phrase>,
    /// Exceptions: listed commands that write, ask or never end. Matched in any case.
    pub(super) except: Vec<Phrase>,
    /// The filters that may follow a `|`.
    pub(super) filters: Vec<Word>,
    /// Filters that write; an ambiguous abbreviation counts as one of them. Matched in any case.
    pub(super) writing_filters: Vec<Word>,
    /// How many filters a command may have.
    pub(super) pipes: Pipes,
    /// Further characters that make a command a write, even between quotes.
    pub(super) forbidden: String,
    /// A separator of words besides blanks: `/ip/address/print`.
    pub(super) separator: Option<char>,
    /// Whether commands are case-sensitive.
    pub(super) case_sensitive: bool,
    /// Whether a POSIX shell reads the command; it expands more than a CLI does.
    pub(super) shell: bool,
}

/// How many filters a command may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pipes {
    /// One: its argument reaches to the end of the line, so in `| include a|b` the second `|` is
    /// part of a regular expression.
    #[default]
    One,
    /// Several: a `|` in an argument must be quoted.
    Several,
}

impl Reads {
    /// Returns whether a command is known to only read.
    ///
    /// `question_mark`: whether a `?` can be typed without requesting help. `safe` replaces
    /// [`Self::commands`] if present.
    pub(super) fn covers(&self, line: &str, question_mark: bool, safe: Option<&Pattern>) -> bool {
        let line = line.trim_matches([' ', '\t']);
        if !is_plain(line) || (line.contains('?') && !question_mark) {
            return false;
        }
        if line.contains(|c| self.forbidden.contains(c)) {
            return false;
        }
        let Some((command, filters)) = self.split(line) else {
            return false;
        };
        let reads = match safe {
            Some(safe) => is_simple(command) && safe.matches(command.trim_end()),
            None => self.is_listed(command),
        };
        reads && !self.is_excepted(command) && filters.iter().all(|filter| self.is_filter(filter))
    }

    /// Splits a command from its filters. Returns `None` if a character may begin a second command
    /// or redirect the output.
    fn split<'c>(&self, line: &'c str) -> Option<(&'c str, Vec<&'c str>)> {
        let mut parts = Vec::new();
        let mut start = 0;
        let mut quoted = false;
        for (at, c) in line.char_indices() {
            let in_filter = !parts.is_empty();
            match c {
                '"' => quoted = !quoted,
                '|' if !quoted && (self.pipes == Pipes::Several || !in_filter) => {
                    parts.push(&line[start..at]);
                    start = at + 1;
                }
                '|' if !in_filter => return None,
                // Allowed only in the argument of a filter: as quoted text, and a backslash also in
                // a regular expression.
                '\\' if in_filter && !self.shell => {
                    let next = line[at + 1..].chars().next();
                    if next.is_none_or(|next| " \t\"'\\".contains(next)) {
                        return None;
                    }
                }
                c if CHAINING.contains(&c) && !(in_filter && quoted && c != '\\') => return None,
                // Some CLIs do not treat these as quotes.
                '\'' if !quoted => return None,
                c if self.shell && !quoted && !is_plain_in_a_shell(c) => return None,
                '$' | '!' if self.shell => return None,
                _ => {}
            }
        }
        parts.push(&line[start..]);
        let command = parts.remove(0);
        (!quoted).then_some((command, parts))
    }

    fn is_listed(&self, command: &str) -> bool {
        self.any_covers(&self.commands, command, self.case_sensitive)
    }

    fn is_excepted(&self, command: &str) -> bool {
        self.any_covers(&self.except, command, false)
    }

    /// Returns whether a phrase matches the command, with or without its preceding words.
    fn any_covers(&self, phrases: &[Phrase], command: &str, case_sensitive: bool) -> bool {
        // A device may accept a quoted keyword.
        let blank = |c| c == '"' || Some(c) == self.separator || c == ' ' || c == '\t';
        let words: Vec<&str> = command
            .split(blank)
            .filter(|word| !word.is_empty())
            .collect();
        let may_begin = |at: usize| {
            let before = &words[..at];
            at == 0 || (self.before.iter()).any(|p| p.matches(before, self.case_sensitive))
        };
        (0..=words.len().min(MAX_WORDS_BEFORE))
            .filter(|at| may_begin(*at))
            .any(|at| {
                phrases
                    .iter()
                    .any(|p| p.matches(&words[at..], case_sensitive))
            })
    }

    fn is_filter(&self, filter: &str) -> bool {
        let Some(name) = filter.split_ascii_whitespace().next() else {
            return false;
        };
        let known = (self.filters.iter()).any(|word| word.matches(name, self.case_sensitive));
        known && !self.writes(name) && !self.holds_a_writing_filter(filter)
    }

    fn writes(&self, name: &str) -> bool {
        (self.writing_filters.iter()).any(|word| word.matches(name, false))
    }

    /// Returns whether a device that allows several filters would find a writing filter in the
    /// argument. A writing filter has an argument itself, unlike the end of `up|te`.
    fn holds_a_writing_filter(&self, filter: &str) -> bool {
        filter.split('|').skip(1).any(|part| {
            let mut words = part.split_ascii_whitespace();
            words.next().is_some_and(|name| self.writes(name)) && words.next().is_some()
        })
    }
}

/// Returns whether a command consists of printable ASCII, blanks and tabs, without command
/// substitution.
///
/// Some characters beyond ASCII resemble a blank or a `|`, and some encodings use these as the
/// second byte of a character.
fn is_plain(command: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t');
    !command.is_empty()
        && command.len() <= MAX_COMMAND_BYTES
        && command.bytes().all(plain)
        && !["`", "$(", "${"].iter().any(|text| command.contains(text))
}

/// Returns whether a POSIX shell takes an unquoted character literally.
fn is_plain_in_a_shell(c: char) -> bool {
    c.is_ascii_alphanumeric() || " \t\"|-_./:,=@%+".contains(c)
}

/// Returns whether a command contains no characters that the pattern of an older platform file may
/// overlook.
fn is_simple(command: &str) -> bool {
    let strange = |c| CHAINING.contains(&c) || "?'\"()[]$!#~*".contains(c);
    !command.contains(strange)
}

#[cfg(test)]
mod tests;
