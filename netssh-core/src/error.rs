//! What can go wrong, and whose fault it was.
//!
//! No message holds a secret, and every message says what to do next where there is something to do.

use std::time::Duration;

use crate::cause::{self, Cause};

/// Every way in which a session can fail.
///
/// Tell them apart by [`Error::code`] (stable strings, for scripts and APIs) or by
/// [`Error::fault`] (who has to act).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device could not be reached, or did not speak SSH.
    #[error("{message}")]
    Network {
        /// What failed, with host and port.
        message: String,
        /// The device, or the way to it, refused or ended the connection. `false` if nothing was
        /// heard of it: its name is not known, or this machine has no route.
        of_device: bool,
    },
    /// This machine lacks what a session needs: file descriptors, memory, ports, disk space. It says
    /// nothing about the device.
    #[error("{message}")]
    Server {
        /// What is missing, and what was being done.
        message: String,
        /// The device had been connected to.
        reached: bool,
    },
    /// The device refused the user, the password, the key or the enable secret, or there is nothing
    /// to log in with.
    #[error("{message}")]
    Authentication {
        /// Which credential was refused, and what the device would accept.
        message: String,
        /// The device refused the login. `false` if it was given nothing to refuse.
        refused: bool,
    },
    /// The device's host key is not the one that was expected, or is not known.
    #[error("{message}")]
    HostKey {
        /// Which key was expected and which one was offered, both as SHA-256 fingerprints.
        message: String,
    },
    /// The device refused a command that the session itself needs (`configure terminal`, say).
    /// A refused command of the caller is no error: see [`crate::Reply::failure`].
    #[error("the device refused {command:?}: {message}")]
    Refused {
        /// The command sent.
        command: String,
        /// The device's own words.
        message: String,
    },
    /// No answer in time. The session is not usable any more.
    #[error("{doing}: {}; the session is closed", unanswered(after, partial))]
    Timeout {
        /// What was being done.
        doing: String,
        /// The limit that was exceeded.
        after: Duration,
        /// What had arrived by then.
        partial: String,
    },
    /// The device, or the network, ended the session. The session is not usable any more.
    #[error("{doing}: the device closed the session{reason}")]
    Disconnected {
        /// What was being done.
        doing: String,
        /// The reason, where there is one: empty, or `": …"`.
        reason: String,
        /// What had arrived by then.
        partial: String,
    },
    /// The device has as many sessions as it may have, and none became free in time.
    #[error("{message}")]
    Busy {
        /// Which device, and why.
        message: String,
    },
    /// The device did not let anybody in lately, and is not tried again yet.
    #[error("{message}")]
    Unavailable {
        /// Which device, why, and when it is tried again.
        message: String,
        /// Until then.
        retry_after: Duration,
    },
    /// The device answered something that makes no sense here.
    #[error("{message}")]
    Protocol {
        /// What was expected and what came.
        message: String,
    },
    /// The platform has no such thing (a save command, a configuration mode).
    #[error("platform {platform} has no {what}")]
    Unsupported {
        /// The platform's name.
        platform: String,
        /// What it lacks.
        what: String,
    },
    /// The caller asked for something impossible; nothing was sent to the device.
    #[error("{message}")]
    Invalid {
        /// What is wrong with it.
        message: String,
    },
}

/// Describes a timeout: the device was silent, or it waits at a line that is not a prompt. That
/// line is nearly always an unanswered question or an unrecognised prompt.
fn unanswered(after: &Duration, partial: &str) -> String {
    /// Longer lines are cut.
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

/// Who has to act for an [`Error`] to go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The path to the device: address, port, route, firewall.
    Network,
    /// User name, password, key or enable secret.
    Credentials,
    /// The host key known for the device.
    HostKey,
    /// The device: it hangs, hung up, or refused.
    Device,
    /// The two sides do not understand each other: algorithms, or the wrong platform.
    Protocol,
    /// The program that uses this crate.
    Caller,
    /// The machine that this program runs on.
    Server,
}

impl Error {
    /// A stable word for scripts and APIs: `network`, `server`, `authentication`, `host_key`,
    /// `refused`, `timeout`, `disconnected`, `busy`, `unavailable`, `protocol`, `unsupported` or
    /// `invalid`.
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

    /// Who has to act.
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

    /// The output that had arrived when a command timed out or the device hung up.
    #[must_use]
    pub fn partial(&self) -> Option<&str> {
        match self {
            Self::Timeout { partial, .. } | Self::Disconnected { partial, .. } => Some(partial),
            _ => None,
        }
    }

    /// Says what was being done, and what had arrived, where that is not known deeper down.
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

    /// Says during which longer step an error came.
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

    /// Converts an error of the operating system by its cause.
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

    /// Returns the error of a login that has nothing to try: the device refused nothing.
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
