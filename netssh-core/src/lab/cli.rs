//! The command line of a simulated Cisco IOS device: characters in, [`Effect`]s out. Pure but for
//! the configuration it shares with the device's other sessions.

use std::collections::VecDeque;

use super::configuration::RunningConfiguration;
use super::{Paging, Shared, lock, texts};

/// What the device does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Sends text (newlines are `\n` here).
    Print(String),
    /// Works for as long as its commands take.
    Work,
    /// Never says anything again.
    Hang,
    /// Ends the session.
    Close,
}

/// A page, like an IOS terminal's default.
const PAGE: usize = 24;
const MORE: &str = " --More-- ";

#[derive(Debug)]
pub(super) struct Cli<'a> {
    shared: &'a Shared,
    mode: Mode,
    line: String,
    /// Ctrl-V was typed: the next character is text.
    quoted: bool,
    paging: bool,
    effects: Vec<Effect>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Mode {
    User,
    Enabled,
    Configuration,
    Section {
        line: String,
        mode: &'static str,
    },
    /// `enable` asks for its secret, for the n-th time.
    Secret(usize),
    /// `copy` asks for a file name.
    FileName,
    /// The pager waits; then back to where it was.
    Pager {
        rest: VecDeque<String>,
        back: Box<Self>,
    },
}

