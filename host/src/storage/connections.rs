//! Connection profiles, and the host keys trusted on first use.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Page, Result};
use crate::model::{Connection, HostKeyPlace, KnownHostKey, SealedRow};

/// Changes to connections, sealed values and host keys that are made in one transaction.
#[derive(Clone, Debug, Default)]
pub struct ConnectionChange {
    /// The updated connection. If its name changes, connections that jump through it are updated too.
    pub updated: Option<Connection>,
    /// New sealed values of other connections.
    pub sealed: Vec<SealedRow>,
    /// Host keys to copy from one place to another, where they replace the existing keys.
    pub moved_host_keys: Vec<(HostKeyPlace, HostKeyPlace)>,
    pub forgotten_host_keys: Option<HostKeyPlace>,
    /// The new check value of the master key.
    pub master_key_check: Option<Vec<u8>>,
    /// Removes request digests, which cannot be compared under another master key.
    pub forgets_digests: bool,
}

/// The result of a request to delete a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteConnectionOutcome {
    NotFound,
    Deleted,
    /// Connections that jump through it, by name.
    JumpedThrough(Vec<String>),
}

/// Connection profiles and host keys.
#[async_trait]
pub trait ConnectionStore: Send + Sync + 'static {
    async fn add_connection(&self, connection: &Connection) -> Result<()>;
    /// Applies a change in one transaction and returns how many host keys were removed; `None`, with
    /// nothing changed, if the connection to update does not exist.
    async fn change_connections(&self, change: ConnectionChange) -> Result<Option<u64>>;
    async fn delete_connection(&self, id: Uuid) -> Result<DeleteConnectionOutcome>;
    async fn connection(&self, id: Uuid) -> Result<Option<Connection>>;
    async fn connection_named(&self, name: &str) -> Result<Option<Connection>>;
    /// Returns the connections by name, without those that belong to a job.
    async fn connections(&self) -> Result<Vec<Connection>>;
    /// Returns a page of [`ConnectionStore::connections`] after a name, and whether others follow.
    async fn connections_page(&self, after: &str, page: Page) -> Result<(Vec<Connection>, bool)>;
    /// Returns the inline connections of jobs that have secrets.
    async fn sealed_inline_connections(&self) -> Result<Vec<Connection>>;
    async fn host_keys(&self, place: &HostKeyPlace) -> Result<Vec<KnownHostKey>>;
    /// `key` is (algorithm, key, fingerprint).
    async fn add_host_key(
        &self,
        place: &HostKeyPlace,
        key: (&str, &str, &str),
        now: DateTime<Utc>,
    ) -> Result<()>;
}
