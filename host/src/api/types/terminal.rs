//! What a terminal says beside its bytes.

use serde::{Deserialize, Serialize};

/// What a terminal's client says in a text message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TerminalCommand {
    /// The terminal has another size, in characters.
    Resize { columns: u16, rows: u16 },
}

/// What the server says in a text message of a terminal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TerminalEvent {
    /// The login is done; what is typed goes to the device.
    Opened {},
    /// The last message: it failed.
    Error { code: String, message: String },
    /// The last message: it is over.
    Closed { reason: CloseReason },
}

/// Who has ended a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// The device, as after `exit`.
    Device,
    /// Nothing was typed or shown for `devices.terminal_idle_seconds`.
    Idle,
    /// The server is stopping.
    Shutdown,
}

impl CloseReason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Idle => "idle",
            Self::Shutdown => "shutdown",
        }
    }
}
