//! The data model: jobs, connections and plugins, and the state transitions of jobs.
//!
//! This module does no I/O. HTTP types are in [`crate::api`], database rows in [`crate::storage`].

mod access;
mod batch;
mod connection;
mod field_error;
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
mod user;
mod way;

pub use access::{Denied, Permission, Principal, PrincipalUser, Proof, Role};
pub use batch::{BatchCounts, BatchOptions, BatchStep, MAX_TARGETS, Share};
#[cfg(test)]
pub(crate) use connection::test_connection;
pub use connection::{
    Algorithms, AnswerCredential, AnswerValue, Connection, KnownHostKey, MAX_JUMPS, RouteError,
    SealedField, SealedRow, SealedSecrets, SecretField, StoredAnswer, route,
};
pub use field_error::FieldError;
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
    Due, ListedSchedule, Misfire, Overlap, OverlapDecision, Schedule, Tick, Timing, TimingError,
    decide_overlap, due,
};
pub use target_expression::TargetExpression;
pub use target_pattern::TargetPattern;
pub use user::{ApiToken, BrowserSession, PasswordHash, SecretDigest, User, UserKind};
pub use way::{Hop, HostKeyPlace, SavedConnections, Way, fingerprint_of};
pub(crate) use way::{add_text, rename_jumps};

use chrono::{DateTime, SubsecRound, Utc};

/// Returns the current time truncated to microseconds, the precision of the database, so that values
/// are the same before and after they are stored.
#[must_use]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}
