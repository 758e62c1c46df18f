//! Scans the plugin directories and loads changed files.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt as _;
use tokio::runtime::Handle;

use super::files::{self, Found, Stamp, Unreadable};
use super::{Entry, Plugin, Registry, Source, State, formats};
use crate::model::{
    LoadError, LoadedVersion, PluginFiles, PluginKind, PluginName, TargetPattern, now,
};
use crate::numbers;
use crate::runtime::{JobRuntime, Loaded, NotLoaded};

/// Maximum length of a plugin's summary, which lists show on one line.
const SUMMARY_CHARS: usize = 200;

/// The result of a scan.
struct Scanned {
    state: State,
    loaded: Vec<LoadedVersion>,
}

/// The result of loading a file.
pub(super) enum Read {
    Done(Result<(Arc<Plugin>, Arc<PluginFiles>), LoadError>),
    /// The file changed while it was read.
    Changed,
    Uncompiled,
}

impl Registry {
    /// Scans the directories: loads changed playbooks, and starts background loads of changed
    /// components.
    pub async fn scan(self: &Arc<Self>) {
        let _alone = self.replacing.lock().await;
        let registry = Arc::clone(self);
        // Loading compiles and runs `describe`, which is CPU-bound.
        let scanned = tokio::task::spawn_blocking(move || registry.scan_files()).await;
        match scanned {
            Ok(Some(Scanned { state, loaded })) => {
                self.publish(state);
                self.remember(loaded).await;
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "failed to scan the plugin directories"),
        }
    }

    /// Returns the new state, or `None` if nothing has changed.
    fn scan_files(self: &Arc<Self>) -> Option<Scanned> {
        let before = self.state.load_full();
        let mut after = State::default();
        let mut loaded = Vec::new();
        let mut changed = false;
        for source in &self.sources {
            let kind = source.runtime.kind();
            let modules = source.patience.try_one(&source.directory, |directory| {
                files::stamp_of_modules(directory)
            });
            let found = modules.map_err(Unreadable::Other).and_then(|modules| {
                let found = files::find(source)?;
                Ok((modules, found))
            });
            let known: Vec<_> = before.of_kind(kind).collect();
            let (modules, found) = match found {
                Ok(found) => {
                    source.is_readable();
                    found
                }
                Err(unreadable) => {
                    // An unreadable directory is not an empty one: its plugins keep serving.
                    source.is_unreadable(unreadable, !known.is_empty());
                    for entry in known {
                        after.take_in(&before, entry.clone());
                    }
                    continue;
                }
            };
            for file in found {
                let known = before.find(&file.name, kind);
                let known_as_it_is = known.filter(|entry| entry.is_of(&file, modules));
                let entry = match (known_as_it_is, known) {
                    (Some(entry), _) => entry.clone(),
                    (None, known) if self.writing.contains(&file.path) => match known {
                        Some(known) => known.clone(),
                        None => continue,
                    },
                    (None, known) => match self.take(source, &file, modules, known) {
                        Some((entry, version)) => {
                            changed = true;
                            loaded.extend(version);
                            entry
                        }
                        // The file changed while it was read; the next scan loads it.
                        None => match known {
                            Some(known) => known.clone(),
                            None => continue,
                        },
                    },
                };
                after.take_in(&before, entry);
            }
        }
        let refused = |state: &State| -> Vec<PathBuf> {
            state
                .refused
                .iter()
                .map(|entry| entry.file.clone())
                .collect()
        };
        changed |= refused(&before) != refused(&after);
        for name in before.entries.keys() {
            if !after.entries.contains_key(name) {
                changed = true;
                tracing::info!(plugin = %name, "plugin removed");
            }
        }
        changed.then_some(Scanned {
            state: after,
            loaded,
        })
    }

