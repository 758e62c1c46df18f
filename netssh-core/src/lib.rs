#![doc = include_str!("../README.md")]

// In reading order.
mod endpoint;
mod error;
mod host_keys;
mod platform;
mod pool;
mod prompt;
mod session;

mod algorithms;
mod auth;
mod cause;
mod certificate;
mod client;
mod connect;
mod console;
mod files;
mod gate;
mod hop;
mod patience;
mod reader;
mod session_log;
mod terminal;
mod transport;
pub mod visible;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(all(test, not(fuzzing)))]
#[expect(unreachable_pub, reason = "it is public for the fuzz targets")]
mod fuzzing;
mod parse;

pub use crate::algorithms::Algorithms;
pub use crate::console::Console;
pub use crate::endpoint::{Answer, Answered, Credentials, Endpoint, Jump, Timeouts};
pub use crate::error::{Error, Fault};
pub use crate::files::{Protocol, Transfer, TransferOptions};
pub use crate::host_keys::{
    HostKey, HostKeyMarks, HostKeyPolicy, HostKeyStore, HostKeyStoreError, KnownHostsFile,
    MemoryHostKeys,
};
pub use crate::parse::{Field, Item, ParseError, Records, Templates};
pub use crate::platform::{
    Candidate, Command, ConfigurationMode, Credential, Enable, Encoding, Ending, Evidence,
    FactSource, Login, LoginAnswer, LoginQuestion, Pager, Pattern, Platform, PlatformError,
    Platforms, Prompts, Question, Shell, Terminal, TypeAhead,
};
pub use crate::pool::{
    BreakerOptions, ConnectionPermit, FailureRecord, LoginHistory, LoginHistoryError, LoginRate,
    LoginRecord, OpenBreaker, Pool, PoolOptions, PooledSession,
};
pub use crate::session::{
    CommitOptions, Configuration, Detection, ExecOptions, Left, Pipeline, Reply, Session, detect,
};
pub use crate::session_log::{Direction, SessionLog, SessionLogEntry, SessionLogFile};
pub use crate::terminal::clean;
pub use secrecy::SecretString;
