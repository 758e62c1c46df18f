//! `scheduler connect`: opens a device's terminal locally.
//!
//! After the login the local terminal is put into raw mode, so that every key reaches the device, and it
//! is restored however the command ends. If stdin is not a terminal, its contents are sent, followed by
//! Ctrl-D.

mod escape;
mod raw;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use futures::{SinkExt as _, StreamExt as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{self, Message};

use super::client::WebSocket;
use super::{Failure, ServerArgs, output};
use crate::wire::{CloseReason, TerminalCommand, TerminalEvent};
use escape::Escape;
use raw::RawMode;

/// After the end of a piped stdin, the device has this much silent time to close the session itself.
const SILENCE: Duration = Duration::from_secs(10);
/// Timeout of the closing handshake.
const PARTING: Duration = Duration::from_secs(1);
/// Bytes read from stdin at once. The server accepts at most 64 KiB per message.
const CHUNK: usize = 8 * 1024;
const CTRL_D: u8 = 0x04;

#[derive(Debug, Args)]
#[command(after_help = "At the start of a line, `~.` closes the terminal and `~~` types one `~`.")]
pub(crate) struct ConnectArgs {
    /// The connection's name or id
    name: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ConnectArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    client.warn_of_plain_http();
    let (columns, rows) = raw::size();
    let query = [
        ("term", raw::kind()),
        ("columns", columns.to_string()),
        ("rows", rows.to_string()),
    ];
    let path = ["connections", &args.name, "terminal"];
    let mut socket = client.websocket(&path, &query).await?;
    let ended = converse(&mut socket, Signals::listen()?, &args.name).await;
    let _ = timeout(PARTING, socket.close(None)).await;
    ended
}

/// Relays bytes until either side ends the session. The terminal is restored when this returns.
async fn converse(socket: &mut WebSocket, mut signals: Signals, name: &str) -> Result<(), Failure> {
    let interactive = std::io::stdin().is_terminal();
    let mut escape = interactive.then(Escape::default);
    let mut raw_mode = None;
    // `None` until the login is complete: input is not read before.
    let mut typing: Option<mpsc::Receiver<Vec<u8>>> = None;
    let mut give_up: Option<Instant> = None;
    let ended = loop {
        tokio::select! {
            message = socket.next() => match heard(message)? {
                Heard::Shown(bytes) => {
                    show(&bytes)?;
                    give_up = give_up.map(|_| Instant::now() + SILENCE);
                }
                Heard::Event(TerminalEvent::Opened {}) => {
                    if interactive {
                        output::talk(&format!("connected to {name}; type ~. at the start of a line to \
                             disconnect"));
                        raw_mode = Some(RawMode::enter().context("failed to set up the terminal")?);
                    }
                    typing = Some(read_stdin());
                }
                Heard::Event(TerminalEvent::Error { code, message }) => {
                    break Err(Failure::Device { code, message });
                }
                Heard::Event(TerminalEvent::Closed { reason }) => break closed(reason),
                Heard::Nothing => {}
            },
            typed = next(&mut typing) => {
                let (bytes, done) = match (typed, &mut escape) {
                    (Some(bytes), Some(escape)) => escape.pass(&bytes),
                    (Some(bytes), None) => (bytes, false),
                    (None, _) => {
                        typing = None;
                        give_up = Some(Instant::now() + SILENCE);
                        (vec![CTRL_D], false)
                    }
                };
                if !bytes.is_empty() && socket.send(Message::Binary(bytes.into())).await.is_err() {
                    // The server's last message explains why it accepts no more input.
                    typing = None;
                }
                if done {
                    break Ok(());
                }
            }
            () = silence(give_up) => break Ok(()),
            Some(()) = signals.resized.recv() => {
                let (columns, rows) = raw::size();
                let resize = TerminalCommand::Resize { columns, rows };
                let resize = serde_json::to_string(&resize).map_err(anyhow::Error::from)?;
                let _ = socket.send(Message::Text(resize.into())).await;
            }
            signal = signals.ending.recv() => break Err(anyhow::anyhow!("terminated by {signal}").into()),
        }
    };
    if raw_mode.take().is_some() {
        // The device's last line may lack a line ending.
        output::talk("");
    }
    ended
}

fn closed(reason: CloseReason) -> Result<(), Failure> {
    let failure = |message: &str| {
        Err(Failure::Device {
            code: reason.as_str().to_owned(),
            message: message.to_owned(),
        })
    };
    match reason {
        CloseReason::Device => Ok(()),
        CloseReason::Idle => failure("idle timeout: the server closed the terminal"),
        CloseReason::Shutdown => failure("the server is shutting down and closed the terminal"),
        CloseReason::Revoked => failure("you logged out, or may no longer open terminals"),
    }
}

enum Heard {
    Shown(Vec<u8>),
    Event(TerminalEvent),
    Nothing,
}

fn heard(message: Option<Result<Message, tungstenite::Error>>) -> Result<Heard, Failure> {
    match message {
        Some(Ok(Message::Binary(bytes))) => Ok(Heard::Shown(bytes.into())),
        Some(Ok(Message::Text(text))) => {
            let event = serde_json::from_str(&text).context("unknown message from the server")?;
            Ok(Heard::Event(event))
        }
        Some(Ok(Message::Close(_))) | None => Err(lost("the server closed the connection")),
        Some(Ok(_)) => Ok(Heard::Nothing),
        Some(Err(error)) => Err(lost(&error.to_string())),
    }
}

fn lost(why: &str) -> Failure {
    anyhow::anyhow!("lost the connection to the server: {why}").into()
}

/// Writes the device's output unmodified: the terminal interprets it.
fn show(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let shown = stdout.write_all(bytes).and_then(|()| stdout.flush());
    shown.map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
        _ => anyhow::Error::new(error)
            .context("failed to write to stdout")
            .into(),
    })
}

/// Reads stdin on a detached thread, because a blocking read cannot be cancelled.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (typed, typing) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut chunk = vec![0; CHUNK];
        loop {
            match stdin.read(&mut chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    if typed.blocking_send(chunk[..length].to_vec()).is_err() {
                        return;
                    }
                }
            }
        }
    });
    typing
}

async fn next(typing: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match typing {
        Some(typing) => typing.recv().await,
        None => std::future::pending().await,
    }
}

async fn silence(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// The signals that would end the process with the terminal in raw mode, and the one for a new terminal
/// size.
struct Signals {
    resized: Signal,
    ending: StopSignals,
}

struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("failed to listen for signals");
        Ok(Self {
            resized: listen(SignalKind::window_change())?,
            ending: StopSignals {
                interrupt: listen(SignalKind::interrupt())?,
                terminate: listen(SignalKind::terminate())?,
                hangup: listen(SignalKind::hangup())?,
            },
        })
    }
}

impl StopSignals {
    async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}
