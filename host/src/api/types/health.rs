//! Wire types of the health check.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::NotificationHealth;

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Health {
    pub status: HealthStatus,
    pub version: String,
    pub uptime_seconds: u64,
    pub storage: StorageHealth,
    pub queue: QueueHealth,
    pub workers: WorkerHealth,
    pub plugins: PluginHealth,
    #[serde(default)]
    pub notifications: NotificationHealth,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    #[default]
    Healthy,
    Unhealthy,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StorageHealth {
    pub status: HealthStatus,
    /// The database's size, without what is yet to be moved into it from its log.
    #[serde(default)]
    pub bytes: u64,
    /// Of these, unused: filled before the file grows.
    #[serde(default)]
    pub free_bytes: u64,
    /// There is no room to write.
    #[serde(default)]
    pub disk_full: bool,
    /// There is so little room that new jobs are refused; those that run may end.
    #[serde(default)]
    pub disk_low: bool,
    /// Why the database cannot be used, and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct QueueHealth {
    pub status: HealthStatus,
    /// Jobs in the queue, handed out or not.
    pub length: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkerHealth {
    pub status: HealthStatus,
    pub name: String,
    pub running: usize,
    pub concurrency: usize,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PluginHealth {
    pub status: HealthStatus,
    pub ready: usize,
    /// Being compiled; those that were loaded before serve meanwhile.
    pub compiling: usize,
    pub broken: usize,
    /// Directories of plugins that cannot be read; what was loaded from them keeps serving.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}