    /// Loads a new or changed file, or starts to; `None` if it changes meanwhile.
    fn take(
        self: &Arc<Self>,
        source: &Arc<Source>,
        file: &Found,
        modules: u64,
        known: Option<&Entry>,
    ) -> Option<(Entry, Option<LoadedVersion>)> {
        let kind = source.runtime.kind();
        let entry = Entry {
            name: file.name.clone(),
            kind,
            plugin: known.and_then(|known| known.plugin.clone()),
            error: None,
            conflict: None,
            loading: None,
            file: file.path.clone(),
            stamp: file.stamp.as_ref().ok().cloned(),
            modules: None,
        };
        let stamp = match &file.stamp {
            Ok(stamp) => stamp,
            Err(reason) => {
                let error = LoadError::new(&entry.file_name(), reason);
                return Some((entry.broken(error), None));
            }
        };
        if source.runtime.loads_in_background() {
            let loading = Some(self.begin_to_load(source, file));
            return Some((Entry { loading, ..entry }, None));
        }
        let read = Handle::current().block_on(read_and_load(source, file, stamp));
        match read {
            Read::Done(Ok((plugin, files))) => {
                let imports = !files.modules.is_empty();
                let (entry, version) = entry.loaded(plugin, files);
                let modules = imports.then_some(modules);
                Some((Entry { modules, ..entry }, Some(version)))
            }
            Read::Done(Err(error)) => {
                let modules = Some(modules);
                Some((Entry { modules, ..entry }.broken(error), None))
            }
            Read::Changed | Read::Uncompiled => None,
        }
    }
}

impl State {
    fn of_kind(&self, kind: PluginKind) -> impl Iterator<Item = &Entry> {
        let all = self.entries.values().chain(&self.refused);
        all.filter(move |entry| entry.kind == kind)
    }
}

impl Source {
    fn is_readable(&self) {
        self.absent.store(false, Ordering::Relaxed);
        self.set_problem(None);
    }

    /// Records why the directory cannot be listed, and logs each reason once.
    fn is_unreadable(&self, unreadable: Unreadable, is_in_use: bool) {
        let directory = self.directory.display();
        let problem = match unreadable {
            // Not an error at first: a new installation has no such directory, and it may be created
            // later.
            Unreadable::Absent if !is_in_use => {
                if !self.absent.swap(true, Ordering::Relaxed) {
                    tracing::info!(%directory, "plugin directory not found; waiting for it");
                }
                self.set_problem(None);
                return;
            }
            Unreadable::Absent => "directory not found".to_owned(),
            Unreadable::Other(reason) => reason,
        };
        if self.set_problem(Some(problem.clone())) {
            tracing::warn!(%directory, error = problem, "failed to read the plugin directory; its \
                 loaded plugins stay in use");
        }
    }

    /// Records the problem. Returns whether it is new.
    fn set_problem(&self, problem: Option<String>) -> bool {
        let mut noted = self.problem.lock();
        let is_new = *noted != problem;
        *noted = problem;
        is_new
    }
}

impl Entry {
    /// Returns whether the file and the modules it depends on are unchanged.
    fn is_of(&self, file: &Found, modules: u64) -> bool {
        let same = match (&self.stamp, &file.stamp) {
            (Some(known), Ok(stamp)) => known == stamp,
            (None, Err(reason)) => {
                let known = self.error.as_ref();
                known.is_some_and(|known| known.message == *reason)
            }
            _ => false,
        };
        let modules_changed = self.modules.is_some_and(|stamp| stamp != modules);
        same && self.file == file.path && !modules_changed
    }

    /// Returns this entry with a newly loaded plugin.
    pub(super) fn loaded(
        self,
        plugin: Arc<Plugin>,
        files: Arc<PluginFiles>,
    ) -> (Self, LoadedVersion) {
        tracing::info!(plugin = %self.name, digest = %plugin.digest, "plugin loaded");
        let version = LoadedVersion {
            plugin: self.name.clone(),
            digest: plugin.digest.clone(),
            kind: self.kind,
            files: Arc::unwrap_or_clone(files),
        };
        let entry = Self {
            plugin: Some(plugin),
            error: None,
            loading: None,
            ..self
        };
        (entry, version)
    }

    /// Returns this entry with a load error; the last loaded version keeps serving.
    pub(super) fn broken(self, error: LoadError) -> Self {
        let serving = self.plugin.as_ref().map(|plugin| plugin.digest.clone());
        tracing::warn!(plugin = %self.name, %error, ?serving, "failed to load a plugin");
        Self {
            error: Some(error),
            loading: None,
            ..self
        }
    }
}

