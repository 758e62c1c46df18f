#![doc = include_str!("../README.md")]

// In reading order.
mod endpoint;
mod error;
mod host_keys;
mod platform;
mod pool;
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
    Candidate, Command, ConfigurationMode, Credential, Enable, Ending, Evidence, FactSource, Login,
    LoginAnswer, LoginQuestion, Pager, Pattern, Platform, PlatformError, Platforms, Prompts,
    Question, Terminal, TypeAhead,
};
pub use crate::pool::{Pool, PoolOptions, PooledSession};
pub use crate::session::{
    CommitOptions, Configuration, Detection, ExecOptions, Pipeline, Reply, Session, detect,
};
pub use crate::session_log::{Direction, SessionLog, SessionLogEntry, SessionLogFile};
pub use crate::terminal::clean;
pub use secrecy::SecretString;
