//! Login records of devices, by address.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::Result;

/// Login records of devices, which expire.
#[async_trait]
pub trait DeviceLoginStore: Send + Sync + 'static {
    /// Returns the login records that have not expired, by address; latest expiry first, at most
    /// `most`.
    async fn device_logins(&self, now: DateTime<Utc>, most: u32) -> Result<Vec<(String, Value)>>;
    /// Stores the login record of an address, replacing the previous one.
    async fn set_device_logins(
        &self,
        address: &str,
        record: &Value,
        expires_at: DateTime<Utc>,
    ) -> Result<()>;
    /// Removes expired login records, and the earliest to expire beyond `most`; returns how many.
    async fn sweep_device_logins(&self, now: DateTime<Utc>, most: u32) -> Result<u64>;
}
