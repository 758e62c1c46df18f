//! Earlier plugin versions, for jobs that began with them.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::loading::compile_and_make;
use super::{Plugin, Registry};
use crate::model::{ErrorCode, JobError, LoadedVersion, PluginName, PluginVersion, now};
use crate::storage::StorageError;

/// Number of earlier versions kept loaded.
const COMPILED: usize = 16;

#[derive(Default)]
pub(super) struct OldVersions(Mutex<VecDeque<Arc<Plugin>>>);

impl OldVersions {
    fn get(&self, name: &str, digest: &str) -> Option<Arc<Plugin>> {
        let versions = self.0.lock();
        let fits = |plugin: &&Arc<Plugin>| plugin.name.as_str() == name && plugin.digest == digest;
        versions.iter().find(fits).cloned()
    }

    fn add(&self, plugin: Arc<Plugin>) {
        let mut versions = self.0.lock();
        versions.push_back(plugin);
        if versions.len() > COMPILED {
            versions.pop_front();
        }
    }
}

impl Registry {
    /// Returns the version of a plugin with this digest, even if another one serves now.
    ///
    /// # Errors
    /// Code `not_found` if its files are no longer stored or it does not load any more; `internal` if
    /// the database is not available.
    pub async fn version(&self, name: &str, digest: &str) -> Result<Arc<Plugin>, JobError> {
        let serving = self.get(name).filter(|plugin| plugin.digest == digest);
        if let Some(plugin) = serving.or_else(|| self.old.get(name, digest)) {
            return Ok(plugin);
        }
        let kept = self.storage.plugin_files(name, digest).await;
        let kept = kept.map_err(|error| {
            tracing::error!(%error, plugin = %name, "failed to read an old version of a plugin");
            JobError::new(
                ErrorCode::INTERNAL,
                "the database of the server is not available",
            )
        })?;
        let no_longer = |why: &str| {
            let message = format!(
                "failed to load version {digest} of plugin `{name}`, which the job \
                                   started with: {why}"
            );
            JobError::new(ErrorCode::NOT_FOUND, message)
        };
        let (kind, files) = kept.ok_or_else(|| no_longer("it was removed"))?;
        let source = self.sources.iter().find(|one| one.runtime.kind() == kind);
        let source = source.ok_or_else(|| no_longer("its runtime is not available"))?;
        let runtime = Arc::clone(&source.runtime);
        let plugin_name = PluginName::parse(name).map_err(|wrong| no_longer(&wrong))?;
        // Background loads wait for the same permit.
        let _turn = runtime.compile_turn().await;
        let made = tokio::task::spawn_blocking(move || {
            let files = Arc::new(files);
            let making = compile_and_make(&runtime, plugin_name, &files);
            tokio::runtime::Handle::current().block_on(making)
        });
        let plugin = made
            .await
            .map_err(|_| no_longer("internal error"))?
            .map_err(|error| no_longer(&format!("{error}")))?;
        let plugin = Arc::new(plugin);
        self.old.add(Arc::clone(&plugin));
        Ok(plugin)
    }

    /// Returns the loaded versions of a plugin, the latest first.
    ///
    /// # Errors
    /// If the database is not available.
    pub async fn versions(&self, name: &str) -> Result<Vec<PluginVersion>, StorageError> {
        self.storage.plugin_versions(name).await
    }

    /// Stores loaded versions. A failure is only logged, because the plugins can serve without it.
    pub(super) async fn remember(&self, loaded: Vec<LoadedVersion>) {
        if loaded.is_empty() {
            return;
        }
        if let Err(error) = self.storage.keep_versions(loaded, now()).await {
            tracing::error!(%error, "failed to store plugin versions; a retried job may not find the \
                                     version it started with");
        }
    }
}
