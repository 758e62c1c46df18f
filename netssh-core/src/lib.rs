#![doc = include_str!("../README.md")]

// In reading order.
mod endpoint;
mod error;
mod host_keys;
mod platform;
mod platforms;
mod session;

mod auth;
mod reader;
mod terminal;
mod transport;

#[cfg(feature = "lab")]
pub mod lab;

pub use crate::endpoint::{Credentials, Endpoint, Timeouts};
pub use crate::error::{Error, Fault};
pub use crate::host_keys::{
    HostKey, HostKeyPolicy, HostKeyStore, HostKeyStoreError, KnownHostsFile, MemoryHostKeys,
};
pub use crate::platform::{
    ConfigurationMode, Enable, Ending, Pager, Pattern, Platform, Prompts, Setup, Terminal,
    TypeAhead,
};
pub use crate::session::{Configuration, Reply, Session};
pub use crate::terminal::clean;
pub use secrecy::SecretString;
