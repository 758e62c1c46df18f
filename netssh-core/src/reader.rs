//! Reads a device's answer: finds its end, its pager, its questions. Pure: bytes in, [`Step`] out.
//!
//! Why a prompt at the end of what has arrived is not the end of the answer: output may hold the
//! prompt's text on a line of its own (a description, a banner, a saved session), and a packet
//! may end exactly there. Waiting a while to see whether more follows is a guess about time. So
//! the end is made recognisable instead, see [`crate::platform::Ending`]: the device itself
//! echoes a random word at the prompt that follows the output, or prints it as the prompt. The
//! word is sent in the same write as the command where that is safe, so it costs no round trip.
//!
//! The result does not depend on where the packets were cut.

use crate::platform::{Pager, Pattern, Platform};
use crate::terminal::{clean, erase_length};

/// What the reader waits for.
#[derive(Debug, Clone)]
pub(crate) enum Expect {
    /// Something that looks like a prompt, after the command's echo if there is one.
    Prompt,
    /// A prompt, or the platform's question for the enable secret.
    PromptOrSecret,
    /// `PROMPT` + this comment, a newline, and `PROMPT` again.
    Comment(String),
    /// `@@word:digits@@`, the prompt that holds this word.
    ShellPrompt(String),
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Read more.
    Read,
    /// A pager waits: send this, call [`Reader::pager_answered`], and read on.
    Pager(String),
    /// The last line looks like a prompt.
    Prompt,
    /// The device asks for the secret.
    Secret,
    /// The end, beyond doubt.
    End {
        /// The prompt now; empty where it is ours.
        prompt: String,
        /// Where the platform has one.
        exit_code: Option<i32>,
    },
    /// The shell waits for the rest of the command.
    Incomplete,
}

/// The last lines are looked for in this much of the end. Longer than any prompt.
const TAIL: usize = 2048;
/// Reads beyond the limit are cut out in pieces of this size, so that cutting costs little.
const SLACK: usize = 64 * 1024;

/// One answer while it arrives.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    platform: &'a Platform,
    limit: usize,
    buffer: Vec<u8>,
    truncated: bool,
    /// Where pager marks were, so that their erasure can be removed.
    cuts: Vec<usize>,
    expect: Expect,
    /// Where the output ends, once it is known.
    end: Option<End>,
}

#[derive(Debug)]
struct End {
    offset: usize,
    /// Output on the prompt's own line, where the output did not end with a newline.
    rest: String,
}

