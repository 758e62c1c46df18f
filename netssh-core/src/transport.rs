//! The SSH connection of a session: TCP, algorithms, host key, and the channel with its terminal.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, DisconnectReason, Handle, Msg};
use russh::keys::PublicKeyOrCertificate;
use russh::keys::ssh_key::public::RsaPublicKey;
use russh::{AlgorithmKind, Channel, ChannelMsg, Disconnect, Pty};
use tokio::net::{TcpStream, lookup_host};

use crate::algorithms::{Algorithms, GROUP_EXCHANGES, HINT};
use crate::auth;
use crate::cause::{self, Cause};
use crate::endpoint::{Endpoint, Timeouts};
use crate::error::Error;
use crate::gate::Gate;
use crate::host_keys::{HostKey, HostKeyStoreError, Pin, Verdict, judge};
use crate::jump::{self, Hop, Tunnel};
use crate::patience::timeout;
use crate::platform::{Decoder, Encoding};
use crate::session_log::Recorder;
use crate::visible::is_hidden;

/// Terminal size at which most pagers and line editors do not alter the output.
const COLUMNS: u32 = 511;
const ROWS: u32 = 1000;

/// Minimum group size of a group exchange, in bits; the library's own minimum.
const MIN_GROUP_BITS: usize = 2048;

/// Number of unanswered keepalives after which the connection is closed.
const KEEPALIVES: usize = 3;

/// A connection to the device, and the connections to the jump hosts that carry it.
pub(crate) struct Connection {
    handle: Handle<Client>,
    /// In order, from this machine to the device.
    tunnels: Vec<Tunnel>,
    seen: Arc<Mutex<Seen>>,
    /// The connection's task has ended; it must not be awaited again.
    ended: bool,
}

