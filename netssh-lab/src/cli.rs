//! The command line of a simulated device: characters in, [`Effect`]s out. A pure state machine,
//! except for the state that the device's sessions share. The platform's file defines all texts.
//!
//! This module handles keys and the terminal; `cli/commands.rs` handles lines and answers.

mod commands;
mod pager;
mod values;

use std::collections::VecDeque;
use std::sync::Arc;

pub(super) use self::values::said;
use super::configuration::Tree;
use super::platform::{Definition, Mode, Wrap};
use super::text::{expand, on_screen, width};
use super::transcript::{Entry, What};
use super::{Shared, lock};

/// The next action of the device.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Sends text; newlines are `\n` at this point.
    Print(String),
    /// Waits for the delay of a command.
    Work,
    /// Sends the printed text before any further text.
    Flush,
    /// Sends the printed text and waits until it has arrived.
    Pause,
    /// Stays silent for the rest of the session.
    Hang,
    /// Ends the session.
    Close,
}

/// Limit of a typed line in bytes; the rest is dropped.
const MAX_LINE: usize = 8192;

#[derive(Debug)]
pub(super) struct Cli<'a> {
    shared: &'a Shared,
    definition: Arc<Definition>,
    session: usize,
    mode: String,
    sections: Vec<Open>,
    /// Remaining questions before the first prompt.
    login: VecDeque<String>,
    logged_in: bool,
    waiting: Waiting,
    line: String,
    /// The number of the line being typed, from 1.
    number: usize,
    /// Characters of the line that are visible if the terminal scrolls.
    visible: usize,
    /// Whether Ctrl-V was typed, so that the next character is literal.
    quoted: bool,
    /// Whether the last character was a carriage return; a newline after it is the same Enter.
    returned: bool,
    columns: usize,
    /// Lines per page; `None` if paging is off.
    rows: Option<usize>,
    candidate: Option<Tree>,
    effects: Vec<Effect>,
}

/// An entered section.
#[derive(Debug, Clone)]
struct Open {
    line: String,
    label: String,
    /// Whether the section is only a prefix of the lines typed in it.
    prefix: bool,
}

/// The purpose of the next characters.
#[derive(Debug, Default)]
enum Waiting {
    #[default]
    Command,
    Answer {
        question: String,
        attempt: usize,
    },
    Page {
        rest: VecDeque<String>,
        total: usize,
        on_screen: usize,
    },
    /// Text, up to a line that contains this character.
    Text(char),
}

impl<'a> Cli<'a> {
    pub(super) fn new(shared: &'a Shared, session: usize, columns: u32, rows: u32) -> Self {
        let definition = shared.device.platform.definition();
        let login = &definition.login;
        let privileged = login.privileged.as_ref();
        let mode = privileged.filter(|_| shared.device.privileged);
        let questions = &shared.device.login_questions;
        let page = definition.pager.as_ref().map(|pager| {
            let of_client = pager.rows_of_client && rows > 1;
            if of_client { rows as usize } else { pager.rows }
        });
        Self {
            shared,
            session,
            mode: mode.unwrap_or(&login.mode).clone(),
            sections: Vec::new(),
            login: questions
                .as_ref()
                .unwrap_or(&login.questions)
                .clone()
                .into(),
            logged_in: false,
            waiting: Waiting::Command,
            line: String::new(),
            number: 1,
            visible: 0,
            quoted: false,
            returned: false,
            columns: definition.terminal.width.unwrap_or(columns as usize),
            rows: page,
            candidate: None,
            effects: Vec::new(),
            definition,
        }
    }

    /// Returns the output before anything is typed.
    pub(super) fn greeting(&mut self) -> Vec<Effect> {
        let banner = self.text(&self.definition.login.banner, "");
        let own = &self.shared.device.banner;
        self.print(&banner);
        if !own.is_empty() || banner.is_empty() {
            self.print(&format!("{own}\n"));
        }
        self.log_in();
        std::mem::take(&mut self.effects)
    }

