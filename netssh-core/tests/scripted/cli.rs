//! The command line of a scripted device: bytes in, bytes out.

use super::{CLOSE, COUNT, Device, Echo, PAUSE, Reads, Record, Reply, State};

/// One session of a device.
pub(super) struct Cli<'d> {
    device: &'d Device,
    record: &'d Record,
    state: &'d State,
    line: Vec<u8>,
    /// Whether the last character was a carriage return, to which a newline belongs.
    after_return: bool,
    lines: usize,
    waits: bool,
    quoted: bool,
    /// Text to print.
    pub(super) output: String,
    pub(super) closed: bool,
}

const RETURN: u8 = b'\r';
const NEWLINE: u8 = b'\n';
/// Makes the next character literal (Ctrl-V).
const QUOTE: u8 = 0x16;

impl<'d> Cli<'d> {
    pub(super) fn new(device: &'d Device, record: &'d Record) -> Self {
        let mut cli = Self {
            device,
            record,
            state: &device.states[0],
            line: Vec::new(),
            after_return: false,
            lines: 0,
            waits: device.waits,
            quoted: false,
            output: String::new(),
            closed: false,
        };
        cli.print(&device.greeting);
        if !cli.waits {
            cli.prompt();
        }
        cli
    }

    fn print(&mut self, text: &str) {
        self.output
            .push_str(&text.replace('\n', self.device.newline));
    }

    fn prompt_text(&self) -> String {
        self.state.prompt.replace(COUNT, &self.lines.to_string())
    }

    fn prompt(&mut self) {
        let prompt = self.prompt_text();
        self.print(&prompt);
    }

    fn echoes(&self) -> bool {
        let echo = self.device.echo;
        self.state.echo && !matches!(echo, Echo::Off | Echo::Early)
    }