/// A connection to one host after the key exchange and before the login.
pub(crate) struct Link {
    pub(crate) handle: Handle<Client>,
    seen: Arc<Mutex<Seen>>,
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

/// Connects through all jump hosts and exchanges keys with the device, within the connect timeout.
pub(crate) async fn connect(endpoint: &Endpoint, gate: &Gate) -> Result<Connection, Error> {
    let limit = endpoint.timeouts.connect;
    let mut doing = Doing::default();
    let outcome = timeout(limit, jump::connect(endpoint, gate, &mut doing)).await;
    match outcome {
        Ok(Ok((link, tunnels))) => Ok(Connection {
            handle: link.handle,
            tunnels,
            seen: link.seen,
            ended: false,
        }),
        Ok(Err(error)) => Err(error),
        Err(_) if doing.looking_up => Err(Error::Network {
            message: format!("{}: name resolution timed out after {limit:?}", doing.what),
            of_device: false,
        }),
        Err(_) => Err(Error::Timeout {
            doing: doing.what,
            after: limit,
            partial: String::new(),
        }),
    }
}

/// The current step of a connection attempt.
#[derive(Debug, Default)]
pub(crate) struct Doing {
    pub(crate) what: String,
    /// A name is being resolved; the device has not been contacted.
    looking_up: bool,
}

/// Connects to one host, through `via` if given, and exchanges keys with it.
pub(crate) async fn exchange_keys(
    hop: &Hop<'_>,
    via: Option<&Tunnel>,
    timeouts: Timeouts,
    doing: &mut Doing,
) -> Result<Link, Error> {
    let host = hop.host.to_lowercase();
    let unreadable = |error| {
        let doing = format!("{hop}: failed to read the known host keys");
        store_failed(&error, &doing, false)
    };
    let pin = hop
        .pinned_host_key
        .map(Pin::parse)
        .transpose()
        .map_err(|message| Error::host_key(format!("{hop}: {message}")))?;
    let (known, marks) = match &pin {
        Some(pin) => (pin.key().cloned().into_iter().collect(), Default::default()),
        None => (
            hop.host_keys
                .lookup(&host, hop.port)
                .await
                .map_err(unreadable)?,
            hop.host_keys
                .marks(&host, hop.port)
                .await
                .map_err(unreadable)?,
        ),
    };
    // A fingerprint does not identify the key's type. The device shows its best key, so each type
    // that turns out to be another key is excluded from the next attempt.
    let mut without: Vec<String> = Vec::new();
    let mut mismatch = None;
    // Some devices use a group of 1,024 bits whatever size is requested, which the library refuses.
    let mut group_exchange = true;
    loop {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let client = Client {
            host: host.clone(),
            algorithms: hop.algorithms,
            policy: hop.host_key_policy,
            pin: pin.clone(),
            known: known.clone(),
            marks: marks.clone(),
            seen: Arc::clone(&seen),
        };
        let config = Arc::new(config(&client, &without, group_exchange, timeouts)?);
        if config.preferred.key.is_empty() {
            return Err(mismatch.unwrap_or_else(|| {
                Error::host_key(format!(
                    "{hop}: no host key \
                 algorithm left to try"
                ))
            }));
        }
        let failure = match connect_once(hop, via, config, client, doing).await? {
            Ok(handle) => {
                let key = lock(&seen).new_key.take();
                if let Some(key) = key {
                    hop.host_keys
                        .remember(&host, hop.port, &key)
                        .await
                        .map_err(|error| {
                            let doing = format!("{hop}: failed to store the new host key");
                            store_failed(&error, &doing, true)
                        })?;
                }
                return Ok(Link { handle, seen });
            }
            Err(Failure::Ssh(russh::Error::KexInit)) if group_exchange => {
                tracing::debug!(%hop, "key exchange failed; retrying without group exchange");
                group_exchange = false;
                continue;
            }
            Err(Failure::Ssh(russh::Error::NoCommonAlgo {
                kind: AlgorithmKind::Kex,
                theirs,
                ..
            })) if !group_exchange => return Err(small_group(hop, via, &theirs)),
            Err(failure) => failure,
        };
        let shown = match &failure {
            Failure::NotPinned { shown, .. } => Some(shown.clone()),
            _ => None,
        };
        let error = failure.into_error(hop, via);
        match shown {
            Some(shown) if pin.as_ref().is_some_and(Pin::is_fingerprint) => {
                mismatch.get_or_insert(error);
                without.push(shown);
            }
            // The device has no other type of key, or refuses repeated connections.
            _ => return Err(mismatch.unwrap_or(error)),
        }
    }
}

/// Makes one connection and exchanges keys. The outer error is a failure to reach the host.
async fn connect_once(
    hop: &Hop<'_>,
    via: Option<&Tunnel>,
    config: Arc<client::Config>,
    client: Client,
    doing: &mut Doing,
) -> Result<Result<Handle<Client>, Failure>, Error> {
    if let Some(tunnel) = via {
        let channel = tunnel
            .handle
            .channel_open_direct_tcpip(hop.host, hop.port.into(), "127.0.0.1", 0)
            .await
            .map_err(|error| jump::refusal(tunnel, hop, &error))?;
        return Ok(client::connect_stream(config, channel.into_stream(), client).await);
    }
    let stream = connect_tcp(hop, doing).await?;
    // Without it, Nagle's algorithm and delayed acknowledgements cost 40 to 80 ms per login.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
    Ok(client::connect_stream(config, stream, client).await)
}

async fn connect_tcp(hop: &Hop<'_>, doing: &mut Doing) -> Result<TcpStream, Error> {
    let cannot = format!("failed to connect to {hop}");
    doing.looking_up = true;
    let found = lookup_host((hop.host, hop.port)).await;
    doing.looking_up = false;
    let addresses = found.map_err(|error| {
        let missing = cause::no_descriptor().unwrap_or(error);
        match Error::io(&missing, &cannot, false) {
            // A resolver error is never the device's fault.
            Error::Network { message, .. } => Error::Network {
                message,
                of_device: false,
            },
            other => other,
        }
    })?;
    let mut failed: Option<std::io::Error> = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            // This machine may have no address of the same family, so the other family's error is
            // more useful.
            Err(error) => match &failed {
                Some(before) if Cause::of(before) == Cause::Device => {}
                _ => failed = Some(error),
            },
        }
    }
    let no_address = || std::io::Error::other("the name has no address");
    Err(Error::io(
        &failed.unwrap_or_else(no_address),
        &cannot,
        false,
    ))
}