/// Reads a file and loads the plugin in it.
pub(super) async fn read_and_load(source: &Arc<Source>, file: &Found, stamp: &Stamp) -> Read {
    match read(source, file, stamp).await {
        Ok(Some((name, files))) => load(source, name, files).await,
        Ok(None) => Read::Changed,
        Err(error) => Read::Done(Err(error)),
    }
}

async fn load(source: &Source, name: PluginName, files: Arc<PluginFiles>) -> Read {
    match make(&source.runtime, name, &files).await {
        Ok(plugin) => Read::Done(Ok((Arc::new(plugin), files))),
        Err(NotLoaded::Broken(error)) => Read::Done(Err(error)),
        Err(NotLoaded::Uncompiled) => Read::Uncompiled,
    }
}

/// Reads a file; `None` if it changed meanwhile.
pub(super) async fn read(
    source: &Arc<Source>,
    file: &Found,
    stamp: &Stamp,
) -> Result<Option<(PluginName, Arc<PluginFiles>)>, LoadError> {
    let shown = file.path.file_name().unwrap_or_default().to_string_lossy();
    let failed = |reason: String| LoadError::new(&shown, reason);
    let name = PluginName::parse(&file.name).map_err(failed)?;
    let (reading, path) = (Arc::clone(source), file.path.clone());
    let read = tokio::task::spawn_blocking(move || {
        let runtime = Arc::clone(&reading.runtime);
        reading.patience.try_one(&path, move |path| {
            let files = runtime.read(path);
            (files, Stamp::at(path))
        })
    });
    let read = read.await.map_err(|error| failed(error.to_string()))?;
    let (files, now) = read.map_err(failed)?;
    if now.as_ref() != Some(stamp) {
        return Ok(None);
    }
    Ok(Some((name, Arc::new(files?))))
}

/// Loads a plugin and checks its description.
///
/// # Errors
/// Like [`JobRuntime::load`]; also the problems with the description.
pub(super) async fn make(
    runtime: &Arc<dyn JobRuntime>,
    name: PluginName,
    files: &Arc<PluginFiles>,
) -> Result<Plugin, NotLoaded> {
    // A plugin that makes the host panic is marked as broken, so that the others are still loaded.
    let failed = || LoadError::new(&files.name, "the host failed while it loaded this");
    let loading = AssertUnwindSafe(runtime.load(files)).catch_unwind();
    let loaded = loading.await.map_err(|_| failed())??;
    let (kind, described) = (runtime.kind(), Arc::clone(files));
    let checked = tokio::task::spawn_blocking(move || check(kind, name, &described, loaded));
    Ok(checked.await.map_err(|_| failed())??)
}

fn check(
    kind: PluginKind,
    name: PluginName,
    files: &PluginFiles,
    loaded: Loaded,
) -> Result<Plugin, LoadError> {
    let summary = &loaded.description.summary;
    let long = summary.chars().nth(SUMMARY_CHARS).is_some();
    if long || summary.chars().any(char::is_control) {
        let message = format!(
            "invalid summary: expected one line of at most {SUMMARY_CHARS} characters without \
             control characters, got {} characters",
            summary.chars().count()
        );
        return Err(LoadError::new(&files.name, message));
    }
    if let Some((place, message)) = numbers::out_of_range(&loaded.description.params) {
        let message = format!("invalid params: expected a JSON Schema: at `{place}`: {message}");
        return Err(LoadError::new(&files.name, message));
    }
    for pattern in &loaded.description.needs.targets {
        TargetPattern::parse(pattern)
            .map_err(|error| LoadError::new(&files.name, format!("needs.targets: {error}")))?;
    }
    let params = formats::asserted(jsonschema::options().offline())
        .build(&loaded.description.params)
        .map_err(|error| {
            let reason = formats::unknown(&error).unwrap_or_else(|| error.to_string());
            let message = format!(
                "invalid params: expected a JSON Schema: at `{}`: {reason}",
                error.instance_path()
            );
            LoadError::new(&files.name, message)
        })?;
    Ok(Plugin {
        name,
        kind,
        digest: files.digest(),
        description: loaded.description,
        program: loaded.program,
        loaded_at: now(),
        params,
    })
}
