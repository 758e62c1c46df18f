//! What happened on a simulated device, for tests to look at.

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Sessions are numbered from 1.
    pub session: usize,
    /// The mode it happened in, or that was entered, with its sections:
    /// `configuration/interface eth1`.
    pub mode: String,
    /// That is a configuration mode, or a section.
    pub configures: bool,
    /// What happened.
    pub what: What,
}

/// What happened.
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
        /// The answer; none where it is not echoed.
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

/// The last of what happened: it grows up to a limit.
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
