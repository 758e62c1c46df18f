//! The pager: output page by page.

use std::sync::Arc;

use super::{Cli, Effect, Waiting};
use crate::platform::{OtherKey, Pager};
use crate::text::expand;

impl Cli<'_> {
    /// Prints a text, in pages if paging is on.
    pub(super) fn show(&mut self, text: &str) {
        let lines = text.lines().count();
        match self.rows {
            Some(rows) if lines >= rows => {
                self.waiting = Waiting::Page {
                    rest: text.lines().map(str::to_owned).collect(),
                    total: lines,
                    on_screen: 0,
                };
                self.print_lines(rows - 1);
            }
            _ => self.print(text),
        }
    }

    /// Handles a character typed at the pager.
    pub(super) fn page(&mut self, c: char) {
        let definition = Arc::clone(&self.definition);
        let (Some(pager), Some(rows)) = (&definition.pager, self.rows) else {
            return;
        };
        let other = |key| !pager.next.contains(c) && pager.other == key;
        if pager.next.contains(c) || (other(OtherKey::GoesOn) && !pager.quit.contains(c)) {
            self.print(&pager.erase);
            self.print_lines(rows - 1);
        } else if pager.line.contains(c) {
            self.print(&pager.erase);
            self.print_lines(1);
        } else if pager.quit.contains(c) || other(OtherKey::Quits) {
            self.print(&pager.erase);
            self.print(&pager.stopped);
            self.waiting = Waiting::Command;
        }
        self.print_prompt();
    }

    fn print_lines(&mut self, count: usize) {
        let definition = Arc::clone(&self.definition);
        let (
            Waiting::Page {
                rest,
                total,
                on_screen,
            },
            Some(pager),
        ) = (&mut self.waiting, &definition.pager)
        else {
            return;
        };
        let lines: String = rest
            .drain(..count.min(rest.len()))
            .map(|line| line + "\n")
            .collect();
        *on_screen += lines.lines().count();
        let done = rest.is_empty();
        let mark = match (&pager.end_mark, done) {
            (Some(end), true) => end.clone(),
            (None, true) => String::new(),
            (_, false) => mark(pager, *on_screen, *total),
        };
        if done && pager.end_mark.is_none() {
            self.waiting = Waiting::Command;
        }
        self.print(&(lines + &mark));
        // The pager consumes input that was typed ahead, but the client still sees the mark.
        self.effects.push(Effect::Flush);
    }
}

fn mark(pager: &Pager, on_screen: usize, total: usize) -> String {
    let first = on_screen.saturating_sub(pager.rows).saturating_add(1);
    expand(&pager.mark, |name| match name {
        "percent" => Some((on_screen * 100 / total.max(1)).to_string()),
        "first" => Some(first.to_string()),
        "last" => Some(on_screen.to_string()),
        _ => None,
    })
}
