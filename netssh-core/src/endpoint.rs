//! The description of a device and how to log in to it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::algorithms::Algorithms;
use crate::error::Error;
use crate::host_keys::{HostKeyPolicy, HostKeyStore, MemoryHostKeys};
use crate::platform::{Pattern, Platform};
use crate::session_log::SessionLog;

/// A device and how to log in to it. Its `Debug` output contains no secret.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// TCP port, 22 for most devices.
    pub port: u16,
    /// The user to log in as.
    pub username: String,
    /// The user's credentials.
    pub credentials: Credentials,
    /// The secret for the platform's `enable` command. Without it, the session keeps the privilege
    /// level that the login ended at.
    pub enable_secret: Option<SecretString>,
    /// The device's platform.
    pub platform: Arc<Platform>,
    /// Limits on waiting.
    pub timeouts: Timeouts,
    /// The policy for an unknown host key.
    pub host_key_policy: HostKeyPolicy,
    /// The only accepted host key: a `SHA256:…` fingerprint or an OpenSSH public key line. If set,
    /// the policy and the known keys are ignored.
    pub pinned_host_key: Option<String>,
    /// The store of known host keys.
    pub host_keys: Arc<dyn HostKeyStore>,
    /// The jump hosts on the path to the device, in order.
    pub jumps: Vec<Jump>,
    /// The algorithms offered to the device. Each jump host has its own setting.
    pub algorithms: Algorithms,
    /// The log of everything sent and received, with secrets masked.
    pub session_log: Option<Arc<dyn SessionLog>>,
    /// Maximum size of one command's kept output, in bytes. The rest is read and dropped, and the
    /// reply is marked as truncated.
    pub output_limit: usize,
}

impl Endpoint {
    /// Returns an endpoint on port 22 with default timeouts, an in-memory store that accepts new
    /// host keys, and no credentials.
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
            jumps: Vec::new(),
            algorithms: Algorithms::default(),
            session_log: None,
            output_limit: Self::OUTPUT_LIMIT,
        }
    }

    /// The default of [`Endpoint::output_limit`]: 8 MiB.
    pub const OUTPUT_LIMIT: usize = 8 * 1024 * 1024;
}

/// A jump host, which forwards a TCP connection to the next host (`direct-tcpip`). Its `Debug`
/// output contains no secret.
#[derive(Debug, Clone)]
pub struct Jump {
    /// Host name or address, as resolved by the previous host.
    pub host: String,
    /// TCP port, 22 by default.
    pub port: u16,
    /// The user to log in as.
    pub username: String,
    /// The user's credentials.
    pub credentials: Credentials,
    /// The algorithms offered to this host.
    pub algorithms: Algorithms,
    /// The policy for an unknown host key.
    pub host_key_policy: HostKeyPolicy,
    /// Like [`Endpoint::pinned_host_key`].
    pub pinned_host_key: Option<String>,
    /// The store of known host keys.
    pub host_keys: Arc<dyn HostKeyStore>,
}

impl Jump {
    /// Returns a jump host on port 22 with an in-memory store that accepts new host keys, and no
    /// credentials.
    pub fn new(host: impl Into<String>, username: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port: 22,
            username: username.into(),
            credentials: Credentials::default(),
            algorithms: Algorithms::default(),
            host_key_policy: HostKeyPolicy::default(),
            pinned_host_key: None,
            host_keys: Arc::new(MemoryHostKeys::default()),
        }
    }
}

/// The credentials of a user. They are tried in this order, as far as the device accepts the
/// method: the certificate, the private key, the agent's keys, the password. At most five keys are
/// tried and the password is sent once, so that no account is locked.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The password, also for keyboard-interactive: it answers hidden questions of a known form
    /// (`Password:`, `Password for user@host:`, …) and those that the platform's
    /// [`crate::platform::Login::password_questions`] match.
    pub password: Option<SecretString>,
    /// A private key, in OpenSSH format or PEM.
    pub private_key: Option<SecretString>,
    /// The passphrase of the private key.
    pub passphrase: Option<SecretString>,
    /// An OpenSSH certificate for the private key, as its one line:
    /// `ssh-ed25519-cert-v01@openssh.com AAAA…`.
    pub certificate: Option<String>,
    /// The socket of an ssh-agent that provides further keys.
    pub agent: Option<PathBuf>,
    /// Answers to questions at login other than the one for the password, in keyboard-interactive
    /// and before the first prompt. Each is used once, for the first question that it matches.
    pub answers: Vec<Answer>,
}

/// An answer to a question that a device asks at login or after a command.
#[derive(Debug, Clone)]
pub struct Answer {
    /// A pattern for the line at the end of which the device waits.
    pub question: Pattern,
    /// The text of the answer.
    pub answer: SecretString,
    /// The answer is one key, sent without a line ending.
    pub key: bool,
    /// The answer is hidden in the session log and in [`Answered`].
    pub secret: bool,
}

/// A question that a device asked, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The line at the end of which the device waited.
    pub question: String,
    /// The answer; `None` if it is secret.
    pub answer: Option<String>,
}

/// Limits on waiting. The first three bound a whole step, not a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP connection and key exchange, and everything that involves jump hosts: 10 s by default.
    pub connect: Duration,
    /// Authentication, first prompt, switching paging off, and `enable`: 20 s by default.
    pub login: Duration,
    /// One command, from sending it to the prompt after it: 30 s by default.
    pub command: Duration,
    /// Interval without received data after which a keepalive is sent; the session ends after three
    /// unanswered ones. 15 s by default, zero to disable. No keepalive is sent before the login,
    /// because some devices disconnect on one.
    pub keepalive: Duration,
}

impl Answer {
    /// Returns a secret answer of one line.
    #[must_use]
    pub fn new(question: Pattern, answer: impl Into<SecretString>) -> Self {
        Self {
            question,
            answer: answer.into(),
            key: false,
            secret: true,
        }
    }

    /// Returns the same answer as one key, sent without a line ending.
    #[must_use]
    pub fn one_key(self) -> Self {
        Self { key: true, ..self }
    }

    /// Returns the same answer as one that logs may show.
    #[must_use]
    pub fn shown(self) -> Self {
        Self {
            secret: false,
            ..self
        }
    }

    /// Rejects an answer with control characters, without showing it in the error.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.answer.expose_secret().contains(char::is_control) {
            return Err(Error::invalid(
                "invalid answer: expected one line without control characters",
            ));
        }
        Ok(())
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            login: Duration::from_secs(20),
            command: Duration::from_secs(30),
            keepalive: Duration::from_secs(15),
        }
    }
}