/// A finished answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) output: String,
    pub(crate) truncated: bool,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(platform: &'a Platform, limit: usize, expect: Expect) -> Self {
        Self {
            platform,
            limit,
            buffer: Vec::new(),
            truncated: false,
            cuts: Vec::new(),
            expect,
            end: None,
        }
    }

    pub(crate) fn expect(&mut self, expect: Expect) {
        self.expect = expect;
    }

    /// Forgets what has arrived.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.cuts.clear();
        self.truncated = false;
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        // Keep the beginning up to the limit, and a tail to see the end in.
        if self.buffer.len() > self.limit + TAIL + SLACK {
            self.truncated = true;
            let tail = self.buffer.len() - TAIL;
            self.buffer.copy_within(tail.., self.limit);
            self.buffer.truncate(self.limit + TAIL);
            self.cuts.retain(|&cut| cut < self.limit);
        }
    }

    /// What the bytes so far call for.
    pub(crate) fn step(&mut self) -> Step {
        match &self.expect {
            Expect::ShellPrompt(word) => {
                let word = word.clone();
                self.shell_prompt(&word)
            }
            Expect::Comment(comment) => {
                let comment = comment.clone();
                self.comment(&comment).unwrap_or_else(|| self.pager())
            }
            Expect::Prompt => self.prompt(None),
            Expect::PromptOrSecret => {
                let question = self.platform.enable.as_ref().map(|e| e.question.clone());
                self.prompt(question.as_ref())
            }
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
        });
        Step::End {
            prompt: String::new(),
            exit_code: Some(code),
        }
    }

    /// `PROMPT!comment`, a newline, and `PROMPT` at the very end.
    fn comment(&mut self, comment: &str) -> Option<Step> {
        let start = self.tail_start();
        let tail = &self.buffer[start..];
        let newline = tail.iter().rposition(|&byte| byte == b'\n')?;
        let line_start = tail[..newline]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        // Cheap refusal first: this runs for every packet of a large answer.
        find_last(&tail[line_start..newline], comment.as_bytes())?;
        let prompt = clean(&tail[newline + 1..]);
        let prompt = prompt.trim();
        if prompt.is_empty() || !self.platform.prompts.any.matches(prompt) {
            return None;
        }
        let line = clean(&tail[line_start..newline]);
        let rest = line
            .trim_end()
            .strip_suffix(comment)?
            .trim_end()
            .strip_suffix(prompt)?
            .to_owned();
        let prompt = prompt.to_owned();
        self.end = Some(End {
            offset: start + line_start,
            rest,
        });
        Some(Step::End {
            prompt,
            exit_code: None,
        })
    }

    fn prompt(&self, question: Option<&Pattern>) -> Step {
        let line = self.last_line();
        // The first line is the command's echo, which may look like anything.
        let echo_over = !self.platform.terminal.echo || self.buffer.contains(&b'\n');
        if let Some(question) = question
            && echo_over
            && question.matches(line.trim_start())
        {
            return Step::Secret;
        }
        if self.platform.prompts.any.matches(line.trim_start()) {
            return Step::Prompt;
        }
        self.pager()
    }

    fn pager(&self) -> Step {
        if self.platform.pagers.is_empty() {
            return Step::Read;
        }
        let line = self.last_line();
        let waiting = |pager: &&Pager| pager.mark.matches(&line);
        match self.platform.pagers.iter().find(waiting) {
            Some(pager) => Step::Pager(pager.answer.clone()),
            None => Step::Read,
        }
    }

    /// Takes the pager's mark out; its erasure, which comes next, is dropped at the end.
    pub(crate) fn pager_answered(&mut self) {
        let start = self.tail_start();
        let line = self.buffer[start..]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(start, |at| start + at + 1);
        self.buffer.truncate(line);
        self.cuts.push(line);
    }

    /// Whether the echo of `command`, and nothing else, stands before the prompt in the last line.
    pub(crate) fn holds_only_echo(&self, command: &str) -> bool {
        let one_line = self.buffer.iter().filter(|&&byte| byte == b'\n').count() == 1;
        let echo = without_echo(&self.buffer, command).len() < self.buffer.len();
        one_line && (echo || !self.platform.terminal.echo)
    }

    /// The last line, as it looks on a screen, whether it is finished or not.
    pub(crate) fn last_line(&self) -> String {
        let tail = &self.buffer[self.tail_start()..];
        let line = tail
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(tail, |at| &tail[at + 1..]);
        clean(line)
    }

    /// Ends the output before the last line: for a prompt that is known to be the end.
    pub(crate) fn end_at_last_line(&mut self) {
        let start = self.tail_start();
        let offset = self.buffer[start..]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(start, |at| start + at + 1);
        self.end = Some(End {
            offset,
            rest: String::new(),
        });
    }

    /// The answer so far, or as a whole once its end was found; without the echo of `command`.
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
            && self.platform.terminal.echo
        {
            let without = without_echo(bytes, command);
            skipped = bytes.len() - without.len();
            bytes = without;
        }
        let mut output = if self.cuts.is_empty() {
            clean(bytes)
        } else {
            let cuts = self.cuts.iter().filter_map(|cut| cut.checked_sub(skipped));
            clean(&without_erasures(bytes, cuts))
        };
        if !truncated {
            output.push_str(rest);
        }
        if output.ends_with('\n') {
            output.pop();
        }
        Answer { output, truncated }
    }

    const fn tail_start(&self) -> usize {
        self.buffer.len().saturating_sub(TAIL)
    }
}

/// Removes the first line if it is the echo of `command`.
///
/// A short command is echoed as it is. One longer than the terminal is redrawn or scrolled
/// sideways, so of the line that remains on the screen only its end is compared.
fn without_echo<'b>(bytes: &'b [u8], command: &str) -> &'b [u8] {
    const COMPARED: usize = 12;
    let newline = bytes.iter().position(|&byte| byte == b'\n');
    let (line, rest) = match newline {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &bytes[bytes.len()..]),
    };
    let line = clean(line);
    let (line, command) = (line.trim_end(), command.trim());
    let mut from = command.len().saturating_sub(COMPARED);
    while !command.is_char_boundary(from) {
        from += 1;
    }
    if line.ends_with(&command[from..]) {
        rest
    } else {
        bytes
    }
}

fn without_erasures(bytes: &[u8], cuts: impl Iterator<Item = usize>) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for cut in cuts {
        let cut = cut.clamp(from, bytes.len());
        kept.extend_from_slice(&bytes[from..cut]);
        from = cut + erase_length(&bytes[cut..]);
    }
    kept.extend_from_slice(&bytes[from..]);
    kept
}

fn find_last(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).rposition(|part| part == wanted)
}

#[cfg(test)]
mod tests;
