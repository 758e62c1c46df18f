#![doc = include_str!("../README.md")]

// In reading order.
mod endpoint;
mod error;
mod host_keys;
mod platform;
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
    Candidate, Command, ConfigurationMode, Credential, Enable, Ending, Evidence, FactSource, Login,
    LoginAnswer, LoginQuestion, Pager, Pattern, Platform, PlatformError, Platforms, Prompts,
    Question, Terminal, TypeAhead,
};
pub use crate::session::{Configuration, Reply, Session};
pub use crate::terminal::clean;
pub use secrecy::SecretString;
