//! Reads a device's reply: finds its end, its pagers and its questions. Pure: bytes in, [`Step`]
//! out.
//!
//! A prompt at the end of the received bytes does not prove the end of the reply: output may
//! contain the prompt's text on its own line (a description, a banner, a saved session), and a
//! packet may end exactly there. Waiting for more would be a guess about time. Instead, the end is
//! marked (see [`crate::platform::Ending`]): the device echoes a random word at the prompt after
//! the output, or prints it as the prompt. If that is safe, the word is sent in the same write as
//! the command, so that it costs no round trip.
//!
//! The result does not depend on the packet boundaries.
//!
//! The session sets what to [`Expect`] and acts on each [`Step`]:
//!
//! ```text
//!  login        Prompt ── Prompt ─► FirstComment ── End, NoEcho
//!                  ▲ └─ Unsure: Enter   │
//!                  └────────────────────┴─ Question, Pager, Swallowed
//!
//!  command      Prompt ── Prompt ─► Comment ── End
//!                                     │  ▲
//!                                     └──┴─ Resync: another comment
//!
//!  typed ahead  Comment, CommentAmong ── End
//!                  └─ Pager, Swallowed ─► as "command", then the command is sent again
//!
//!  no echo      Prompt ── Prompt ─► PromptTwice ── End
//!  shell        ShellPrompt ── End, Incomplete
//!  text         Text ── Text, Prompt
//! ```
//!
//! A name before `──` is the expectation, the names after it are steps that change it or end the
//! reply. `Read` changes nothing; neither do `Pager` and `Question` where the diagram lacks them.
//!
//! The modules: `buffer` stores the bytes up to a limit, `end` finds the end, `question` and
//! `pager` find the places at which the device waits, `output` and `watch` return the result.

mod buffer;
mod end;
mod output;
mod pager;
mod question;
mod watch;

use std::sync::LazyLock;

use regex::Regex;

use self::buffer::{Buffer, Cursor};
use self::end::{End, Search};
#[cfg(any(test, fuzzing))]
pub(crate) use self::output::Answer;
use self::pager::Pagers;
pub(crate) use self::question::Question;
use self::question::Questions;
use self::watch::Watched;
use crate::platform::Platform;
use crate::prompt::{Learnt, is_question};
use crate::terminal::clean;

/// The end that the reader waits for.
#[derive(Debug, Clone)]
pub(crate) enum Expect {
    /// A likely prompt, after the command's echo if there is one.
    Prompt,
    /// The prompt of the device's text input, after a command that begins a block of text.
    Text,
    /// `PROMPT` + this comment, a newline, the device's reply to it, and a prompt.
    Comment(String),
    /// Like [`Self::Comment`], for the first comment of a session, the last of `lines` typed lines:
    /// this many prompts without the comment mean that the device does not echo.
    FirstComment { comment: String, lines: usize },
    /// `PROMPT` + this comment and a newline; the next reply follows at once.
    CommentAmong(String),
    /// The prompt twice in a row: the end on a device without an echo.
    PromptTwice,
    /// `@@word:digits@@`, the prompt with this word.
    ShellPrompt(String),
}

/// The next action.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Read more.
    Read,
    /// A pager waits: send this answer, call [`Reader::pager_answered`], and read on.
    Pager(String),
    /// The last line is a likely prompt.
    Prompt,
    /// The device asks the question with this index: answer it, call [`Reader::question_answered`],
    /// and read on.
    Question(usize),
    /// The device repeats that question although it was answered.
    AskedAgain(usize),
    /// The verified end.
    End {
        /// The current prompt; empty if the session has set it.
        prompt: String,
        /// The exit code, if the platform has one.
        exit_code: Option<i32>,
    },
    /// The device does not echo.
    NoEcho,
    /// A pager has consumed the typed-ahead input and has ended.
    Swallowed,
    /// The shell waits for the rest of the command.
    Incomplete,
    /// The device waits for text.
    Text,
    /// The device is silent before its first prompt; its last line is empty or may be a prompt.
    Unsure,
    /// The device is silent at its prompt without the expected sentinel: send another one.
    Resync,
}

