//! The plugins there are, by name.
//!
//! A plugin is loaded aside and swapped in whole. One that fails to load leaves the last good
//! version serving, with its error beside it; a running job keeps the version it began with,
//! because it holds it, and a job that is tried again gets it back by its digest.
//!
//! Start reading at [`Registry::scan`]; what is looked at in the directories is in
//! `registry/files.rs`, when, in `registry/watch.rs`.

mod files;
mod formats;
mod versions;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;
use tokio::sync::Mutex;

use self::files::{Found, Stamp};
use self::versions::OldVersions;
use self::watch::Writing;
use crate::model::{
    Description, LoadError, LoadedVersion, PluginFiles, PluginKind, PluginName, TargetPattern, now,
};
use crate::numbers;
use crate::runtime::{JobRuntime, Program};
use crate::storage::Storage;

/// A plugin that loaded: what a job holds while it runs.
pub struct Plugin {
    pub name: PluginName,
    pub kind: PluginKind,
    /// SHA-256 of what it is made of; see [`PluginFiles::digest`].
    pub digest: String,
    pub description: Description,
    pub program: Arc<dyn Program>,
    pub loaded_at: DateTime<Utc>,
    params: Validator,
}

/// One thing that is wrong with parameters, and where: a JSON pointer into them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamError {
    pub pointer: String,
    pub message: String,
}

impl ParamError {
    #[must_use]
    pub fn new(pointer: &str, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.to_owned(),
            message: message.into(),
        }
    }
}

/// A plugin as it stands in the registry.
#[derive(Clone)]
pub struct Entry {
    pub name: PluginName,
    pub kind: PluginKind,
    /// What serves; `None` for one that never loaded.
    pub plugin: Option<Arc<Plugin>>,
    /// Why its file as it is now does not load.
    pub error: Option<LoadError>,
    /// Another file that claims the same name.
    pub conflict: Option<String>,
    file: PathBuf,
    stamp: Stamp,
    /// Of the modules beside it, where it imports some, or does not load, perhaps for want of one.
    modules: Option<u64>,
}

/// A directory and the runtime for the files in it.
pub struct Source {
    directory: PathBuf,
    runtime: Arc<dyn JobRuntime>,
    /// Could not be read at the last look; said once, not at each.
    out_of_reach: AtomicBool,
}

impl Source {
    #[must_use]
    pub fn new(directory: PathBuf, runtime: Arc<dyn JobRuntime>) -> Self {
        Self {
            directory,
            runtime,
            out_of_reach: AtomicBool::new(false),
        }
    }
}

pub struct Registry {
    sources: Vec<Source>,
    storage: Arc<dyn Storage>,
    state: ArcSwap<State>,
    /// Held while loading, so that two scans never undo one another.
    scanning: Mutex<()>,
    writing: Writing,
    old: OldVersions,
}

#[derive(Clone, Default)]
struct State {
    entries: BTreeMap<String, Entry>,
    /// Whose name another one has: they would serve, were it not for that.
    refused: Vec<Entry>,
}

impl State {
    fn find(&self, name: &str, kind: PluginKind) -> Option<&Entry> {
        let refused = self.refused.iter();
        let entry = self.entries.get(name).into_iter().chain(refused);
        entry
            .into_iter()
            .find(|entry| entry.name.as_str() == name && entry.kind == kind)
    }

    /// Two files may claim one name: who has served goes on serving, at first the first source's.
    fn take_in(&mut self, before: &Self, mut entry: Entry) {
        let name = entry.name.as_str().to_owned();
        let Some(first) = self.entries.get_mut(&name) else {
            self.entries.insert(name, entry);
            return;
        };
        let serves = |entry: &Entry| {
            let known = before.entries.get(&name);
            known.is_some_and(|known| known.kind == entry.kind && known.plugin.is_some())
        };
        if serves(&entry) && !serves(first) {
            std::mem::swap(first, &mut entry);
        }
        if !before.refused.iter().any(|known| known.file == entry.file) {
            tracing::warn!(plugin = %name, serving = %first.file_name(), refused = %entry.file_name(), "two files claim one name");
        }
        self.refused.push(entry);
    }

