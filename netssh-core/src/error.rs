//! The error type of this crate.
//!
//! No message contains a secret, and a message says how to fix the problem where that is known.

use std::time::Duration;

use crate::cause::{self, Cause};

/// Any failure of a session.
///
/// Distinguish errors by [`Error::code`] (stable strings, for scripts and APIs) or by
/// [`Error::fault`] (the party that has to act).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device could not be reached, or did not speak SSH.
    #[error("{message}")]
    Network {
        /// The failure, with host and port.
        message: String,
        /// The device, or a host on the path to it, refused or closed the connection. `false` if
        /// the failure says nothing about it: its name is unknown, or this machine has no route.
        of_device: bool,
    },
    /// This machine lacks a resource that a session needs: file descriptors, memory, ports, disk
    /// space. The error says nothing about the device.
    #[error("{message}")]
    Server {
        /// The missing resource, and the operation that needed it.
        message: String,
        /// The device had been connected to.
        reached: bool,
    },
    /// The device refused the user, the password, the key or the enable secret, or there are no
    /// credentials to log in with.
    #[error("{message}")]
    Authentication {
        /// The refused credential, and the methods that the device would accept.
        message: String,
        /// The device refused the login. `false` if no credential was sent.
        refused: bool,
    },
    /// The device's host key is unknown, or is not the expected one.
    #[error("{message}")]
    HostKey {
        /// The expected key and the offered key, as SHA-256 fingerprints.
        message: String,
    },
    /// The device refused a command that the session itself needs (`configure terminal`, for
    /// example) or an answer. A refused command of the caller is not an error: see
    /// [`crate::Reply::failure`].
    #[error("the device refused {command:?}: {message}")]
    Refused {
        /// The command sent.
        command: String,
        /// The device's own words.
        message: String,
    },
    /// No reply in time. The session is no longer usable.
    #[error("{doing}: {}; the session is closed", unanswered(after, partial))]
    Timeout {
        /// The operation that timed out.
        doing: String,
        /// The limit that was exceeded.
        after: Duration,
        /// The output received until then.
        partial: String,
    },
    /// The device or the network ended the session. The session is no longer usable.
    #[error("{doing}: the device closed the session{reason}")]
    Disconnected {
        /// The operation that failed.
        doing: String,
        /// The reason, if known: empty, or `": …"`.
        reason: String,
        /// The output received until then.
        partial: String,
    },
    /// The device has reached its session limit, and no session became free in time.
    #[error("{message}")]
    Busy {
        /// The device, and the reason.
        message: String,
    },
    /// The device's circuit breaker is open: recent connections have failed.
    #[error("{message}")]
    Unavailable {
        /// The device, the reason, and the time of the next attempt.
        message: String,
        /// The time until the next attempt.
        retry_after: Duration,
    },
    /// The device sent an unexpected reply.
    #[error("{message}")]
    Protocol {
        /// The expected reply and the received one.
        message: String,
    },
    /// The platform does not support the operation (a save command, a configuration mode).
    #[error("platform {platform} has no {what}")]
    Unsupported {
        /// The platform's name.
        platform: String,
        /// The missing feature.
        what: String,
    },
    /// The caller's request is invalid. Nothing was sent to the device.
    #[error("{message}")]
    Invalid {
        /// The mistake in the request.
        message: String,
    },
}

/// Describes a timeout: the device was silent, or it waits at a line that is not a prompt. That
/// line is nearly always an unanswered question or an unrecognised prompt.
fn unanswered(after: &Duration, partial: &str) -> String {
    /// Maximum length of the shown line, in characters.
    const CHARACTERS: usize = 120;
    let last = partial.lines().rev().find(|line| !line.trim().is_empty());
    match last {
        Some(line) => {
            let line: String = line.trim().chars().take(CHARACTERS).collect();
            format!("no prompt within {after:?}, the last line is {line:?}")
        }
        None => format!("no answer within {after:?}"),
    }
}

