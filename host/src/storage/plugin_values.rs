//! Values that plugins store.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::Result;

/// Use of a plugin's store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageUse {
    pub keys: u64,
    /// Total size of keys and values.
    pub bytes: u64,
}

/// Values that plugins store under keys of their own.
#[async_trait]
pub trait PluginValueStore: Send + Sync + 'static {
    async fn plugin_value(&self, plugin: &str, key: &str) -> Result<Option<Value>>;
    /// Writes the value if the plugin stays within `limit`; otherwise returns what the plugin would
    /// use.
    async fn set_plugin_value(
        &self,
        plugin: &str,
        key: &str,
        value: &Value,
        limit: StorageUse,
        now: DateTime<Utc>,
    ) -> Result<std::result::Result<(), StorageUse>>;
    async fn delete_plugin_value(&self, plugin: &str, key: &str) -> Result<bool>;
    /// Returns the keys with a prefix, in order, at most `limit`.
    async fn plugin_keys(&self, plugin: &str, prefix: &str, limit: u32) -> Result<Vec<String>>;
}
