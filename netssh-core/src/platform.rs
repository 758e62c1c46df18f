//! What kind of device: one [`Platform`] value each, data only.
//!
//! Vendors differ by prompts and commands, so a platform is a value and never a class. The
//! built-in ones stand in `platforms/`, one file each.

use std::sync::{Arc, LazyLock};

use regex::Regex;

use crate::platforms;

/// How one kind of device talks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Platform {
    /// The name operators use, as in netmiko: `cisco_ios`.
    pub name: String,
    /// How the end of a command's output is recognised.
    pub ending: Ending,
    /// Prompts, matched against the last line of what arrived.
    pub prompts: Prompts,
    /// How to ask for a terminal.
    pub terminal: Terminal,
    /// What is sent first, paging off above all.
    pub setup: Setup,
    /// Commands that may be sent together with what follows them.
    pub type_ahead: TypeAhead,
    /// Pagers that may appear although paging was switched off.
    pub pagers: Vec<Pager>,
    /// How to get from the user's prompt to the privileged one.
    pub enable: Option<Enable>,
    /// How to enter and leave configuration mode.
    pub configuration: Option<ConfigurationMode>,
    /// Makes the running configuration the start-up configuration.
    pub save: Option<String>,
    /// Ends the session.
    pub exit: String,
    /// Lines by which the device refuses a command. Matched against single lines, and to be
    /// anchored to their start: text like this in the middle of good output is common.
    pub refusals: Vec<Pattern>,
}

/// How the end of a command's output is recognised. A prompt alone is not enough: output may
/// hold the prompt's text on a line of its own, and a packet may end right there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Ending {
    /// After the command a comment of the CLI is sent, with a random word in it. The device
    /// echoes it at the prompt that follows the output, and prompts again: only then is it the
    /// end, and the prompt has been learnt anew, so it may change from command to command.
    Comment {
        /// What starts a comment: `!`.
        prefix: String,
    },
    /// The shell's own prompt is replaced by one with a random word and the exit code in it:
    /// `@@word:0@@`; by `@@word:more@@` where the shell waits for the rest of a command.
    ShellPrompt,
}

/// Prompts, matched against the last line of what arrived.
#[derive(Debug, Clone)]
pub struct Prompts {
    /// Any prompt.
    pub any: Pattern,
    /// The prompt of an unprivileged user, from which `enable` leads on.
    pub user: Option<Pattern>,
    /// The prompt in configuration mode and its sub-modes.
    pub configuration: Option<Pattern>,
}

/// How to ask for a terminal.
#[derive(Debug, Clone)]
pub struct Terminal {
    /// The device echoes what is typed.
    pub echo: bool,
    /// Sent before a `?`, which would ask for help otherwise: Ctrl-V on many CLIs.
    pub quote_question_mark: Option<String>,
}

/// What is sent first.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Commands; a refused one is harmless. `{word}` stands for the session's random word.
    pub commands: Vec<String>,
    /// Send them without waiting for the first prompt, which saves a round trip. Only for
    /// devices that are known to read what was typed before they were ready.
    pub early: bool,
}

/// Commands that may be sent together with the comment that marks their end: those that never
/// ask a question, because the comment would answer it.
#[derive(Debug, Clone)]
pub struct TypeAhead {
    /// Commands that ask nothing (`show …`).
    pub safe: Option<Pattern>,
    /// Exceptions (`show … | redirect …`).
    pub except: Option<Pattern>,
}

/// A pager, and how to make it go on.
#[derive(Debug, Clone)]
pub struct Pager {
    /// Its mark, matched against the last line of what arrived.
    pub mark: Pattern,
    /// What makes it go on.
    pub answer: String,
}

/// How to get from the user's prompt to the privileged one.
#[derive(Debug, Clone)]
pub struct Enable {
    /// The command.
    pub command: String,
    /// The question for the secret, matched against the last line of what arrived.
    pub question: Pattern,
}

/// How to enter and leave configuration mode.
#[derive(Debug, Clone)]
pub struct ConfigurationMode {
    /// The command that enters it.
    pub enter: String,
    /// The command that leaves it from any sub-mode.
    pub leave: String,
}

/// A regular expression. Matching is linear in the text, whatever the pattern.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// Says where the pattern is wrong.
    pub fn new(pattern: &str) -> Result<Self, String> {
        Regex::new(pattern)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// A pattern of a built-in platform, which the tests have compiled.
    pub(crate) fn built_in(pattern: &str) -> Self {
        Self::new(pattern).expect("a built-in platform's pattern")
    }

    /// Whether it is found in `text`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

static BUILT_IN: LazyLock<Vec<Arc<Platform>>> = LazyLock::new(|| {
    [
        platforms::linux::platform(),
        platforms::cisco_ios::platform(),
        platforms::frr::platform(),
    ]
    .map(Arc::new)
    .into()
});

static NAMES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| BUILT_IN.iter().map(|p| p.name.as_str()).collect());

impl Platform {
    /// A built-in platform.
    #[must_use]
    pub fn named(name: &str) -> Option<Arc<Self>> {
        BUILT_IN.iter().find(|p| p.name == name).cloned()
    }

    /// The names of the built-in platforms.
    #[must_use]
    pub fn names() -> &'static [&'static str] {
        &NAMES
    }

    /// The line by which the device refused a command, if it did.
    ///
    /// Only the beginning and the end of the output are searched: that is where a CLI complains,
    /// and a running configuration with such a line in a banner is a good answer all the same.
    pub(crate) fn refusal<'a>(&self, output: &'a str) -> Option<&'a str> {
        const FIRST: usize = 5;
        const LAST: usize = 3;
        let lines = || output.lines().filter(|line| !line.trim().is_empty());
        let refused = |line: &&str| self.refusals.iter().any(|pattern| pattern.matches(line));
        lines()
            .take(FIRST)
            .find(refused)
            .or_else(|| lines().rev().take(LAST).find(refused))
            .map(str::trim)
    }

    pub(crate) fn may_type_ahead(&self, command: &str) -> bool {
        let found = |pattern: &Option<Pattern>| {
            pattern
                .as_ref()
                .is_some_and(|pattern| pattern.matches(command))
        };
        found(&self.type_ahead.safe) && !found(&self.type_ahead.except)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_built_in_platforms_compile_and_are_found_by_name() {
        assert_eq!(Platform::names(), ["linux", "cisco_ios", "frr"]);
        for name in Platform::names() {
            assert_eq!(Platform::named(name).unwrap().name, *name);
        }
        assert!(Platform::named("nonesuch").is_none());
    }

    #[test]
    fn refusals_are_found_at_the_edges_only() {
        let ios = Platform::named("cisco_ios").unwrap();
        let refused = "        ^\n% Invalid input detected at '^' marker.\n";
        assert_eq!(
            ios.refusal(refused),
            Some("% Invalid input detected at '^' marker.")
        );
        let configuration = format!(
            "{}% Invalid input of a banner\n{}",
            "line\n".repeat(9),
            "line\n".repeat(9)
        );
        assert_eq!(ios.refusal(&configuration), None);
    }

    #[test]
    fn type_ahead_is_for_commands_that_ask_nothing() {
        let ios = Platform::named("cisco_ios").unwrap();
        assert!(ios.may_type_ahead("show version"));
        assert!(ios.may_type_ahead(" sh ip int brief | include up"));
        assert!(!ios.may_type_ahead("show tech | redirect tftp:"));
        assert!(!ios.may_type_ahead("copy running-config startup-config"));
        assert!(!ios.may_type_ahead("shutdown"));
        assert!(!ios.may_type_ahead("reload"));
    }
}
