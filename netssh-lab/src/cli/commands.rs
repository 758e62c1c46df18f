//! Effects of a line or an answer.

use std::sync::Arc;
use std::time::Duration;

use super::{Cli, Effect, Open, Waiting};
use crate::configuration::{Tree, removes};
use crate::platform::{Action, Configuration, Do, Mode, Question, When};
use crate::text::{expand, width};
use crate::transcript::What;
use crate::words::Words;
use crate::{Paging, lock};

/// Default of `commit confirmed` without a number, in minutes.
const CONFIRM_WITHIN: u64 = 10;

impl Cli<'_> {
    /// Runs a line at the prompt of `mode`, which is not the current mode for `do show version`.
    pub(super) fn command(&mut self, mode: &str, line: &str) {
        let definition = Arc::clone(&self.definition);
        let rules = &definition.modes[mode];
        if let Some(run) = &rules.run
            && let Some(command) = line.strip_prefix(&run.prefix)
        {
            return self.command(&run.mode, command.trim());
        }
        let own = self.shared.device.outputs.iter();
        let own = own.filter(|_| !rules.configuration || mode == definition.login.mode);
        if let Some((_, text)) = own.into_iter().find(|(command, _)| command == line) {
            let text = format!("{}{text}", rules.before_output);
            return self.show(&text);
        }
        let abbreviations = definition.terminal.abbreviations;
        let here = definition.commands.iter().filter(|command| {
            if command.modes.is_empty() {
                !rules.configuration
            } else {
                command.modes.iter().any(|known| known == mode)
            }
        });
        let here: Vec<_> = here.collect();
        let found = here.iter().find_map(|command| {
            let mut typed = command.typed.iter();
            let stood_for = typed.find_map(|typed| typed.matches(line, abbreviations))?;
            let fits = command.when.is_none_or(|when| self.is(when));
            fits.then_some((*command, stood_for))
        });
        if let Some((command, stood_for)) = found {
            let stays = mode != self.mode;
            self.act(&command.action, line, &stood_for.join(" "), stays);
        } else if rules.configuration && self.configure(line) {
        } else {
            let mut patterns: Vec<&Words> = here.iter().flat_map(|known| &known.typed).collect();
            if rules.configuration {
                let rules = &definition.configuration;
                patterns.extend(rules.sections.iter().map(|section| &section.line));
                patterns.extend(rules.top.iter().chain(&rules.lines));
            }
            self.refuse(rules, line, &patterns);
        }
    }

    /// Applies a configuration line; returns false if the line is unknown.
    fn configure(&mut self, line: &str) -> bool {
        let definition = Arc::clone(&self.definition);
        let rules = &definition.configuration;
        let prefixes = self.sections.iter().filter(|section| section.prefix);
        let prefix: String = prefixes
            .map(|section| format!("{} ", section.label))
            .collect();
        let line = &match [&rules.add, &rules.remove].into_iter().find_map(|start| {
            let rest = line.strip_prefix(start.as_str())?;
            (!prefix.is_empty() && !start.is_empty()).then(|| format!("{start}{prefix}{rest}"))
        }) {
            Some(line) => line,
            None => line.to_owned(),
        };
        let removed = removes(rules, line);
        let body = removed.as_deref().unwrap_or(line);
        let words = body.split_whitespace().count();
        let fits = |pattern: &Words| {
            pattern.fits(body) || removed.is_some() && pattern.fitting(body, false) == words
        };
        if let Some(section) = rules.sections.iter().find(|section| fits(&section.line)) {
            if removed.is_none() {
                let stood_for = section.line.matches(body, false).unwrap_or_default();
                let rest = stood_for.join(" ");
                if !section.nested {
                    self.sections.clear();
                }
                let label = expand(&section.label, |name| {
                    (name == "rest").then(|| rest.clone())
                });
                self.sections.push(Open {
                    line: body.to_owned(),
                    label,
                    prefix: section.prefix,
                });
                let path = self.path();
                self.edit(|tree, _| tree.open(&path));
                self.record(What::Mode);
                return true;
            }
            if !section.nested {
                self.sections.clear();
            }
        } else if rules.top.iter().any(fits) {
            if self.sections.iter().any(|section| !section.prefix) {
                self.sections.clear();
                self.record(What::Mode);
            }
        } else if !rules.lines.iter().any(fits) {
            return false;
        }
        let path = self.path();
        self.edit(|tree, rules| tree.apply(rules, &path, line));
        true
    }

    /// Returns the sections of a line, without those that are only prefixes.
    fn path(&self) -> Vec<String> {
        let sections = self.sections.iter().filter(|section| !section.prefix);
        sections.map(|section| section.line.clone()).collect()
    }

    fn edit(&mut self, change: impl FnOnce(&mut Tree, &Configuration)) {
        let rules = &self.definition.configuration;
        let mut store = lock(&self.shared.configuration);
        change(store.edited(rules.candidate, &mut self.candidate), rules);
    }

    fn refuse(&mut self, mode: &Mode, line: &str, patterns: &[&Words]) {
        let abbreviations = self.definition.terminal.abbreviations;
        let words = line.split_whitespace().count();
        let fitting = |pattern: &&Words| pattern.fitting(line, abbreviations);
        let right = patterns.iter().map(fitting).max().unwrap_or_default();
        let begins = |pattern: &&&Words| fitting(pattern) == words && pattern.len() > words;
        let refusals = &self.definition.refusals;
        let template = match &refusals.incomplete {
            Some(incomplete) if patterns.iter().any(|pattern| begins(&pattern)) => incomplete,
            _ => mode.unknown.as_ref().unwrap_or(&refusals.unknown),
        };
        let fault = line
            .split_whitespace()
            .nth(right.min(words.saturating_sub(1)));
        let fault = fault.unwrap_or_default();
        let offset = fault.as_ptr() as usize - line.as_ptr() as usize;
        let caret = " ".repeat(width(&self.prompt()) + line[..offset].chars().count());
        let text = expand(template, |name| match name {
            "caret" => Some(caret.clone()),
            "word" => Some(fault.to_owned()),
            "token" => Some(right.min(words.saturating_sub(1)).to_string()),
            // The command's name without the path before it.
            "name" => Some(fault.trim_start_matches('/').to_owned()),
            "position" => {
                let path = fault.len() - fault.trim_start_matches('/').len();
                Some((line[..offset + path].chars().count() + 1).to_string())
            }
            "line" => Some(line.to_owned()),
            name => self.value(name, ""),
        });
        self.print(&text);
    }

    pub(super) fn is(&self, when: When) -> bool {
        let secret = self.shared.device.enable_secret.is_some();
        let rules = &self.definition.configuration;
        let mut store = lock(&self.shared.configuration);
        let (before, after) = store.pending(rules.candidate, &self.candidate);
        match when {
            When::Changed => before != after,
            When::Unchanged => before == after,
            When::Refused => after.is_refused(rules),
            When::Section => !self.sections.is_empty(),
            When::Top => self.sections.is_empty(),
            When::Secret => secret,
            When::NoSecret => !secret,
        }
    }

    /// Runs an action. `stays` prevents a change of mode: the command belongs to another mode.
    fn act(&mut self, action: &Action, line: &str, rest: &str, stays: bool) {
        let mut text = self.text(&action.print, rest);
        let mode = self.mode();
        let commits = action.steps.contains(&Do::Commit);
        let stamp = if commits || !text.is_empty() || !mode.configuration {
            mode.before_output.clone()
        } else {
            String::new()
        };
        for step in &action.steps {
            self.step(*step, line, &mut text);
        }
        if let Some(mode) = action.goto.as_ref().filter(|_| !stays) {
            self.go(mode);
        }
        self.show(&(stamp + &text));
        if action.steps.contains(&Do::Close) {
            self.effects.push(Effect::Close);
        }
        if let Some(question) = &action.ask {
            self.ask(question, 1);
        }
    }

    fn step(&mut self, step: Do, line: &str, text: &mut String) {
        let kind = self.definition.configuration.candidate;
        let last = line.split_whitespace().last().unwrap_or_default();
        let number = last.parse().ok();
        match step {
            // Closed by `act` after all output.
            Do::Close => {}
            Do::PageOff | Do::PageLength | Do::PageOn => {
                let length = match step {
                    Do::PageOff => None,
                    Do::PageLength => number.filter(|rows| *rows > 1),
                    _ => self.definition.pager.as_ref().map(|pager| pager.rows),
                };
                match (self.shared.device.paging, &self.definition.pager) {
                    (Paging::Unauthorised, Some(pager)) => pager.unauthorised.clone_into(text),
                    (Paging::UntilSwitchedOff, Some(_)) => self.rows = length,
                    _ => {}
                }
            }
            Do::Width => self.columns = number.unwrap_or(self.columns),
            Do::Save => {
                lock(&self.shared.configuration).save();
                self.record(What::Saved);
            }
            Do::Commit | Do::CommitConfirmed => {
                let minutes = number.map_or(CONFIRM_WITHIN, |minutes| minutes as u64);
                let confirm = step == Do::CommitConfirmed;
                let within = confirm.then(|| Duration::from_secs(minutes.saturating_mul(60)));
                lock(&self.shared.configuration).commit(kind, &mut self.candidate, within);
                self.record(What::Committed);
            }
            Do::Discard => {
                lock(&self.shared.configuration).discard(&mut self.candidate);
                self.record(What::Discarded);
            }
            Do::Rollback => {
                lock(&self.shared.configuration).roll_back(kind, &mut self.candidate);
            }
            Do::Up | Do::Top => {
                let left = self.sections.len().saturating_sub(1);
                self.sections
                    .truncate(if step == Do::Up { left } else { 0 });
                self.record(What::Mode);
            }
            Do::Apply => {
                self.configure(line);
            }
            Do::ReadText => {
                let mut characters = last.chars();
                if let Some(end) = characters.next()
                    && !characters.any(|c| c == end)
                {
                    self.waiting = Waiting::Text(end);
                }
            }
        }
    }

    pub(super) fn go(&mut self, mode: &str) {
        self.sections.clear();
        mode.clone_into(&mut self.mode);
        self.record(What::Mode);
    }

    pub(super) fn ask(&mut self, question: &str, attempt: usize) {
        let text = self.text(&self.definition.questions[question].print, "");
        self.print(&text);
        self.waiting = Waiting::Answer {
            question: question.to_owned(),
            attempt,
        };
    }

    pub(super) fn asked(&self) -> Option<(&Question, usize)> {
        match &self.waiting {
            Waiting::Answer { question, attempt } => {
                Some((&self.definition.questions[question], *attempt))
            }
            _ => None,
        }
    }

    pub(super) fn answer(&mut self, answer: &str) {
        let Waiting::Answer { question, attempt } = std::mem::take(&mut self.waiting) else {
            return;
        };
        let definition = Arc::clone(&self.definition);
        let known = &definition.questions[&question];
        self.record(What::Answered {
            question: question.clone(),
            answer: (!known.hidden).then(|| answer.to_owned()),
        });
        let found = known.answers.iter().find(|candidate| {
            candidate.typed.iter().any(|typed| match typed.as_str() {
                "*" => !answer.is_empty(),
                "{secret}" => self.shared.device.enable_secret.as_deref() == Some(answer),
                "{password}" => self.shared.device.password == answer,
                "{username}" => self.shared.device.username == answer,
                typed if known.hidden => typed == answer,
                typed => typed.eq_ignore_ascii_case(answer),
            })
        });
        match found {
            Some(found) => self.act(&found.action, answer, answer, false),
            None if attempt < known.tries => {
                let again = self.text(&known.again, answer);
                self.print(&again);
                self.ask(&question, attempt + 1);
            }
            None => self.act(&known.otherwise, answer, answer, false),
        }
        let asks = matches!(self.waiting, Waiting::Answer { .. });
        if !self.logged_in && !asks {
            self.log_in();
        } else {
            self.print_prompt();
        }
    }
}
