//! Values that a plugin keeps between jobs, separate for each plugin. Requires the declaration
//! `storage`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Result;
use crate::bindings::job_scheduler::plugin::storage;
use crate::error::of_host;

/// Returns the value of a key.
///
/// # Errors
/// Code `denied` if `storage` is not declared or granted; `script` if the value has another type.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>> {
    let value = storage::get(key).map_err(of_host)?;
    Ok(value.map(|text| serde_json::from_str(&text)).transpose()?)
}

/// Stores a value under a key.
///
/// # Errors
/// As [`get`]; code `limit` if the plugin would exceed its storage limit.
pub fn set<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<()> {
    storage::set(key, &serde_json::to_string(value)?).map_err(of_host)
}

/// Deletes a key; returns whether it existed.
///
/// # Errors
/// As [`get`].
pub fn delete(key: &str) -> Result<bool> {
    storage::delete(key).map_err(of_host)
}

/// Returns the keys that begin with a prefix, in order.
///
/// # Errors
/// As [`get`].
pub fn keys(prefix: &str) -> Result<Vec<String>> {
    storage::keys(prefix).map_err(of_host)
}
