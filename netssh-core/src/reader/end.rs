//! The end of a reply: the sentinel at a prompt, or the prompt that the session has set.

use super::buffer::Cursor;
use super::{BEFORE_ECHO, LINE, LINES, Reader, Step};
use crate::prompt::{is_part_of, same_prompt};
use crate::terminal::clean;

/// The end of the output.
#[derive(Debug)]
pub(super) struct End {
    pub(super) offset: usize,
    /// Output on the prompt's own line, if the output did not end with a newline.
    pub(super) rest: String,
    /// The start of the next reply.
    next: usize,
}

/// The progress of the search for the end.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// No line before this position contains the expected comment.
    searched: Cursor,
    /// The end found with a sentinel that was echoed but not followed by a prompt.
    kept: Option<(Cursor, String)>,
    /// The last newline, and the text before the comment on the line above it, if the comment was
    /// found without a known prompt.
    unprompted: Option<(Cursor, String)>,
}

impl Search {
    /// Begins to search for another end. An end that was kept remains valid.
    pub(super) fn restart(&mut self) {
        self.searched = Cursor::default();
        self.unprompted = None;
    }
}

impl Reader<'_> {
    pub(super) fn shell_prompt(&mut self, word: &str) -> Step {
        let tail = &self.buffer[self.buffer.tail_start()..];
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
            offset: self.buffer.tail_start() + at,
            rest: String::new(),
            next: self.buffer.len(),
        });
        Step::End {
            prompt: String::new(),
            exit_code: Some(code),
        }
    }

    /// Finds `PROMPT!comment`, a newline, the device's reply to it, and a prompt at the very end.
    pub(super) fn comment(&mut self, comment: &str) -> Option<Step> {
        let last = self.buffer.newline?;
        // The tail is enough even for a line that is redrawn repeatedly.
        let prompt = self.last_line();
        let prompt = prompt.trim();
        if prompt.is_empty() {
            return None;
        }
        let (offset, rest) = self.comment_line(comment, prompt, last)?;
        let (offset, rest) = match self.search.kept.take() {
            Some((kept, rest)) => (self.buffer.position(kept), rest),
            None => (offset, rest),
        };
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
        if let Some((at, before)) = &self.search.unprompted
            && !known
            && *at == self.buffer.cursor(last)
            && !same_prompt(before, prompt)
        {
            return None;
        }
        self.search.unprompted = None;
        let mut newline = last;
        let mut found = None;
        let mut is_anywhere = false;
        let searched = self.buffer.position(self.search.searched);
        for _ in 0..LINES {
            if newline < searched || last - newline > LINE {
                break;
            }
            let (start, whole) = self.buffer.line_start(newline);
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
                    self.search.unprompted =
                        Some((self.buffer.cursor(last), before.trim().to_owned()));
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
            self.search.searched = self.buffer.cursor(last + 1);
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

    /// Finds `PROMPT!comment` and a newline: the end of this reply and the beginning of the next.
    pub(super) fn comment_among(&mut self, comment: &str) -> Option<Step> {
        // No further line is complete.
        let mut searched = self.buffer.position(self.search.searched);
        if self.buffer.newline.is_none_or(|newline| newline < searched) {
            return None;
        }
        while let Some(length) = self.buffer[searched..]
            .iter()
            .position(|&byte| byte == b'\n')
        {
            let (start, newline) = (searched, searched + length);
            searched = newline + 1;
            self.search.searched = self.buffer.cursor(searched);
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
    pub(super) fn is_silent(&self, comment: &str, lines: usize) -> bool {
        let last = self.last_line();
        let prompt = last.trim();
        // Fewer lines cannot contain all the prompts.
        let enough = self.buffer.newlines.saturating_add(1) >= lines;
        if prompt.is_empty() || !enough || !(self.is_prompt(prompt) || lines > 1) {
            return false;
        }
        // All prompts must be equal, because a banner may contain others.
        let text = clean(&self.buffer[self.buffer.len().saturating_sub(LINE)..]);
        let prompts = text.lines().filter(|line| line.trim() == prompt);
        !text.contains(comment) && prompts.count() >= lines
    }

    /// Finds the same prompt in the last two non-empty lines.
    pub(super) fn prompt_twice(&mut self) -> Option<Step> {
        let start = self.buffer.tail_start();
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

    /// Records the end of the output if the sentinel was echoed at a prompt.
    pub(super) fn keep_end(&mut self, comment: &str) -> bool {
        if self.search.kept.is_some() {
            return true;
        }
        let text = self.buffer.len();
        let mut newline = self.buffer.newline;
        for _ in 0..LINES {
            let Some(end) = newline.filter(|&end| text - end <= LINE) else {
                return false;
            };
            let (start, whole) = self.buffer.line_start(end);
            if let Some(before) = self.before_comment(start, end, comment) {
                let rest = match self.learnt.output_before(&before) {
                    Some(rest) => rest.to_owned(),
                    None if self.is_prompt(&before) => String::new(),
                    None => return false,
                };
                self.search.kept = Some((self.buffer.cursor(start), rest));
                return true;
            }
            newline = start.checked_sub(1).filter(|_| whole);
        }
        false
    }

    /// Returns whether a line that ends with this text has arrived, with or without a prompt before
    /// it.
    pub(super) fn holds_line(&self, text: &str) -> bool {
        let ends = |line: &[u8]| clean(line).trim_end().ends_with(text);
        let newest = self.buffer.newest();
        let mut first = self.buffer.split(|&byte| byte == b'\n').take(BEFORE_ECHO);
        first.any(ends) || newest.split(|&byte| byte == b'\n').any(ends)
    }

    /// Returns whether the comment was echoed after text that is not a prompt: a question has
    /// consumed it (`Which one? !comment`).
    pub(super) fn was_read_elsewhere(&self, comment: &str) -> bool {
        let newest = self.buffer.newest();
        newest.split(|&byte| byte == b'\n').any(|line| {
            let line = clean(line);
            let before = line.trim_end().strip_suffix(comment).map(str::trim);
            before.is_some_and(|before| {
                !before.is_empty() && !self.is_known_prompt(before) && !self.is_prompt(before)
            })
        })
    }

    /// Returns whether a line consists of one part of this text, or ends with one: a device that
    /// prints a log line while it echoes splits the echo in two.
    pub(super) fn holds_torn(&self, text: &str) -> bool {
        /// Half of a sentinel's word, which no other text contains.
        const PART: usize = 8;
        let newest = self.buffer.newest();
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

    /// Ends the output before the last line, which is a verified prompt.
    pub(crate) fn end_at_last_line(&mut self) {
        self.end = Some(End {
            offset: self.buffer.last_line_start(),
            rest: String::new(),
            next: self.buffer.len(),
        });
    }

    /// Returns the bytes after the end, with which the next reply begins.
    pub(crate) fn take_next(&mut self) -> Vec<u8> {
        let next = self.end.as_ref().map_or(self.buffer.len(), |end| end.next);
        self.buffer.split_off(next)
    }
}

fn find_last(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).rposition(|part| part == wanted)
}
