//! The path to a device through jump hosts, each reached through the previous one.

use std::fmt;
use std::sync::Arc;

use russh::ChannelOpenFailure;
use russh::client::Handle;

use crate::algorithms::Algorithms;
use crate::auth;
use crate::endpoint::{Credentials, Endpoint, Jump};
use crate::error::Error;
use crate::gate::Gate;
use crate::host_keys::{HostKeyPolicy, HostKeyStore};
use crate::platform::Login;
use crate::transport::{self, Client, Doing, Link};

/// A host on the path: a jump host or the device.
#[derive(Debug, Clone)]
pub(crate) struct Hop<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) username: String,
    pub(crate) credentials: &'a Credentials,
    pub(crate) algorithms: Algorithms,
    pub(crate) host_key_policy: HostKeyPolicy,
    pub(crate) pinned_host_key: Option<&'a str>,
    pub(crate) host_keys: &'a Arc<dyn HostKeyStore>,
    /// The platform's login; `None` for a jump host, which has no platform.
    pub(crate) login: Option<&'a Login>,
    is_jump: bool,
}

impl<'a> Hop<'a> {
    pub(crate) fn device(endpoint: &'a Endpoint) -> Self {
        Self {
            host: &endpoint.host,
            port: endpoint.port,
            username: endpoint.username.clone() + &endpoint.platform.login.username_suffix,
            credentials: &endpoint.credentials,
            algorithms: endpoint.algorithms,
            host_key_policy: endpoint.host_key_policy,
            pinned_host_key: endpoint.pinned_host_key.as_deref(),
            host_keys: &endpoint.host_keys,
            login: Some(&endpoint.platform.login),
            is_jump: false,
        }
    }

    fn jump(jump: &'a Jump) -> Self {
        Self {
            host: &jump.host,
            port: jump.port,
            username: jump.username.clone(),
            credentials: &jump.credentials,
            algorithms: jump.algorithms,
            host_key_policy: jump.host_key_policy,
            pinned_host_key: jump.pinned_host_key.as_deref(),
            host_keys: &jump.host_keys,
            login: None,
            is_jump: true,
        }
    }
}

impl fmt::Display for Hop<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_jump { "jump host " } else { "" };
        write!(f, "{kind}{}:{}", self.host, self.port)
    }
}

/// A jump host with a completed login. It belongs to one session: in a shared connection, a session
/// that is not read would stall all others behind the same host.
pub(crate) struct Tunnel {
    pub(crate) name: String,
    pub(crate) handle: Handle<Client>,
}

/// Connects from host to host, and logs in to each except the device. `doing` always describes the
/// current wait.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    gate: &Gate,
    doing: &mut Doing,
) -> Result<(Link, Vec<Tunnel>), Error> {
    let mut tunnels: Vec<Tunnel> = Vec::with_capacity(endpoint.jumps.len());
    for jump in &endpoint.jumps {
        let hop = Hop::jump(jump);
        doing.what = connecting(&hop, &tunnels);
        let link = transport::exchange_keys(&hop, tunnels.last(), endpoint.timeouts, doing).await?;
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
    let link = transport::exchange_keys(&device, tunnels.last(), endpoint.timeouts, doing).await?;
    Ok((link, tunnels))
}

fn connecting(hop: &Hop<'_>, tunnels: &[Tunnel]) -> String {
    match tunnels.last() {
        Some(tunnel) => format!("connecting to {hop} through {}", tunnel.name),
        None => format!("connecting to {hop}"),
    }
}

/// Explains why a jump host does not connect to the next host.
pub(crate) fn refusal(tunnel: &Tunnel, next: &Hop<'_>, error: &russh::Error) -> Error {
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
