//! A logged-in SSH connection: the channel with the device's CLI, and the connections that carry
//! it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::client::{Handle, Msg};
use russh::{Channel, ChannelMsg, Disconnect};

use crate::cause;
use crate::client::{Client, ConnectError, HandshakeInfo, lock};
use crate::error::Error;
use crate::patience::timeout;
use crate::platform::{Decoder, Encoding};
use crate::session_log::Recorder;
use crate::visible::printable;

/// A connection to the device, and the connections to the jump hosts that carry it.
pub(crate) struct Connection {
    pub(crate) handle: Handle<Client>,
    /// In order, from this machine to the device.
    tunnels: Vec<Tunnel>,
    info: Arc<Mutex<HandshakeInfo>>,
    /// The connection's task has ended; it must not be awaited again.
    ended: bool,
}

/// A jump host with a completed login. It belongs to one session: in a shared connection, a session
/// that is not read would stall all others behind the same host.
pub(crate) struct Tunnel {
    pub(crate) name: String,
    pub(crate) handle: Handle<Client>,
}

/// A channel to the device's CLI.
pub(crate) struct Shell {
    connection: Connection,
    channel: Channel<Msg>,
    recorder: Option<Recorder>,
    /// The device's encoding, if it is not UTF-8, and the decoder with an incomplete character.
    encoding: Option<(Encoding, Decoder)>,
    closed: bool,
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shell")
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// A received message.
#[derive(Debug)]
pub(crate) enum Received {
    Bytes(Vec<u8>),
    /// The device closed the channel or the connection, with the reason if it is known.
    Closed(String),
}

impl Shell {
    pub(crate) fn new(
        connection: Connection,
        channel: Channel<Msg>,
        recorder: Option<Recorder>,
    ) -> Self {
        Self {
            connection,
            channel,
            recorder,
            encoding: None,
            closed: false,
        }
    }

    /// Converts text to and from the device's encoding.
    pub(crate) fn with_encoding(mut self, encoding: Option<Encoding>) -> Self {
        self.encoding = encoding.map(|encoding| (encoding, encoding.decoder()));
        self
    }

    /// Sends text in one write, so that the device reads all of it before it replies.
    pub(crate) async fn send(&mut self, text: &str) -> Result<(), Error> {
        self.send_bytes(text.as_bytes()).await
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if let Some(recorder) = &mut self.recorder {
            recorder.sent(bytes);
        }
        self.write(bytes).await
    }

    /// Sends a secret and its end (`"\n"`). The session log contains only the end, and masks later
    /// occurrences of the secret.
    pub(crate) async fn send_secret(&mut self, secret: &str, end: &str) -> Result<(), Error> {
        if let Some(recorder) = &mut self.recorder {
            recorder.sent_secret(secret, end);
        }
        self.write(format!("{secret}{end}").as_bytes()).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let encoded = match (&self.encoding, std::str::from_utf8(bytes)) {
            (Some((encoding, _)), Ok(text)) => encoding.encode(text).ok_or_else(|| {
                Error::invalid(
                    "the input contains a character that the device's \
                     encoding lacks",
                )
            })?,
            _ => bytes.to_vec(),
        };
        self.channel.data_bytes(encoded).await.map_err(|error| {
            self.closed = true;
            lost(&error)
        })
    }

    /// Reports a new terminal size to the device.
    pub(crate) async fn resize(&mut self, columns: u32, rows: u32) -> Result<(), Error> {
        self.channel
            .window_change(columns, rows, 0, 0)
            .await
            .map_err(|error| lost(&error))
    }

    /// Waits for bytes. Cancel safe.
    pub(crate) async fn receive(&mut self) -> Result<Received, Error> {
        loop {
            match self.channel.wait().await {
                Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                    let bytes = self.decoded(data.to_vec());
                    self.record(&bytes);
                    return Ok(Received::Bytes(bytes));
                }
                Some(ChannelMsg::Failure) => {
                    return Err(Error::protocol(
                        "the device refused a terminal or a shell for this user",
                    ));
                }
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => {
                    self.closed = true;
                    return Ok(Received::Closed(self.connection.reason().await));
                }
                Some(_) => {}
            }
        }
    }

    fn decoded(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        match &mut self.encoding {
            Some((_, decoder)) => decoder.decode(&bytes),
            None => bytes,
        }
    }

    fn record(&mut self, bytes: &[u8]) {
        if let Some(recorder) = &mut self.recorder {
            recorder.received(bytes);
        }
    }

    /// Drops the bytes that have already arrived, without waiting. Returns their number.
    pub(crate) fn drain(&mut self) -> usize {
        use std::future::Future;
        use std::task::{Context, Poll, Waker};
        let mut bytes = 0;
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let polled = {
                let wait = std::pin::pin!(self.channel.wait());
                wait.poll(&mut context)
            };
            match polled {
                Poll::Ready(Some(
                    ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. },
                )) => {
                    let data = self.decoded(data.to_vec());
                    self.record(&data);
                    bytes += data.len();
                }
                Poll::Ready(Some(ChannelMsg::Eof | ChannelMsg::Close) | None) => {
                    self.closed = true;
                    return bytes;
                }
                Poll::Ready(Some(_)) => {}
                Poll::Pending => return bytes,
            }
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed || self.connection.handle.is_closed()
    }

    /// Returns whether the device has closed the channel, as far as it was read.
    pub(crate) const fn is_finished(&self) -> bool {
        self.closed
    }

    /// Opens another channel on the connection, for a file.
    pub(crate) async fn open_channel(&self) -> Result<Channel<Msg>, Error> {
        let opened = self.connection.handle.channel_open_session().await;
        opened.map_err(|error| match error {
            russh::Error::ChannelOpenFailure(reason) => Error::protocol(format!(
                "the device refused a second channel on the connection ({reason:?})"
            )),
            error => lost(&error),
        })
    }

    /// Returns the SSH server's identification: `SSH-2.0-OpenSSH_9.2`.
    pub(crate) fn server_identification(&self) -> String {
        lock(&self.connection.info).server.clone()
    }

    /// Disconnects at the SSH level and waits until the message is written. The caller limits the
    /// time.
    pub(crate) async fn disconnect(self) {
        self.connection.disconnect().await;
    }
}

