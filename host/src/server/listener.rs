//! The addresses to listen on: TCP or a Unix socket.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::{TcpListener, UnixListener, UnixSocket, UnixStream};

use super::io::{BoxedStream, boxed};
use super::tls::Tls;
use crate::config::{AuthMode, ServerConfig};

/// Mode of the socket: owner and group. A proxy gets access through the group.
const SOCKET_MODE: u32 = 0o660;
/// Maximum number of connections waiting to be accepted; the system's limit may be lower.
const BACKLOG: u32 = 1024;
/// Timeout for probing an existing socket; a server that is only slow counts as running.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The address to listen on, resolved and allowed.
pub enum Address {
    Tcp {
        /// As configured; used in messages.
        named: String,
        resolved: Vec<SocketAddr>,
        tls: Option<Tls>,
    },
    Unix(PathBuf),
}

/// An open listener.
pub enum Listener {
    Tcp(TcpListener, Option<Arc<Tls>>),
    Unix(UnixSocketListener),
}

/// A Unix socket that removes its file when dropped.
#[derive(Debug)]
pub struct UnixSocketListener {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file.
    file: (u64, u64),
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Peer {
    Tcp(SocketAddr),
    Unix,
}

impl Peer {
    /// Returns the address of the client; `None` for a Unix socket.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix => None,
        }
    }
}

impl Address {
    /// Resolves `server.host` and reads the certificate. Rejects addresses other than loopback unless
    /// clients authenticate over TLS or `server.trust_network` is set. The check applies to the addresses
    /// that a name resolves to, and exactly those are bound.
    ///
    /// # Errors
    /// If the name cannot be resolved, an address is not allowed, or the certificate is not valid.
    pub async fn resolve(config: &ServerConfig, auth: AuthMode) -> anyhow::Result<Self> {
        if let Some(path) = config.unix_socket() {
            return Ok(Self::Unix(path.to_owned()));
        }
        let host = config.host.as_str();
        let resolved = tokio::net::lookup_host((host, config.port)).await;
        let resolved = resolved
            .with_context(|| format!("failed to resolve {host} (server.host)"))?
            .collect();
        let address = Self::Tcp {
            named: format!("{host}:{}", config.port),
            resolved,
            tls: Tls::load(config)?,
        };
        address.check(config, auth)?;
        Ok(address)
    }

    fn check(&self, config: &ServerConfig, auth: AuthMode) -> anyhow::Result<()> {
        let Self::Tcp { resolved, tls, .. } = self else {
            return Ok(());
        };
        let open = resolved.iter().map(SocketAddr::ip);
        let Some(open) = open.into_iter().find(|ip| !is_loopback(*ip)) else {
            return Ok(());
        };
        let host = &config.host;
        let shown = match host.parse::<IpAddr>() {
            Ok(_) => host.clone(),
            Err(_) => format!("{host} ({open})"),
        };
        let authenticated = auth != AuthMode::Off;
        if authenticated && tls.is_some() {
            return Ok(());
        }
        let danger = match (authenticated, tls) {
            (true, _) => "passwords and tokens can be read in transit without TLS",
            (false, _) => {
                "without authentication, every machine that reaches the port can use every stored \
                 connection"
            }
        };
        if config.trust_network {
            tracing::warn!(
                host = shown,
                "listening on a non-loopback address (server.trust_network): {danger}"
            );
            return Ok(());
        }
        bail!(
            "server.host = {shown} is not allowed: other machines can reach it, and {danger}. Set \
             auth.mode = \"local\" and server.tls_cert_file and server.tls_key_file; or listen on \
             loopback (server.host = \"127.0.0.1\") or on a Unix socket (server.host = \
             \"unix:/run/scheduler/http.sock\") behind a proxy; or, if only trusted machines reach the \
             port, set server.trust_network = true"
        )
    }

    /// Opens the listener.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind(self) -> anyhow::Result<Listener> {
        match self {
            Self::Tcp {
                named,
                resolved,
                tls,
            } => {
                let listener = TcpListener::bind(resolved.as_slice()).await;
                let listener = listener.with_context(|| {
                    format!("failed to listen on {named} (server.host, server.port)")
                })?;
                Ok(Listener::Tcp(listener, tls.map(Arc::new)))
            }
            Self::Unix(path) => {
                let listener = UnixSocketListener::bind(&path).await;
                let listener = listener.with_context(|| {
                    format!("failed to listen on {} (server.host)", path.display())
                })?;
                Ok(Listener::Unix(listener))
            }
        }
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

impl Listener {
    /// Returns the address for clients: a URL or `unix:PATH`.
    ///
    /// # Errors
    /// If the socket has no address.
    pub fn url(&self) -> io::Result<String> {
        match self {
            Self::Tcp(listener, tls) => {
                let scheme = if tls.is_some() { "https" } else { "http" };
                Ok(format!("{scheme}://{}", listener.local_addr()?))
            }
            Self::Unix(listener) => Ok(format!("unix:{}", listener.path.display())),
        }
    }

    /// Returns the certificate for connections; `None` for plain HTTP.
    pub(super) fn tls(&self) -> Option<Arc<Tls>> {
        match self {
            Self::Tcp(_, tls) => tls.clone(),
            Self::Unix(_) => None,
        }
    }