    /// Asks the next login question, or shows the first prompt.
    fn log_in(&mut self) {
        if let Some(question) = self.login.pop_front() {
            self.ask(&question, 1);
            return;
        }
        self.logged_in = true;
        let message = self.text(&self.definition.login.message, "");
        self.print(&message);
        self.record(What::Mode);
        self.print_prompt();
    }

    /// Handles one typed character.
    pub(super) fn typed(&mut self, c: char) -> Vec<Effect> {
        let second_half = c == '\n' && std::mem::replace(&mut self.returned, c == '\r');
        if !second_half {
            self.returned = c == '\r';
            self.key(c);
        }
        std::mem::take(&mut self.effects)
    }

    fn key(&mut self, c: char) {
        if matches!(self.waiting, Waiting::Page { .. }) {
            return self.page(c);
        }
        if let Some((question, _)) = self.asked()
            && question.key
        {
            let key = if matches!(c, '\r' | '\n') {
                String::new()
            } else {
                c.into()
            };
            return self.answer(&key);
        }
        let definition = Arc::clone(&self.definition);
        let hidden = self.asked().is_some_and(|(question, _)| question.hidden);
        match c {
            '\r' | '\n' => self.enter(),
            '\x03' => self.interrupt(&definition.terminal.interrupt),
            '\x16' if definition.terminal.help.is_some() => self.quoted = true,
            '\x08' | '\x7f' => {
                if self.line.pop().is_some() && !hidden {
                    self.print(&definition.terminal.erase);
                }
            }
            c if self.mode().keys.contains_key(&c) => {
                let to = self.mode().keys[&c].clone();
                self.line.clear();
                self.print("\n");
                self.go(&to);
                self.print_prompt();
            }
            '?' if !self.quoted && !hidden && definition.terminal.help.is_some() => {
                let help = definition.terminal.help.clone().unwrap_or_default();
                self.print(&format!("?\n{help}"));
                self.print_prompt();
                let line = self.line.clone();
                self.print(&line);
            }
            c => {
                self.quoted = false;
                if self.line.len() < MAX_LINE {
                    self.line.push(c);
                    if !hidden {
                        self.echo(c);
                    }
                }
            }
        }
    }

    /// Expands a terminal template for a key.
    fn drawn(&self, template: &str, char: &str) -> String {
        let prompt = self.prompt();
        let column = width(&prompt) + self.line.chars().count() + 1;
        expand(template, |name| match name {
            "char" => Some(char.to_owned()),
            "line" => Some(self.line.clone()),
            "prompt" => Some(on_screen(&prompt)),
            "pad" => Some(" ".repeat(self.columns.saturating_sub(column))),
            "at" => Some((column - 1).to_string()),
            "column" => Some(column.to_string()),
            _ => None,
        })
    }

    fn echo(&mut self, c: char) {
        let faults = &self.shared.device.faults;
        let terminal = &self.definition.terminal;
        let echo = self.drawn(&terminal.echo, c.encode_utf8(&mut [0; 4]));
        let before = width(&self.prompt());
        let typed = self.line.chars().count();
        let column = before + typed + 1;
        let edge = self.columns.max(before + 2);
        let wrap = match self.waiting {
            Waiting::Command => terminal.wrap,
            _ => Wrap::Never,
        };
        match wrap {
            Wrap::Scroll if before + self.visible + 1 >= edge => {
                // IOS keeps a third of the row visible when it scrolls.
                let kept = ((edge - before) / 3).max(1);
                let end: String = self.line.chars().skip(typed - kept.min(typed)).collect();
                let blank = self.visible.saturating_sub(kept + 1);
                let scrolled = format!(
                    "{back}${end}{gone}{left}",
                    back = "\x08".repeat(self.visible),
                    gone = " ".repeat(blank),
                    left = "\x08".repeat(blank),
                );
                self.visible = kept + 1;
                self.print(&scrolled);
            }
            Wrap::Newline if (column - 1).is_multiple_of(edge) => self.print(&format!("{echo}\n")),
            Wrap::Readline if (column - 1).is_multiple_of(edge) => {
                self.print(&format!("{echo} \r"));
            }
            _ => {
                self.visible += 1;
                self.print(&echo);
            }
        }
        if let Some(interruption) = &faults.interruption
            && interruption.after == self.line
        {
            self.print(&format!("\n{}\n", interruption.text));
        }
        if faults.echo_in_pieces && typed == 3 {
            self.effects.push(Effect::Pause);
        }
    }