impl Connection {
    pub(crate) const fn new(
        handle: Handle<Client>,
        tunnels: Vec<Tunnel>,
        info: Arc<Mutex<HandshakeInfo>>,
    ) -> Self {
        Self {
            handle,
            tunnels,
            info,
            ended: false,
        }
    }

    /// Returns why the connection ended, if known: the result of its task is the reason.
    async fn reason(&mut self) -> String {
        for tunnel in &self.tunnels {
            if tunnel.handle.is_closed() {
                return format!(": lost the connection to {}", tunnel.name);
            }
        }
        if self.ended || !self.handle.is_closed() {
            return String::new();
        }
        let end = timeout(Duration::from_millis(100), &mut self.handle).await;
        self.ended = end.is_ok();
        match end {
            Ok(Err(ConnectError::Ssh(russh::Error::KeepaliveTimeout))) => {
                ": keepalive timeout".into()
            }
            Ok(Err(ConnectError::Ssh(russh::Error::IO(error)))) => format!(": {error}"),
            Ok(Err(ConnectError::Disconnected(words))) => format!(": {}", printable(&words)),
            _ => String::new(),
        }
    }

    /// Disconnects from the device first and the first jump host last, so that each message can be
    /// delivered.
    async fn disconnect(mut self) {
        if !self.ended {
            disconnect(&mut self.handle).await;
        }
        for tunnel in self.tunnels.iter_mut().rev() {
            disconnect(&mut tunnel.handle).await;
        }
    }
}

async fn disconnect(handle: &mut Handle<Client>) {
    let _ = handle.disconnect(Disconnect::ByApplication, "", "en").await;
    let _ = handle.await;
}

pub(crate) fn lost(error: &russh::Error) -> Error {
    if let russh::Error::IO(io) = error
        && let Some(error) = cause::server_error(io, "sending", true)
    {
        return error;
    }
    Error::Disconnected {
        doing: "sending".into(),
        reason: format!(": {error}"),
        partial: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use russh::keys::PrivateKey;
    use russh::keys::ssh_key::private::Ed25519Keypair;
    use russh::server::{self, Auth, ChannelOpenHandle, Session};
    use russh::{ChannelId, Pty};
    use tokio::net::TcpListener;

    use super::*;
    use crate::gate::Gate;
    use crate::session_log::{SessionLog, SessionLogEntry};
    use crate::{Endpoint, Platform, connect};

    const OUTPUT: &str = "to stdout\n";
    const ERRORS: &str = "to stderr\n";

    /// A device that prints to both streams as soon as its shell starts.
    struct Device;

    impl server::Handler for Device {
        type Error = russh::Error;

        async fn auth_password(&mut self, _: &str, _: &str) -> Result<Auth, russh::Error> {
            Ok(Auth::Accept)
        }

        async fn channel_open_session(
            &mut self,
            _channel: Channel<server::Msg>,
            reply: ChannelOpenHandle,
            _session: &mut Session,
        ) -> Result<(), russh::Error> {
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
            channel: ChannelId,
            session: &mut Session,
        ) -> Result<(), russh::Error> {
            session.channel_success(channel)?;
            session.extended_data(channel, 1, ERRORS.as_bytes())?;
            session.data(channel, OUTPUT.as_bytes())
        }
    }

    #[derive(Debug, Default)]
    struct Log(Mutex<String>);

    impl SessionLog for Log {
        fn write(&self, entry: &SessionLogEntry) {
            self.0.lock().unwrap().push_str(&entry.text);
        }
    }

    #[tokio::test]
    async fn drain_counts_and_logs_both_streams() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let device = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let config = Arc::new(server::Config {
                keys: vec![PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]))],
                ..server::Config::default()
            });
            let running = server::run_stream(config, stream, Device).await.unwrap();
            let _ = running.await;
        });
        let log = Arc::new(Log::default());
        let platform = Platform::named("linux").unwrap();
        let mut endpoint = Endpoint::new("127.0.0.1", "netops", platform);
        endpoint.port = port;
        endpoint.credentials.password = Some("secret".into());
        endpoint.session_log = Some(Arc::<Log>::clone(&log));
        let gate = Gate::open();
        let connection = connect::connect(&endpoint, &gate).await.unwrap();
        let mut shell = connect::open_shell(connection, &endpoint, &gate)
            .await
            .unwrap();
        let mut drained = 0;
        let all = timeout(Duration::from_secs(10), async {
            while drained < ERRORS.len() + OUTPUT.len() {
                drained += shell.drain();
                tokio::task::yield_now().await;
            }
        });
        assert!(all.await.is_ok(), "{drained} bytes were drained");
        shell.disconnect().await;
        device.await.unwrap();
        assert_eq!(*log.0.lock().unwrap(), format!("{ERRORS}{OUTPUT}"));
    }
}
