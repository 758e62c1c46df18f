//! The session log: everything sent and received, in order, with the secrets masked.
//!
//! A [`SessionLog`] gets finished entries; [`Recorder`] makes them from the bytes of one session.

mod file;
mod mask;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::SystemTime;

use secrecy::{ExposeSecret, SecretString};

pub use self::file::SessionLogFile;
pub(crate) use self::file::timestamp;
#[cfg(any(test, fuzzing))]
pub(crate) use self::mask::masked;
use self::mask::{Mask, Secrets};
use crate::endpoint::{Credentials, Endpoint};

/// Takes the entries of sessions.
pub trait SessionLog: Send + Sync + Debug {
    /// Called in order for each session, in the middle of its work: it should not take long.
    fn write(&self, entry: &SessionLogEntry);

    /// Whose log it is. A pool gives a session whose log has one name to nobody whose log has
    /// another.
    fn name(&self) -> &str {
        ""
    }
}

/// A piece of what went over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionLogEntry {
    /// When it was sent, or had arrived.
    pub time: SystemTime,
    /// Which way it went.
    pub direction: Direction,
    /// The text as it was, terminal control included, with each secret replaced by `***`. What
    /// is not UTF-8 is replaced by U+FFFD. Secrets of fewer than four bytes are not looked for:
    /// that would mask half of every output.
    pub text: String,
}

impl SessionLogEntry {
    /// Makes an entry of a text in which nothing is left to mask.
    #[must_use]
    pub fn new(time: SystemTime, direction: Direction, text: String) -> Self {
        Self {
            time,
            direction,
            text,
        }
    }
}

/// Which way something went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From here to the device.
    Sent,
    /// From the device.
    Received,
}

/// What stands for a secret.
const MASKED: &str = "***";

/// Makes entries from the bytes of one session.
pub(crate) struct Recorder {
    log: Arc<dyn SessionLog>,
    secrets: Secrets,
    sent: Mask,
    received: Mask,
}

impl Recorder {
    /// For a session that knows all secrets of the endpoint, where there is a log.
    pub(crate) fn new(endpoint: &Endpoint) -> Option<Self> {
        let log = Arc::clone(endpoint.session_log.as_ref()?);
        Some(Self {
            log,
            secrets: secrets_of(endpoint),
            sent: Mask::default(),
            received: Mask::default(),
        })
    }

    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        let before = self.received.pause();
        self.write(Direction::Received, before);
        let text = self.sent.push(&self.secrets, bytes);
        self.write(Direction::Sent, text);
    }

    /// Something of which nothing may be shown but its line end; it is masked wherever it
    /// occurs from here on.
    pub(crate) fn sent_secret(&mut self, secret: &str, line_end: &str) {
        let before = self.received.pause();
        self.write(Direction::Received, before);
        let pending = self.sent.finish(&self.secrets);
        self.write(Direction::Sent, pending);
        self.secrets.add(secret);
        self.write(Direction::Sent, format!("{MASKED}{line_end}"));
    }

    pub(crate) fn received(&mut self, bytes: &[u8]) {
        let before = self.sent.pause();
        self.write(Direction::Sent, before);
        let text = self.received.push(&self.secrets, bytes);
        self.write(Direction::Received, text);
    }

    fn write(&self, direction: Direction, text: String) {
        if !text.is_empty() {
            self.log.write(&SessionLogEntry {
                time: SystemTime::now(),
                direction,
                text,
            });
        }
    }
}

impl Drop for Recorder {
    /// What is still held back, because it could have been the beginning of a secret.
    fn drop(&mut self) {
        let text = self.sent.finish(&self.secrets);
        self.write(Direction::Sent, text);
        let text = self.received.finish(&self.secrets);
        self.write(Direction::Received, text);
    }
}

/// A text that a device has printed, for an error.
pub(crate) fn without_secrets(endpoint: &Endpoint, text: &str) -> String {
    let secrets = secrets_of(endpoint);
    let mut mask = Mask::default();
    mask.push(&secrets, text.as_bytes()) + &mask.finish(&secrets)
}

fn secrets_of(endpoint: &Endpoint) -> Secrets {
    let mut secrets = Secrets::default();
    let jumps = endpoint.jumps.iter().map(|jump| &jump.credentials);
    for credentials in jumps.chain([&endpoint.credentials]) {
        for secret in of_credentials(credentials) {
            secrets.add(secret.expose_secret());
        }
    }
    if let Some(secret) = &endpoint.enable_secret {
        secrets.add(secret.expose_secret());
    }
    secrets
}

fn of_credentials(credentials: &Credentials) -> impl Iterator<Item = &SecretString> {
    credentials
        .password
        .iter()
        .chain(&credentials.passphrase)
        .chain(
            credentials
                .answers
                .iter()
                .filter(|answer| answer.secret)
                .map(|answer| &answer.answer),
        )
}
