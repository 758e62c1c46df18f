//! Versions of plugins and their files.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::Result;
use crate::model::{LoadedVersion, PluginFiles, PluginKind, PluginVersion};

/// Versions of plugins and their files.
#[async_trait]
pub trait PluginVersionStore: Send + Sync + 'static {
    /// Records loaded versions and stores their files. Files are kept for the newest versions of each
    /// plugin and for versions that unfinished jobs need.
    async fn keep_versions(&self, versions: Vec<LoadedVersion>, now: DateTime<Utc>) -> Result<()>;
    /// Returns the versions of a plugin, last loaded first.
    async fn plugin_versions(&self, plugin: &str) -> Result<Vec<PluginVersion>>;
    /// Returns the files of a version while they are stored.
    async fn plugin_files(
        &self,
        plugin: &str,
        digest: &str,
    ) -> Result<Option<(PluginKind, PluginFiles)>>;
}
