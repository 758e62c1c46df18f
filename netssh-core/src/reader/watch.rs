//! Passes the finished lines of an output to a watcher.

use super::{BEFORE_ECHO, Expect, Reader};
use crate::terminal::clean;

/// The part of the output that a watcher has seen.
#[derive(Debug, Default)]
pub(super) struct Watched {
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

impl Watched {
    /// Forgets the received bytes. The lines seen so far are not passed again.
    pub(super) fn restart(&mut self) {
        *self = Self {
            skip: self.skip.max(self.lines),
            ..Self::default()
        };
    }
}

impl Reader<'_> {
    /// Returns the lines finished since the last call, for a watcher, without the echo of `command`
    /// and only up to the limit.
    pub(crate) fn new_lines(&mut self, command: &str) -> Option<String> {
        if self.buffer.truncated || self.watched.over {
            return None;
        }
        let end = match &self.end {
            Some(end) => end.offset,
            None => self.finished(),
        };
        let end = end.min(self.buffer.limit);
        let from = self.watched.offset;
        if end <= from || (self.end.is_none() && end == self.watched.unechoed) {
            return None;
        }
        let mut skipped = from;
        if from == 0 && self.echo {
            skipped = self.echo_length(&self.buffer[..end], command);
            // Before the echo has arrived, it cannot be distinguished from output.
            if skipped == 0 && self.end.is_none() && self.buffer.newlines <= BEFORE_ECHO {
                self.watched.unechoed = end;
                return None;
            }
        }
        let text = self.buffer.text(skipped, end);
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

    /// Returns the end of the finished output lines. Without an echo, a prompt at their end and the
    /// empty lines after it may be the first of the two prompts that end the output.
    fn finished(&self) -> usize {
        let end = self.buffer.newline.map_or(0, |at| at + 1);
        if !matches!(self.expect, Expect::PromptTwice) {
            return end;
        }
        let floor = self.buffer.tail_start().min(end);
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
}