    fn interrupt(&mut self, text: &str) {
        self.line.clear();
        self.visible = 0;
        self.print(text);
        self.waiting = Waiting::Command;
        if !self.logged_in {
            self.effects.push(Effect::Close);
            return;
        }
        if let Some(to) = self.mode().keys.get(&'\x03').cloned() {
            self.go(&to);
        }
        self.print_prompt();
    }

    fn enter(&mut self) {
        let hidden = self.asked().is_some_and(|(question, _)| question.hidden);
        let drawn = if hidden {
            "\n".to_owned()
        } else {
            self.drawn(&self.definition.terminal.enter, "")
        };
        let line = std::mem::take(&mut self.line);
        let line = line.trim().to_owned();
        self.visible = 0;
        self.number += 1;
        self.print(&drawn);
        match self.waiting {
            Waiting::Answer { .. } => return self.answer(&line),
            Waiting::Text(end) => {
                if line.contains(end) {
                    self.waiting = Waiting::Command;
                    self.print_prompt();
                }
                return;
            }
            _ => {}
        }
        let comments = &self.definition.terminal.comments;
        let comment = comments.iter().any(|comment| line.starts_with(comment));
        if comment {
            self.record(What::Comment(line));
        } else if !line.is_empty() {
            self.record(What::Typed(line.clone()));
            lock(&self.shared.commands).push(line.clone());
            self.effects.push(Effect::Work);
            let never = &self.shared.device.faults.never_answer;
            if never
                .as_deref()
                .is_some_and(|start| line.starts_with(start))
            {
                self.effects.push(Effect::Hang);
                return;
            }
            let mode = self.mode.clone();
            self.command(&mode, &line);
        }
        self.print_prompt();
    }

    /// Prints the prompt unless the session ends or another state waits for input.
    fn print_prompt(&mut self) {
        let ends = self.effects.contains(&Effect::Close);
        if matches!(self.waiting, Waiting::Command) && !ends {
            let prompt = self.prompt();
            self.print(&prompt);
        }
    }

    fn mode(&self) -> &Mode {
        &self.definition.modes[&self.mode]
    }

    fn prompt(&self) -> String {
        if let Some((question, _)) = self.asked() {
            return self.text(&question.print, "");
        }
        let mode = self.mode();
        let section = mode.section_prompt.as_ref();
        let section = section.filter(|_| !self.sections.is_empty());
        let prompt = self.text(section.unwrap_or(&mode.prompt), "");
        // `{width}` is the column after the prompt, for devices that position the cursor
        // themselves.
        let column = width(&prompt.replace("{width}", "1")) + 1;
        prompt.replace("{width}", &column.to_string())
    }

    fn print(&mut self, text: &str) {
        match self.effects.last_mut() {
            _ if text.is_empty() => {}
            Some(Effect::Print(printed)) => printed.push_str(text),
            _ => self.effects.push(Effect::Print(text.into())),
        }
    }

    fn record(&self, what: What) {
        let rules = &self.definition;
        let landing = [Some(&rules.login.mode), rules.login.privileged.as_ref()];
        let at_home = landing.contains(&Some(&self.mode)) && self.sections.is_empty();
        let mut mode = self.mode.clone();
        for section in &self.sections {
            mode.push('/');
            mode.push_str(&section.line);
        }
        lock(&self.shared.transcript).push(Entry {
            session: self.session,
            mode,
            configures: self.mode().configuration && !at_home,
            what,
        });
    }
}

impl Drop for Cli<'_> {
    fn drop(&mut self) {
        self.record(What::Ended);
    }
}

#[cfg(test)]
mod tests;
