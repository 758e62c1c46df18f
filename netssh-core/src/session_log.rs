//! The session log: everything sent and received, in order, with secrets masked.
//!
//! A [`SessionLog`] receives finished entries; [`Recorder`] creates them from the bytes of one
//! session.

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

/// A receiver of session log entries.
pub trait SessionLog: Send + Sync + Debug {
    /// Writes an entry. Called in order for each session, while the session waits, so it should
    /// return fast.
    fn write(&self, entry: &SessionLogEntry);

    /// Returns the name of the log's owner. A pool never passes a session to an endpoint with a log
    /// of another name.
    fn name(&self) -> &str {
        ""
    }
}

/// A piece of the bytes sent or received.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionLogEntry {
    /// When it was sent or received.
    pub time: SystemTime,
    /// The direction of the bytes.
    pub direction: Direction,
    /// The unmodified text, including terminal control sequences, with each secret replaced by
    /// `***` and invalid UTF-8 by U+FFFD. Secrets of fewer than four bytes are not masked, because
    /// that would mask half of every output.
    pub text: String,
}

impl SessionLogEntry {
    /// Returns an entry for a text without secrets.
    #[must_use]
    pub fn new(time: SystemTime, direction: Direction, text: String) -> Self {
        Self {
            time,
            direction,
            text,
        }
    }
}

/// The direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Sent to the device.
    Sent,
    /// Received from the device.
    Received,
}

/// The replacement of a secret.
const MASKED: &str = "***";

/// Creates log entries from the bytes of one session.
pub(crate) struct Recorder {
    log: Arc<dyn SessionLog>,
    secrets: Secrets,
    sent: Mask,
    received: Mask,
}

impl Recorder {
    /// Returns a recorder that masks all secrets of the endpoint, if the endpoint has a log.
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

    /// Records a secret, of which the log shows only the line end. Later occurrences are masked.
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
    /// Writes the retained bytes, which could have been the beginning of a secret.
    fn drop(&mut self) {
        let text = self.sent.finish(&self.secrets);
        self.write(Direction::Sent, text);
        let text = self.received.finish(&self.secrets);
        self.write(Direction::Received, text);
    }
}

/// Masks the endpoint's secrets in a device's output, for an error.
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
