#![doc = include_str!("../README.md")]

// In reading order.
mod endpoint;
mod error;
mod host_keys;
mod platform;
mod platforms;
mod session;

mod algorithms;
mod auth;
mod console;
mod jump;
mod reader;
mod session_log;
mod terminal;
mod transport;

#[cfg(feature = "lab")]
pub mod lab;

pub use crate::algorithms::Algorithms;
pub use crate::console::Console;
pub use crate::endpoint::{Answer, Credentials, Endpoint, Jump, Timeouts};
pub use crate::error::{Error, Fault};
pub use crate::host_keys::{
    HostKey, HostKeyMarks, HostKeyPolicy, HostKeyStore, HostKeyStoreError, KnownHostsFile,
    MemoryHostKeys,
};
pub use crate::platform::{
    ConfigurationMode, Enable, Ending, Pager, Pattern, Platform, Prompts, Setup, Terminal,
    TypeAhead,
};
pub use crate::session::{Configuration, Reply, Session};
pub use crate::session_log::{Direction, SessionLog, SessionLogEntry, SessionLogFile};
pub use crate::terminal::clean;
pub use secrecy::SecretString;
