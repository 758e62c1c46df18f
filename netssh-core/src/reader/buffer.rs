//! The received bytes of one reply, up to a limit.

use std::ops::Deref;

use super::{LINE, SLACK, TAIL};
use crate::terminal::{clean, erase_length_after_mark};

/// The received bytes. Beyond the limit, the buffer drops bytes from its middle: it keeps the
/// beginning of the output, and enough of the end to recognise it.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    pub(super) limit: usize,
    /// The position of the last newline; `None` if it was dropped.
    pub(super) newline: Option<usize>,
    /// Number of newlines received.
    pub(super) newlines: usize,
    pub(super) truncated: bool,
    /// The positions of removed pager marks, at which their erasure can be removed.
    pub(super) cuts: Vec<usize>,
    /// Number of bytes dropped after the limit.
    dropped: usize,
}

/// A position in a [`Buffer`] that stays at its byte when the buffer drops bytes before it. The
/// cursor of a dropped byte moves to the limit, where the buffer continues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cursor(usize);

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Buffer {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
            newline: None,
            newlines: 0,
            truncated: false,
            cuts: Vec::new(),
            dropped: 0,
        }
    }

    /// Drops everything received, but continues to count the newlines.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.newline = None;
        self.truncated = false;
        self.cuts.clear();
        self.dropped = 0;
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let last = self.bytes.len().saturating_sub(1);
        self.newlines += bytes.iter().filter(|&&byte| byte == b'\n').count();
        self.bytes.extend_from_slice(bytes);
        // "Next line" (ESC E) counts as a newline; its ESC may have arrived in an earlier packet.
        for at in last..self.bytes.len().saturating_sub(1) {
            if self.bytes[at..].starts_with(b"\x1bE") {
                self.bytes[at..at + 2].copy_from_slice(b"\r\n");
            }
        }
        let newline = self.bytes[last..].iter().rposition(|&byte| byte == b'\n');
        if let Some(at) = newline {
            self.newline = Some(last + at);
        }
        if self.bytes.len() > self.limit + 2 * SLACK {
            self.drop_middle();
        }
    }

    fn drop_middle(&mut self) {
        self.truncated = true;
        let tail = self.bytes.len() - SLACK;
        self.bytes.copy_within(tail.., self.limit);
        self.bytes.truncate(self.limit + SLACK);
        self.dropped += tail - self.limit;
        self.cuts.retain(|&cut| cut < self.limit);
        let kept = |at: usize| at.checked_sub(tail).map(|at| at + self.limit);
        self.newline = self.newline.and_then(kept);
    }

    /// Returns a cursor at a position.
    pub(super) const fn cursor(&self, position: usize) -> Cursor {
        match position > self.limit {
            true => Cursor(position + self.dropped),
            false => Cursor(position),
        }
    }

    /// Returns the position of a cursor.
    pub(super) fn position(&self, cursor: Cursor) -> usize {
        match cursor.0 > self.limit {
            true => cursor.0.saturating_sub(self.dropped).max(self.limit),
            false => cursor.0,
        }
    }

    /// Removes the last line, which is a pager's mark; its erasure, which arrives next, is removed
    /// from the output.
    pub(super) fn cut_last_line(&mut self) {
        let start = self.last_line_start();
        self.bytes.truncate(start);
        self.newline = start.checked_sub(1).filter(|&at| self.bytes[at] == b'\n');
        self.cuts.push(start);
    }

    /// Removes and returns the bytes from a position on.
    pub(super) fn split_off(&mut self, position: usize) -> Vec<u8> {
        self.bytes.split_off(position)
    }

    /// Returns the start of the bytes that are searched for the last lines.
    pub(super) const fn tail_start(&self) -> usize {
        self.bytes.len().saturating_sub(TAIL)
    }

    /// Returns the newest bytes: all that are kept beyond the limit.
    pub(super) fn newest(&self) -> &[u8] {
        &self.bytes[self.bytes.len().saturating_sub(SLACK)..]
    }

    /// Returns the start of the last line, finished or not.
    pub(super) fn last_line_start(&self) -> usize {
        let start = self.tail_start();
        self.bytes[start..]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(start, |at| start + at + 1)
    }

    /// Returns the last line, finished or not, as rendered on a screen.
    pub(super) fn last_line(&self) -> String {
        clean(&self.bytes[self.last_line_start()..])
    }

    /// Returns the start of the line that ends at `newline`, and whether it is the line's real
    /// start, which it is not for a line longer than [`LINE`].
    pub(super) fn line_start(&self, newline: usize) -> (usize, bool) {
        let from = newline.saturating_sub(LINE);
        let above = self.bytes[from..newline].iter().rposition(|&b| b == b'\n');
        match above {
            Some(at) => (from + at + 1, true),
            None => (from, from == 0),
        }
    }

    /// Returns the rendered text of a range, without the erasures of removed pager marks.
    pub(super) fn text(&self, start: usize, end: usize) -> String {
        let bytes = &self.bytes[start..end];
        // The cuts are sorted, and many may precede the start.
        let first = self.cuts.partition_point(|&cut| cut < start);
        match &self.cuts[first..] {
            [] => clean(bytes),
            cuts => clean(&without_erasures(bytes, cuts.iter().map(|cut| cut - start))),
        }
    }
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
