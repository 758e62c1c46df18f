//! A host on the path to a device: a jump host or the device itself, as data.

use std::fmt;
use std::sync::Arc;

use crate::algorithms::Algorithms;
use crate::endpoint::{Credentials, Endpoint, Jump};
use crate::host_keys::{HostKeyPolicy, HostKeyStore};
use crate::platform::Login;

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

    pub(crate) fn jump(jump: &'a Jump) -> Self {
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
