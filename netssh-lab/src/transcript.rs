//! The events on a simulated device, recorded for tests.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The session's number, from 1.
    pub session: usize,
    /// The mode of the event, or the entered mode, with its sections:
    /// `configuration/interface eth1`.
    pub mode: String,
    /// Whether `mode` is a configuration mode or a section.
    pub configures: bool,
    /// The kind of event.
    pub what: What,
}

/// The kind of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// A line was typed at the prompt.
    Typed(String),
    /// A comment was typed at the prompt.
    Comment(String),
    /// A question was answered.
    Answered {
        /// The question's name in the platform's file.
        question: String,
        /// The answer; `None` if it is not echoed.
        answer: Option<String>,
    },
    /// A mode or section was entered, or left for another.
    Mode,
    /// The candidate was committed.
    Committed,
    /// The candidate was discarded.
    Discarded,
    /// The configuration was saved.
    Saved,
    /// The session ended, in this mode.
    Ended,
}

/// The latest events: the oldest are dropped at the limit.
#[derive(Debug)]
pub(super) struct Latest<T> {
    entries: std::collections::VecDeque<T>,
}

/// Enough for any test.
const LIMIT: usize = 100_000;

impl<T: Clone> Latest<T> {
    pub(super) const fn new() -> Self {
        let entries = std::collections::VecDeque::new();
        Self { entries }
    }

    pub(super) fn push(&mut self, entry: T) {
        if self.entries.len() == LIMIT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    pub(super) fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut self.entries).into()
    }

    pub(super) fn to_vec(&self) -> Vec<T> {
        self.entries.iter().cloned().collect()
    }
}
