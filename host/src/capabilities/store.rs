//! Capability `storage`: JSON values by key that persist across jobs, separate for each plugin.

use serde_json::Value;

use super::{JobContext, Result, limits, storage_failed};
use crate::model::{ErrorCode, JobError, now};

impl JobContext {
    /// Returns the value of a key.
    ///
    /// # Errors
    /// If the plugin did not declare `storage`, the key is invalid, or the job is stopped.
    pub async fn storage_get(&self, key: &str) -> Result<Option<Value>> {
        self.may_store().await?;
        check_key(key)?;
        self.unless_stopped(async {
            let storage = &self.services.storage;
            storage
                .plugin_value(&self.job.plugin, key)
                .await
                .map_err(|error| storage_failed(&error))
        })
        .await
    }

    /// Stores a value.
    ///
    /// # Errors
    /// Like [`Self::storage_get`]; also code `limit` if the plugin's store would become too large.
    pub async fn storage_set(&self, key: &str, value: &Value) -> Result<()> {
        self.may_store().await?;
        check_key(key)?;
        check_value_size(key, crate::json::length(value))?;
        self.unless_stopped(async {
            let storage = &self.services.storage;
            let plugin = &self.job.plugin;
            let kept = storage
                .set_plugin_value(plugin, key, value, limits::STORAGE, now())
                .await
                .map_err(|error| storage_failed(&error))?;
            kept.map_err(|wanted| {
                JobError::new(
                    ErrorCode::LIMIT,
                    format!(
                        "storage quota of `{plugin}` exceeded: {} keys and {} bytes, at most {} keys \
                         and {} bytes are allowed",
                        wanted.keys, wanted.bytes, limits::STORAGE.keys, limits::STORAGE.bytes
                    ),
                )
            })
        })
        .await
    }

    /// Deletes a key. Returns whether it existed.
    ///
    /// # Errors
    /// Like [`Self::storage_get`].
    pub async fn storage_delete(&self, key: &str) -> Result<bool> {
        self.may_store().await?;
        check_key(key)?;
        self.unless_stopped(async {
            let storage = &self.services.storage;
            storage
                .delete_plugin_value(&self.job.plugin, key)
                .await
                .map_err(|error| storage_failed(&error))
        })
        .await
    }

    /// Returns the keys with a prefix, in order.
    ///
    /// # Errors
    /// Like [`Self::storage_get`].
    pub async fn storage_keys(&self, prefix: &str) -> Result<Vec<String>> {
        self.may_store().await?;
        self.unless_stopped(async {
            let storage = &self.services.storage;
            storage
                .plugin_keys(&self.job.plugin, prefix, limits::STORAGE_LISTING)
                .await
                .map_err(|error| storage_failed(&error))
        })
        .await
    }
}

/// Checks the length of a value as JSON.
///
/// # Errors
/// Code `limit`.
pub fn check_value_size(key: &str, size: usize) -> Result<()> {
    let most = limits::STORAGE_VALUE_BYTES;
    if size > most {
        return Err(JobError::new(
            ErrorCode::LIMIT,
            format!("the value for `{key}` is too large: {size} bytes, at most {most} are allowed"),
        ));
    }
    Ok(())
}

fn check_key(key: &str) -> Result<()> {
    if key.is_empty() || key.len() > limits::STORAGE_KEY_BYTES || key.contains(char::is_control) {
        return Err(JobError::new(
            ErrorCode::INVALID,
            format!(
                "invalid storage key: expected 1 to {} bytes without control characters",
                limits::STORAGE_KEY_BYTES
            ),
        ));
    }
    Ok(())
}
