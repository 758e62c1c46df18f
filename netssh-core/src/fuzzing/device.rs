//! A device that reacts to what is typed, and a session that reads it: what `session` does, without
//! a network and without time.
//!
//! The device stops at a pager's mark, reads keys there, and otherwise keeps what is typed for its
//! prompt. So the model covers what a packet's end can make a session do too early: answer a mark
//! that is not whole or none at all, or ask for the end in the middle of an output.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{COMMAND, Input};
use crate::platform::{Ending, Platform};
use crate::reader::{Answer, Expect, Reader, Step};
use crate::terminal::clean;

/// How a session reads; see `session::dialogue`, `session::pipeline` and `session::login`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// The comment goes with the command.
    TypeAhead,
    /// The comment is typed at what looks like a prompt.
    Careful,
    /// Nothing is echoed.
    Silent,
    /// Two commands travel together.
    Pipeline,
    /// The first lines of a session, typed at what looks like a prompt after a banner.
    Login,
    /// A shell with a prompt of ours.
    Shell,
}

/// A device that answers one command.
pub(super) struct Device {
    platform: Arc<Platform>,
    manner: Manner,
    prompt: String,
    /// A pager's mark, and how it is wiped out.
    mark: &'static str,
    erasure: String,
    /// It has something to say about a comment.
    complains: bool,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// `None` where a session would time out.
    pub(super) prompt: Option<String>,
    pub(super) exit_code: Option<i32>,
    pub(super) answers: Vec<Answer>,
    pub(super) watched: String,
    /// A pager read what was meant for the prompt: the session sends the command again, or it
    /// times out, where it had taken a line of the output for the prompt.
    pub(super) swallowed: bool,
    /// A text of the output was answered as if it were a pager's mark.
    pub(super) mistaken: bool,
}

const WORD: &str = "acijlowxacijlowx";
const LOGIN_LINE: &str = "terminal length 0";
const SECOND: &str = "show y";

impl Device {
    /// Of a platform the first one that it knows.
    const PROMPTS: [&'static str; 9] = [
        "r1#",
        "admin@r1>",
        "admin@r1:~$",
        "<r1>",
        "A:r1#",
        "r1 #",
        "r1.1 #",
        "[admin@r1] >",
        "$",
    ];
    /// Of a platform any one that it knows.
    const MARKS: [&'static str; 15] = [
        " --More-- ",
        "--More--",
        "---(more 42%)---",
        "---(more)---",
        "  ---- More ----",
        "  ---- More ( Press 'Q' to break ) ----",
        "<--- More --->",
        "-- MORE --, next page: Space, next line: Enter, quit: Control-C",
        "-- MORE --, next page: Space, next line: Enter, quit: q",
        "lines 1-23",
        "lines 1-23/100 50%",
        "Press <SPACE> to continue or <Q> to quit:",
        "Press any key to continue (Q to quit)",
        "--(more)--",
        "-- [Q quit|D dump|down]",
    ];
    pub(super) fn new(input: &mut Input<'_>) -> Self {
        let names = Platform::names();
        let name = names[usize::from(input.byte()) % names.len()];
        let manner = input.number(5);
        let (mark, erasure) = (input.byte(), input.number(4));
        let (blank, complains) = (input.number(2) == 1, input.number(2) == 1);
        let platform = Platform::named(name).expect("a built-in platform");
        let manner = match (&platform.ending, manner) {
            (Ending::ShellPrompt, _) => Manner::Shell,
            (_, 0) => Manner::TypeAhead,
            (_, 1) => Manner::Careful,
            (_, 2) => Manner::Silent,
            (_, 3) => Manner::Pipeline,
            _ => Manner::Login,
        };
        let marks = Self::marks_of(&platform);
        let mark = marks.get(usize::from(mark) % marks.len().max(1));
        let mark = mark.copied().unwrap_or_default();
        let mut prompt = Self::prompt_of(&platform).to_owned();
        if blank && platform.prompts.any.matches(&format!("{prompt} ")) {
            prompt.push(' ');
        }
        Self {
            manner,
            prompt,
            mark,
            erasure: Self::erasure(mark, erasure),
            complains,
            platform,
        }
    }

