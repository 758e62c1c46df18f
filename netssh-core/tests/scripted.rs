//! Scripted devices over SSH, defined as data, for behaviour known from bug reports that no other
//! test device shows.
//!
//! A [`Device`] is a list of states. Each state shows a prompt (or a question, a pager's mark, a
//! boot loader's prompt) and has replies to the lines or keys that it knows. The device records
//! everything that it receives, so that a test can assert it.
//!
//! It does not use the platform files: its texts come from the case or from `dialect`, which
//! contains the default texts of a vendor's devices.

mod cli;
mod dialect;
mod server;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use netssh_core::{Endpoint, Error, Platform, SecretString, Session};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::dialect::Dialect;

/// In a printed text: the device pauses for 100 ms at this point.
pub(crate) const PAUSE: &str = "\u{f8ff}";
/// As the next state of a reply: the device ends the session.
pub(crate) const CLOSE: &str = "close";
/// In a prompt: the number of lines that the device has read.
pub(crate) const COUNT: &str = "{n}";

pub(crate) const USERNAME: &str = "netops";
pub(crate) const PASSWORD: &str = "pw-Xo4rai8e";
pub(crate) const ENABLE_SECRET: &str = "en-Ahng7eil";

/// A device as a list of states; a session begins in the first one.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    platform: String,
    states: Vec<State>,
    greeting: String,
    newline: &'static str,
    packet: usize,
    echo: Echo,
    dialect: Dialect,
    /// The device shows no prompt before the first Enter.
    waits: bool,
    /// Keyboard-interactive questions; without any, the method `password` is used.
    questions: Vec<Asked>,
}

