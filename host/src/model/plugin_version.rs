//! Versions of a plugin: the digests that were loaded under its name.

use chrono::{DateTime, Utc};

use super::{PluginFiles, PluginKind};

/// A version that was just loaded.
#[derive(Clone, Debug)]
pub struct LoadedVersion {
    pub plugin: String,
    pub digest: String,
    pub kind: PluginKind,
    pub files: PluginFiles,
}

/// A version as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginVersion {
    pub digest: String,
    pub kind: PluginKind,
    pub first_seen: DateTime<Utc>,
    /// When it was last loaded.
    pub last_seen: DateTime<Utc>,
    /// Number of jobs that ran it, of those still stored.
    pub jobs: u64,
}
