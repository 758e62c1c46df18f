//! The nouns of the product, as data: jobs, connections, plugins, and the transitions a job may make.
//!
//! Nothing here does I/O, and nothing here is what goes over the wire: the HTTP types stand in
//! [`crate::api`], the rows in [`crate::storage`].

mod connection;
mod job;
mod plugin;
mod plugin_files;
mod plugin_version;
mod schedule;

pub use connection::{
    Algorithms, Connection, KnownHostKey, MOST_JUMPS, RouteError, SealedSecrets, SecretField, route,
};
pub use job::{
    CommandKind, CommandResult, ErrorCode, Job, JobError, JobFilter, JobLog, JobStatus, LogLevel,
    NewJob, OnInterrupt, Progress, StatusCounts, Target,
};
pub use plugin::{
    Description, Grant, LoadError, Needs, PluginKind, PluginName, QueueNeeds, SshNeeds, TargetMode,
};
pub use plugin_files::{PluginFiles, digest_of, read_bounded};
pub use plugin_version::{LoadedVersion, PluginVersion};
pub use schedule::{Due, Misfire, Overlap, Schedule, Tick, Timing, TimingError, Turn, due, turn};

use chrono::{DateTime, SubsecRound, Utc};

/// The time now, to the microsecond: as exact as it is stored, so that what is answered before and
/// after storing is the same.
#[must_use]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}
