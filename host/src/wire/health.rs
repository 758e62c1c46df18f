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
    /// Size of the database file, without its write-ahead log.
    #[serde(default)]
    pub bytes: u64,
    /// Unused bytes of the database file, which are filled before the file grows.
    #[serde(default)]
    pub free_bytes: u64,
    /// Whether the disk is full.
    #[serde(default)]
    pub disk_full: bool,
    /// Whether the disk is nearly full: new jobs are rejected, running jobs may end.
    #[serde(default)]
    pub disk_low: bool,
    /// Why the database is unusable, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct QueueHealth {
    pub status: HealthStatus,
    /// Number of jobs in the queue, including prefetched ones.
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
    /// Number of plugins being compiled; a previously loaded version stays in use meanwhile.
    pub compiling: usize,
    pub broken: usize,
    /// Errors of plugin directories that cannot be read; plugins already loaded from them stay in use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}
