//! Pagers: their marks, and input that a pager consumes although it was meant for the prompt.

use super::buffer::Cursor;
use super::{LINE, Reader, Step};
use crate::platform::Pager;
use crate::terminal::clean;

/// The input that a pager may consume, and the signs that it did.
#[derive(Debug, Default)]
pub(super) struct Pagers {
    /// The comment was sent together with the command.
    pub(super) typed_ahead: bool,
    /// A pager was answered and may have ended before the answer arrived.
    keys_sent: bool,
    /// A pager's mark was erased without an answer.
    wiped: bool,
    /// The position up to which `wiped` is up to date.
    swept: Cursor,
    /// The end of the bytes when `swept` was set.
    seen: Cursor,
}

impl Pagers {
    /// Forgets the received bytes, but not the typed input.
    pub(super) fn clear(&mut self) {
        self.wiped = false;
        self.swept = Cursor::default();
        self.seen = Cursor::default();
    }
}

impl Reader<'_> {
    pub(super) fn pager(&self) -> Step {
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
        self.buffer.cut_last_line();
        self.pagers.keys_sent = true;
    }

    /// Removes keys that were meant for a pager that had already ended: they appear at the prompt,
    /// before the comment.
    pub(super) fn without_pager_keys<'l>(&self, line: &'l str) -> &'l str {
        if !self.pagers.keys_sent {
            return line;
        }
        let pagers = &self.platform.pagers;
        let is_key = |c: char| c == ' ' || pagers.iter().any(|pager| pager.answer.contains(c));
        line.trim_end_matches(is_key)
    }

    /// Returns whether a pager has consumed the typed-ahead input: the last line is a prompt, and a
    /// pager's mark before it was erased without an answer.
    pub(super) fn is_swallowed(&mut self) -> bool {
        let length = self.buffer.len();
        let seen = self.buffer.position(self.pagers.seen);
        let swept = self.buffer.position(self.pagers.swept);
        // A carriage return at the very end may belong to a newline, so it is checked again.
        let fresh = &self.buffer[seen.saturating_sub(1).min(length)..];
        let is_wiping = |byte: &u8| matches!(byte, b'\r' | b'\x08' | b'\x1b');
        let may_wipe = fresh.iter().any(is_wiping);
        self.pagers.seen = self.buffer.cursor(length);
        let new = &self.buffer[swept.min(length)..];
        self.pagers.wiped |= may_wipe
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
        let longest = length.saturating_sub(LINE);
        let swept = self.buffer.newline.unwrap_or(0).max(longest);
        self.pagers.swept = self.buffer.cursor(swept);
        self.pagers.wiped && self.shows_prompt()
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
