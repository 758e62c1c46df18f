//! Removal of old jobs, and the space that it frees.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Result;

/// A position in the order in which jobs ended.
pub type Place = (DateTime<Utc>, Uuid);

/// The result of one step of removing old jobs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Swept {
    pub deleted: u64,
    /// Position to continue from; `None` at the end.
    pub next: Option<Place>,
}

/// The size of the database, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub bytes: u64,
    /// Unused bytes, included in `bytes`.
    pub free: u64,
}

/// Old jobs, and the space that they take.
#[async_trait]
pub trait RetentionStore: Send + Sync + 'static {
    /// Examines the next jobs in the order in which they ended, starting after a position. Removes
    /// failed jobs that ended before `failed_before`, and others that ended before `before`; `None`
    /// keeps all.
    async fn sweep_jobs(
        &self,
        after: Place,
        before: Option<DateTime<Utc>>,
        failed_before: Option<DateTime<Utc>>,
    ) -> Result<Swept>;
    /// Removes some of each plugin's oldest ended jobs beyond `most`; returns how many.
    async fn delete_jobs_beyond(&self, most: u32) -> Result<u64>;
    /// Removes the oldest ended jobs regardless of age, at most `limit` plus their child jobs; returns
    /// how many.
    async fn delete_oldest_jobs(&self, limit: u32) -> Result<u64>;
    /// Returns some unused space to the file system; `true` if there may be more.
    async fn vacuum(&self) -> Result<bool>;
    async fn size(&self) -> Result<Size>;
    /// Returns the size of what plugins store and of the files of their versions, bytes: what no
    /// removed job gives back.
    async fn size_of_plugins(&self) -> Result<u64>;
}