/// Converts an error of the host key store, which is this machine's fault.
fn store_failed(error: &HostKeyStoreError, doing: &str, reached: bool) -> Error {
    let of_server = cause::io_error_in(&**error);
    of_server
        .and_then(|io| cause::server_error(io, doing, reached))
        .unwrap_or_else(|| Error::Server {
            message: format!("{doing}: {error}"),
            reached,
        })
}

/// Returns the error for a device on which group exchange fails and no other key exchange is
/// common.
fn small_group(hop: &Hop<'_>, via: Option<&Tunnel>, theirs: &[String]) -> Error {
    let hint = match hop.algorithms.hint_without_group_exchange(theirs) {
        Some(hint) => hint,
        None => {
            "configure a longer group on the device (such as `ip ssh dh min size 2048`), or enable \
             another key exchange there"
                .to_owned()
        }
    };
    Error::protocol(format!(
        "{hop}{}: the group exchange failed: expected a group of at least {MIN_GROUP_BITS} bits, the \
         device likely has a shorter one; it offers {}; {hint}",
        through(via),
        theirs.join(", ")
    ))
}

fn through(via: Option<&Tunnel>) -> String {
    via.map(|tunnel| format!(" (through {})", tunnel.name))
        .unwrap_or_default()
}

fn config(
    client: &Client,
    without: &[String],
    group_exchange: bool,
    timeouts: Timeouts,
) -> Result<client::Config, Error> {
    // The library's default requests 8192-bit groups, which cost old devices 700 ms per login.
    let gex = client::GexParams::new(MIN_GROUP_BITS, MIN_GROUP_BITS, 8192)
        .map_err(|error| Error::protocol(error.to_string()))?;
    let mut preferred = client.algorithms.preferred(&client.known, without);
    if !group_exchange {
        let names = preferred.kex.to_mut();
        names.retain(|name| !GROUP_EXCHANGES.contains(name));
    }
    if !client.marks.authorities.is_empty() {
        preferred.host_key_certificates = preferred.key.clone();
    }
    Ok(client::Config {
        nodelay: true,
        gex,
        // The library sends none before the login, and disconnects after one more interval.
        keepalive_interval: Some(timeouts.keepalive).filter(|interval| !interval.is_zero()),
        keepalive_max: KEEPALIVES,
        // A message that is not received stalls the connection, including keepalives. Between two
        // commands nothing receives, so the buffer must have room for unsolicited output. It
        // allocates only what it uses.
        channel_buffer_size: 1024,
        preferred,
        ..client::Config::default()
    })
}

/// Logs in and starts a shell on a terminal. The caller limits it to the login timeout.
pub(crate) async fn open_shell(
    connection: Connection,
    endpoint: &Endpoint,
    gate: &Gate,
) -> Result<Shell, Error> {
    // On a platform without echo, the terminal has no echo, line editing or output processing, so
    // that only the command's own output arrives. Network devices ignore these modes.
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
    let mut shell =
        open_terminal(connection, endpoint, gate, ("dumb", COLUMNS, ROWS), modes).await?;
    let encoding = endpoint.platform.terminal.encoding;
    shell.encoding = encoding.map(|encoding| (encoding, encoding.decoder()));
    Ok(shell)
}

/// Logs in and starts a shell on a terminal of this type, columns and rows. The caller limits it to
/// the login timeout.
pub(crate) async fn open_terminal(
    mut connection: Connection,
    endpoint: &Endpoint,
    gate: &Gate,
    (term, columns, rows): (&str, u32, u32),
    modes: &[(Pty, u32)],
) -> Result<Shell, Error> {
    let device = Hop::device(endpoint);
    auth::authenticate(&mut connection.handle, &device, gate).await?;
    let channel = connection
        .handle
        .channel_open_session()
        .await
        .map_err(|error| russh_error(&error, &format!("{device}: failed to open a channel")))?;
    // Both requests are sent at once; `receive` handles their replies.
    channel
        .request_pty(true, term, columns, rows, 0, 0, modes)
        .await
        .map_err(|error| lost(&error))?;
    channel
        .request_shell(true)
        .await
        .map_err(|error| lost(&error))?;
    Ok(Shell {
        connection,
        channel,
        recorder: Recorder::new(endpoint),
        encoding: None,
        closed: false,
    })
}