    /// The ways of wiping out a mark.
    fn erasure(mark: &str, kind: u8) -> String {
        let width = mark.len();
        let (back, blank) = ("\x08".repeat(width), " ".repeat(width));
        match kind {
            0 => back.clone() + &blank + &back,
            1 => format!("\r{blank}\r"),
            2 => format!("\x1b[{width}D{blank}\x1b[{width}D"),
            _ => "\r\x1b[K".to_owned(),
        }
    }

    pub(super) fn prompt_of(platform: &Platform) -> &'static str {
        let known = |prompt: &&str| platform.prompts.any.matches(prompt);
        Self::PROMPTS
            .into_iter()
            .find(known)
            .expect("a prompt of each platform")
    }

    pub(super) fn marks_of(platform: &Platform) -> Vec<&'static str> {
        let known = |mark: &&str| {
            let mut pagers = platform.pagers.iter();
            pagers.any(|pager| pager.mark.matches(mark.trim_end()))
        };
        Self::MARKS.into_iter().filter(known).collect()
    }

    /// The output of a command, in pages: after each but the last one the device waits for a key.
    /// Some bytes stand for what a device may print that looks like something else. `None` for
    /// what no reading can tell from an end.
    pub(super) fn pages(&self, output: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut pages = vec![Vec::new()];
        for &byte in output {
            let page = pages.last_mut().expect("there is one");
            match byte {
                0 => page.extend(self.prompt.bytes()),
                1 => page.extend(b"\r\n"),
                2 if !self.mark.is_empty() && self.manner != Manner::Shell => {
                    // A mark stands on a line of its own.
                    page.extend(b"\r\n");
                    pages.push(self.erasure.bytes().collect());
                }
                3 => page.extend(self.prompt.bytes().chain(*b"\r\n")),
                4 => page.extend(COMMAND.bytes()),
                5 => page.extend(WORD[..WORD.len() / 2].bytes()),
                6 => page.extend(b"\x1b[31m"),
                7 => page.extend(b"\r\x1b[K"),
                other => page.push(other),
            }
        }
        let mut shown = pages.concat();
        for at in 1..shown.len() {
            if shown[at - 1..=at] == *b"\x1bE" {
                shown[at] = b'\n';
            }
        }
        let shown = clean(&shown);
        // The word is random, so that no output holds it. And where nothing is echoed, an output
        // that holds a prompt twice in a row looks like the end.
        let ambiguous = shown.contains(WORD)
            || self.manner == Manner::Silent && shown.contains(['#', '>', '$', '%', ']']);
        (!ambiguous).then_some(pages)
    }

    fn comment(&self, number: usize) -> String {
        let Ending::Comment { prefix } = &self.platform.ending else {
            return WORD.to_owned();
        };
        format!("{prefix}{WORD}{}", "x".repeat(number))
    }

    /// Reads it in pieces of these lengths.
    pub(super) fn read(&self, pages: &[Vec<u8>], cuts: &[usize], limit: usize) -> Outcome {
        let echo = self.manner != Manner::Silent && self.platform.terminal.echo;
        let mut session = Session {
            device: self,
            line: Line::new(self, pages, echo),
            manner: self.manner,
            comments: 0,
            outcome: Outcome {
                prompt: None,
                exit_code: None,
                answers: Vec::new(),
                watched: String::new(),
                swallowed: false,
                mistaken: false,
            },
        };
        let mut cuts = cuts.iter().copied().cycle();
        match self.manner {
            Manner::Pipeline => session.pipeline(&mut cuts, limit),
            Manner::Login => session.login(&mut cuts, limit),
            _ => session.command(&mut cuts, limit, echo),
        }
        let Session { line, outcome, .. } = &mut session;
        outcome.swallowed |= line.swallowed;
        let ended = outcome.prompt.is_some();
        assert!(ended || outcome.swallowed, "no end: {outcome:?}");
        assert!(
            !ended || line.is_idle(),
            "out of step: {outcome:?}, {:?} is left",
            line.printed
        );
        session.outcome
    }
}

