//! The SSH server of a simulated device.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Config, Msg, Session};
use russh::{Channel, ChannelId, ChannelMsg, Disconnect, MethodKind, MethodSet, Pty};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Shared;
use super::cli::{Cli, Effect};

/// Takes connections until it is dropped; then all of them end.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let key = match PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519) {
        Ok(key) => key,
        Err(error) => {
            tracing::error!(%error, "no host key for a simulated device");
            return;
        }
    };
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
                    tracing::error!(%error, "a simulated device takes no more connections");
                    return;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, config: Arc<Config>, shared: Arc<Shared>) {
    // russh sets this only on sockets it accepts by itself; without it an answer in two packets
    // waits 40 ms for the client's acknowledgement of the first.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch Nagle's algorithm off");
    }
    // The session runs in a task of its own, which outlives this future when the device is
    // stopped: a second handle of the socket ends it.
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
    };
    if let Ok(session) = server::run_stream(config, stream, client).await {
        let _ = session.await;
    }
    drop(line);
}

/// Ends the connection when it goes.
struct Line(std::net::TcpStream);

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

struct Client {
    shared: Arc<Shared>,
    channel: Option<Channel<Msg>>,
}

impl server::Handler for Client {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        let device = &self.shared.device;
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
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
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
                tokio::spawn(async move {
                    shared.open_sessions.fetch_add(1, Ordering::SeqCst);
                    let _ = command_line(channel, &shared, &handle).await;
                    shared.open_sessions.fetch_sub(1, Ordering::SeqCst);
                });
                session.channel_success(id)
            }
            None => session.channel_failure(id),
        }
    }
}

/// One session at the command line, until it ends from either side.
async fn command_line(
    mut channel: Channel<Msg>,
    shared: &Shared,
    handle: &server::Handle,
) -> Result<(), russh::Error> {
    let mut cli = Cli::new(shared);
    let mut printer = Printer {
        left: shared.device.faults.drop_after,
        packet_size: shared.device.faults.packet_size,
    };
    let mut hangs = false;
    if !printer.print(&channel, &cli.greeting()).await? {
        return hang_up(handle).await;
    }
    while let Some(message) = channel.wait().await {
        let data = match message {
            ChannelMsg::Data { data } => data,
            ChannelMsg::Eof | ChannelMsg::Close => break,
            _ => continue,
        };
        for c in String::from_utf8_lossy(&data).chars() {
            if hangs {
                break;
            }
            for effect in cli.typed(c) {
                match effect {
                    Effect::Print(text) => {
                        if !printer.print(&channel, &text).await? {
                            return hang_up(handle).await;
                        }
                    }
                    Effect::Work => {
                        if !shared.device.delay.is_zero() {
                            tokio::time::sleep(shared.device.delay).await;
                        }
                    }
                    Effect::Hang => {
                        hangs = true;
                        break;
                    }
                    Effect::Close => {
                        channel.exit_status(0).await?;
                        return channel.close().await;
                    }
                }
            }
        }
    }
    Ok(())
}

/// After what was sent before it.
async fn hang_up(handle: &server::Handle) -> Result<(), russh::Error> {
    handle
        .disconnect(Disconnect::ConnectionLost, String::new(), String::new())
        .await
}

/// Sends output, as the faults want it.
struct Printer {
    left: Option<usize>,
    packet_size: Option<usize>,
}

impl Printer {
    /// False when the line is to be cut.
    async fn print(&mut self, channel: &Channel<Msg>, text: &str) -> Result<bool, russh::Error> {
        let text = text.replace('\n', "\r\n");
        let mut bytes = text.as_bytes();
        let mut goes_on = true;
        if let Some(left) = &mut self.left {
            if bytes.len() >= *left {
                bytes = &bytes[..*left];
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
