//! Values kept between jobs, each plugin its own. To be declared: `storage`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Result;
use crate::bindings::job_scheduler::plugin::storage;
use crate::error::of_host;

/// The value kept under a key.
///
/// # Errors
/// Code `denied` where `storage` is not declared or granted; `script` when the value is of another
/// type.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>> {
    let value = storage::get(key).map_err(of_host)?;
    Ok(value.map(|text| serde_json::from_str(&text)).transpose()?)
}

/// Keeps a value under a key.
///
/// # Errors
/// As [`get`]; code `limit` when the plugin would keep too much.
pub fn set<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<()> {
    storage::set(key, &serde_json::to_string(value)?).map_err(of_host)
}

/// Forgets a key; returns whether it was there.
///
/// # Errors
/// As [`get`].
pub fn delete(key: &str) -> Result<bool> {
    storage::delete(key).map_err(of_host)
}

/// The keys that begin with a prefix, in order.
///
/// # Errors
/// As [`get`].
pub fn keys(prefix: &str) -> Result<Vec<String>> {
    storage::keys(prefix).map_err(of_host)
}