    /// As they are shown: with what each knows of the other.
    fn shown(&self, entry: &Entry) -> Entry {
        let refused = self.refused.iter().find(|other| other.name == entry.name);
        Entry {
            conflict: refused.map(Entry::file_name),
            ..entry.clone()
        }
    }

    fn shown_refused(&self, entry: &Entry) -> Entry {
        let name = entry.name.as_str();
        let first = self.entries.get(name).map(Entry::file_name);
        let first = first.unwrap_or_default();
        let message = format!("the name `{name}` is that of {first}; rename one of the two files");
        Entry {
            plugin: None,
            error: Some(LoadError::new(&entry.file_name(), message)),
            conflict: Some(first),
            ..entry.clone()
        }
    }
}

/// What came of looking at the directories.
struct Scanned {
    state: State,
    loaded: Vec<LoadedVersion>,
}

impl Plugin {
    /// Adds the defaults that the schema gives for parameters which are absent, so that a plugin
    /// finds every parameter it described, and the job's record shows what it ran with.
    pub fn fill_defaults(&self, params: &mut Value) {
        let properties = self.description.params.get("properties");
        let (Some(Value::Object(properties)), Value::Object(params)) = (properties, params) else {
            return;
        };
        for (name, schema) in properties {
            if let Some(default) = schema.get("default")
                && !params.contains_key(name)
            {
                params.insert(name.clone(), default.clone());
            }
        }
    }

    /// # Errors
    /// Everything that is wrong with the parameters, each with its place.
    pub fn check_params(&self, params: &Value) -> Result<(), Vec<ParamError>> {
        // Before the schema check, whose library reads every number as a float or a 64-bit integer.
        let number = numbers::out_of_range(params).or_else(|| numbers::too_long(params));
        if let Some((pointer, message)) = number {
            return Err(vec![ParamError { pointer, message }]);
        }
        let errors: Vec<_> = self
            .params
            .iter_errors(params)
            .map(|error| {
                let pointer = error.instance_path().to_string();
                let message = match error.kind() {
                    ValidationErrorKind::FalseSchema if pointer.is_empty() => {
                        "the plugin takes no parameters".to_owned()
                    }
                    ValidationErrorKind::FalseSchema => {
                        "is not a parameter of this plugin".to_owned()
                    }
                    _ => error.to_string(),
                };
                ParamError { pointer, message }
            })
            .collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

impl Registry {
    #[must_use]
    pub fn new(sources: Vec<Source>, storage: Arc<dyn Storage>) -> Arc<Self> {
        Arc::new(Self {
            sources,
            storage,
            state: ArcSwap::default(),
            scanning: Mutex::new(()),
            writing: Writing::default(),
            old: OldVersions::default(),
        })
    }

    /// The plugin that serves under a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Plugin>> {
        self.state.load().entries.get(name)?.plugin.clone()
    }

    #[must_use]
    pub fn entry(&self, name: &str) -> Option<Entry> {
        let state = self.state.load();
        state.entries.get(name).map(|entry| state.shown(entry))
    }

    /// All of them, by name; those that claim another's name come after it.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let state = self.state.load();
        let entries = state.entries.values().map(|entry| state.shown(entry));
        let refused = state.refused.iter().map(|entry| state.shown_refused(entry));
        let mut entries: Vec<Entry> = entries.chain(refused).collect();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        entries
    }

    /// Looks at the directories and loads what has changed since the last look.
    pub async fn scan(self: &Arc<Self>) {
        let _alone = self.scanning.lock().await;
        let registry = Arc::clone(self);
        // Loading compiles, and runs `describe`.
        let scanned = tokio::task::spawn_blocking(move || registry.scan_files()).await;
        match scanned {
            Ok(Some(Scanned { state, loaded })) => {
                self.state.store(Arc::new(state));
                self.remember(loaded).await;
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "looking for plugins failed"),
        }
    }

