//! Configuration errors, with hints for the operator.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration file {} not found (named by {named_by})", .path.display())]
    FileMissing { path: PathBuf, named_by: String },

    #[error("failed to read the configuration file {}", .path.display())]
    FileUnreadable { path: PathBuf, source: io::Error },

    #[error("invalid configuration file {}: {message}", .path.display())]
    FileInvalid { path: PathBuf, message: String },

    #[error("failed to access the working directory")]
    WorkingDirectory(#[source] io::Error),

    #[error("{}", as_list(.0))]
    Refused(Vec<Problem>),
}

/// A rejected key or variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("unknown key {key} in {origin}{}; known: {allowed}", did_you_mean(.nearest))]
    UnknownKey {
        key: String,
        origin: String,
        nearest: Option<String>,
        allowed: String,
    },

    #[error("unknown environment variable {variable}; did you mean {nearest}?{hint}")]
    UnknownVariable {
        variable: String,
        nearest: String,
        hint: &'static str,
    },

    #[error("invalid environment variable {variable}: expected UTF-8")]
    NotUnicode { variable: String },

    #[error("invalid {key} in {origin}: expected {allowed}, got {found}{}", because(.reason))]
    BadValue {
        key: String,
        origin: String,
        found: String,
        reason: Option<String>,
        allowed: String,
    },
}

/// Hides the password of every `scheme://user:password@host` in a text.
pub(super) fn redact(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(scheme_end) = rest.find("://") {
        let (before, after) = rest.split_at(scheme_end + 3);
        shown.push_str(before);
        // A password may contain any character that the operator forgot to encode, even `/` and `@`, so
        // everything up to the last `@` of the word is hidden. A word ends at white space or a quote.
        let word_end = after
            .find(|c: char| c.is_whitespace() || c == '"' || c == '\'')
            .unwrap_or(after.len());
        let word = &after[..word_end];
        match (word.rfind('@'), word.find(':')) {
            (Some(at), Some(colon)) if colon < at => {
                shown.push_str(&word[..colon]);
                shown.push_str(":***");
                rest = &after[at..];
            }
            _ => rest = after,
        }
    }
    shown.push_str(rest);
    shown
}

/// Hides everything after the host in every `http://` or `https://` URL of a text.
pub(super) fn hide_paths(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(scheme_end) = rest.find("://") {
        let (before, after) = rest.split_at(scheme_end + 3);
        shown.push_str(before);
        rest = after;
        if before.ends_with("http://") || before.ends_with("https://") {
            let ends = |c: char| c.is_whitespace() || c == '"' || c == '\'';
            let word = &after[..after.find(ends).unwrap_or(after.len())];
            if let Some(slash) = word.find(['/', '?', '#']) {
                shown.push_str(&word[..slash]);
                shown.push_str("/***");
                rest = &after[word.len()..];
            }
        }
    }
    shown.push_str(rest);
    shown
}

fn as_list(problems: &[Problem]) -> String {
    match problems {
        [problem] => format!("configuration error: {problem}"),
        _ => {
            let mut text = format!("{} configuration errors:", problems.len());
            for problem in problems {
                let _ = write!(text, "\n  - {problem}");
            }
            text
        }
    }
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

fn because(reason: &Option<String>) -> String {
    reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(": {reason}"))
}