struct Session<'d> {
    device: &'d Device,
    line: Line<'d>,
    manner: Manner,
    comments: usize,
    outcome: Outcome,
}

impl<'d> Session<'d> {
    fn command(&mut self, cuts: &mut dyn Iterator<Item = usize>, limit: usize, echo: bool) {
        let mut reader = Reader::new(&self.device.platform, limit, Expect::Prompt).with_echo(echo);
        match self.manner {
            Manner::TypeAhead => {
                reader.expect_ahead(true);
                self.ask_for_end(&mut reader);
            }
            Manner::Shell => reader.expect(Expect::ShellPrompt(WORD.to_owned())),
            _ => {}
        }
        self.finish(&mut reader, cuts, COMMAND);
    }

    fn pipeline(&mut self, cuts: &mut dyn Iterator<Item = usize>, limit: usize) {
        let platform = &self.device.platform;
        let (first, second) = (self.next_comment(), self.next_comment());
        for line in [&first, SECOND, &second] {
            self.line.typed(&format!("{line}\n"));
        }
        let mut reader = Reader::new(platform, limit, Expect::CommentAmong(first));
        reader.expect_ahead(true);
        self.finish(&mut reader, cuts, COMMAND);
        if self.outcome.prompt.take().is_none() || self.outcome.swallowed {
            return;
        }
        let arrived = reader.take_next();
        let mut reader = Reader::new(platform, limit, Expect::Comment(second));
        reader.expect_ahead(true);
        reader.push(&arrived);
        self.finish(&mut reader, cuts, SECOND);
    }

    fn login(&mut self, cuts: &mut dyn Iterator<Item = usize>, limit: usize) {
        let mut reader = Reader::new(&self.device.platform, limit, Expect::Prompt).before_typing();
        let mut sent = false;
        while let Some(piece) = self.line.receive(cuts) {
            reader.push(&piece);
            loop {
                match reader.step() {
                    Step::Prompt if !sent => {
                        sent = true;
                        let comment = self.next_comment();
                        reader.clear();
                        reader.typed();
                        self.line.typed(&format!("{LOGIN_LINE}\n{comment}\n"));
                        reader.expect(Expect::FirstComment { comment, lines: 2 });
                    }
                    Step::Pager(answer) => {
                        self.answer_pager(&mut reader, &answer);
                        sent = false;
                        reader.expect(Expect::Prompt);
                    }
                    Step::Swallowed => {
                        sent = false;
                        reader.expect(Expect::Prompt);
                        continue;
                    }
                    Step::End { prompt, .. } => {
                        self.outcome.prompt = Some(prompt);
                        return;
                    }
                    Step::NoEcho => assert!(self.line.says_more(), "it echoes: {reader:?}"),
                    _ => {}
                }
                break;
            }
        }
    }

    /// Reads up to the end of an answer.
    fn finish(
        &mut self,
        reader: &mut Reader<'_>,
        cuts: &mut dyn Iterator<Item = usize>,
        command: &str,
    ) {
        let mut unseen = true;
        loop {
            if !std::mem::take(&mut unseen) {
                let Some(piece) = self.line.receive(cuts) else {
                    return;
                };
                reader.push(&piece);
            }
            let step = reader.step();
            if !self.line.swallowed {
                self.outcome.watched.extend(reader.new_lines(command));
            }
            match step {
                Step::Prompt => self.ask_for_end(reader),
                Step::Pager(answer) => {
                    self.answer_pager(reader, &answer);
                    if matches!(self.manner, Manner::TypeAhead | Manner::Pipeline) {
                        self.get_in_step(reader);
                    }
                }
                Step::Swallowed => {
                    unseen = true;
                    self.get_in_step(reader);
                }
                Step::End { prompt, exit_code } => {
                    self.outcome.prompt = Some(prompt);
                    self.outcome.exit_code = exit_code;
                    self.outcome.answers.push(reader.answer(Some(command)));
                    return;
                }
                _ => {}
            }
        }
    }

    fn answer_pager(&mut self, reader: &mut Reader<'_>, answer: &str) {
        self.outcome.mistaken |= !self.line.is_at_mark();
        reader.pager_answered();
        self.line.typed(answer);
    }

