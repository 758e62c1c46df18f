//! Connects to a device: through its jump hosts, each reached through the previous one, up to a
//! shell.

use std::sync::{Arc, Mutex};

use russh::client::{self, Handle};
use russh::{AlgorithmKind, ChannelOpenFailure, Pty};
use tokio::net::{TcpStream, lookup_host};

use crate::algorithms::GROUP_EXCHANGES;
use crate::auth;
use crate::cause::{self, Cause};
use crate::client::{Client, ConnectError, HandshakeInfo, lock};
use crate::endpoint::{Endpoint, Timeouts};
use crate::error::Error;
use crate::gate::Gate;
use crate::hop::Hop;
use crate::host_keys::{HostKeyStoreError, Pin};
use crate::patience::timeout;
use crate::session_log::Recorder;
use crate::transport::{Connection, Shell, Tunnel, lost};
use crate::visible::printable;

/// Terminal size at which most pagers and line editors do not alter the output.
const COLUMNS: u32 = 511;
const ROWS: u32 = 1000;

/// Minimum group size of a group exchange, in bits; the library's own minimum.
const MIN_GROUP_BITS: usize = 2048;

/// Number of unanswered keepalives after which the connection is closed.
const KEEPALIVES: usize = 3;

/// Connects through all jump hosts and exchanges keys with the device, within the connect timeout.
pub(crate) async fn connect(endpoint: &Endpoint, gate: &Gate) -> Result<Connection, Error> {
    let limit = endpoint.timeouts.connect;
    let mut doing = Doing::default();
    let outcome = timeout(limit, through_jump_hosts(endpoint, gate, &mut doing)).await;
    match outcome {
        Ok(Ok((link, tunnels))) => Ok(Connection::new(link.handle, tunnels, link.info)),
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
    let size = ("dumb", COLUMNS, ROWS);
    let shell = open_terminal(connection, endpoint, gate, size, modes).await?;
    Ok(shell.with_encoding(endpoint.platform.terminal.encoding))
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
    Ok(Shell::new(connection, channel, Recorder::new(endpoint)))
}

/// The current step of a connection attempt.
#[derive(Debug, Default)]
struct Doing {
    what: String,
    /// A name is being resolved; the device has not been contacted.
    looking_up: bool,
}

/// A connection to one host after the key exchange and before the login.
struct Link {
    handle: Handle<Client>,
    info: Arc<Mutex<HandshakeInfo>>,
}

/// Connects from host to host, and logs in to each except the device. `doing` always describes the
/// current wait.
async fn through_jump_hosts(
    endpoint: &Endpoint,
    gate: &Gate,
    doing: &mut Doing,
) -> Result<(Link, Vec<Tunnel>), Error> {
    let mut tunnels: Vec<Tunnel> = Vec::with_capacity(endpoint.jumps.len());
    for jump in &endpoint.jumps {
        let hop = Hop::jump(jump);
        doing.what = connecting(&hop, &tunnels);
        let link = exchange_keys(&hop, tunnels.last(), endpoint.timeouts, doing).await?;
        let mut handle = link.handle;
        doing.what = format!("logging in to {hop}");
        auth::authenticate(&mut handle, &hop, gate).await?;
        tunnels.push(Tunnel {
            name: hop.to_string(),
            handle,
        });
    }
    let device = Hop::device(endpoint);
    doing.what = connecting(&device, &tunnels);
    let link = exchange_keys(&device, tunnels.last(), endpoint.timeouts, doing).await?;
    Ok((link, tunnels))
}

fn connecting(hop: &Hop<'_>, tunnels: &[Tunnel]) -> String {
    match tunnels.last() {
        Some(tunnel) => format!("connecting to {hop} through {}", tunnel.name),
        None => format!("connecting to {hop}"),
    }
}

/// Connects to one host, through `via` if given, and exchanges keys with it.
async fn exchange_keys(
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
        let info = Arc::new(Mutex::new(HandshakeInfo::default()));
        let client = Client {
            host: host.clone(),
            algorithms: hop.algorithms,
            policy: hop.host_key_policy,
            pin: pin.clone(),
            known: known.clone(),
            marks: marks.clone(),
            info: Arc::clone(&info),
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
                let key = lock(&info).new_key.take();
                if let Some(key) = key {
                    hop.host_keys
                        .remember(&host, hop.port, &key)
                        .await
                        .map_err(|error| {
                            let doing = format!("{hop}: failed to store the new host key");
                            store_failed(&error, &doing, true)
                        })?;
                }
                return Ok(Link { handle, info });
            }
            Err(ConnectError::Ssh(russh::Error::KexInit)) if group_exchange => {
                tracing::debug!(%hop, "key exchange failed; retrying without group exchange");
                group_exchange = false;
                continue;
            }
            Err(ConnectError::Ssh(russh::Error::NoCommonAlgo {
                kind: AlgorithmKind::Kex,
                theirs,
                ..
            })) if !group_exchange => return Err(small_group(hop, via, &theirs)),
            Err(failure) => failure,
        };
        let shown = match &failure {
            ConnectError::NotPinned { shown, .. } => Some(shown.clone()),
            _ => None,
        };
        let error = connect_error(failure, hop, via);
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
) -> Result<Result<Handle<Client>, ConnectError>, Error> {
    if let Some(tunnel) = via {
        let channel = tunnel
            .handle
            .channel_open_direct_tcpip(hop.host, hop.port.into(), "127.0.0.1", 0)
            .await
            .map_err(|error| refusal(tunnel, hop, &error))?;
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

/// Explains why a jump host does not connect to the next host.
fn refusal(tunnel: &Tunnel, next: &Hop<'_>, error: &russh::Error) -> Error {
    let name = &tunnel.name;
    let message = match error {
        russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited) => {
            format!(
                "{name} failed to forward to {next}: forwarding is not allowed (check \
                 AllowTcpForwarding and PermitOpen)"
            )
        }
        russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed) => {
            format!(
                "{name} failed to connect to {next}; check the address, and that the jump host can \
                     reach it"
            )
        }
        russh::Error::ChannelOpenFailure(ChannelOpenFailure::UnknownChannelType) => {
            format!(
                "{name} failed to forward to {next}: it does not support forwarding, so it cannot \
                     be a jump host"
            )
        }
        error => format!("{name} failed to connect to {next}: {error}"),
    };
    Error::Network {
        message,
        // The other refusals come from the jump host itself.
        of_device: matches!(
            error,
            russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed)
                | russh::Error::SendError
                | russh::Error::RecvError
        ),
    }
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