/// The party that has to act on an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The network path to the device: address, port, route, firewall.
    Network,
    /// User name, password, key or enable secret.
    Credentials,
    /// The host key known for the device.
    HostKey,
    /// The device: it does not respond, has hung up, or refused.
    Device,
    /// The protocol: the two sides have no algorithm in common, or the platform is wrong.
    Protocol,
    /// The program that uses this crate.
    Caller,
    /// The machine on which this program runs.
    Server,
}

impl Error {
    /// Returns a stable string for scripts and APIs: `network`, `server`, `authentication`,
    /// `host_key`, `refused`, `timeout`, `disconnected`, `busy`, `unavailable`, `protocol`,
    /// `unsupported` or `invalid`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Network { .. } => "network",
            Self::Server { .. } => "server",
            Self::Authentication { .. } => "authentication",
            Self::HostKey { .. } => "host_key",
            Self::Refused { .. } => "refused",
            Self::Timeout { .. } => "timeout",
            Self::Disconnected { .. } => "disconnected",
            Self::Busy { .. } => "busy",
            Self::Unavailable { .. } => "unavailable",
            Self::Protocol { .. } => "protocol",
            Self::Unsupported { .. } => "unsupported",
            Self::Invalid { .. } => "invalid",
        }
    }

    /// Returns the party that has to act.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Network { .. } => Fault::Network,
            Self::Server { .. } => Fault::Server,
            Self::Authentication { .. } => Fault::Credentials,
            Self::HostKey { .. } => Fault::HostKey,
            Self::Refused { .. }
            | Self::Timeout { .. }
            | Self::Disconnected { .. }
            | Self::Busy { .. }
            | Self::Unavailable { .. } => Fault::Device,
            Self::Protocol { .. } => Fault::Protocol,
            Self::Unsupported { .. } | Self::Invalid { .. } => Fault::Caller,
        }
    }

    /// Returns the output received before a command timed out or the device hung up.
    #[must_use]
    pub fn partial(&self) -> Option<&str> {
        match self {
            Self::Timeout { partial, .. } | Self::Disconnected { partial, .. } => Some(partial),
            _ => None,
        }
    }

    /// Adds the operation and the received output to an error that does not name them yet.
    pub(crate) fn while_doing(
        self,
        doing: impl FnOnce() -> String,
        partial: impl FnOnce() -> String,
    ) -> Self {
        match self {
            Self::Timeout {
                doing: unknown,
                after,
                ..
            } if unknown.is_empty() => Self::Timeout {
                doing: doing(),
                after,
                partial: partial(),
            },
            Self::Disconnected { reason, .. } => Self::Disconnected {
                doing: doing(),
                reason,
                partial: partial(),
            },
            other => other,
        }
    }

    /// Adds the longer step during which an error occurred.
    pub(crate) fn during(self, step: &str) -> Self {
        match self {
            Self::Timeout {
                doing,
                after,
                partial,
            } => Self::Timeout {
                doing: format!("{step}: {doing}"),
                after,
                partial,
            },
            Self::Disconnected {
                doing,
                reason,
                partial,
            } => Self::Disconnected {
                doing: format!("{step}: {doing}"),
                reason,
                partial,
            },
            other => other,
        }
    }

    pub(crate) fn network(message: impl Into<String>) -> Self {
        Self::Network {
            message: message.into(),
            of_device: true,
        }
    }

    /// Converts an I/O error, by its cause.
    pub(crate) fn io(error: &std::io::Error, doing: &str, reached: bool) -> Self {
        if let Some(error) = cause::server_error(error, doing, reached) {
            return error;
        }
        Self::Network {
            message: format!("{doing}: {error}"),
            of_device: Cause::of(error) == Cause::Device,
        }
    }

    pub(crate) fn authentication(message: impl Into<String>) -> Self {
        Self::Authentication {
            message: message.into(),
            refused: true,
        }
    }

    /// Returns the error of a login without credentials to try: the device has refused nothing.
    pub(crate) fn no_credentials(message: impl Into<String>) -> Self {
        Self::Authentication {
            message: message.into(),
            refused: false,
        }
    }

    pub(crate) fn host_key(message: impl Into<String>) -> Self {
        Self::HostKey {
            message: message.into(),
        }
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Self::Protocol {
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid {
            message: message.into(),
        }
    }
}
