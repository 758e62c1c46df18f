//! The SSH server of a simulated device.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::server::{self, Auth, ChannelOpenHandle, Config, Msg, Session};
use russh::{Channel, ChannelId, ChannelMsg, Disconnect, MethodKind, MethodSet, Pty};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Shared;
use super::cli::{Cli, Effect};

/// Accepts connections until it is dropped, which ends all of them.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let key = host_key(&shared.device.hostname);
    let config = Arc::new(Config {
        methods: MethodSet::from(&[MethodKind::Password][..]),
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        max_auth_attempts: 3,
        keys: vec![key],
        ..Config::default()
    });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&config), Arc::clone(&shared)));
                }
                Err(error) => {
                    tracing::error!(%error, "a simulated device stopped accepting connections");
                    return;
                }
            },
            Some(_) = connections.join_next() => {}
            () = shared.cut.notified() => connections.abort_all(),
        }
    }
}

/// Returns the host key for a name, always the same one, so that clients recognise a restarted
/// device.
fn host_key(hostname: &str) -> PrivateKey {
    let seed = Sha256::digest(format!("simulated device {hostname}"));
    PrivateKey::from(Ed25519Keypair::from_seed(&seed.into()))
}

async fn connection(stream: TcpStream, config: Arc<Config>, shared: Arc<Shared>) {
    // russh sets this only on sockets that it accepts itself. Without it, an answer in two packets
    // waits 40 ms for the client's acknowledgement of the first.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
    // The session runs in a task of its own, which outlives this future when the device is stopped:
    // a second handle of the socket ends it.
    let Ok(stream) = stream.into_std() else {
        return;
    };
    let Ok(line) = stream.try_clone() else {
        return;
    };
    let line = Line(line);
    let Ok(stream) = TcpStream::from_std(stream) else {
        return;
    };
    let client = Client {
        shared,
        channel: None,
        columns: 80,
        rows: 24,
    };
    if let Ok(session) = server::run_stream(config, stream, client).await {
        let _ = session.await;
    }
    drop(line);
}

/// Shuts the connection down on drop.
struct Line(std::net::TcpStream);

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

struct Client {
    shared: Arc<Shared>,
    channel: Option<Channel<Msg>>,
    /// The size of the client's terminal.
    columns: u32,
    rows: u32,
}

impl server::Handler for Client {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        let device = &self.shared.device;
        let options = device.platform.definition().login.options_after;
        let user = options
            .and_then(|mark| user.split_once(mark))
            .map_or(user, |(name, _)| name);
        if user == device.username && password == device.password {
            self.shared.logins.fetch_add(1, Ordering::SeqCst);
            Ok(Auth::Accept)
        } else {
            self.shared.refused_logins.fetch_add(1, Ordering::SeqCst);
            Ok(Auth::reject())
        }
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channel = Some(channel);
        reply.accept().await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        (self.columns, self.rows) = (columns, rows);
        session.channel_success(channel)
    }

    async fn shell_request(
        &mut self,
        id: ChannelId,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        match self.channel.take() {
            Some(channel) => {
                let (shared, handle) = (Arc::clone(&self.shared), session.handle());
                let (columns, rows) = (self.columns, self.rows);
                tokio::spawn(async move {
                    shared.open_sessions.send_modify(|open| *open += 1);
                    let number = shared.sessions.fetch_add(1, Ordering::SeqCst) + 1;
                    let cli = Cli::new(&shared, number, columns, rows);
                    let _ = command_line(channel, &shared, cli, &handle).await;
                    shared.open_sessions.send_modify(|open| *open -= 1);
                });
                session.channel_success(id)
            }
            None => session.channel_failure(id),
        }
    }
}