    /// The new state, or `None` when nothing has changed.
    fn scan_files(&self) -> Option<Scanned> {
        let before = self.state.load_full();
        let mut after = State::default();
        let mut loaded = Vec::new();
        let mut changed = false;
        for source in &self.sources {
            let kind = source.runtime.kind();
            let found = match files::find(source) {
                Ok(found) => {
                    source.out_of_reach.store(false, Ordering::Relaxed);
                    found
                }
                Err(error) => {
                    // Out of reach is not removed: what is loaded goes on serving.
                    if !source.out_of_reach.swap(true, Ordering::Relaxed) {
                        let directory = source.directory.display();
                        // It may come later, and a first start has none.
                        if error.kind() == std::io::ErrorKind::NotFound {
                            tracing::info!(%directory, "the plugin directory does not exist yet");
                        } else {
                            tracing::warn!(%directory, %error, "failed to read the plugin directory");
                        }
                    }
                    let kept = before.entries.iter();
                    let kept = kept.filter(|(_, entry)| entry.kind == kind);
                    after
                        .entries
                        .extend(kept.map(|(name, entry)| (name.clone(), entry.clone())));
                    continue;
                }
            };
            let modules = files::stamp_of_modules(&source.directory);
            for file in found {
                let name = file.name.as_str();
                let known = before.find(name, kind);
                let as_before = known.filter(|entry| {
                    let modules_changed = entry.modules.is_some_and(|stamp| stamp != modules);
                    entry.stamp == file.stamp && entry.file == file.path && !modules_changed
                });
                let entry = match (as_before, known) {
                    (Some(entry), _) => entry.clone(),
                    (None, known) if self.writing.contains(&file.path) => match known {
                        Some(known) => known.clone(),
                        None => continue,
                    },
                    (None, known) => match load(source, &file, modules, known) {
                        Some((entry, version)) => {
                            changed = true;
                            loaded.extend(version);
                            entry
                        }
                        // It changed while it was read; the next look finds it as it is then.
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
}

/// `None` when the file was changed while it was read.
fn load(
    source: &Source,
    file: &Found,
    modules: u64,
    known: Option<&Entry>,
) -> Option<(Entry, Option<LoadedVersion>)> {
    let name = &file.name;
    let read = source.runtime.read(&file.path);
    if Stamp::at(&file.path).as_ref() != Some(&file.stamp) {
        return None;
    }
    let imports = read.as_ref().is_ok_and(|files| !files.modules.is_empty());
    let made = read.and_then(|files| {
        // One that the host cannot bear is broken; the others are loaded all the same.
        let making = || make(&*source.runtime, name, &files);
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(making));
        let failed = |_| {
            Err(LoadError::new(
                &files.name,
                "the host failed while it loaded this",
            ))
        };
        let plugin = made.unwrap_or_else(failed)?;
        Ok((plugin, files))
    });
    let kind = source.runtime.kind();
    let (plugin, error, version) = match made {
        Ok((plugin, files)) => {
            tracing::info!(plugin = %name, digest = %plugin.digest, "plugin loaded");
            let version = LoadedVersion {
                plugin: name.to_string(),
                digest: plugin.digest.clone(),
                kind,
                files,
            };
            (Some(Arc::new(plugin)), None, Some(version))
        }
        Err(error) => {
            let last_good = known.and_then(|known| known.plugin.clone());
            let serving = last_good.as_ref().map(|plugin| plugin.digest.clone());
            tracing::warn!(plugin = %name, %error, ?serving, "plugin does not load");
            (last_good, Some(error), None)
        }
    };
    let entry = Entry {
        name: name.clone(),
        kind,
        plugin,
        conflict: None,
        file: file.path.clone(),
        stamp: file.stamp.clone(),
        modules: (imports || error.is_some()).then_some(modules),
        error,
    };
    Some((entry, version))
}

/// Compiles a plugin and checks what it says of itself.
fn make(
    runtime: &dyn JobRuntime,
    name: &PluginName,
    files: &PluginFiles,
) -> Result<Plugin, LoadError> {
    let loaded = runtime.load(files)?;
    if let Some((place, message)) = numbers::out_of_range(&loaded.description.params) {
        let message = format!("params is not a valid JSON Schema: at `{place}`: {message}");
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
                "params is not a valid JSON Schema: at `{}`: {reason}",
                error.instance_path()
            );
            LoadError::new(&files.name, message)
        })?;
    Ok(Plugin {
        name: name.clone(),
        kind: runtime.kind(),
        digest: files.digest(),
        description: loaded.description,
        program: loaded.program,
        loaded_at: now(),
        params,
    })
}

impl Entry {
    /// The name of its file.
    #[must_use]
    pub fn file_name(&self) -> String {
        let name = self.file.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}
