//! Everything needed to reach one device.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::algorithms::Algorithms;
use crate::error::Error;
use crate::host_keys::{HostKeyPolicy, HostKeyStore, MemoryHostKeys};
use crate::platform::{Pattern, Platform};
use crate::session_log::SessionLog;

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
    /// The hosts to go through, in order, from here to the device.
    pub jumps: Vec<Jump>,
    /// Which algorithms to offer the device. Each jump has its own.
    pub algorithms: Algorithms,
    /// Where everything sent and received is written, with secrets masked.
    pub session_log: Option<Arc<dyn SessionLog>>,
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
            jumps: Vec::new(),
            algorithms: Algorithms::default(),
            session_log: None,
            output_limit: Self::OUTPUT_LIMIT,
        }
    }

    /// The default of [`Endpoint::output_limit`]: 8 MiB.
    pub const OUTPUT_LIMIT: usize = 8 * 1024 * 1024;
}

/// A host on the way to the device, which forwards a TCP connection to the next one
/// (`direct-tcpip`). Its `Debug` output shows no secret.
#[derive(Debug, Clone)]
pub struct Jump {
    /// Name or address, as the host before it knows it.
    pub host: String,
    /// TCP port, 22 by default.
    pub port: u16,
    /// The user to log in as.
    pub username: String,
    /// How the user proves who they are.
    pub credentials: Credentials,
    /// Which algorithms to offer this host.
    pub algorithms: Algorithms,
    /// What to do about a host key that is not known.
    pub host_key_policy: HostKeyPolicy,
    /// As [`Endpoint::pinned_host_key`].
    pub pinned_host_key: Option<String>,
    /// The host keys known so far.
    pub host_keys: Arc<dyn HostKeyStore>,
}

impl Jump {
    /// A jump host on port 22 with accept-new host keys in memory, and no credentials yet.
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

/// How a user proves who they are. Tried in this order, as far as the device accepts it: the
/// certificate, the private key, the agent's keys, the password. At most five keys are tried,
/// and the password is sent once, so that nobody is locked out.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The password, also for keyboard-interactive: it answers hidden questions of a known form
    /// (`Password:`, `Password for user@host:`, …) and those that the platform's
    /// [`crate::platform::Login::password_questions`] match.
    pub password: Option<SecretString>,
    /// The text of a private key: OpenSSH format or PEM.
    pub private_key: Option<SecretString>,
    /// What the private key is encrypted with.
    pub passphrase: Option<SecretString>,
    /// An OpenSSH certificate for the private key, as its one line:
    /// `ssh-ed25519-cert-v01@openssh.com AAAA…`.
    pub certificate: Option<String>,
    /// The socket of an ssh-agent whose keys are tried.
    pub agent: Option<PathBuf>,
    /// Answers to questions at login other than the one for the password: in keyboard-interactive,
    /// and before the first prompt. Each is used once, for the first question it matches.
    pub answers: Vec<Answer>,
}

/// An answer to a question that a device asks at login or after a command.
#[derive(Debug, Clone)]
pub struct Answer {
    /// A pattern for the line at whose end the device waits.
    pub question: Pattern,
    /// The text of the answer.
    pub answer: SecretString,
    /// The answer is one key, sent without a line ending.
    pub key: bool,
    /// The answer is hidden in the session log and in [`Answered`].
    pub secret: bool,
}

/// A question that a device asked, and the given answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The line at whose end the device waited.
    pub question: String,
    /// The answer; `None` if it is secret.
    pub answer: Option<String>,
}

/// How long to wait. The first three are limits on the whole step, not on silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP connection and key exchange, and everything that has to do with jump hosts: 10 s by
    /// default.
    pub connect: Duration,
    /// Authentication, first prompt, paging off and enable: 20 s by default.
    pub login: Duration,
    /// One command, from sending it to the prompt after it: 30 s by default.
    pub command: Duration,
    /// After this long without a sign of life the peer is asked for one; after three questions
    /// without an answer the session ends. 15 s by default, zero for never. Nothing is asked
    /// before the login, some devices hang up on that.
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

    /// Returns the same answer as one that may be shown.
    #[must_use]
    pub fn shown(self) -> Self {
        Self {
            secret: false,
            ..self
        }
    }

    /// One line and nothing that a terminal would act on. Does not show it.
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