#[derive(Debug, Clone)]
struct State {
    name: Cow<'static, str>,
    prompt: Cow<'static, str>,
    reads: Reads,
    replies: Vec<(Cow<'static, str>, Reply)>,
    /// The reply to any other line.
    otherwise: Option<Reply>,
    /// Whether the device echoes keys.
    echo: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reads {
    /// A command line, with the dialect's replies to commands that the state does not define.
    Commands,
    /// A shell or a boot loader, which refuses undefined commands with this message: `{word}` is
    /// the command's first word.
    Shell(&'static str),
    /// A question that takes a line. Unknown answers repeat the question.
    Answer,
    /// A question that takes one key, without Enter.
    Key,
    /// Text up to a line that ends with this; the reply to `""` is printed afterwards.
    Text(&'static str),
}

#[derive(Debug, Clone, Default)]
struct Reply {
    output: Cow<'static, str>,
    next: Option<Cow<'static, str>>,
    /// Printed after the prompt and a pause, without a command.
    late: Option<Cow<'static, str>>,
}

/// How the device echoes input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    Plain,
    /// Only the newline of Enter.
    Off,
    /// Twice: by the terminal and by the command line.
    Twice,
    /// Redraws the line after each word on a new line, with the prompt.
    Growing,
    /// Redraws the line from its start after each word, on the same line.
    Redrawn,
    /// By the terminal on arrival, even during an output.
    Early,
}

/// A keyboard-interactive question.
#[derive(Debug, Clone, Copy)]
struct Asked {
    question: &'static str,
    shown: bool,
    /// The accepted answer; `None` accepts any.
    answer: Option<&'static str>,
}

/// A text that may be composed at run time.
pub(crate) type Text = Cow<'static, str>;

impl Device {
    /// Creates a device of a platform, with the prompt of its first state, `exec`.
    pub(crate) fn new(platform: &str, prompt: impl Into<Text>) -> Self {
        let dialect = Dialect::of(platform);
        let device = Self {
            platform: platform.to_owned(),
            states: Vec::new(),
            greeting: String::new(),
            newline: "\r\n",
            packet: usize::MAX,
            echo: Echo::Plain,
            dialect,
            waits: false,
            questions: Vec::new(),
        };
        device.state("exec", prompt)
    }

    /// Creates a device without states, for one that does not begin with a prompt.
    pub(crate) fn begins(platform: &str) -> Self {
        let mut device = Self::new(platform, "");
        device.states.clear();
        device
    }

    fn add(mut self, name: impl Into<Text>, prompt: impl Into<Text>, reads: Reads) -> Self {
        self.states.push(State {
            name: name.into(),
            prompt: prompt.into(),
            reads,
            replies: Vec::new(),
            otherwise: None,
            echo: true,
        });
        self
    }

    /// Adds a state with a command line.
    pub(crate) fn state(self, name: impl Into<Text>, prompt: impl Into<Text>) -> Self {
        self.add(name, prompt, Reads::Commands)
    }

    /// Adds a state with a shell or a boot loader, which refuses unknown commands with this
    /// message.
    pub(crate) fn shell(
        self,
        name: impl Into<Text>,
        prompt: impl Into<Text>,
        refusal: &'static str,
    ) -> Self {
        self.add(name, prompt, Reads::Shell(refusal))
    }

    /// Adds a state that asks for a line.
    pub(crate) fn question(self, name: &'static str, question: impl Into<Text>) -> Self {
        self.add(name, question, Reads::Answer)
    }

    /// Adds a state that asks for a key, and acts on it without Enter.
    pub(crate) fn key(self, name: &'static str, question: impl Into<Text>) -> Self {
        self.add(name, question, Reads::Key)
    }

    /// Adds a state that reads text, up to a line that ends with `end`.
    pub(crate) fn text(
        self,
        name: &'static str,
        prompt: impl Into<Text>,
        end: &'static str,
    ) -> Self {
        self.add(name, prompt, Reads::Text(end))
    }

    fn last(&mut self) -> &mut State {
        self.states.last_mut().expect("a state comes first")
    }

    /// Sets the last state's reply to a line: this output, and the same state.
    pub(crate) fn on(mut self, line: impl Into<Text>, output: impl Into<Text>) -> Self {
        let reply = Reply {
            output: output.into(),
            ..Reply::default()
        };
        self.last().replies.push((line.into(), reply));
        self
    }

    /// Sets the last state's reply to a line, and the next state.
    pub(crate) fn to(
        mut self,
        line: impl Into<Text>,
        output: impl Into<Text>,
        next: impl Into<Text>,
    ) -> Self {
        let reply = Reply {
            output: output.into(),
            next: Some(next.into()),
            late: None,
        };
        self.last().replies.push((line.into(), reply));
        self
    }

    /// Sets the last state's reply to everything else.
    pub(crate) fn otherwise(mut self, output: impl Into<Text>, next: impl Into<Text>) -> Self {
        self.last().otherwise = Some(Reply {
            output: output.into(),
            next: Some(next.into()),
            late: None,
        });
        self
    }

    /// Prints a text after the prompt of the last reply, without a new prompt.
    pub(crate) fn late(mut self, text: impl Into<Text>) -> Self {
        let (_, reply) = self.last().replies.last_mut().expect("a reply");
        reply.late = Some(text.into());
        self
    }

    /// Hides the keys that are typed in the last state.
    pub(crate) fn hidden(mut self) -> Self {
        self.last().echo = false;
        self
    }

    /// Sets the text before the first prompt.
    pub(crate) fn greeting(mut self, text: impl Into<String>) -> Self {
        self.greeting = text.into();
        self
    }

    /// Sets the end of a printed line.
    pub(crate) fn newline(mut self, newline: &'static str) -> Self {
        self.newline = newline;
        self
    }

    /// Sends all output in packets of this size, in bytes.
    pub(crate) fn packets(mut self, bytes: usize) -> Self {
        self.packet = bytes;
        self
    }

    pub(crate) fn echo(mut self, echo: Echo) -> Self {
        self.echo = echo;
        self
    }

    /// Shows the first prompt only after Enter.
    pub(crate) fn waits_for_enter(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Sets the answer to an unknown command.
    pub(crate) fn unknown(mut self, message: &'static str) -> Self {
        self.dialect.unknown = message;
        self
    }

    /// Asks a keyboard-interactive question and accepts any answer.
    pub(crate) fn asks(mut self, question: &'static str, shown: bool) -> Self {
        self.questions.push(Asked {
            question,
            shown,
            answer: None,
        });
        self
    }

    /// Asks a hidden keyboard-interactive question and accepts only this answer.
    pub(crate) fn wants(mut self, question: &'static str, answer: &'static str) -> Self {
        self.questions.push(Asked {
            question,
            shown: false,
            answer: Some(answer),
        });
        self
    }

    pub(crate) async fn start(self) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let record = Arc::new(Record::default());
        let platform = self.platform.clone();
        let serving = server::serve(listener, Arc::new(self), Arc::clone(&record));
        Running {
            port,
            platform,
            record,
            task: tokio::spawn(serving),
        }
    }
}

/// The lines that a device received, and everything that it printed.
#[derive(Debug, Default)]
struct Record {
    typed: Mutex<Vec<(String, String)>>,
    answers: Mutex<Vec<String>>,
    transcript: Mutex<String>,
    /// Sessions that have ended.
    ended: watch::Sender<usize>,
}

impl Record {
    fn typed(&self, state: &str, line: &str) {
        lock(&self.typed).push((state.to_owned(), line.to_owned()));
    }

    fn answered(&self, answer: &str) {
        lock(&self.answers).push(answer.to_owned());
    }

    fn said(&self, text: &str) {
        lock(&self.transcript).push_str(text);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A listening device; it stops when the value is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    port: u16,
    platform: String,
    record: Arc<Record>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn endpoint(&self) -> Endpoint {
        let platform = Platform::named(&self.platform).expect("a built-in platform");
        let mut endpoint = Endpoint::new("127.0.0.1", USERNAME, platform);
        endpoint.port = self.port;
        endpoint.credentials.password = Some(SecretString::from(PASSWORD));
        endpoint.timeouts.login = Duration::from_secs(8);
        endpoint.timeouts.command = Duration::from_secs(5);
        endpoint
    }

    pub(crate) async fn connect(&self) -> Result<Session, Error> {
        self.connect_to(&self.endpoint()).await
    }

    /// Connects with a changed endpoint.
    pub(crate) async fn connect_to(&self, endpoint: &Endpoint) -> Result<Session, Error> {
        let limit = endpoint.timeouts.login + Duration::from_secs(20);
        crate::support::within(limit, Session::connect(endpoint)).await
    }

    /// Returns the lines and keys that the device received, with its state.
    pub(crate) fn typed(&self) -> Vec<(String, String)> {
        lock(&self.record.typed).clone()
    }

    /// Returns the lines and keys received in a state.
    pub(crate) fn typed_in(&self, state: &str) -> Vec<String> {
        let typed = self.typed().into_iter();
        typed
            .filter(|(at, _)| at == state)
            .map(|(_, line)| line)
            .collect()
    }

    /// Returns the received keyboard-interactive answers.
    pub(crate) fn answers(&self) -> Vec<String> {
        lock(&self.record.answers).clone()
    }

    /// Returns everything that the device printed, for the message of a failed test.
    pub(crate) fn transcript(&self) -> String {
        format!("{:?}", lock(&self.record.transcript))
    }

    /// Waits until this number of sessions has ended on the device's side.
    pub(crate) async fn ended(&self, sessions: usize) {
        let mut ended = self.record.ended.subscribe();
        let over = ended.wait_for(|count| *count >= sessions);
        crate::support::within(Duration::from_secs(10), over)
            .await
            .unwrap();
    }

    /// Panics if the device's command line received one of the secrets.
    pub(crate) fn assert_no_secret(&self) {
        for (state, line) in self.typed() {
            assert!(
                !line.contains(PASSWORD) && !line.contains(ENABLE_SECRET),
                "a secret was typed in the state {state}: {line:?}"
            );
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