fn lost(error: &russh::Error) -> Error {
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

/// A received message.
#[derive(Debug)]
pub(crate) enum Received {
    Bytes(Vec<u8>),
    /// The device closed the channel or the connection, with the reason if it is known.
    Closed(String),
}

impl Shell {
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
                Poll::Ready(Some(ChannelMsg::Data { data })) => {
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
        lock(&self.connection.seen).server.clone()
    }

    /// Disconnects at the SSH level and waits until the message is written. The caller limits the
    /// time.
    pub(crate) async fn disconnect(self) {
        self.connection.disconnect().await;
    }
}

impl Connection {
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
            Ok(Err(Failure::Ssh(russh::Error::KeepaliveTimeout))) => ": keepalive timeout".into(),
            Ok(Err(Failure::Ssh(russh::Error::IO(error)))) => format!(": {error}"),
            Ok(Err(Failure::Farewell(words))) => format!(": {}", printable(&words)),
            _ => String::new(),
        }
    }

    /// Disconnects from the device first and the first jump host last, so that each message can be
    /// delivered.
    async fn disconnect(mut self) {
        if !self.ended {
            say_goodbye(&mut self.handle).await;
        }
        for tunnel in self.tunnels.iter_mut().rev() {
            say_goodbye(&mut tunnel.handle).await;
        }
    }
}

async fn say_goodbye(handle: &mut Handle<Client>) {
    let _ = handle.disconnect(Disconnect::ByApplication, "", "en").await;
    let _ = handle.await;
}

/// Observations of a connection's task, for the code that waits for it.
#[derive(Debug, Default)]
struct Seen {
    new_key: Option<HostKey>,
    /// The server's identification.
    server: String,
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks the host key.
pub(crate) struct Client {
    host: String,
    algorithms: Algorithms,
    policy: crate::HostKeyPolicy,
    pin: Option<Pin>,
    known: Vec<HostKey>,
    marks: crate::HostKeyMarks,
    seen: Arc<Mutex<Seen>>,
}

impl client::Handler for Client {
    type Error = Failure;

    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, Failure> {
        let public = offered.public_key();
        let key = HostKey::from_public_key(&public)
            .map_err(|error| Failure::HostKey(format!("failed to read the host key: {error}")))?;
        if let Some(pin) = &self.pin {
            pin.check(&key).map_err(|message| Failure::NotPinned {
                message,
                shown: key.algorithm.clone(),
            })?;
        }
        let bits = public.key_data().rsa().map(RsaPublicKey::key_size);
        check_size(bits, self.algorithms)?;
        if self.pin.is_some() {
            return Ok(true);
        }
        if let Some(certificate) = offered.certificate()
            && !self.known.contains(&key)
        {
            self.marks
                .check_certificate(certificate, &self.host)
                .map_err(Failure::HostKey)?;
            return Ok(true);
        }
        match judge(self.policy, &self.known, &self.marks, &key).map_err(Failure::HostKey)? {
            Verdict::Accept => {}
            Verdict::AcceptAndRemember => lock(&self.seen).new_key = Some(key),
        }
        Ok(true)
    }

