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

use std::sync::LazyLock;

use regex::Regex;

use crate::platform::{Pager, Pattern, Platform};
use crate::prompt::{Learnt, is_part_of, is_question, same_prompt};
use crate::terminal::{clean, erase_length_after_mark};

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
    limit: usize,
    echo: bool,
    /// Input was typed, so its echo comes first.
    typed: bool,
    buffer: Vec<u8>,
    /// The position of the last newline; `None` if it was dropped.
    newline: Option<usize>,
    /// Number of newlines received.
    newlines: usize,
    truncated: bool,
    /// The positions of removed pager marks, at which their erasure can be removed.
    cuts: Vec<usize>,
    /// A pager was answered and may have ended before the answer arrived.
    keys_sent: bool,
    expect: Expect,
    questions: Vec<Question>,
    /// Questions before this position have been answered.
    answered: usize,
    /// No line before this position contains the expected comment.
    searched: usize,
    /// The comment was sent together with the command.
    typed_ahead: bool,
    /// The position up to which `wiped` is up to date.
    swept: usize,
    /// The buffer's length when `swept` was set.
    seen: usize,
    /// A pager's mark was erased without an answer.
    wiped: bool,
    /// The end of the output, once it is known.
    end: Option<End>,
    /// The end found with a sentinel that was echoed but not followed by a prompt.
    kept: Option<(usize, String)>,
    /// The last newline, and the text before the comment on the line above it, if the comment was
    /// found without a known prompt.
    unprompted: Option<(usize, String)>,
    watched: Watched,
}

/// A question that the device may ask.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) ask: Pattern,
    /// The question may be repeated any number of times.
    pub(crate) again: bool,
    /// The question may be in a finished line: an instruction, with an answer that is not a secret.
    pub(crate) finished: bool,
    pub(crate) answered: bool,
}

#[derive(Debug)]
struct End {
    offset: usize,
    /// Output on the prompt's own line, if the output did not end with a newline.
    rest: String,
    /// The start of the next reply.
    next: usize,
}

/// The part of the output that a watcher has seen.
#[derive(Debug, Default)]
struct Watched {
    /// The watcher has seen everything before this byte.
    offset: usize,
    /// No echo was found up to this byte.
    unechoed: usize,
    lines: usize,
    /// Number of lines that the watcher saw before the command was sent again.
    skip: usize,
    /// The comment has arrived; the rest is the device's reply to it.
    over: bool,
}