/// Converts the reason why a connection ended before the login.
fn connect_error(error: ConnectError, hop: &Hop<'_>, via: Option<&Tunnel>) -> Error {
    let through = through(via);
    match error {
        ConnectError::HostKey(message) | ConnectError::NotPinned { message, .. } => {
            Error::host_key(format!("{hop}{through}: {message}"))
        }
        ConnectError::Ssh(russh::Error::NoCommonAlgo { kind, ours, theirs }) => {
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
        ConnectError::Disconnected(words) => Error::network(format!(
            "{hop}{through} closed the connection before the login: {}",
            printable(&words)
        )),
        ConnectError::Ssh(_) if via.is_some_and(|tunnel| tunnel.handle.is_closed()) => {
            Error::network(format!(
                "lost the connection to {hop}{through}: the jump host disconnected"
            ))
        }
        ConnectError::Ssh(russh::Error::HUP | russh::Error::Disconnect) => Error::network(format!(
            "{hop}{through} closed the connection before the login; check its session limit and \
             its access lists"
        )),
        ConnectError::Ssh(russh::Error::Version) => Error::network(format!(
            "{hop}{through} does not speak SSH version 2; check the port"
        )),
        ConnectError::Ssh(error) => russh_error(&error, &format!("{hop}{through}")),
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