    /// Handles bytes that arrived together.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        if self.device.echo == Echo::Early && self.state.echo {
            let text = String::from_utf8_lossy(bytes).replace('\r', "\n");
            self.print(&text);
        }
        for &byte in bytes {
            if !self.closed {
                self.byte(byte);
            }
        }
    }

    fn byte(&mut self, byte: u8) {
        if self.state.reads == Reads::Key {
            self.after_return = byte == RETURN;
            let key = Self::name(byte);
            return self.act(&key);
        }
        if self.quoted {
            self.quoted = false;
            return self.character(byte);
        }
        match byte {
            NEWLINE if self.after_return => self.after_return = false,
            RETURN | NEWLINE => {
                self.after_return = byte == RETURN;
                self.enter();
            }
            QUOTE => self.quoted = true,
            0..0x20 => {
                self.after_return = false;
                self.control(byte);
            }
            byte => {
                self.after_return = false;
                self.character(byte);
            }
        }
    }

    fn name(byte: u8) -> String {
        match byte {
            RETURN | NEWLINE => "\n".to_owned(),
            0..0x20 => format!("^{}", char::from(byte + 0x40)),
            byte => char::from(byte).to_string(),
        }
    }

    fn character(&mut self, byte: u8) {
        self.line.push(byte);
        if !self.echoes() {
            return;
        }
        let line = String::from_utf8_lossy(&self.line).into_owned();
        match self.device.echo {
            Echo::Growing if byte == b' ' => {
                let prompt = self.prompt_text();
                self.print(&format!(" \n{prompt}{line}"));
            }
            Echo::Redrawn if byte == b' ' => {
                let prompt = self.prompt_text();
                self.print(&format!(" \r{prompt}{line}"));
            }
            // A character of several bytes is shown when all of them have arrived.
            _ if std::str::from_utf8(&self.line).is_ok() => {
                let last = line.chars().next_back().unwrap_or_default();
                self.output.push(last);
            }
            _ => {}
        }
    }

    fn control(&mut self, byte: u8) {
        let key = Self::name(byte);
        match &self.state.reads {
            Reads::Text(end) if *end == key => {
                self.record.typed(&self.state.name, &key);
                self.finish_text();
            }
            _ if byte == 3 => {
                self.line.clear();
                self.act(&key);
            }
            _ => self.record.typed(&self.state.name, &key),
        }
    }

    fn enter(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        self.lines += 1;
        let is_command = matches!(self.state.reads, Reads::Commands | Reads::Shell(_));
        let moves_on = match self.device.echo {
            Echo::Early => false,
            Echo::Off => true,
            _ => self.echoes() || !is_command,
        };
        if moves_on {
            if self.device.echo == Echo::Twice && is_command {
                self.print(&format!("\n{line}"));
            }
            self.print("\n");
        }
        if let Reads::Text(end) = self.state.reads {
            self.record.typed(&self.state.name, &line);
            if line.ends_with(end) {
                self.finish_text();
            } else {
                self.prompt();
            }
            return;
        }
        if std::mem::take(&mut self.waits) {
            self.record.typed("before the prompt", &line);
            return self.prompt();
        }
        self.act(&line);
    }

    fn finish_text(&mut self) {
        let reply = self.reply_to("").unwrap_or_default();
        self.follow(&reply);
    }

    fn reply_to(&self, line: &str) -> Option<Reply> {
        let mut replies = self.state.replies.iter();
        let named = replies.find(|(known, _)| known == line);
        named
            .map(|(_, reply)| reply)
            .or(self.state.otherwise.as_ref())
            .cloned()
    }

    /// Handles a line, or a key if the state reads keys.
    fn act(&mut self, typed: &str) {
        self.record.typed(&self.state.name, typed);
        let line = match self.state.reads {
            Reads::Key => typed,
            _ => typed.trim(),
        };
        if self.state.reads == Reads::Commands {
            let dialect = &self.device.dialect;
            let is_named = self.state.replies.iter().any(|(known, _)| known == line);
            let is_quiet = dialect.quiet.iter().any(|start| line.starts_with(start));
            let is_comment = dialect.comment.is_some_and(|mark| line.starts_with(mark));
            if !is_named && (line.is_empty() || is_comment || is_quiet || line == "^C") {
                return self.prompt();
            }
            if !is_named && dialect.exits.contains(&line) {
                self.closed = true;
                return;
            }
        }
        let reply = self.reply_to(line);
        if reply.is_none() && matches!(self.state.reads, Reads::Shell(_)) {
            if line == "exit" || line == "logout" {
                self.closed = true;
                return;
            }
            if line.is_empty() || line == "^C" {
                return self.prompt();
            }
        }
        let reply = reply.unwrap_or_else(|| Reply {
            output: match self.state.reads {
                Reads::Commands => self.device.dialect.unknown.into(),
                Reads::Shell(refusal) => refused_by_shell(refusal, line).into(),
                _ => "".into(),
            },
            ..Reply::default()
        });
        self.follow(&reply);
    }

    fn follow(&mut self, reply: &Reply) {
        self.print(&reply.output);
        match reply.next.as_deref() {
            Some(CLOSE) => {
                self.closed = true;
                return;
            }
            Some(name) => {
                let mut states = self.device.states.iter();
                let next = states.find(|state| state.name == name);
                self.state = next.unwrap_or_else(|| panic!("the device has no state {name}"));
            }
            None => {}
        }
        self.prompt();
        if let Some(late) = &reply.late {
            self.print(&format!("{PAUSE}{late}"));
        }
    }
}

/// Returns a shell's message for an unknown command. In an interactive bash, `#` begins a comment
/// and `!` recalls an earlier command; in a C shell and in a boot loader they do not.
fn refused_by_shell(refusal: &str, line: &str) -> String {
    let is_bourne = refusal.contains("sh: ");
    if is_bourne && line.starts_with('#') {
        return String::new();
    }
    if is_bourne && line.starts_with('!') {
        return format!("-bash: {line}: event not found\n");
    }
    let word = line.split_whitespace().next().unwrap_or_default();
    refusal.replace("{word}", word)
}
