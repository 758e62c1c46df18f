//! The SSH connection below a session: TCP, algorithms, host key, the channel with its terminal.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, Handle, Msg};
use russh::keys::{Algorithm, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, Disconnect, Preferred, Pty};
use tokio::net::TcpStream;

use crate::auth;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::host_keys::{HostKey, Verdict, judge};

/// Wide and tall enough that most pagers and line editors leave the output alone.
const COLUMNS: u32 = 511;
const ROWS: u32 = 1000;

/// A dead peer is noticed after `KEEPALIVE * KEEPALIVES` without an answer.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVES: usize = 3;

pub(crate) type Connection = Handle<Client>;

/// A channel to the device's CLI.
pub(crate) struct Shell {
    handle: Handle<Client>,
    channel: Channel<Msg>,
    closed: bool,
    /// The connection's task has been seen to end; it must not be awaited again.
    ended: bool,
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shell")
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// Connects and exchanges keys. To be limited by the caller to the connect timeout.
pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Handle<Client>, Error> {
    let limit = endpoint.timeouts.connect;
    tokio::time::timeout(limit, connect2(endpoint))
        .await
        .map_err(|_| Error::Timeout {
            doing: format!("connecting to {}:{}", endpoint.host, endpoint.port),
            after: limit,
            partial: String::new(),
        })?
}
pub(crate) async fn connect2(endpoint: &Endpoint) -> Result<Handle<Client>, Error> {
    let (host, port) = (endpoint.host.as_str(), endpoint.port);
    let known = if let Some(pinned) = &endpoint.pinned_host_key {
        // Of use for the order of algorithms only; a fingerprint says nothing about that.
        HostKey::parse(pinned).into_iter().collect()
    } else {
        endpoint
            .host_keys
            .lookup(host, port)
            .await
            .map_err(|error| {
                Error::host_key(format!("the known host keys cannot be read: {error}"))
            })?
    };
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| Error::network(format!("cannot connect to {host}:{port}: {error}")))?;
    // 40 to 80 ms a login otherwise (Nagle's algorithm against delayed acknowledgements).
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }

    let new_key = Arc::new(Mutex::new(None));
    let client = Client {
        policy: endpoint.host_key_policy,
        pinned: endpoint.pinned_host_key.clone(),
        known,
        new_key: Arc::clone(&new_key),
    };
    let config = Arc::new(config(&client.known)?);
    let handle = client::connect_stream(config, stream, client)
        .await
        .map_err(|failure| failure.into_error(host, port))?;

    let key = new_key
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(key) = key {
        endpoint
            .host_keys
            .remember(host, port, &key)
            .await
            .map_err(|error| {
                Error::host_key(format!("the new host key cannot be stored: {error}"))
            })?;
    }
    Ok(handle)
}

/// Logs in and starts a shell on a terminal; sends `first` without waiting for anything the
/// device has to say. To be limited by the caller to the login timeout.
pub(crate) async fn open_shell(
    mut handle: Handle<Client>,
    endpoint: &Endpoint,
    first: &str,
) -> Result<Shell, Error> {
    auth::authenticate(&mut handle, endpoint).await?;
    let channel = handle.channel_open_session().await.map_err(|error| {
        Error::network(format!(
            "{}:{} opens no channel: {error}",
            endpoint.host, endpoint.port
        ))
    })?;
    // Without echo, line editing and output processing where the platform needs no echo: then
    // what arrives is what the command wrote. Devices that are no computers ignore these.
    let modes: &[(Pty, u32)] = if endpoint.platform.terminal.echo {
        &[]
    } else {
        &[
            (Pty::ECHO, 0),
            (Pty::ICANON, 0),
            (Pty::OPOST, 0),
            (Pty::ONLCR, 0),
        ]
    };
    let mut shell = Shell {
        handle,
        channel,
        closed: false,
        ended: false,
    };
    // All three in one go: replies are looked at when they arrive, see `receive`.
    shell
        .channel
        .request_pty(true, "dumb", COLUMNS, ROWS, 0, 0, modes)
        .await
        .map_err(|error| lost(&error))?;
    shell
        .channel
        .request_shell(true)
        .await
        .map_err(|error| lost(&error))?;
    if !first.is_empty() {
        shell.send(first).await?;
    }
    Ok(shell)
}

fn lost(error: &russh::Error) -> Error {
    Error::Disconnected {
        doing: "sending".into(),
        reason: format!(": {error}"),
        partial: String::new(),
    }
}

/// What arrived.
#[derive(Debug)]
pub(crate) enum Received {
    Bytes(Vec<u8>),
    /// The device closed the channel or the connection; with the reason if it is known.
    Closed(String),
}

impl Shell {
    /// One write, so that the device reads all of it before it answers.
    pub(crate) async fn send(&mut self, text: &str) -> Result<(), Error> {
        self.channel
            .data_bytes(text.as_bytes().to_vec())
            .await
            .map_err(|error| {
                self.closed = true;
                lost(&error)
            })
    }

    pub(crate) async fn send_secret(&mut self, secret: &str, end: &str) -> Result<(), Error> {
        self.send(&format!("{secret}{end}")).await
    }
    pub(crate) fn server_identification(&self) -> &str {
        ""
    }

