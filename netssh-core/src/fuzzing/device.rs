//! A simulated device, and a session that reads from it as `session` does, without a network and
//! without time.
//!
//! The device stops at a pager's mark, reads keys there, and otherwise keeps typed input for its
//! prompt. The model covers the premature actions that a packet boundary can provoke in a session:
//! answering an incomplete mark or none at all, and sending a sentinel in the middle of an output.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{COMMAND, Input};
use crate::platform::{Ending, Platform};
use crate::reader::{Answer, Expect, Reader, Step};
use crate::terminal::clean;

/// The way a session reads; see `session::dialogue`, `session::pipeline` and `session::login`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// The comment is sent with the command.
    TypeAhead,
    /// The comment is typed at a likely prompt.
    Careful,
    /// Nothing is echoed.
    Silent,
    /// Two commands are sent together.
    Pipeline,
    /// The first lines of a session, typed at a likely prompt after a banner.
    Login,
    /// A shell with the session's own prompt.
    Shell,
}

/// A device that runs one command.
pub(super) struct Device {
    platform: Arc<Platform>,
    manner: Manner,
    prompt: String,
    /// A pager's mark, and the bytes that erase it.
    mark: &'static str,
    erasure: String,
    /// The device prints an error for a comment.
    complains: bool,
}

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// `None` if a session would time out.
    pub(super) prompt: Option<String>,
    pub(super) exit_code: Option<i32>,
    pub(super) answers: Vec<Answer>,
    pub(super) watched: String,
    /// A pager consumed input that was meant for the prompt: the session sends the command again,
    /// or times out if it has taken a line of the output for the prompt.
    pub(super) swallowed: bool,
    /// Output was answered as if it were a pager's mark.
    pub(super) mistaken: bool,
}

const WORD: &str = "acijlowxacijlowx";
const LOGIN_LINE: &str = "terminal length 0";
const SECOND: &str = "show y";

impl Device {
    /// A platform uses the first of these that it recognises.
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
    /// A platform uses any of these that it recognises.
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

    /// Returns one of the ways to erase a mark.
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

    /// Returns the output of a command, in pages: after each one except the last, the device waits
    /// for a key. Some bytes are replaced by text that resembles something else, such as a prompt.
    /// `None` for output that no reader can distinguish from the end.
    pub(super) fn pages(&self, output: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut pages = vec![Vec::new()];
        for &byte in output {
            let page = pages.last_mut().expect("there is one");
            match byte {
                0 => page.extend(self.prompt.bytes()),
                1 => page.extend(b"\r\n"),
                2 if !self.mark.is_empty() && self.manner != Manner::Shell => {
                    // A mark is on a line of its own.
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
        // The word is random, so no output contains it. Without an echo, output with the same
        // prompt twice in a row is indistinguishable from the end.
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

    /// Reads the pages in pieces of these lengths.
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

    /// Reads up to the end of a reply.
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
    /// Typed keys that were not read yet.
    keys: VecDeque<u8>,
    /// Printed bytes that have not arrived yet.
    printed: VecDeque<u8>,
    /// The length of the mark at the end of `printed` at which the device waits.
    mark: Option<usize>,
    /// The input typed at the prompt since the last newline.
    typed_line: String,
    /// A pager has consumed a line that was meant for the prompt.
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

    /// Types keys, which the device reads at once as far as it can.
    fn typed(&mut self, keys: &str) {
        self.keys.extend(keys.bytes());
        while let Some(key) = self.keys.pop_front() {
            if self.mark.is_some() {
                // The letters of the word mean nothing to a pager.
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

    /// Returns the next packet; `None` if the device waits for input.
    fn receive(&mut self, cuts: &mut dyn Iterator<Item = usize>) -> Option<Vec<u8>> {
        let length = cuts.next().unwrap_or(usize::MAX).min(self.printed.len());
        (length > 0).then(|| self.printed.drain(..length).collect())
    }

    /// Returns whether the device waits at a mark of which some bytes have arrived.
    fn is_at_mark(&self) -> bool {
        self.mark.is_some_and(|length| self.printed.len() < length)
    }

    fn says_more(&self) -> bool {
        !self.printed.is_empty()
    }

    /// Returns whether the device has read and printed everything, except spaces after the prompt.
    fn is_idle(&self) -> bool {
        self.pages.is_empty()
            && self.keys.is_empty()
            && self.printed.iter().all(|&byte| byte == b' ')
    }
}
