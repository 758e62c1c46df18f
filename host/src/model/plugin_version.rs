//! Versions of a plugin: the digests that were loaded under its name.

use chrono::{DateTime, Utc};

use super::{PluginFiles, PluginKind};

/// A version that has just been loaded.
#[derive(Clone, Debug)]
pub struct LoadedVersion {
    pub plugin: String,
    pub digest: String,
    pub kind: PluginKind,
    pub files: PluginFiles,
}

/// A version as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginVersion {
    pub digest: String,
    pub kind: PluginKind,
    pub first_seen: DateTime<Utc>,
    /// When it was loaded last.
    pub last_seen: DateTime<Utc>,
    /// How many jobs ran it, as far as they are still kept.
    pub jobs: u64,
}