    async fn kex_done(
        &mut self,
        _shared_secret: Option<&[u8]>,
        _names: &russh::Names,
        session: &mut client::Session,
    ) -> Result<(), Failure> {
        let server = String::from_utf8_lossy(session.remote_sshid());
        lock(&self.seen).server = printable(&server);
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Failure>) -> Result<(), Failure> {
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => Err(Failure::Farewell(info.message)),
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

/// Rejects RSA keys that are too short: they can be broken and the host impersonated.
fn check_size(bits: Option<u32>, algorithms: Algorithms) -> Result<(), Failure> {
    let Some(bits) = bits.filter(|bits| *bits < algorithms.shortest_rsa()) else {
        return Ok(());
    };
    let hint = if bits >= Algorithms::Legacy.shortest_rsa() {
        format!("generate a longer one on the device, or {HINT}")
    } else {
        "generate a longer one on the device".into()
    };
    Err(Failure::HostKey(format!(
        "the RSA host key is too short: {bits} bits; {hint}"
    )))
}

/// The reason why a connection's task ended.
#[derive(Debug)]
pub(crate) enum Failure {
    HostKey(String),
    NotPinned {
        message: String,
        /// The type of the key that the device showed.
        shown: String,
    },
    /// The device disconnected with this message.
    Farewell(String),
    Ssh(russh::Error),
}

impl From<russh::Error> for Failure {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl Failure {
    fn into_error(self, hop: &Hop<'_>, via: Option<&Tunnel>) -> Error {
        let through = through(via);
        match self {
            Self::HostKey(message) | Self::NotPinned { message, .. } => {
                Error::host_key(format!("{hop}{through}: {message}"))
            }
            Self::Ssh(russh::Error::NoCommonAlgo { kind, ours, theirs }) => {
                let what = match kind {
                    AlgorithmKind::Kex => "key exchange",
                    AlgorithmKind::Key => "host key",
                    AlgorithmKind::Cipher => "cipher",
                    AlgorithmKind::Compression => "compression",
                    AlgorithmKind::Mac => "MAC",
                };
                Error::protocol(format!(
                    "{hop}{through}: no common {what} algorithm: the device offers {}, the server \
                     offers {}{}",
                    theirs.join(", "),
                    ours.join(", "),
                    hop.algorithms.hint(&kind, &theirs)
                ))
            }
            Self::Farewell(words) => Error::network(format!(
                "{hop}{through} closed the connection before the login: {}",
                printable(&words)
            )),
            Self::Ssh(_) if via.is_some_and(|tunnel| tunnel.handle.is_closed()) => Error::network(
                format!("lost the connection to {hop}{through}: the jump host disconnected"),
            ),
            Self::Ssh(russh::Error::HUP | russh::Error::Disconnect) => Error::network(format!(
                "{hop}{through} closed the connection before the login; check its session limit and \
                 its access lists"
            )),
            Self::Ssh(russh::Error::Version) => Error::network(format!(
                "{hop}{through} does not speak SSH version 2; check the port"
            )),
            Self::Ssh(error) => russh_error(&error, &format!("{hop}{through}")),
        }
    }
}

/// Converts an error of the SSH library. Only the errors listed here are the device's; most others
/// are about this side.
fn russh_error(error: &russh::Error, doing: &str) -> Error {
    let of_device = match error {
        russh::Error::IO(error) => return Error::io(error, doing, true),
        russh::Error::KexInit
        | russh::Error::UnknownAlgo
        | russh::Error::Version
        | russh::Error::Kex
        | russh::Error::PacketAuth
        | russh::Error::Inconsistent
        | russh::Error::IndexOutOfBounds
        | russh::Error::UnknownKey
        | russh::Error::WrongServerSig
        | russh::Error::PacketSize(_)
        | russh::Error::WrongChannel
        | russh::Error::ChannelOpenFailure(_)
        | russh::Error::Disconnect
        | russh::Error::HUP
        | russh::Error::ConnectionTimeout
        | russh::Error::KeepaliveTimeout
        | russh::Error::InactivityTimeout
        | russh::Error::SendError
        | russh::Error::RecvError
        | russh::Error::Pending
        | russh::Error::DecryptionError
        | russh::Error::RequestDenied
        | russh::Error::Utf8(_)
        | russh::Error::StrictKeyExchangeViolation { .. }
        | russh::Error::Signature(_)
        | russh::Error::SshKey(_)
        | russh::Error::SshEncoding(_) => true,
        _ => false,
    };
    Error::Network {
        message: format!("{doing}: {error}"),
        of_device,
    }
}

/// Converts a device's message to one line of at most 200 characters.
pub(crate) fn printable(words: &str) -> String {
    let clean = |character: char| {
        if is_hidden(character) { ' ' } else { character }
    };
    let text: String = words.trim().chars().take(200).map(clean).collect();
    text
}
