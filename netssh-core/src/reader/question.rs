//! The questions that a device asks within a reply.

use super::buffer::Cursor;
use super::{Expect, Reader, Step};
use crate::platform::Pattern;
use crate::prompt::is_question;
use crate::terminal::clean;

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

/// The questions of one exchange.
#[derive(Debug, Default)]
pub(super) struct Questions {
    pub(super) all: Vec<Question>,
    /// Questions before this position have been answered.
    pub(super) answered: Cursor,
}

impl Reader<'_> {
    /// Returns the question in the bytes received since the last answered question.
    pub(super) fn question(&self) -> Option<Step> {
        if self.questions.all.is_empty() {
            return None;
        }
        let tail = &self.buffer[self.unanswered()..];
        let newline = tail.iter().rposition(|&byte| byte == b'\n');
        // The first line is the command's echo, which may contain anything.
        if newline.is_none()
            && self.questions.answered == Cursor::default()
            && self.echo
            && self.typed
        {
            return None;
        }
        let line = clean(&tail[newline.map_or(0, |at| at + 1)..]);
        // An answer typed at a prompt would run as a command.
        if line.trim().is_empty() || self.is_at_prompt(line.trim()) {
            return None;
        }
        let asked = |question: &Question| question.ask.matches(line.trim_start());
        let open = |question: &Question| question.again || !question.answered;
        let of = |wanted: &dyn Fn(&Question) -> bool| self.questions.all.iter().position(wanted);
        of(&|question| open(question) && asked(question))
            .map(Step::Question)
            .or_else(|| of(&asked).map(Step::AskedAgain))
    }

    /// Returns the question in a finished line, after which the device waits.
    pub(super) fn finished_question(&self) -> Option<Step> {
        let text = clean(&self.buffer[self.unanswered()..]);
        // An instruction may be drawn in a frame.
        let lines = text.lines().rev().map(str::trim);
        let mut lines = lines.filter(|line| !line.is_empty()).take(3);
        lines.find_map(|line| {
            let asked = |question: &Question| question.finished && question.ask.matches(line);
            self.questions
                .all
                .iter()
                .position(asked)
                .map(Step::Question)
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
        self.questions.answered = self.buffer.cursor(self.buffer.len());
        if let Some(question) = self.questions.all.get_mut(index) {
            question.answered = true;
        }
    }

    /// Returns the start of the bytes that may contain an unanswered question.
    fn unanswered(&self) -> usize {
        let answered = self.buffer.position(self.questions.answered);
        self.buffer
            .tail_start()
            .max(answered.min(self.buffer.len()))
    }
}