    /// Accepts a connection. The handshake of TLS is not part of it: clients can delay it indefinitely,
    /// so it is done by [`super::connection::serve`], which has a timeout.
    pub(super) async fn accept(&self) -> io::Result<(BoxedStream, Peer)> {
        match self {
            Self::Tcp(listener, _) => {
                let (stream, address) = listener.accept().await?;
                // Events and terminals make small writes, which should not be delayed. This fails if
                // the connection is already closed, which the next read reports.
                let _ = stream.set_nodelay(true);
                Ok((boxed(stream), Peer::Tcp(address)))
            }
            Self::Unix(listener) => {
                let (stream, _unnamed) = listener.listener.accept().await?;
                Ok((boxed(stream), Peer::Unix))
            }
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener, None)
    }
}

impl From<UnixSocketListener> for Listener {
    fn from(listener: UnixSocketListener) -> Self {
        Self::Unix(listener)
    }
}

impl UnixSocketListener {
    /// Listens on a path, replacing a socket that a terminated server has left.
    ///
    /// # Errors
    /// If a server responds on the socket, the path is not a socket, or the system rejects the
    /// operation.
    pub async fn bind(path: &Path) -> anyhow::Result<Self> {
        remove_stale(path).await?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        // The mode is set before the socket listens, so no client can connect earlier.
        fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            listener: socket.listen(BACKLOG)?,
            path: path.to_owned(),
            file: (metadata.dev(), metadata.ino()),
        })
    }
}

impl Drop for UnixSocketListener {
    fn drop(&mut self) {
        // Another server may have replaced the socket.
        let is_own = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.file);
        if is_own && let Err(error) = fs::remove_file(&self.path) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "failed to remove the socket");
        }
    }
}

async fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !metadata.file_type().is_socket() {
        bail!("the path exists and is not a socket; remove it, or choose another path");
    }
    let answer = tokio::time::timeout(PROBE_TIMEOUT, UnixStream::connect(path)).await;
    match answer {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "removing a stale socket");
            Ok(fs::remove_file(path)?)
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A full backlog indicates a running server as well.
        Ok(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
            Err(anyhow::Error::from(error).context(
                "failed to check whether another server uses the \
                 socket",
            ))
        }
        _ => bail!("another server uses this socket; stop it first, or choose another path"),
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(host: &str) -> ServerConfig {
        ServerConfig {
            host: host.to_owned(),
            port: 0,
            ..ServerConfig::default()
        }
    }

    #[tokio::test]
    async fn addresses_off_loopback_need_a_trusted_network() {
        for host in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "localhost",
            "::ffff:127.0.0.1",
        ] {
            assert!(
                Address::resolve(&config(host), AuthMode::Off).await.is_ok(),
                "{host}"
            );
        }
        for host in [
            "0.0.0.0",
            "::",
            "192.0.2.1",
            "2001:db8::1",
            "::ffff:192.0.2.1",
        ] {
            let resolved = Address::resolve(&config(host), AuthMode::Off).await;
            let refusal = resolved.err().unwrap();
            let refusal = refusal.to_string();
            for said in [host, "server.trust_network", "127.0.0.1", "unix:"] {
                assert!(refusal.contains(said), "{refusal}");
            }
            let trusting = ServerConfig {
                trust_network: true,
                ..config(host)
            };
            assert!(
                Address::resolve(&trusting, AuthMode::Off).await.is_ok(),
                "{host}"
            );
            let refusal = Address::resolve(&config(host), AuthMode::Local).await;
            let refusal = refusal.err().unwrap().to_string();
            assert!(refusal.contains("without TLS"), "{refusal}");
        }
    }

    #[test]
    fn a_name_counts_by_its_addresses() {
        let resolved = |addresses: &[&str]| {
            let resolved = addresses
                .iter()
                .map(|ip| (ip.parse::<IpAddr>().unwrap(), 80).into());
            let address = Address::Tcp {
                named: "noc:80".to_owned(),
                resolved: resolved.collect(),
                tls: None,
            };
            address.check(&config("noc"), AuthMode::Off)
        };
        assert!(resolved(&["127.0.0.1", "::1"]).is_ok());
        let refusal = resolved(&["127.0.0.1", "192.0.2.1"]).unwrap_err();
        assert!(refusal.to_string().contains("noc (192.0.2.1)"), "{refusal}");
    }

    #[tokio::test]
    async fn a_socket_is_for_owner_and_group_and_is_removed_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("http.sock");
        let listener = UnixSocketListener::bind(&path).await.unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_the_socket_of_a_dead_server_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("http.sock");
        // The standard library's listener leaves its file behind, like a killed server.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = UnixSocketListener::bind(&path).await.unwrap();
        let refusal = UnixSocketListener::bind(&path).await.unwrap_err();
        assert!(
            refusal.to_string().contains("another server uses"),
            "{refusal}"
        );
        assert!(path.exists());
        drop(listener);

        fs::write(&path, "not a socket").unwrap();
        let refusal = UnixSocketListener::bind(&path).await.unwrap_err();
        assert!(refusal.to_string().contains("not a socket"), "{refusal}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "not a socket");
    }

    #[tokio::test]
    async fn the_socket_of_a_later_server_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("http.sock");
        let first = UnixSocketListener::bind(&path).await.unwrap();
        fs::rename(&path, directory.path().join("moved")).unwrap();
        let _second = UnixSocketListener::bind(&path).await.unwrap();
        drop(first);
        assert!(path.exists());
    }
}
