//! The command line of a simulated device: characters in, [`Effect`]s out. Pure but for what it
//! shares with the device's other sessions. What it says stands in the platform's file.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::configuration::{self, Tree, removes};
use super::platform::{Action, Definition, Do, Mode, OtherKey, Pager, Question, When, Wrap};
use super::text::{expand, width};
use super::transcript::{Entry, What};
use super::words::Words;
use super::{Paging, Shared, lock, texts};

/// What the device does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Sends text (newlines are `\n` here).
    Print(String),
    /// Works for as long as its commands take.
    Work,
    /// What was printed leaves before more is.
    Flush,
    /// And arrives, too.
    Pause,
    /// Never says anything again.
    Hang,
    /// Ends the session.
    Close,
}

/// Longer lines are cut, as by any device.
const LONGEST_LINE: usize = 8192;
/// By `commit confirmed` without a number.
const CONFIRM_WITHIN: u64 = 10;

#[derive(Debug)]
pub(super) struct Cli<'a> {
    shared: &'a Shared,
    definition: Arc<Definition>,
    session: usize,
    mode: String,
    sections: Vec<Open>,
    /// Questions before the first prompt.
    login: VecDeque<String>,
    logged_in: bool,
    waiting: Waiting,
    line: String,
    /// How much of the line is on the screen, where it scrolls.
    visible: usize,
    /// Ctrl-V was typed: the next character is text.
    quoted: bool,
    /// The last character was a carriage return; a newline after it is the same Enter.
    returned: bool,
    columns: usize,
    /// Lines on a page; none when nothing is paged.
    rows: Option<usize>,
    candidate: Option<Tree>,
    effects: Vec<Effect>,
}

/// A section that was entered.
#[derive(Debug, Clone)]
struct Open {
    line: String,
    label: String,
    /// It only goes before the lines typed in it.
    prefix: bool,
}