/// A finished reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) output: String,
    pub(crate) truncated: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(platform: &'a Platform, limit: usize, expect: Expect) -> Self {
        Self {
            platform,
            learnt: Learnt::default(),
            word: None,
            limit,
            echo: platform.terminal.echo,
            typed: true,
            buffer: Vec::new(),
            newline: None,
            newlines: 0,
            truncated: false,
            cuts: Vec::new(),
            keys_sent: false,
            expect,
            questions: Vec::new(),
            answered: 0,
            searched: 0,
            typed_ahead: false,
            swept: 0,
            seen: 0,
            wiped: false,
            end: None,
            kept: None,
            unprompted: None,
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
        self.questions = questions;
        self
    }

    /// Sets whether the comment was sent together with the command, so that a pager may read it.
    pub(crate) const fn expect_ahead(&mut self, ahead: bool) {
        self.typed_ahead = ahead;
    }

    /// Sets the questions that may be asked from now on.
    pub(crate) fn ask(&mut self, questions: Vec<Question>) {
        self.questions = questions;
    }

    pub(crate) fn expect(&mut self, expect: Expect) {
        self.expect = expect;
        self.unprompted = None;
        self.searched = 0;
    }

    /// Returns the number of received newlines.
    pub(crate) const fn newlines(&self) -> usize {
        self.newlines
    }

    /// Drops everything received.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.newline = None;
        self.cuts.clear();
        self.truncated = false;
        self.answered = 0;
        self.searched = 0;
        self.swept = 0;
        self.seen = 0;
        self.wiped = false;
        self.end = None;
        self.kept = None;
        self.unprompted = None;
        self.watched = Watched {
            skip: self.watched.skip.max(self.watched.lines),
            ..Watched::default()
        };
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let last = self.buffer.len().saturating_sub(1);
        self.newlines += bytes.iter().filter(|&&byte| byte == b'\n').count();
        self.buffer.extend_from_slice(bytes);
        // "Next line" (ESC E) counts as a newline; its ESC may have arrived in an earlier packet.
        for at in last..self.buffer.len().saturating_sub(1) {
            if self.buffer[at..].starts_with(b"\x1bE") {
                self.buffer[at..at + 2].copy_from_slice(b"\r\n");
            }
        }
        let newline = self.buffer[last..].iter().rposition(|&byte| byte == b'\n');
        if let Some(at) = newline {
            self.newline = Some(last + at);
        }
        // Keep the beginning up to the limit, and enough of the end to recognise it.
        if self.buffer.len() > self.limit + 2 * SLACK {
            self.truncated = true;
            let tail = self.buffer.len() - SLACK;
            self.buffer.copy_within(tail.., self.limit);
            self.buffer.truncate(self.limit + SLACK);
            self.cuts.retain(|&cut| cut < self.limit);
            let kept = |at: usize| at.checked_sub(tail).map(|at| at + self.limit);
            self.newline = self.newline.and_then(kept);
            for offset in [
                &mut self.answered,
                &mut self.searched,
                &mut self.swept,
                &mut self.seen,
            ] {
                if *offset > self.limit {
                    *offset = offset.saturating_sub(tail - self.limit).max(self.limit);
                }
            }
        }
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
                None if self.typed_ahead && self.is_swallowed() => Step::Swallowed,
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
                match self.typed_ahead && (lost || self.was_read_elsewhere(&comment)) {
                    true => Step::Swallowed,
                    false => Step::Resync,
                }
            }
            _ => Step::Read,
        }
    }

    /// Returns whether a line that ends with this text has arrived, with or without a prompt before
    /// it.
    fn holds_line(&self, text: &str) -> bool {
        let ends = |line: &[u8]| clean(line).trim_end().ends_with(text);
        let newest = &self.buffer[self.buffer.len().saturating_sub(SLACK)..];
        let mut first = self.buffer.split(|&byte| byte == b'\n').take(BEFORE_ECHO);
        first.any(ends) || newest.split(|&byte| byte == b'\n').any(ends)
    }

    /// Returns whether the comment was echoed after text that is not a prompt: a question has
    /// consumed it (`Which one? !comment`).
    fn was_read_elsewhere(&self, comment: &str) -> bool {
        let newest = &self.buffer[self.buffer.len().saturating_sub(SLACK)..];
        newest.split(|&byte| byte == b'\n').any(|line| {
            let line = clean(line);
            let before = line.trim_end().strip_suffix(comment).map(str::trim);
            before.is_some_and(|before| {
                !before.is_empty() && !self.is_known_prompt(before) && !self.is_prompt(before)
            })
        })
    }

    /// Returns whether the device has printed more than the echo, and no refusal.
    fn says_anything(&self) -> bool {
        let text = clean(&self.buffer[self.buffer.len().saturating_sub(SLACK)..]);
        let mut said = text.lines().skip(1).map(str::trim);
        said.any(|line| !line.is_empty()) && self.platform.refusal(&text).is_none()
    }

    /// Returns whether a line consists of one part of this text, or ends with one: a device that
    /// prints a log line while it echoes splits the echo in two.
    fn holds_torn(&self, text: &str) -> bool {
        /// Half of a sentinel's word, which no other text contains.
        const PART: usize = 8;
        let newest = &self.buffer[self.buffer.len().saturating_sub(SLACK)..];
        let mut lines = newest.split(|&byte| byte == b'\n').map(clean);
        lines.any(|line| {
            let line = line.trim();
            let beginning = text.get(..text.len() - 1).is_some_and(|text| {
                (PART..=text.len())
                    .any(|end| text.get(..end).is_some_and(|part| line.ends_with(part)))
            });
            beginning || (line.len() >= PART && line.len() < text.len() && text.ends_with(line))
        })
    }

    /// Returns whether the prompt was shown and then covered by log lines.
    fn is_covered(&self) -> bool {
        let end = self.newline.map_or(0, |newline| newline + 1);
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
            let (start, whole) = self.line_start(newline);
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

    /// Records the end of the output if the sentinel was echoed at a prompt.
    fn keep_end(&mut self, comment: &str) -> bool {
        if self.kept.is_some() {
            return true;
        }
        let text = self.buffer.len();
        let mut newline = self.newline;
        for _ in 0..LINES {
            let Some(end) = newline.filter(|&end| text - end <= LINE) else {
                return false;
            };
            let (start, whole) = self.line_start(end);
            if let Some(before) = self.before_comment(start, end, comment) {
                let rest = match self.learnt.output_before(&before) {
                    Some(rest) => rest.to_owned(),
                    None if self.is_prompt(&before) => String::new(),
                    None => return false,
                };
                self.kept = Some((start, rest));
                return true;
            }
            newline = start.checked_sub(1).filter(|_| whole);
        }
        false
    }

    /// Returns the question in the bytes received since the last answered question.
    fn question(&self) -> Option<Step> {
        if self.questions.is_empty() {
            return None;
        }
        let start = self.tail_start().max(self.answered.min(self.buffer.len()));
        let tail = &self.buffer[start..];
        let newline = tail.iter().rposition(|&byte| byte == b'\n');
        // The first line is the command's echo, which may contain anything.
        if newline.is_none() && self.answered == 0 && self.echo && self.typed {
            return None;
        }
        let line = clean(&tail[newline.map_or(0, |at| at + 1)..]);
        // An answer typed at a prompt would run as a command.
        if line.trim().is_empty() || self.is_at_prompt(line.trim()) {
            return None;
        }
        let asked = |question: &Question| question.ask.matches(line.trim_start());
        let open = |question: &Question| question.again || !question.answered;
        let of = |wanted: &dyn Fn(&Question) -> bool| self.questions.iter().position(wanted);
        of(&|question| open(question) && asked(question))
            .map(Step::Question)
            .or_else(|| of(&asked).map(Step::AskedAgain))
    }

    /// Returns the question in a finished line, after which the device waits.
    fn finished_question(&self) -> Option<Step> {
        let text =
            clean(&self.buffer[self.tail_start().max(self.answered.min(self.buffer.len()))..]);
        // An instruction may be drawn in a frame.
        let lines = text.lines().rev().map(str::trim);
        let mut lines = lines.filter(|line| !line.is_empty()).take(3);
        lines.find_map(|line| {
            let asked = |question: &Question| question.finished && question.ask.matches(line);
            self.questions.iter().position(asked).map(Step::Question)
        })
    }

    fn is_at_prompt(&self, line: &str) -> bool {
        match &self.expect {
            Expect::ShellPrompt(word) => line.contains(&format!("@@{word}:")),
            _ => self.is_known_prompt(line) || (self.is_prompt(line) && !is_question(line)),
        }
    }

    /// Marks a question as answered; the bytes received so far contain no other one.
    pub(crate) fn question_answered(&mut self, index: usize) {
        self.answered = self.buffer.len();
        if let Some(question) = self.questions.get_mut(index) {
            question.answered = true;
        }
    }

    fn shell_prompt(&mut self, word: &str) -> Step {
        let tail = &self.buffer[self.tail_start()..];
        let Some(tail) = tail.strip_suffix(b"@@") else {
            return Step::Read;
        };
        let opening = format!("@@{word}:");
        let Some(at) = find_last(tail, opening.as_bytes()) else {
            return Step::Read;
        };
        let value = &tail[at + opening.len()..];
        if value == b"more" {
            return Step::Incomplete;
        }
        let code = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
        let Some(code) = code else {
            return Step::Read;
        };
        self.end = Some(End {
            offset: self.tail_start() + at,
            rest: String::new(),
            next: self.buffer.len(),
        });
        Step::End {
            prompt: String::new(),
            exit_code: Some(code),
        }
    }

    /// Finds `PROMPT!comment`, a newline, the device's reply to it, and a prompt at the very end.
    fn comment(&mut self, comment: &str) -> Option<Step> {
        let last = self.newline?;
        // The tail is enough even for a line that is redrawn repeatedly.
        let prompt = self.last_line();
        let prompt = prompt.trim();
        if prompt.is_empty() {
            return None;
        }
        let (offset, rest) = self.comment_line(comment, prompt, last)?;
        let (offset, rest) = self.kept.take().unwrap_or((offset, rest));
        let prompt = prompt.to_owned();
        self.end = Some(End {
            offset,
            rest,
            next: self.buffer.len(),
        });
        Some(Step::End {
            prompt,
            exit_code: None,
        })
    }

    /// Returns the start of the line `PROMPT!comment`, and the output before it on that line.
    /// Searches upwards from the newline at `last` in the rendered text, because some devices move
    /// the cursor between any two characters. The first of several such lines counts: some devices
    /// redraw the line on Enter, and some repeat it in their error message.
    fn comment_line(
        &mut self,
        comment: &str,
        prompt: &str,
        last: usize,
    ) -> Option<(usize, String)> {
        let known = self.is_prompt(prompt);
        // This comment was seen before, and the last line is not a prompt yet.
        if let Some((at, before)) = &self.unprompted
            && !known
            && *at == last
            && !same_prompt(before, prompt)
        {
            return None;
        }
        self.unprompted = None;
        let mut newline = last;
        let mut found = None;
        let mut is_anywhere = false;
        for _ in 0..LINES {
            if newline < self.searched || last - newline > LINE {
                break;
            }
            let (start, whole) = self.line_start(newline);
            let line = clean(&self.buffer[start..newline]);
            if let Some(before) = line.trim_end().strip_suffix(comment) {
                is_anywhere = true;
                // The comment was echoed below a log line that covers the prompt.
                if known
                    && before.trim().is_empty()
                    && let Some(covered) = self.covered_prompt(start)
                {
                    return Some((covered, String::new()));
                }
                if let Some(rest) = self.before_prompt(before, prompt, known, start) {
                    found = if whole {
                        Some((start, rest.to_owned()))
                    } else {
                        self.long_line(comment, prompt, known, newline)
                    };
                } else if !known {
                    self.unprompted = Some((last, before.trim().to_owned()));
                }
            } else if found.is_some() {
                break;
            }
            if !whole || start == 0 {
                break;
            }
            newline = start - 1;
        }
        if !is_anywhere {
            self.searched = last + 1;
        }
        found
    }

    /// Handles a line longer than [`LINE`], which is output without a final newline.
    fn long_line(
        &self,
        comment: &str,
        prompt: &str,
        known: bool,
        newline: usize,
    ) -> Option<(usize, String)> {
        let above = self.buffer[..newline].iter().rposition(|&b| b == b'\n');
        let start = above.map_or(0, |at| at + 1);
        let line = clean(&self.buffer[start..newline]);
        let before = line.trim_end().strip_suffix(comment)?;
        let rest = self.before_prompt(before, prompt, known, start)?;
        Some((start, rest.to_owned()))
    }

    /// Returns the output before the prompt in a line up to the comment; `None` if the line has no
    /// prompt. A prompt that is not `known` must be repeated on a line of its own.
    fn before_prompt<'l>(
        &self,
        line: &'l str,
        prompt: &str,
        known: bool,
        start: usize,
    ) -> Option<&'l str> {
        let line = line.trim_end();
        let typed = self.without_pager_keys(line);
        if !known {
            return same_prompt(typed.trim(), prompt).then_some("");
        }
        // A packet may end within the prompt: `sw-7#` of `sw-7#dist#`. The prompt of the first line
        // was shown before anything was typed.
        let shown = match self.learnt.text() {
            Some(learnt) if typed.is_empty() && start == 0 => learnt,
            _ => typed.trim(),
        };
        if is_part_of(prompt, shown) {
            return None;
        }
        let rest = line
            .strip_suffix(prompt)
            .or_else(|| typed.strip_suffix(prompt));
        // The prompt may change from line to line, because some devices count the commands. The
        // first prompt was shown before anything was typed.
        let other = || self.is_prompt(typed) || (typed.is_empty() && start == 0);
        rest.or_else(|| other().then_some(""))
    }

    /// Returns the start of the line that ends at `newline`, and whether it is the line's real
    /// start, which it is not for a line longer than [`LINE`].
    fn line_start(&self, newline: usize) -> (usize, bool) {
        let from = newline.saturating_sub(LINE);
        let above = self.buffer[from..newline].iter().rposition(|&b| b == b'\n');
        match above {
            Some(at) => (from + at + 1, true),
            None => (from, from == 0),
        }
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

    /// Removes keys that were meant for a pager that had already ended: they appear at the prompt,
    /// before the comment.
    fn without_pager_keys<'l>(&self, line: &'l str) -> &'l str {
        if !self.keys_sent {
            return line;
        }
        let pagers = &self.platform.pagers;
        let is_key = |c: char| c == ' ' || pagers.iter().any(|pager| pager.answer.contains(c));
        line.trim_end_matches(is_key)
    }

    /// Returns whether a pager has consumed the typed-ahead input: the last line is a prompt, and a
    /// pager's mark before it was erased without an answer.
    fn is_swallowed(&mut self) -> bool {
        let length = self.buffer.len();
        // A carriage return at the very end may belong to a newline, so it is checked again.
        let fresh = &self.buffer[self.seen.saturating_sub(1).min(length)..];
        let is_wiping = |byte: &u8| matches!(byte, b'\r' | b'\x08' | b'\x1b');
        let may_wipe = fresh.iter().any(is_wiping);
        self.seen = length;
        let new = &self.buffer[self.swept.min(length)..];
        self.wiped |= may_wipe
            && new.split(|&byte| byte == b'\n').any(|line| {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let line = &without_colours(line)[..];
                let mut pieces = line.split(is_wiping);
                // The text after the last erasure was not erased.
                let last = pieces.next_back();
                last.is_some_and(|last| last.len() < line.len())
                    && pieces.any(|piece| {
                        let piece = clean(piece);
                        let mut marks = self.platform.pagers.iter().map(|pager| &pager.mark);
                        !piece.trim().is_empty() && marks.any(|mark| mark.matches(&piece))
                    })
            });
        let longest = self.buffer.len().saturating_sub(LINE);
        self.swept = self.newline.unwrap_or(0).max(longest);
        self.wiped && self.shows_prompt()
    }

    /// Finds `PROMPT!comment` and a newline: the end of this reply and the beginning of the next.
    fn comment_among(&mut self, comment: &str) -> Option<Step> {
        // No further line is complete.
        if self.newline.is_none_or(|newline| newline < self.searched) {
            return None;
        }
        while let Some(length) = self.buffer[self.searched..]
            .iter()
            .position(|&byte| byte == b'\n')
        {
            let (start, newline) = (self.searched, self.searched + length);
            self.searched = newline + 1;
            let line = &self.buffer[start..newline];
            // Some devices move the cursor between any two typed characters.
            let drawn = line.contains(&b'\x1b') || line.contains(&b'\x08');
            if !drawn && find_last(line, comment.as_bytes()).is_none() {
                continue;
            }
            let Some((rest, prompt)) = self.prompt_before(start, newline, comment) else {
                continue;
            };
            self.end = Some(End {
                offset: start,
                rest,
                next: newline + 1,
            });
            return Some(Step::End {
                prompt,
                exit_code: None,
            });
        }
        None
    }

    /// Returns the output before the prompt and the prompt, in a line that ends with the comment.
    fn prompt_before(
        &self,
        start: usize,
        newline: usize,
        comment: &str,
    ) -> Option<(String, String)> {
        let before = self.before_comment(start, newline, comment)?;
        if let Some(rest) = self.learnt.output_before(&before) {
            let prompt = before[rest.len()..].trim().to_owned();
            return Some((rest.to_owned(), prompt));
        }
        if self.is_prompt(&before) {
            return Some((String::new(), before));
        }
        let prompt = before.rsplit(char::is_whitespace).next()?;
        let rest = before.strip_suffix(prompt)?;
        self.is_prompt(prompt)
            .then(|| (rest.to_owned(), prompt.to_owned()))
    }

    /// Returns the rendered text before the comment in a line.
    fn before_comment(&self, line_start: usize, newline: usize, comment: &str) -> Option<String> {
        let line = clean(&self.buffer[line_start..newline]);
        let before = line.trim_end().strip_suffix(comment)?;
        Some(before.trim_end().to_owned())
    }

    /// Returns whether `lines` prompts have arrived without an echo of the comment.
    fn is_silent(&self, comment: &str, lines: usize) -> bool {
        let last = self.last_line();
        let prompt = last.trim();
        // Fewer lines cannot contain all the prompts.
        let enough = self.newlines.saturating_add(1) >= lines;
        if prompt.is_empty() || !enough || !(self.is_prompt(prompt) || lines > 1) {
            return false;
        }
        // All prompts must be equal, because a banner may contain others.
        let text = clean(&self.buffer[self.buffer.len().saturating_sub(LINE)..]);
        let prompts = text.lines().filter(|line| line.trim() == prompt);
        !text.contains(comment) && prompts.count() >= lines
    }

    /// Finds the same prompt in the last two non-empty lines.
    fn prompt_twice(&mut self) -> Option<Step> {
        let start = self.tail_start();
        let text = clean(&self.buffer[start..]);
        let mut lines = text.lines().rev().map(str::trim);
        let last = lines.next().filter(|line| self.is_prompt(line))?;
        if lines.find(|line| !line.is_empty())? != last {
            return None;
        }
        let mut newlines = self.buffer.iter().enumerate().rev();
        let mut from = self.buffer.len();
        // Skip the last prompt, empty lines, and the prompt before them.
        let mut seen = 0;
        while seen < 2 {
            let line_start = newlines
                .find(|&(_, &byte)| byte == b'\n')
                .map_or(0, |(at, _)| at + 1);
            if !clean(&self.buffer[line_start..from]).trim().is_empty() {
                seen += 1;
            }
            from = line_start.saturating_sub(1);
            if line_start == 0 {
                break;
            }
        }
        let offset = if from == 0 { 0 } else { from + 1 };
        self.end = Some(End {
            offset,
            rest: String::new(),
            next: self.buffer.len(),
        });
        Some(Step::End {
            prompt: last.to_owned(),
            exit_code: None,
        })
    }

    /// Returns whether a line may be a prompt.
    fn is_prompt(&self, line: &str) -> bool {
        self.is_known_prompt(line) || self.platform.prompts.any.matches(line)
    }

    /// Returns whether a line is a known prompt of this device.
    fn is_known_prompt(&self, line: &str) -> bool {
        self.learnt.is(line) || self.learnt.is_related(line)
    }

    fn pager(&self) -> Step {
        if self.platform.pagers.is_empty() {
            return Step::Read;
        }
        // If a mark was overwritten by a shorter one, the rest of its line is blank.
        let line = self.last_line();
        let waiting = |pager: &&Pager| pager.mark.matches(line.trim_end());
        match self.platform.pagers.iter().find(waiting) {
            Some(pager) => Step::Pager(pager.answer.clone()),
            None => Step::Read,
        }
    }

    /// Removes the pager's mark; its erasure, which arrives next, is removed at the end.
    pub(crate) fn pager_answered(&mut self) {
        let start = self.tail_start();
        let line = self.buffer[start..]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(start, |at| start + at + 1);
        self.buffer.truncate(line);
        self.newline = line.checked_sub(1).filter(|&at| self.buffer[at] == b'\n');
        self.cuts.push(line);
        self.keys_sent = true;
    }

    /// Returns whether nothing but the echo of `command` precedes the prompt in the last line.
    pub(crate) fn holds_only_echo(&self, command: &str) -> bool {
        let one_line = self.buffer.iter().filter(|&&byte| byte == b'\n').count() == 1;
        let echo = self.echo_length(&self.buffer, command) > 0;
        one_line && (echo || !self.echo)
    }

    /// Returns the last line, finished or not, as rendered on a screen.
    pub(crate) fn last_line(&self) -> String {
        let tail = &self.buffer[self.tail_start()..];
        let line = tail
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(tail, |at| &tail[at + 1..]);
        clean(line)
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

    /// Returns the last non-empty line, for an error message.
    pub(crate) fn last_words(&self) -> String {
        let text = clean(&self.buffer[self.tail_start()..]);
        let mut lines = text.lines().rev().map(str::trim);
        lines
            .find(|line| !line.is_empty())
            .unwrap_or_default()
            .to_owned()
    }

    /// Ends the output before the last line, which is a verified prompt.
    pub(crate) fn end_at_last_line(&mut self) {
        let start = self.tail_start();
        let offset = self.buffer[start..]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(start, |at| start + at + 1);
        self.end = Some(End {
            offset,
            rest: String::new(),
            next: self.buffer.len(),
        });
    }

    /// Returns the bytes after the end, with which the next reply begins.
    pub(crate) fn take_next(&mut self) -> Vec<u8> {
        let next = self.end.as_ref().map_or(self.buffer.len(), |end| end.next);
        self.buffer.split_off(next)
    }

    /// Returns the end of the finished output lines. Without an echo, a prompt at their end and the
    /// empty lines after it may be the first of the two prompts that end the output.
    fn finished(&self) -> usize {
        let end = self.newline.map_or(0, |at| at + 1);
        if !matches!(self.expect, Expect::PromptTwice) {
            return end;
        }
        let floor = self.tail_start().min(end);
        let mut last = end;
        while last > floor {
            let above = self.buffer[floor..last - 1]
                .iter()
                .rposition(|&byte| byte == b'\n');
            let start = above.map_or(floor, |at| floor + at + 1);
            let line = clean(&self.buffer[start..last]);
            let line = line.trim();
            if self.is_prompt(line) {
                return start;
            }
            if !line.is_empty() {
                break;
            }
            last = start;
        }
        end
    }

    /// Returns the lines finished since the last call, for a watcher, without the echo of `command`
    /// and only up to the limit.
    pub(crate) fn new_lines(&mut self, command: &str) -> Option<String> {
        if self.truncated || self.watched.over {
            return None;
        }
        let end = match &self.end {
            Some(end) => end.offset,
            None => self.finished(),
        };
        let end = end.min(self.limit);
        let from = self.watched.offset;
        if end <= from || (self.end.is_none() && end == self.watched.unechoed) {
            return None;
        }
        let mut bytes = &self.buffer[from..end];
        let mut skipped = from;
        if from == 0 && self.echo {
            skipped = self.echo_length(bytes, command);
            // Before the echo has arrived, it cannot be distinguished from output.
            if skipped == 0 && self.end.is_none() && self.newlines <= BEFORE_ECHO {
                self.watched.unechoed = end;
                return None;
            }
            bytes = &bytes[skipped..];
        }
        let text = clean(&without_erasures(bytes, self.cuts_from(skipped)));
        self.watched.offset = end;
        let comment = match &self.expect {
            Expect::Comment(comment) | Expect::CommentAmong(comment) => Some(comment),
            _ => None,
        };
        let mut lines = String::new();
        for line in text.lines() {
            if comment.is_some_and(|comment| line.contains(comment.as_str())) {
                self.watched.over = true;
                break;
            }
            self.watched.lines += 1;
            if self.watched.lines > self.watched.skip {
                lines.push_str(line);
                lines.push('\n');
            }
        }
        (!lines.is_empty()).then_some(lines)
    }

    /// Returns the reply received so far, or the whole reply once its end is found, without the
    /// echo of `command`.
    pub(crate) fn answer(&self, command: Option<&str>) -> Answer {
        let (mut end, rest) = match &self.end {
            Some(end) => (end.offset, end.rest.as_str()),
            None => (self.buffer.len(), ""),
        };
        let mut truncated = self.truncated;
        if end > self.limit {
            truncated = true;
            end = self.limit;
        }
        let mut bytes = &self.buffer[..end];
        let mut skipped = 0;
        if let Some(command) = command
            && self.echo
        {
            skipped = self.echo_length(bytes, command);
            bytes = &bytes[skipped..];
        }
        let mut output = if self.cuts.is_empty() {
            clean(bytes)
        } else {
            clean(&without_erasures(bytes, self.cuts_from(skipped)))
        };
        if !truncated {
            output.push_str(rest);
        }
        if output.ends_with('\n') {
            output.pop();
        }
        if (skipped == 0 || !self.echo) && self.word.is_some() && command.is_some() {
            // Without an echo, the rest of the prompt and the newline of Enter remain.
            while let Some(newline) = output.find('\n')
                && output[..newline].trim().is_empty()
            {
                output.drain(..=newline);
            }
        }
        self.without_sentinels(&mut output);
        self.trim(&mut output);
        Answer { output, truncated }
    }

    /// Returns the positions of removed pager marks from `start` on, relative to it. They are
    /// sorted, and many may precede `start`.
    fn cuts_from(&self, start: usize) -> impl Iterator<Item = usize> {
        let first = self.cuts.partition_point(|&cut| cut < start);
        self.cuts[first..].iter().map(move |cut| cut - start)
    }

    /// Returns the length of the echo of `command`, including everything that the device printed
    /// before it read the command.
    ///
    /// Some devices redraw the line on Enter, some with every typed character; a log line may
    /// precede the echo or split it.
    fn echo_length(&self, bytes: &[u8], command: &str) -> usize {
        let command = command.trim();
        let mut length = 0;
        let mut others = 0;
        // The rest of an echo that a log line has split.
        let mut left: Option<&str> = None;
        let mut at = 0;
        while at < bytes.len() && others < BEFORE_ECHO {
            let newline = bytes[at..].iter().position(|&byte| byte == b'\n');
            let end = newline.map_or(bytes.len(), |newline| at + newline + 1);
            let line = clean(&bytes[at..end]);
            let line = line.trim_end();
            let typed = self.after_prompt(line);
            let is_echo = typed == Some(command)
                || (length == at && line == command)
                || (at == 0 && ends_with_echo(line, command))
                || (length == 0 && (line == command || Some(line.trim_start()) == left));
            if is_echo {
                length = end;
                left = None;
            } else if let Some(typed) = typed.filter(|typed| is_beginning(command, typed)) {
                // The device redraws the line while it is typed, or a log line follows.
                if length > 0 {
                    length = end;
                } else {
                    left = Some(command[typed.len()..].trim_start());
                }
            } else if !line.is_empty() {
                if length > 0 {
                    break;
                }
                others += 1;
                let typed = typed.unwrap_or(line);
                let same = common_length(typed, command);
                if others == 1 && same == command.len() {
                    length = end;
                } else if others == 1 && same > 0 && left.is_none() {
                    left = Some(command[same..].trim_start());
                }
            }
            at = end;
        }
        length
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

    /// Removes the echoes of sentinels typed ahead of the output, and the prompts shown for them.
    fn without_sentinels(&self, output: &mut String) {
        let Some(word) = self.word.as_deref().filter(|word| output.contains(word)) else {
            return;
        };
        let lines = output.lines().filter(|line| !line.contains(word));
        let mut lines: Vec<&str> = lines.collect();
        while lines
            .last()
            .is_some_and(|line| line.is_empty() || self.learnt.is(line))
        {
            lines.pop();
        }
        *output = lines.join("\n");
    }

    /// Removes the lines that the platform prints around every output.
    fn trim(&self, output: &mut String) {
        if let Some(above) = &self.platform.prompts.above {
            while let Some(at) = last_line_start(output) {
                let line = output[at..].trim();
                if line.is_empty() || !above.matches(line) {
                    break;
                }
                output.truncate(at.saturating_sub(1));
                // The empty line before it is removed, too.
                if output.ends_with('\n') {
                    output.pop();
                }
            }
        }
        if let Some(header) = &self.platform.header {
            let blank = output.len() - output.trim_start_matches('\n').len();
            let line = output[blank..].lines().next().unwrap_or_default();
            if header.matches(line) {
                let length = (blank + line.len() + 1).min(output.len());
                output.drain(..length);
            }
        }
    }

    const fn tail_start(&self) -> usize {
        self.buffer.len().saturating_sub(TAIL)
    }
}

/// Returns whether a line is the echo of a command. The device redraws or scrolls a command that is
/// longer than the terminal is wide, so only its end is compared.
fn ends_with_echo(line: &str, command: &str) -> bool {
    const COMPARED: usize = 12;
    let mut from = command.len().saturating_sub(COMPARED);
    while !command.is_char_boundary(from) {
        from += 1;
    }
    line.ends_with(&command[from..])
}

fn is_beginning(command: &str, typed: &str) -> bool {
    !typed.is_empty() && command.starts_with(typed)
}

/// Returns the length of the common prefix of two texts, in bytes.
fn common_length(one: &str, other: &str) -> usize {
    let pairs = one.char_indices().zip(other.chars());
    let different = pairs.clone().find(|((_, a), b)| a != b);
    match different {
        Some(((at, _), _)) => at,
        None => one.len().min(other.len()),
    }
}

/// Returns a line without colour sequences, which do not move the cursor.
fn without_colours(line: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"\x1b[") {
        kept.extend_from_slice(&rest[..at]);
        let sequence = &rest[at + 2..];
        let length = sequence
            .iter()
            .take_while(|&&byte| byte.is_ascii_digit() || byte == b';');
        let length = length.count();
        if sequence.get(length) != Some(&b'm') {
            kept.extend_from_slice(b"\x1b[");
            rest = sequence;
            continue;
        }
        rest = &sequence[length + 1..];
    }
    kept.extend_from_slice(rest);
    kept
}

fn without_erasures(bytes: &[u8], cuts: impl Iterator<Item = usize>) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for cut in cuts {
        let cut = cut.clamp(from, bytes.len());
        kept.extend_from_slice(&bytes[from..cut]);
        from = cut + erase_length_after_mark(&bytes[cut..]);
    }
    kept.extend_from_slice(&bytes[from..]);
    kept
}

/// Returns the start of the last line of a text.
fn last_line_start(text: &str) -> Option<usize> {
    if text.is_empty() {
        return None;
    }
    Some(text.rfind('\n').map_or(0, |at| at + 1))
}

fn find_last(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).rposition(|part| part == wanted)
}

#[cfg(test)]
mod tests;
