//! Devices whose words are data, played over SSH: for behaviour that is known from the reports of
//! others, and that no device here shows.
//!
//! A [`Device`] is a list of states. Each state shows a prompt (or a question, a pager's mark, a
//! boot loader's prompt) and has a reply for each line or key that it knows. The device records
//! everything that reached it, so that a test can assert what was typed where.
//!
//! It knows nothing of the platforms' files: the words come from the case, or from `dialect`,
//! which holds what a vendor's devices say by default.

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

/// In a text that a device prints: it falls silent for 100 ms here.
pub(crate) const PAUSE: &str = "\u{f8ff}";
/// As the state after a reply: the device ends the session.
pub(crate) const CLOSE: &str = "close";
/// In a prompt: the number of lines that the device has read.
pub(crate) const COUNT: &str = "{n}";

pub(crate) const USERNAME: &str = "netops";
pub(crate) const PASSWORD: &str = "pw-Xo4rai8e";
pub(crate) const ENABLE_SECRET: &str = "en-Ahng7eil";

/// A device, as a list of states; the session begins in the first one.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    platform: String,
    states: Vec<State>,
    greeting: String,
    newline: &'static str,
    packet: usize,
    echo: Echo,
    dialect: Dialect,
    /// No prompt before the first Enter.
    waits: bool,
    /// Questions of keyboard-interactive; the method `password` where there are none.
    questions: Vec<Asked>,
}

#[derive(Debug, Clone)]
struct State {
    name: Cow<'static, str>,
    prompt: Cow<'static, str>,
    reads: Reads,
    replies: Vec<(Cow<'static, str>, Reply)>,
    /// To anything else.
    otherwise: Option<Reply>,
    /// The device shows the keys as they are typed.
    echo: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reads {
    /// Commands, with the dialect's replies to those that the state does not name.
    Commands,
    /// Commands of a shell or of a boot loader, which refuses in these words each command that
    /// the state does not name: `{word}` stands for the command's first word.
    Shell(&'static str),
    /// The answer to a question: a line. The question is repeated unless the answer is known.
    Answer,
    /// One key, without Enter.
    Key,
    /// Text up to a line that ends with this; the reply to `""` says what follows.
    Text(&'static str),
}

#[derive(Debug, Clone, Default)]
struct Reply {
    output: Cow<'static, str>,
    next: Option<Cow<'static, str>>,
    /// Printed after the prompt, by itself.
    late: Option<Cow<'static, str>>,
}

/// How what is typed comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    Plain,
    /// Only the newline of Enter.
    Off,
    /// By the terminal and by the command line: twice.
    Twice,
    /// The line is drawn again after each word, on a new line, with the prompt.
    Growing,
    /// The line is drawn again from its beginning after each word, on the same line.
    Redrawn,
    /// By the terminal, as soon as it arrives, whatever is being printed.
    Early,
}

/// A question of keyboard-interactive.
#[derive(Debug, Clone, Copy)]
struct Asked {
    question: &'static str,
    shown: bool,
    /// The answer that it takes; anything where there is none.
    answer: Option<&'static str>,
}

/// Text that may be put together at run time.
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

    /// Creates a device without states: it begins with something else than a prompt.
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

    /// Adds a state with a shell or a boot loader, which refuses unknown commands in these words.
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

    /// Sets the last state's reply to a line, and the state that follows.
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

    /// Prints a text after the prompt that follows the last reply, without a new prompt.
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

    /// Cuts everything that is printed into packets of this size.
    pub(crate) fn packets(mut self, bytes: usize) -> Self {
        self.packet = bytes;
        self
    }

    pub(crate) fn echo(mut self, echo: Echo) -> Self {
        self.echo = echo;
        self
    }

    /// Shows the first prompt when Enter has been pressed.
    pub(crate) fn waits_for_enter(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Sets the answer to an unknown command.
    pub(crate) fn unknown(mut self, message: &'static str) -> Self {
        self.dialect.unknown = message;
        self
    }

    /// Asks this by keyboard-interactive, and takes any answer.
    pub(crate) fn asks(mut self, question: &'static str, shown: bool) -> Self {
        self.questions.push(Asked {
            question,
            shown,
            answer: None,
        });
        self
    }

    /// Asks this by keyboard-interactive without showing the answer, which must be this one.
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

/// The lines that reached a device, and everything that it printed.
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

/// A device that listens; it ends with the value.
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

    /// Connects with an endpoint that was changed.
    pub(crate) async fn connect_to(&self, endpoint: &Endpoint) -> Result<Session, Error> {
        let limit = endpoint.timeouts.login + Duration::from_secs(20);
        crate::support::within(limit, Session::connect(endpoint)).await
    }

    /// Returns every line and key that reached the device, with the state that it was in.
    pub(crate) fn typed(&self) -> Vec<(String, String)> {
        lock(&self.record.typed).clone()
    }

    /// Returns the lines and keys that were typed in a state.
    pub(crate) fn typed_in(&self, state: &str) -> Vec<String> {
        let typed = self.typed().into_iter();
        typed
            .filter(|(at, _)| at == state)
            .map(|(_, line)| line)
            .collect()
    }

    /// Returns the answers of keyboard-interactive.
    pub(crate) fn answers(&self) -> Vec<String> {
        lock(&self.record.answers).clone()
    }

    /// Returns everything that the device printed, for the message of a test that fails.
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

    /// Panics if one of the secrets reached the device's command line.
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
