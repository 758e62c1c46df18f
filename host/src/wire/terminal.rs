//! Control messages of a terminal.

use serde::{Deserialize, Serialize};

/// A client's text message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TerminalCommand {
    /// The terminal has a new size, in characters.
    Resize { columns: u16, rows: u16 },
}

/// A server's text message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TerminalEvent {
    /// The login is complete; input now reaches the device.
    Opened {},
    /// The terminal failed. The last message.
    Error { code: String, message: String },
    /// The terminal was closed. The last message.
    Closed { reason: CloseReason },
}

/// The reason for closing a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// The device closed the session, as after `exit`.
    Device,
    /// No input and no output for `devices.terminal_idle_seconds`.
    Idle,
    /// The server is stopping.
    Shutdown,
    /// The user logged out, or may no longer open terminals.
    Revoked,
}

impl CloseReason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Idle => "idle",
            Self::Shutdown => "shutdown",
            Self::Revoked => "revoked",
        }
    }
}
