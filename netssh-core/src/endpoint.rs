//! Everything needed to reach one device.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::host_keys::{HostKeyPolicy, HostKeyStore, MemoryHostKeys};
use crate::platform::Platform;

/// Everything needed to reach one device. Its `Debug` output shows no secret.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// TCP port, 22 for most devices.
    pub port: u16,
    /// The user to log in as.
    pub username: String,
    /// How the user proves who they are.
    pub credentials: Credentials,
    /// The secret for the platform's `enable` command. Without it the session stays at the
    /// privilege level it landed on.
    pub enable_secret: Option<SecretString>,
    /// What kind of device it is.
    pub platform: Arc<Platform>,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// What to do about a host key that is not known.
    pub host_key_policy: HostKeyPolicy,
    /// The one host key to accept: a `SHA256:…` fingerprint or an OpenSSH public key line. When
    /// set, neither the policy nor the known keys matter.
    pub pinned_host_key: Option<String>,
    /// The host keys known so far.
    pub host_keys: Arc<dyn HostKeyStore>,
    /// How much of one command's output is kept, in bytes. What exceeds it is read and dropped,
    /// and the reply is marked as truncated.
    pub output_limit: usize,
}

impl Endpoint {
    /// An endpoint with default timeouts, accept-new host keys in memory, port 22, and no
    /// credentials yet.
    pub fn new(
        host: impl Into<String>,
        username: impl Into<String>,
        platform: Arc<Platform>,
    ) -> Self {
        Self {
            host: host.into(),
            port: 22,
            username: username.into(),
            credentials: Credentials::default(),
            enable_secret: None,
            platform,
            timeouts: Timeouts::default(),
            host_key_policy: HostKeyPolicy::default(),
            pinned_host_key: None,
            host_keys: Arc::new(MemoryHostKeys::default()),
            output_limit: Self::OUTPUT_LIMIT,
        }
    }

    /// The default of [`Endpoint::output_limit`]: 8 MiB.
    pub const OUTPUT_LIMIT: usize = 8 * 1024 * 1024;
}

/// How a user proves who they are. The key is tried first, then the password.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Password, also the answer to keyboard-interactive's question.
    pub password: Option<SecretString>,
    /// The text of a private key: OpenSSH format or PEM.
    pub private_key: Option<SecretString>,
    /// What the private key is encrypted with.
    pub passphrase: Option<SecretString>,
}

/// How long to wait. All three are limits on the whole step, not on silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP connection and key exchange: 10 s by default.
    pub connect: Duration,
    /// Authentication, first prompt, paging off and enable: 20 s by default.
    pub login: Duration,
    /// One command, from sending it to the prompt after it: 30 s by default.
    pub command: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            login: Duration::from_secs(20),
            command: Duration::from_secs(30),
        }
    }
}
