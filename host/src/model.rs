//! The nouns of the product, as data: jobs, connections, plugins, and the transitions a job may make.
//!
//! Nothing here does I/O, and nothing here is what goes over the wire: the HTTP types stand in
//! [`crate::api`], the rows in [`crate::storage`].

mod batch;
mod connection;
mod host;
mod job;
mod notification;
mod pattern;
mod pause;
mod plugin;
mod plugin_files;
mod plugin_version;
mod schedule;
mod target_expression;
mod target_pattern;
mod way;

pub use batch::{BatchCounts, BatchOptions, BatchStep, MAX_TARGETS, Share};
#[cfg(test)]
pub(crate) use connection::test_connection;
pub use connection::{
    Algorithms, AnswerCredential, AnswerValue, Connection, KnownHostKey, MAX_JUMPS, RouteError,
    SealedField, SealedRow, SealedSecrets, SecretField, StoredAnswer, route,
};
pub use host::{HostPattern, check_host, is_host_name};
pub use job::{
    Attempt, CommandKind, CommandResult, ErrorCode, InFlight, Job, JobError, JobFilter, JobLog,
    JobStatus, JobTexts, ListedJob, LogLevel, NewJob, OnInterrupt, Progress, StatusCounts, Target,
};
pub use notification::{Notification, NotificationContent, NotificationEvent, NotificationState};
pub use pattern::matches_pattern;
pub use pause::{InForce, MAX_WINDOW, Pause, PauseAction, PauseError, PauseRule, Windows};
pub use plugin::{
    Bound, Description, Grant, Lines, LoadError, Needs, OWN_RIGHTS, PluginKind, PluginName,
    QueueNeeds, RetryRules, SshNeeds, TargetMode,
};
pub(crate) use plugin_files::{NONBLOCK, read_regular};
pub use plugin_files::{PluginFiles, digest_of};
pub use plugin_version::{LoadedVersion, PluginVersion};
pub use schedule::{
    Due, ListedSchedule, Misfire, Overlap, Schedule, Tick, Timing, TimingError, Turn, due, turn,
};
pub use target_expression::TargetExpression;
pub use target_pattern::TargetPattern;
pub use way::{Hop, HostKeyPlace, SavedConnections, Way, fingerprint_of};
pub(crate) use way::{add_text, rename_jumps};

use chrono::{DateTime, SubsecRound, Utc};

/// The time now, to the microsecond: as exact as it is stored, so that what is answered before and
/// after storing is the same.
#[must_use]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}