    fn get_in_step(&mut self, reader: &mut Reader<'_>) {
        self.outcome.swallowed = true;
        self.manner = Manner::Careful;
        reader.expect_ahead(false);
        reader.expect(Expect::Prompt);
    }

    fn ask_for_end(&mut self, reader: &mut Reader<'_>) {
        if self.manner == Manner::Silent {
            reader.expect(Expect::PromptTwice);
            self.line.typed("\n");
        } else {
            let comment = self.next_comment();
            self.line.typed(&format!("{comment}\n"));
            reader.expect(Expect::Comment(comment));
        }
    }

    fn next_comment(&mut self) -> String {
        self.comments += 1;
        self.device.comment(self.comments)
    }
}

/// The device's side of the line.
struct Line<'d> {
    device: &'d Device,
    echo: bool,
    pages: VecDeque<Vec<u8>>,
    /// What was typed and not read yet.
    keys: VecDeque<u8>,
    /// What was printed and has not arrived yet.
    printed: VecDeque<u8>,
    /// So much of `printed` is a mark at which the device waits.
    mark: Option<usize>,
    /// What was typed since the last newline, at the prompt.
    typed_line: String,
    /// A pager has read a line that was meant for the prompt.
    swallowed: bool,
}

impl<'d> Line<'d> {
    fn new(device: &'d Device, pages: &[Vec<u8>], echo: bool) -> Self {
        let mut line = Self {
            device,
            echo,
            pages: pages.iter().cloned().collect(),
            keys: VecDeque::new(),
            printed: VecDeque::new(),
            mark: None,
            typed_line: String::new(),
            swallowed: false,
        };
        if echo && device.manner != Manner::Login {
            line.print(&format!("{COMMAND}\r\n"));
        }
        line.next_page();
        line
    }

    fn print(&mut self, text: &str) {
        self.printed.extend(text.bytes());
    }

    fn next_page(&mut self) {
        self.printed
            .extend(self.pages.pop_front().unwrap_or_default());
        if self.pages.is_empty() {
            self.mark = None;
            // Most outputs end with a newline.
            let end = match self.device.manner {
                Manner::Shell => format!("@@{WORD}:3@@"),
                _ => format!("\r\n{}", self.device.prompt),
            };
            self.print(&end);
        } else {
            self.print(self.device.mark);
            self.mark = Some(self.device.mark.len());
        }
    }

    /// It reads that at once, and goes on as far as it can.
    fn typed(&mut self, keys: &str) {
        self.keys.extend(keys.bytes());
        while let Some(key) = self.keys.pop_front() {
            if self.mark.is_some() {
                // Letters of the word mean nothing to a pager.
                if matches!(key, b' ' | b'\n') {
                    self.swallowed |= key == b'\n';
                    self.next_page();
                }
                continue;
            }
            if key != b'\n' {
                self.typed_line.push(char::from(key));
                if self.echo {
                    self.printed.push_back(key);
                }
                continue;
            }
            self.print("\r\n");
            let line = std::mem::take(&mut self.typed_line);
            if line.contains(WORD) && self.device.complains {
                self.print("   ^\r\n% Unknown command\r\n");
            } else if line.trim() == SECOND {
                self.print("second\r\n");
            }
            self.print(&self.device.prompt);
        }
    }

    /// A packet, `None` if the device waits for something.
    fn receive(&mut self, cuts: &mut dyn Iterator<Item = usize>) -> Option<Vec<u8>> {
        let length = cuts.next().unwrap_or(usize::MAX).min(self.printed.len());
        (length > 0).then(|| self.printed.drain(..length).collect())
    }

    /// It waits at a mark, and some of that has arrived.
    fn is_at_mark(&self) -> bool {
        self.mark.is_some_and(|length| self.printed.len() < length)
    }

    fn says_more(&self) -> bool {
        !self.printed.is_empty()
    }

    /// It has read and said everything. A blank after the prompt may be under way.
    fn is_idle(&self) -> bool {
        self.pages.is_empty()
            && self.keys.is_empty()
            && self.printed.iter().all(|&byte| byte == b' ')
    }
}