    /// Waits for bytes. Cancelling it loses nothing.
    pub(crate) async fn receive(&mut self) -> Result<Received, Error> {
        loop {
            match self.channel.wait().await {
                Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                    return Ok(Received::Bytes(data.to_vec()));
                }
                Some(ChannelMsg::Failure) => {
                    return Err(Error::protocol(
                        "the device gives this user no terminal or no shell",
                    ));
                }
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => {
                    self.closed = true;
                    return Ok(Received::Closed(self.reason().await));
                }
                Some(_) => {}
            }
        }
    }

    /// Why the connection ended, if the transport knows: it ends with the reason in hand.
    async fn reason(&mut self) -> String {
        if self.ended || !self.handle.is_closed() {
            return String::new();
        }
        let end = tokio::time::timeout(Duration::from_millis(100), &mut self.handle).await;
        self.ended = end.is_ok();
        match end {
            Ok(Err(Failure::Ssh(russh::Error::KeepaliveTimeout))) => {
                ": it did not answer keepalives".into()
            }
            Ok(Err(Failure::Ssh(russh::Error::IO(error)))) => format!(": {error}"),
            _ => String::new(),
        }
    }

    /// What is there already, without waiting.
    pub(crate) fn drain(&mut self) -> usize {
        use std::future::Future;
        use std::task::{Context, Poll, Waker};
        let mut bytes = 0;
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let wait = std::pin::pin!(self.channel.wait());
            match wait.poll(&mut context) {
                Poll::Ready(Some(ChannelMsg::Data { data })) => bytes += data.len(),
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
        self.closed || self.handle.is_closed()
    }

    /// Says goodbye on the SSH level and waits until it is written. Bounded by the caller.
    pub(crate) async fn disconnect(mut self) {
        if self.ended {
            return;
        }
        let _ = self
            .handle
            .disconnect(Disconnect::ByApplication, "", "en")
            .await;
        let _ = (&mut self.handle).await;
    }
}

/// Looks at the host key.
pub(crate) struct Client {
    policy: crate::HostKeyPolicy,
    pinned: Option<String>,
    known: Vec<HostKey>,
    new_key: Arc<Mutex<Option<HostKey>>>,
}

impl client::Handler for Client {
    type Error = Failure;

    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, Failure> {
        let key = HostKey::from_public_key(&offered.public_key())
            .map_err(|error| Failure::HostKey(format!("the host key cannot be read: {error}")))?;
        match judge(self.policy, self.pinned.as_deref(), &self.known, &key) {
            Ok(Verdict::Accept) => Ok(true),
            Ok(Verdict::AcceptAndRemember) => {
                *self.new_key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
                Ok(true)
            }
            Err(message) => Err(Failure::HostKey(message)),
        }
    }
}

/// Why the connection's task ended.
#[derive(Debug)]
pub(crate) enum Failure {
    HostKey(String),
    Ssh(russh::Error),
}

impl From<russh::Error> for Failure {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl Failure {
    fn into_error(self, host: &str, port: u16) -> Error {
        match self {
            Self::HostKey(message) => Error::host_key(format!("{host}:{port}: {message}")),
            Self::Ssh(russh::Error::NoCommonAlgo { kind, ours, theirs }) => {
                Error::protocol(format!(
                    "{host}:{port}: no common {} algorithm; the device offers {}, this side {}",
                    format!("{kind:?}").to_lowercase(),
                    theirs.join(", "),
                    ours.join(", ")
                ))
            }
            Self::Ssh(russh::Error::HUP | russh::Error::Disconnect) => Error::network(format!(
                "{host}:{port} closed the connection before the login; it may have too many \
                 sessions, or refuse this address"
            )),
            Self::Ssh(russh::Error::Version) => Error::network(format!(
                "{host}:{port} does not speak SSH version 2; is this the right port?"
            )),
            Self::Ssh(error) => Error::network(format!("{host}:{port}: {error}")),
        }
    }
}

fn config(known: &[HostKey]) -> Result<client::Config, Error> {
    // The library's default asks for 8192-bit groups: 700 ms a login on old devices.
    let gex = client::GexParams::new(2048, 2048, 8192)
        .map_err(|error| Error::protocol(error.to_string()))?;
    Ok(client::Config {
        nodelay: true,
        gex,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVES,
        // A message that nobody takes out stalls the connection, keepalives included. Between
        // two commands nobody does, so there must be room for what a device says unasked.
        channel_buffer_size: 1024,
        preferred: Preferred {
            kex: Cow::Owned(key_exchanges()),
            key: Cow::Owned(host_key_algorithms(known)),
            compression: Cow::Borrowed(&[russh::compression::NONE]),
            ..Preferred::default()
        },
        ..client::Config::default()
    })
}

/// The library's safe list, and the NIST curves, which many devices offer as their best.
fn key_exchanges() -> Vec<russh::kex::Name> {
    let mut names = Preferred::default().kex.into_owned();
    let at = names
        .iter()
        .position(|name| *name == russh::kex::DH_GEX_SHA256)
        .unwrap_or(0);
    names.splice(
        at..at,
        [
            russh::kex::ECDH_SHA2_NISTP256,
            russh::kex::ECDH_SHA2_NISTP384,
            russh::kex::ECDH_SHA2_NISTP521,
        ],
    );
    names
}

/// The algorithms of known keys first: a device with several keys is to show the known one.
/// `ssh-rsa` (SHA-1) signatures are left to the legacy profile.
fn host_key_algorithms(known: &[HostKey]) -> Vec<Algorithm> {
    let mut algorithms: Vec<Algorithm> = Preferred::default()
        .key
        .iter()
        .filter(|algorithm| !matches!(algorithm, Algorithm::Rsa { hash: None }))
        .cloned()
        .collect();
    let is_known = |algorithm: &Algorithm| {
        known.iter().any(|key| match algorithm {
            Algorithm::Rsa { .. } => key.algorithm == "ssh-rsa",
            other => key.algorithm == other.as_str(),
        })
    };
    algorithms.sort_by_key(|algorithm| !is_known(algorithm));
    algorithms
}