impl<'a> Cli<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            mode: if shared.device.privileged {
                Mode::Enabled
            } else {
                Mode::User
            },
            line: String::new(),
            quoted: false,
            paging: true,
            effects: Vec::new(),
        }
    }

    /// Before anything is typed.
    pub(super) fn greeting(&self) -> String {
        format!("{}\n{}", self.shared.device.banner, self.prompt())
    }

    /// One character typed.
    pub(super) fn typed(&mut self, c: char) -> Vec<Effect> {
        match (&self.mode, c) {
            (Mode::Pager { .. }, c) => self.page(c),
            (_, '\r' | '\n') => self.enter(),
            (_, '\x03') => {
                self.line.clear();
                if !matches!(self.mode, Mode::User) {
                    self.mode = Mode::Enabled;
                }
                self.print("\n");
                self.print_prompt();
            }
            (_, '\x16') => self.quoted = true,
            (_, '\x08' | '\x7f') => {
                if self.line.pop().is_some() {
                    self.print("\x08 \x08");
                }
            }
            (_, '?') if !self.quoted => {
                self.print("?\n  LINE  <cr>\n\n");
                self.print_prompt();
                let line = self.line.clone();
                self.print(&line);
            }
            (mode, c) => {
                let silent = matches!(mode, Mode::Secret(_));
                self.quoted = false;
                self.line.push(c);
                if !silent {
                    self.print(&c.to_string());
                }
            }
        }
        std::mem::take(&mut self.effects)
    }

    fn enter(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = line.trim();
        self.print("\n");
        match self.mode.clone() {
            Mode::Secret(attempt) => self.secret(line, attempt),
            Mode::FileName => {
                self.mode = Mode::Enabled;
                self.print("Building configuration...\n[OK]\n");
            }
            _ if line.is_empty() || line.starts_with('!') => {}
            _ => {
                lock(&self.shared.commands).push(line.to_owned());
                self.effects.push(Effect::Work);
                let faults = &self.shared.device.faults;
                if faults
                    .never_answer
                    .as_deref()
                    .is_some_and(|start| line.starts_with(start))
                {
                    self.effects.push(Effect::Hang);
                    return;
                }
                self.command(line);
            }
        }
        if !matches!(self.mode, Mode::Pager { .. }) {
            self.print_prompt();
        }
    }

    fn command(&mut self, line: &str) {
        match self.mode.clone() {
            Mode::Configuration => self.configure(line, None),
            Mode::Section { line: section, .. } => self.configure(line, Some(&section)),
            _ => self.execute(line),
        }
    }

    fn execute(&mut self, line: &str) {
        let enabled = self.mode != Mode::User;
        let is = |full: &str| abbreviates(line, full);
        let hostname = lock(&self.shared.configuration).hostname.clone();
        let outputs = &self.shared.device.outputs;
        if let Some((_, text)) = outputs.iter().find(|(command, _)| command == line) {
            self.show(text);
        } else if is("show version") {
            self.show(&texts::show_version(
                &hostname,
                self.shared.started.elapsed(),
            ));
        } else if is("show inventory") {
            self.show(&texts::show_inventory(&hostname));
        } else if is("show ip interface brief") {
            let text = texts::show_ip_interface_brief(&lock(&self.shared.configuration));
            self.show(&text);
        } else if is("show privilege") {
            let level = if enabled { 15 } else { 1 };
            self.show(&format!("Current privilege level is {level}\n"));
        } else if enabled && (is("show running-config") || is("show startup-config")) {
            let text = lock(&self.shared.configuration).text();
            self.show(&text);
        } else if let Some(length) = line.strip_prefix("terminal length ") {
            match self.shared.device.paging {
                Paging::Unauthorised => self.print("Command authorization failed.\n\n"),
                Paging::Always => {}
                Paging::UntilSwitchedOff => self.paging = length.trim() != "0",
            }
        } else if line.starts_with("terminal width ") || line.starts_with("ping ") {
        } else if is("enable") {
            if enabled {
            } else if self.shared.device.enable_secret.is_some() {
                self.mode = Mode::Secret(1);
            } else {
                self.print("% No password set\n");
            }
        } else if is("disable") {
            self.mode = Mode::User;
        } else if enabled && is("configure terminal") {
            self.print("Enter configuration commands, one per line.  End with CNTL/Z.\n");
            self.mode = Mode::Configuration;
        } else if enabled && is("write memory") {
            self.print("Building configuration...\n[OK]\n");
        } else if enabled && is("copy running-config startup-config") {
            self.mode = Mode::FileName;
        } else if is("exit") || is("logout") || is("quit") {
            self.effects.push(Effect::Close);
        } else if is("show") || (enabled && is("configure")) {
            self.print("% Incomplete command.\n\n");
        } else {
            self.invalid();
        }
    }

    fn configure(&mut self, line: &str, section: Option<&str>) {
        if line == "end" {
            self.mode = Mode::Enabled;
        } else if line == "exit" {
            self.mode = match section {
                Some(_) => Mode::Configuration,
                None => Mode::Enabled,
            };
        } else if let Some(command) = line.strip_prefix("do ") {
            let back = self.mode.clone();
            self.mode = Mode::Enabled;
            self.execute(command.trim());
            match &mut self.mode {
                Mode::Pager {
                    back: return_to, ..
                } => **return_to = back,
                mode => *mode = back,
            }
        } else if let Some(mode) = RunningConfiguration::section_mode(line) {
            lock(&self.shared.configuration).open_section(line);
            self.mode = Mode::Section {
                line: line.into(),
                mode,
            };
        } else if RunningConfiguration::knows(line) {
            lock(&self.shared.configuration).apply(section, line);
        } else {
            self.invalid();
        }
    }

    fn secret(&mut self, line: &str, attempt: usize) {
        if self.shared.device.enable_secret.as_deref() == Some(line) {
            self.mode = Mode::Enabled;
        } else if attempt < 3 {
            self.mode = Mode::Secret(attempt + 1);
        } else {
            self.mode = Mode::User;
            self.print("% Bad secrets\n\n");
        }
    }

    fn invalid(&mut self) {
        let caret = " ".repeat(self.prompt().len());
        self.print(&format!(
            "{caret}^\n% Invalid input detected at '^' marker.\n\n"
        ));
    }

    /// Prints, page by page if paging is on.
    fn show(&mut self, text: &str) {
        if !self.paging {
            self.print(text);
            return;
        }
        let back = Box::new(self.mode.clone());
        let rest = text.lines().map(str::to_owned).collect();
        self.mode = Mode::Pager { rest, back };
        self.print_lines(PAGE - 1);
    }

    /// A character typed at the pager: a page, a line, or the end of it.
    fn page(&mut self, c: char) {
        self.print(
            "\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08        \x08\x08\x08\x08\x08\x08\x08\x08",
        );
        match c {
            ' ' => self.print_lines(PAGE - 1),
            '\r' | '\n' => self.print_lines(1),
            _ => {
                if let Mode::Pager { rest, .. } = &mut self.mode {
                    rest.clear();
                }
                self.print("\n");
                self.print_lines(0);
            }
        }
        if !matches!(self.mode, Mode::Pager { .. }) {
            self.print_prompt();
        }
    }

    fn print_lines(&mut self, count: usize) {
        let Mode::Pager { rest, back } = &mut self.mode else {
            return;
        };
        let lines: String = rest
            .drain(..count.min(rest.len()))
            .map(|line| line + "\n")
            .collect();
        if rest.is_empty() {
            self.mode = (**back).clone();
            self.print(&lines);
        } else {
            self.print(&(lines + MORE));
        }
    }

    fn print_prompt(&mut self) {
        let prompt = self.prompt();
        self.print(&prompt);
    }

    fn prompt(&self) -> String {
        let hostname = &lock(&self.shared.configuration).hostname;
        // As IOS does, a long name is cut in configuration mode.
        let short: String = hostname.chars().take(20).collect();
        match &self.mode {
            Mode::User => format!("{hostname}>"),
            Mode::Enabled | Mode::Pager { .. } => format!("{hostname}#"),
            Mode::Configuration => format!("{short}(config)#"),
            Mode::Section { mode, .. } => format!("{short}({mode})#"),
            Mode::Secret(_) => "Password: ".into(),
            Mode::FileName => "Destination filename [startup-config]? ".into(),
        }
    }

    fn print(&mut self, text: &str) {
        match self.effects.last_mut() {
            Some(Effect::Print(printed)) => printed.push_str(text),
            _ => self.effects.push(Effect::Print(text.into())),
        }
    }
}

/// `sh ver` stands for `show version`.
fn abbreviates(typed: &str, full: &str) -> bool {
    let typed: Vec<&str> = typed.split_whitespace().collect();
    let full: Vec<&str> = full.split(' ').collect();
    typed.len() == full.len()
        && typed
            .iter()
            .zip(&full)
            .all(|(typed, full)| full.starts_with(&typed.to_lowercase()))
}