/// How long the device has been silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quiet {
    /// A tenth of a second: enough to press Enter at a line that ends like a prompt.
    Brief,
    /// Half a second: the last packet did not end in the middle of a line.
    Settled,
    /// Two seconds.
    Long,
}

/// Number of bytes at the end of the buffer that are searched for the last lines; longer than any
/// prompt.
const TAIL: usize = 2048;
/// Maximum number of lines that a device prints before the echo.
const BEFORE_ECHO: usize = 16;
/// Maximum number of lines of a device's reply to a sentinel; their length is limited by [`LINE`].
const LINES: usize = 16;
/// Maximum length of a line that is examined as a whole; of a longer line only the end is examined.
/// A device that redraws an echoed sentinel may print this much. Bounds the work per step.
const LINE: usize = 16 * 1024;
/// Output beyond the limit is dropped in pieces of this size, to keep dropping cheap. The same
/// amount of the end is kept: more than one packet, which may contain an end and the beginning of
/// the next reply.
const SLACK: usize = 64 * 1024;

/// The state of one reply while it arrives.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    platform: &'a Platform,
    /// The prompt shown last.
    learnt: Learnt,
    /// The session's random word, which no output contains.
    word: Option<String>,
    echo: bool,
    /// Input was typed, so its echo comes first.
    typed: bool,
    expect: Expect,
    buffer: Buffer,
    questions: Questions,
    pagers: Pagers,
    search: Search,
    /// The end of the output, once it is known.
    end: Option<End>,
    watched: Watched,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(platform: &'a Platform, limit: usize, expect: Expect) -> Self {
        Self {
            platform,
            learnt: Learnt::default(),
            word: None,
            echo: platform.terminal.echo,
            typed: true,
            expect,
            buffer: Buffer::new(limit),
            questions: Questions::default(),
            pagers: Pagers::default(),
            search: Search::default(),
            end: None,
            watched: Watched::default(),
        }
    }

    /// Sets the known prompt.
    pub(crate) fn with_prompt(mut self, learnt: &Learnt) -> Self {
        self.learnt = learnt.clone();
        self
    }

    /// Sets the random word that the session's sentinels contain.
    pub(crate) fn with_word(mut self, word: &str) -> Self {
        self.word = Some(word.to_owned());
        self
    }

    /// Learns a prompt that the device has shown.
    pub(crate) fn learn(&mut self, prompt: &str) {
        self.learnt = Learnt::from(prompt);
    }

    /// Overrides whether the device echoes.
    pub(crate) const fn with_echo(mut self, echo: bool) -> Self {
        self.echo = echo;
        self
    }

    /// Expects no echo, because nothing has been typed yet.
    pub(crate) const fn before_typing(mut self) -> Self {
        self.typed = false;
        self
    }

    pub(crate) const fn typed(&mut self) {
        self.typed = true;
    }

    pub(crate) fn with_questions(mut self, questions: Vec<Question>) -> Self {
        self.questions.all = questions;
        self
    }

    /// Sets whether the comment was sent together with the command, so that a pager may read it.
    pub(crate) const fn expect_ahead(&mut self, ahead: bool) {
        self.pagers.typed_ahead = ahead;
    }

    /// Sets the questions that may be asked from now on.
    pub(crate) fn ask(&mut self, questions: Vec<Question>) {
        self.questions.all = questions;
    }

    pub(crate) fn expect(&mut self, expect: Expect) {
        self.expect = expect;
        self.search.restart();
    }

    /// Returns the number of received newlines.
    pub(crate) const fn newlines(&self) -> usize {
        self.buffer.newlines
    }

    /// Drops everything received.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.questions.answered = Cursor::default();
        self.pagers.clear();
        self.search = Search::default();
        self.end = None;
        self.watched.restart();
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes);
    }

    /// Returns the next action for the bytes received so far.
    pub(crate) fn step(&mut self) -> Step {
        if let Some(step) = self.question() {
            return step;
        }
        match self.expect.clone() {
            Expect::ShellPrompt(word) => self.shell_prompt(&word),
            Expect::Comment(comment) => match self.comment(&comment) {
                Some(step) => step,
                None if self.pagers.typed_ahead && self.is_swallowed() => Step::Swallowed,
                None => self.pager(),
            },
            Expect::FirstComment { comment, lines } => {
                if let Some(step) = self.comment(&comment) {
                    step
                } else if self.is_swallowed() {
                    Step::Swallowed
                } else if self.is_silent(&comment, lines) {
                    Step::NoEcho
                } else {
                    self.pager()
                }
            }
            Expect::CommentAmong(comment) => match self.comment_among(&comment) {
                Some(step) => step,
                None if self.is_swallowed() => Step::Swallowed,
                None => self.pager(),
            },
            Expect::PromptTwice => self.prompt_twice().unwrap_or_else(|| self.pager()),
            Expect::Prompt => {
                if self.shows_prompt() {
                    Step::Prompt
                } else {
                    self.pager()
                }
            }
            Expect::Text => match self.shows_prompt() {
                true => Step::Prompt,
                false => Step::Read,
            },
        }
    }

    /// Returns the next step after a silence. Silence never ends a reply: the step makes the device
    /// show its state.
    pub(crate) fn quiet(&mut self, quiet: Quiet) -> Step {
        let line = self.last_line();
        let line = self.without_pager_keys(line.trim()).trim();
        let asks = is_question(line);
        if quiet == Quiet::Brief {
            // A banner without a newline before the prompt: Enter makes the device repeat the
            // prompt.
            let first = matches!(self.expect, Expect::Prompt) && !self.typed;
            return match first && !asks && self.learnt.ends_like_this(line) {
                true => Step::Unsure,
                false => Step::Read,
            };
        }
        match (&self.expect, quiet) {
            // A device that has only echoed the command may still be working, and its prompt may
            // come late: text typed now would run as commands. A device that reads text prints a
            // message first.
            (Expect::Text, _) if !self.says_anything() => Step::Read,
            (Expect::Text, _) => Step::Text,
            (Expect::Prompt, Quiet::Settled) if !self.typed => match line.is_empty() || asks {
                true => Step::Read,
                false => Step::Unsure,
            },
            (Expect::Prompt, Quiet::Long) if !self.typed => match line.is_empty() {
                true => self.finished_question().unwrap_or(Step::Unsure),
                false => Step::Read,
            },
            (Expect::Prompt, Quiet::Long) => {
                let unknown = !line.is_empty() && !asks && self.learnt.ends_like_this(line);
                match unknown || line.is_empty() && self.is_covered() {
                    true => Step::Prompt,
                    false => Step::Read,
                }
            }
            (
                Expect::Comment(comment)
                | Expect::FirstComment { comment, .. }
                | Expect::CommentAmong(comment),
                Quiet::Long,
            ) => {
                let comment = comment.clone();
                let at_prompt = self.keep_end(&comment);
                if asks || !(at_prompt || self.is_known_prompt(line)) {
                    return Step::Read;
                }
                let first = matches!(self.expect, Expect::FirstComment { .. });
                let echoed = self.holds_line(&comment) || self.holds_torn(&comment);
                if first && !at_prompt && !echoed {
                    return Step::NoEcho;
                }
                // Further replies follow, and another sentinel could not distinguish them.
                if matches!(self.expect, Expect::CommentAmong(_)) {
                    return Step::Swallowed;
                }
                // Another reader consumed the typed-ahead input, and the output may be incomplete.
                let lost = !at_prompt && !self.holds_line(&comment);
                match self.pagers.typed_ahead && (lost || self.was_read_elsewhere(&comment)) {
                    true => Step::Swallowed,
                    false => Step::Resync,
                }
            }
            _ => Step::Read,
        }
    }

    /// Returns the last line, finished or not, as rendered on a screen.
    pub(crate) fn last_line(&self) -> String {
        self.buffer.last_line()
    }

    /// Returns the last non-empty line, for an error message.
    pub(crate) fn last_words(&self) -> String {
        let text = clean(&self.buffer[self.buffer.tail_start()..]);
        let mut lines = text.lines().rev().map(str::trim);
        lines
            .find(|line| !line.is_empty())
            .unwrap_or_default()
            .to_owned()
    }

    /// Returns whether the last line ends with the echo of this text, which was typed without
    /// Enter.
    pub(crate) fn echoes(&self, text: &str) -> bool {
        self.last_line().trim_end().ends_with(text.trim_end())
    }

    /// Returns whether this text, typed without Enter, was typed at the device's prompt.
    pub(crate) fn typed_at_prompt(&self, text: &str) -> bool {
        let line = self.last_line();
        let (line, text) = (line.trim(), text.trim());
        // Only an echo: text may look like a prompt.
        if !text.is_empty() && line == text {
            return false;
        }
        let before = line.strip_suffix(text).unwrap_or(line).trim();
        self.is_known_prompt(before)
            || self
                .after_prompt(line)
                .is_some_and(|typed| !typed.is_empty())
    }

    /// Returns whether nothing but the echo of `command` precedes the prompt in the last line.
    pub(crate) fn holds_only_echo(&self, command: &str) -> bool {
        let one_line = self.buffer.iter().filter(|&&byte| byte == b'\n').count() == 1;
        let echo = self.echo_length(&self.buffer, command) > 0;
        one_line && (echo || !self.echo)
    }

    /// Returns whether the last line is a prompt. After the prompt is learnt, only prompts of this
    /// device count.
    fn shows_prompt(&self) -> bool {
        let line = self.last_line();
        let line = self.without_pager_keys(line.trim()).trim();
        match self.learnt.is_empty() {
            // Prompts that end with a colon are declared by the platform.
            true => self.is_prompt(line) && (line.ends_with(':') || !is_question(line)),
            // Enter was pressed at a line, and the device repeats the end of it.
            false if !self.typed && self.is_prompt(line) => {
                self.is_known_prompt(line)
                    || self.learnt.text().is_some_and(|text| text.ends_with(line))
            }
            false => self.is_known_prompt(line),
        }
    }

    /// Returns whether a line may be a prompt.
    fn is_prompt(&self, line: &str) -> bool {
        self.is_known_prompt(line) || self.platform.prompts.any.matches(line)
    }

    /// Returns whether a line is a known prompt of this device.
    fn is_known_prompt(&self, line: &str) -> bool {
        self.learnt.is(line) || self.learnt.is_related(line)
    }

    /// Returns the text typed after the prompt in a line that begins with a prompt.
    fn after_prompt<'l>(&self, line: &'l str) -> Option<&'l str> {
        let ends = line.match_indices(['>', '#', '$', '%', ']', ':']);
        let ends = ends.map(|(at, mark)| at + mark.len());
        let known = self.learnt.text().map(str::len);
        let mut ends = known.into_iter().chain(ends);
        let at = ends.find(|&at| {
            line.get(..at).is_some_and(|prompt| {
                self.is_known_prompt(prompt)
                    || (self.learnt.is_empty() && self.platform.prompts.any.matches(prompt))
            })
        })?;
        Some(line[at..].trim())
    }

    /// Returns whether the device has printed more than the echo, and no refusal.
    fn says_anything(&self) -> bool {
        let text = clean(self.buffer.newest());
        let mut said = text.lines().skip(1).map(str::trim);
        said.any(|line| !line.is_empty()) && self.platform.refusal(&text).is_none()
    }

    /// Returns whether the prompt was shown and then covered by log lines.
    fn is_covered(&self) -> bool {
        let end = self.buffer.newline.map_or(0, |newline| newline + 1);
        self.covered_prompt(end).is_some()
    }

    /// Returns the start of a prompt's line that is followed only by log lines up to `end`.
    fn covered_prompt(&self, end: usize) -> Option<usize> {
        static LOG: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(concat!(
                r"%[A-Z][\w-]*-\d-[A-Z]",
                r"|^[*.:]?\s*(\w{3} +\d+ |\d{4}[-/])?\d+[:.]\d+[:.]\d+|^<\d+>",
            ))
            .expect("tests compile the pattern")
        });
        let mut newline = end.checked_sub(1)?;
        let mut logs = 0;
        for _ in 0..LINES {
            let (start, whole) = self.buffer.line_start(newline);
            let line = clean(&self.buffer[start..newline]);
            let line = line.trim();
            if logs > 0 && self.learnt.is(line) {
                return Some(start);
            }
            if LOG.is_match(line) {
                logs += 1;
            } else if !line.is_empty() {
                return None;
            }
            newline = start.checked_sub(1).filter(|_| whole)?;
        }
        None
    }
}

#[cfg(test)]
mod tests;