/// What the next characters are for.
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
    /// Lines up to one with this character.
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

    /// Before anything is typed.
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

    /// The next question before the first prompt, or that prompt.
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

    /// One character typed.
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
                if self.line.len() < LONGEST_LINE {
                    self.line.push(c);
                    if !hidden {
                        self.echo(c);
                    }
                }
            }
        }
    }

    fn echo(&mut self, c: char) {
        let faults = &self.shared.device.faults;
        let terminal = &self.definition.terminal;
        let prompt = self.prompt();
        let before = width(&prompt);
        let typed = self.line.chars().count();
        let column = before + typed + 1;
        let echo = expand(&terminal.echo, |name| match name {
            "char" => Some(c.to_string()),
            "line" => Some(self.line.clone()),
            "prompt" => Some(prompt.lines().last().unwrap_or_default().to_owned()),
            "column" => Some(column.to_string()),
            _ => None,
        });
        let edge = self.columns.max(before + 2);
        match terminal.wrap {
            Wrap::Scroll if before + self.visible + 1 >= edge => {
                // A third of the row stays in sight.
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
        let line = std::mem::take(&mut self.line);
        let line = line.trim().to_owned();
        self.visible = 0;
        let enter = self.definition.terminal.enter.clone();
        self.print(&enter);
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

    /// A line typed at the prompt of `mode`, which is another one for `do show version`.
    fn command(&mut self, mode: &str, line: &str) {
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
            return self.show(text.clone());
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

    /// A configuration line; false if there is no such line.
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

    /// The sections a line is in, save those that only go before it.
    fn path(&self) -> Vec<String> {
        let sections = self.sections.iter().filter(|section| !section.prefix);
        sections.map(|section| section.line.clone()).collect()
    }

    fn edit(&mut self, change: impl FnOnce(&mut Tree, &super::platform::Configuration)) {
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
            "line" => Some(line.to_owned()),
            name => self.value(name, ""),
        });
        self.show(text);
    }

    fn is(&self, when: When) -> bool {
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

    /// `stays` when the command was one of another mode.
    fn act(&mut self, action: &Action, line: &str, rest: &str, stays: bool) {
        let mut text = self.text(&action.print, rest);
        for step in &action.steps {
            self.step(*step, line, &mut text);
        }
        if let Some(mode) = action.goto.as_ref().filter(|_| !stays) {
            self.go(mode);
        }
        self.show(text);
        if let Some(question) = &action.ask {
            self.ask(question, 1);
        }
    }

    fn step(&mut self, step: Do, line: &str, text: &mut String) {
        let kind = self.definition.configuration.candidate;
        let last = line.split_whitespace().last().unwrap_or_default();
        let number = last.parse().ok();
        match step {
            Do::Close => self.effects.push(Effect::Close),
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

    fn go(&mut self, mode: &str) {
        self.sections.clear();
        mode.clone_into(&mut self.mode);
        self.record(What::Mode);
    }

    fn ask(&mut self, question: &str, attempt: usize) {
        let text = self.text(&self.definition.questions[question].print, "");
        self.print(&text);
        self.waiting = Waiting::Answer {
            question: question.to_owned(),
            attempt,
        };
    }

    fn asked(&self) -> Option<(&Question, usize)> {
        match &self.waiting {
            Waiting::Answer { question, attempt } => {
                Some((&self.definition.questions[question], *attempt))
            }
            _ => None,
        }
    }

    fn answer(&mut self, answer: &str) {
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

    /// Prints, page by page if paging is on.
    fn show(&mut self, text: String) {
        let before = &self.definition.modes[&self.mode].before_output;
        let text = if text.is_empty() {
            text
        } else {
            format!("{before}{text}")
        };
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
            _ => self.print(&text),
        }
    }

    /// A character typed at the pager.
    fn page(&mut self, c: char) {
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
        // What was typed ahead is read by the pager; a client sees its mark all the same.
        self.effects.push(Effect::Flush);
    }

    /// Unless something else waits for a key, or nothing will ever.
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
        self.text(section.unwrap_or(&mode.prompt), "")
    }

    fn text(&self, template: &str, rest: &str) -> String {
        expand(template, |name| self.value(name, rest))
    }

    fn value(&self, name: &str, rest: &str) -> Option<String> {
        let definition = &self.definition;
        let rules = &definition.configuration;
        let device = &self.shared.device;
        let hostname = || {
            let mut store = lock(&self.shared.configuration);
            let configured = store.hostname(definition);
            configured.unwrap_or_else(|| device.hostname.clone())
        };
        let labels = || self.sections.iter().map(|section| section.label.as_str());
        let with_changes = |print: fn(&super::platform::Configuration, &Tree, &Tree) -> String| {
            let mut store = lock(&self.shared.configuration);
            let (before, after) = store.pending(rules.candidate, &self.candidate);
            print(rules, before, after)
        };
        Some(match name {
            "hostname" => hostname(),
            "short" => short(&hostname(), definition),
            "username" => device.username.clone(),
            "rest" => rest.to_owned(),
            "section" => labels().next_back().unwrap_or_default().to_owned(),
            "sections" => labels().collect::<Vec<_>>().join(" "),
            "dirty" if self.is(When::Changed) => definition.hostname.dirty.clone(),
            "dirty" => definition.hostname.clean.clone(),
            "running" => configuration::shown(rules, lock(&self.shared.configuration).running()),
            "running_lines" => {
                configuration::lines(rules, lock(&self.shared.configuration).running())
            }
            "candidate" => with_changes(|rules, _, after| configuration::lines(rules, after)),
            "added" => with_changes(configuration::added),
            "changes" => with_changes(configuration::changes),
            "serial" => texts::serial(&hostname()),
            "uptime" => texts::uptime(self.shared.started.elapsed()),
            "ip_interface_brief" => {
                texts::ip_interface_brief(lock(&self.shared.configuration).running())
            }
            _ => return None,
        })
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

fn mark(pager: &Pager, on_screen: usize, total: usize) -> String {
    let first = on_screen.saturating_sub(pager.rows).saturating_add(1);
    expand(&pager.mark, |name| match name {
        "percent" => Some((on_screen * 100 / total.max(1)).to_string()),
        "first" => Some(first.to_string()),
        "last" => Some(on_screen.to_string()),
        _ => None,
    })
}

fn short(hostname: &str, definition: &Definition) -> String {
    match definition.hostname.length {
        Some(length) if hostname.chars().count() > length => {
            let cut: String = hostname.chars().take(length).collect();
            cut + &definition.hostname.mark
        }
        _ => hostname.to_owned(),
    }
}
