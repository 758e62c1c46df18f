//! Persists the login history of devices.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use netssh_core::{LoginHistory, LoginHistoryError, LoginRecord};

use crate::model::now;
use crate::sealing::DigestKey;
use crate::storage::{DeviceLoginStore, StorageError};

/// Maximum number of devices with a stored login history.
pub const MAX_DEVICES: u32 = 16_384;

/// The login history in the database.
#[derive(Clone)]
pub struct StoredLogins {
    storage: Arc<dyn DeviceLoginStore>,
    key: DigestKey,
    /// How long a login counts.
    within: Duration,
}

impl StoredLogins {
    #[must_use]
    pub fn new(storage: Arc<dyn DeviceLoginStore>, key: DigestKey, within: Duration) -> Self {
        Self {
            storage,
            key,
            within,
        }
    }

    /// Returns the login records by address. Unreadable records are skipped.
    ///
    /// # Errors
    /// If the database is not available.
    pub async fn load(&self) -> Result<Vec<(String, LoginRecord)>, StorageError> {
        let stored = self.storage.device_logins(now(), MAX_DEVICES).await?;
        let read = stored.into_iter().filter_map(|(address, record)| {
            match serde_json::from_value(record) {
                Ok(record) => Some((address, record)),
                Err(error) => {
                    tracing::warn!(device = %address, %error, "failed to read the login history of a \
                         device");
                    None
                }
            }
        });
        Ok(read.collect())
    }
}

impl std::fmt::Debug for StoredLogins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredLogins")
    }
}

#[async_trait]
impl LoginHistory for StoredLogins {
    async fn store(&self, address: &str, record: &LoginRecord) -> Result<(), LoginHistoryError> {
        let expires_at = DateTime::from_timestamp_millis(record.expires_at(self.within));
        let record = serde_json::to_value(record)?;
        let expires_at = expires_at.unwrap_or_else(now);
        let stored = self.storage.set_device_logins(address, &record, expires_at);
        Ok(stored.await?)
    }

    fn digest(&self, credentials: &[u8; 32]) -> String {
        self.key.digest(credentials)
    }
}