/// Runs one session at the command line until either side ends it.
async fn command_line(
    mut channel: Channel<Msg>,
    shared: &Shared,
    mut cli: Cli<'_>,
    handle: &server::Handle,
) -> Result<(), russh::Error> {
    let faults = &shared.device.faults;
    let mut printer = Printer {
        newline: shared.device.platform.definition().terminal.newline.clone(),
        printed: 0,
        drop_after: faults.drop_after,
        garbage_after: faults.garbage_after,
        packet_size: faults.packet_size,
        waiting: Vec::new(),
    };
    let mut effects = cli.greeting();
    let mut typed = VecDeque::new();
    loop {
        for effect in effects {
            let wait = match effect {
                Effect::Print(text) => {
                    printer.add(&text);
                    continue;
                }
                Effect::Work if shared.device.delay.is_zero() => continue,
                Effect::Work => shared.device.delay,
                Effect::Pause => PAUSE,
                Effect::Flush | Effect::Hang | Effect::Close => Duration::ZERO,
            };
            if !printer.send(&channel).await? {
                return hang_up(handle).await;
            }
            match effect {
                Effect::Hang => {
                    while next_characters(&mut channel).await.is_some() {}
                    return Ok(());
                }
                Effect::Close => {
                    drop(cli);
                    channel.exit_status(0).await?;
                    return channel.close().await;
                }
                Effect::Flush => {}
                _ => tokio::time::sleep(wait).await,
            }
        }
        while typed.is_empty() {
            if !printer.send(&channel).await? {
                return hang_up(handle).await;
            }
            match next_characters(&mut channel).await {
                Some(characters) => typed.extend(characters),
                None => return Ok(()),
            }
        }
        effects = typed.pop_front().map(|c| cli.typed(c)).unwrap_or_default();
    }
}

/// Returns the next typed characters; `None` when the client has disconnected.
async fn next_characters(channel: &mut Channel<Msg>) -> Option<Vec<char>> {
    loop {
        match channel.wait().await? {
            ChannelMsg::Data { data } => {
                return Some(String::from_utf8_lossy(&data).chars().collect());
            }
            ChannelMsg::Eof | ChannelMsg::Close => return None,
            _ => {}
        }
    }
}

/// Disconnects after all output that was sent before.
async fn hang_up(handle: &server::Handle) -> Result<(), russh::Error> {
    handle
        .disconnect(Disconnect::ConnectionLost, String::new(), String::new())
        .await
}

/// The pause between two parts of an echo: longer than a packet takes on loopback.
const PAUSE: Duration = Duration::from_millis(20);

/// Invalid UTF-8: bytes that begin no character, an overlong encoding, half a character in GBK.
const GARBAGE: &[u8] = b"\xff\xfe\xc0\x80\x81";

/// Sends output with the configured faults.
struct Printer {
    newline: String,
    /// Bytes printed so far.
    printed: usize,
    drop_after: Option<usize>,
    garbage_after: Option<usize>,
    packet_size: Option<usize>,
    waiting: Vec<u8>,
}

impl Printer {
    fn add(&mut self, text: &str) {
        let text = text.replace('\n', &self.newline);
        let before = self.printed;
        self.printed += text.len();
        let at = self
            .garbage_after
            .and_then(|after| after.checked_sub(before));
        match at.filter(|at| *at < text.len()) {
            Some(at) => {
                let (first, rest) = text.as_bytes().split_at(at);
                self.waiting.extend_from_slice(first);
                self.waiting.extend_from_slice(GARBAGE);
                self.waiting.extend_from_slice(rest);
            }
            None => self.waiting.extend_from_slice(text.as_bytes()),
        }
    }

    /// Sends the buffered output; returns false if the connection is to be dropped.
    async fn send(&mut self, channel: &Channel<Msg>) -> Result<bool, russh::Error> {
        let mut bytes = std::mem::take(&mut self.waiting);
        let mut goes_on = true;
        if let Some(left) = &mut self.drop_after {
            if bytes.len() >= *left {
                bytes.truncate(*left);
                goes_on = false;
            }
            *left -= bytes.len();
        }
        for packet in bytes.chunks(self.packet_size.unwrap_or(usize::MAX).max(1)) {
            channel.data_bytes(packet.to_vec()).await?;
        }
        Ok(goes_on)
    }
}
