//! The database: the source of truth for jobs, connections and the data that plugins store.
//!
//! [`Storage`] is the interface that the rest of the host uses. It is the sum of role traits, one file
//! each, and a module that needs one role names that role. Each method is a complete step of the state
//! machine and runs as one transaction; a write that returned `Ok` survives `kill -9`.
//!
//! [`sqlite`] implements the roles, each in the file that has its SQL. `conformance` holds every
//! implementation to the promises of the roles.

mod attempts;
mod batches;
mod condition;
#[cfg(test)]
mod conformance;
mod connections;
mod device_logins;
mod downloads;
mod health;
mod jobs;
mod logs;
mod meta;
mod notifications;
mod pauses;
mod plugin_values;
mod plugin_versions;
mod results;
mod retention;
mod schedules;
pub mod sqlite;
mod users;
mod waiting_jobs;

use crate::disk::LowSpace;

pub use attempts::{AttemptStore, Claim, Outcome, Runs};
pub use batches::{BatchProgress, BatchStore};
pub use condition::{Condition, Fault};
pub use connections::{ConnectionChange, ConnectionStore, DeleteConnectionOutcome};
pub use device_logins::DeviceLoginStore;
pub use downloads::{DownloadStore, DownloadedFile};
pub use health::HealthStore;
pub use jobs::{AddOutcome, CancelOutcome, DeleteOutcome, JobStore};
pub use logs::LogStore;
pub use meta::MetaStore;
pub use notifications::{Delivery, FailedChild, NotificationStore};
pub use pauses::PauseStore;
pub use plugin_values::{PluginValueStore, StorageUse};
pub use plugin_versions::PluginVersionStore;
pub use results::{JobUse, ResultStore};
pub use retention::{Place, RetentionStore, Size, Swept};
pub use schedules::{AddScheduleOutcome, ScheduleStore};
pub use users::{UserChange, UserStore};
pub use waiting_jobs::{Parent, ReadyJob, WaitingJob, WaitingJobStore};

/// Key of `meta` for a value sealed at the first start, which identifies a wrong master key.
pub(crate) const MASTER_KEY_CHECK: &str = "master_key_check";

pub type Result<T> = std::result::Result<T, StorageError>;

/// An error of the database.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A unique name or key already exists.
    #[error("{0} already exists")]
    Exists(String),
    /// The database cannot be used at the moment, for example because it is locked or unreachable. The
    /// host's log has the details.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A row has a form that this version cannot read.
    #[error("the database contains data that this version cannot read: {0}")]
    Corrupt(String),
    /// The disk is full: the write failed, and earlier data is intact.
    #[error("the database's disk is full")]
    Full,
    /// Free disk space is so low that no new work is accepted; running jobs may finish.
    #[error(transparent)]
    LowSpace(#[from] LowSpace),
    /// The database is damaged, or its files were deleted or replaced.
    #[error("{0}")]
    Unusable(Fault),
    #[error("database: {0}")]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        if sqlite::is_full(&error) {
            return Self::Full;
        }
        if let Some(fault) = sqlite::damage_of(&error) {
            return Self::Unusable(fault);
        }
        match error {
            sqlx::Error::ColumnDecode { .. } => Self::Corrupt(error.to_string()),
            _ => Self::Database(error),
        }
    }
}

/// The database, as the rest of the host uses it: all roles.
pub trait Storage:
    JobStore
    + BatchStore
    + WaitingJobStore
    + AttemptStore
    + ResultStore
    + LogStore
    + ConnectionStore
    + DeviceLoginStore
    + PluginValueStore
    + PluginVersionStore
    + ScheduleStore
    + PauseStore
    + DownloadStore
    + NotificationStore
    + RetentionStore
    + UserStore
    + MetaStore
    + HealthStore
{
}

impl<T> Storage for T where
    T: JobStore
        + BatchStore
        + WaitingJobStore
        + AttemptStore
        + ResultStore
        + LogStore
        + ConnectionStore
        + DeviceLoginStore
        + PluginValueStore
        + PluginVersionStore
        + ScheduleStore
        + PauseStore
        + DownloadStore
        + NotificationStore
        + RetentionStore
        + UserStore
        + MetaStore
        + HealthStore
{
}

/// The limits of one page of a listing.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Maximum number of entries.
    pub limit: u32,
    /// Maximum total size of their texts, in bytes.
    pub bytes: u64,
}

/// The size of a page, measured before the page is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Number of entries.
    pub count: u32,
    /// Total size of their texts, in bytes.
    pub bytes: u64,
    /// Whether more entries follow.
    pub more: bool,
}

impl Page {
    /// Returns how many entries of these sizes fit; at least one, if there is one. Callers pass one
    /// size more than `limit` so that `more` is known.
    pub fn measure(self, sizes: impl IntoIterator<Item = u64>) -> Measured {
        let mut page = Measured::default();
        for size in sizes {
            let full = page.count == self.limit || page.bytes.saturating_add(size) > self.bytes;
            if full && page.count > 0 {
                page.more = true;
                break;
            }
            page.count += 1;
            page.bytes = page.bytes.saturating_add(size);
        }
        page
    }
}
