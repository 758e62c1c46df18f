//! Loads components in the background, so that neither the scan nor other plugins wait for the compiler.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::AbortHandle;

use super::files::{Found, Stamp};
use super::scan::{Read, make, read, read_and_load};
use super::{Entry, Plugin, Registry, Source};
use crate::model::{LoadError, PluginFiles, PluginName};
use crate::runtime::{JobRuntime, NotLoaded};

/// Delay before a file that changed while it was read is read again.
const SETTLE_TIME: Duration = Duration::from_millis(200);

/// A background load. It is aborted when the last entry that waits for it is dropped.
pub(super) struct Loading {
    number: u64,
    task: AbortHandle,
    /// Whether its outcome is in the registry, or about to be.
    ended: Arc<AtomicBool>,
}

impl Drop for Loading {
    fn drop(&mut self) {
        if !self.ended.load(Ordering::Acquire) {
            self.task.abort();
        }
    }
}

/// The result of a load, with the stamp of the file when it was last read.
struct Loaded {
    stamp: Option<Stamp>,
    made: Result<(Arc<Plugin>, Arc<PluginFiles>), LoadError>,
}

impl Registry {
    /// Returns whether the first version of a plugin is still being loaded.
    #[must_use]
    pub fn is_compiling(&self, name: &str) -> bool {
        let state = self.state.load();
        let entry = state.entries.get(name);
        entry.is_some_and(|entry| entry.plugin.is_none() && entry.is_compiling())
    }

    /// Waits while [`Self::is_compiling`].
    pub async fn compiled(&self, name: &str) {
        self.wait_while(|| self.is_compiling(name)).await;
    }

    /// Waits until no plugin is being loaded.
    pub async fn settled(&self) {
        let is_unsettled = || {
            let state = self.state.load();
            let mut entries = state.entries.values().chain(&state.refused);
            entries.any(Entry::is_compiling)
        };
        self.wait_while(is_unsettled).await;
    }

    /// Waits until the number of changes differs from `seen`, then updates `seen`.
    pub async fn changed_since(&self, seen: &mut u64) {
        let (mut changes, last) = (self.changes.subscribe(), *seen);
        // The sender belongs to this registry, so it cannot be dropped.
        if let Ok(count) = changes.wait_for(|count| *count != last).await {
            *seen = *count;
        }
    }

    /// Aborts all loads, for a shutdown.
    pub fn stop_loading(&self) {
        let state = self.state.load();
        for entry in state.entries.values().chain(&state.refused) {
            if let Some(loading) = &entry.loading {
                loading.task.abort();
            }
        }
    }

    async fn wait_while(&self, condition: impl Fn() -> bool) {
        let mut changes = self.changes.subscribe();
        while condition() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    pub(super) fn begin_to_load(
        self: &Arc<Self>,
        source: &Arc<Source>,
        file: &Found,
    ) -> Arc<Loading> {
        let number = self.last_load.fetch_add(1, Ordering::Relaxed);
        let ended = Arc::new(AtomicBool::new(false));
        let (registry, source, file) = (Arc::clone(self), Arc::clone(source), file.clone());
        let ending = Arc::clone(&ended);
        let loading = tokio::spawn(async move {
            let stamp = file.stamp.clone().ok();
            let shown = shown(&file);
            let loading = AssertUnwindSafe(registry.load(&source, file)).catch_unwind();
            let outcome = loading.await.unwrap_or_else(|_| {
                let made = Err(LoadError::new(
                    &shown,
                    "the host failed while it loaded this",
                ));
                Loaded { stamp, made }
            });
            registry.end_load(number, &ending, outcome).await;
        });
        Arc::new(Loading {
            number,
            task: loading.abort_handle(),
            ended,
        })
    }

    /// Loads a component, compiling it first if needed.
    async fn load(&self, source: &Arc<Source>, mut file: Found) -> Loaded {
        loop {
            let stamp = match file.stamp.clone() {
                Ok(stamp) => stamp,
                Err(reason) => {
                    let made = Err(LoadError::new(&shown(&file), reason));
                    return Loaded { stamp: None, made };
                }
            };
            if let Some(made) = self.load_as_it_is(source, &file, &stamp).await {
                let stamp = Some(stamp);
                return Loaded { stamp, made };
            }
            tokio::time::sleep(SETTLE_TIME).await;
            file = file.stamped_again(source).await;
        }
    }

    /// Loads the file if it still has this stamp; `None` if it has changed.
    async fn load_as_it_is(
        &self,
        source: &Arc<Source>,
        file: &Found,
        stamp: &Stamp,
    ) -> Option<Result<(Arc<Plugin>, Arc<PluginFiles>), LoadError>> {
        let runtime = &source.runtime;
        let slot = self.loads.acquire().await;
        match read_and_load(source, file, stamp).await {
            Read::Done(made) => return Some(made),
            Read::Changed => return None,
            Read::Uncompiled => drop(slot),
        }
        // Read again after waiting for the permit: many large components may wait, and must not all be
        // held in memory.
        let _turn = runtime.compile_turn().await;
        let _slot = self.loads.acquire().await;
        let (name, files) = match read(source, file, stamp).await {
            Ok(Some(read)) => read,
            Ok(None) => return None,
            Err(error) => return Some(Err(error)),
        };
        let plugin = compile_and_make(runtime, name, &files).await;
        Some(plugin.map(|plugin| (Arc::new(plugin), files)))
    }

    /// Publishes the outcome of a load, unless a newer load has replaced it.
    async fn end_load(&self, number: u64, ended: &AtomicBool, outcome: Loaded) {
        let _alone = self.replacing.lock().await;
        let mut state = self.state.load().as_ref().clone();
        let mut entries = state.entries.values_mut().chain(&mut state.refused);
        let is_it = |entry: &&mut Entry| {
            let loading = entry.loading.as_ref();
            loading.is_some_and(|loading| loading.number == number)
        };
        let Some(entry) = entries.find(is_it) else {
            return;
        };
        // From here on, dropping the entry must not abort this task.
        ended.store(true, Ordering::Release);
        let loaded = Entry {
            stamp: outcome.stamp,
            ..entry.clone()
        };
        let mut version = None;
        *entry = match outcome.made {
            Ok((plugin, files)) => {
                let (entry, loaded) = loaded.loaded(plugin, files);
                version = Some(loaded);
                entry
            }
            Err(error) => loaded.broken(error),
        };
        self.publish(state);
        self.remember(version.into_iter().collect()).await;
    }
}

fn shown(file: &Found) -> String {
    let name = file.path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Builds a plugin from its files, compiling them first if needed.
///
/// # Errors
/// Like [`JobRuntime::load`] and [`JobRuntime::compile`].
pub(super) async fn compile_and_make(
    runtime: &Arc<dyn JobRuntime>,
    name: PluginName,
    files: &Arc<PluginFiles>,
) -> Result<Plugin, LoadError> {
    for compiled in [false, true] {
        match make(runtime, name.clone(), files).await {
            Ok(plugin) => return Ok(plugin),
            Err(NotLoaded::Broken(error)) => return Err(error),
            Err(NotLoaded::Uncompiled) if !compiled => runtime.compile(files).await?,
            Err(NotLoaded::Uncompiled) => {}
        }
    }
    let message = "compiled code not found in plugins.cache_dir";
    Err(LoadError::new(&files.name, message))
}
