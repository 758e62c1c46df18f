//! The registry of plugins, by name.
//!
//! A new version is loaded separately and then swapped in as a whole. If it fails to load, the last good
//! version keeps serving, with the error next to it. A running job keeps the version it began with,
//! because it holds a reference to it, and a retried job gets the same version by its digest.
//!
//! Playbooks are loaded while the directories are scanned, components in the background, because
//! compiling them may take minutes.
//!
//! Start reading at [`Registry::scan`], in `registry/scan.rs`. `registry/files.rs` lists the
//! directories, `registry/watch.rs` decides when to scan.

mod files;
mod formats;
mod loading;
mod patience;
mod scan;
mod versions;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore, watch as channel};

use self::files::Stamp;
use self::loading::Loading;
use self::patience::Patience;
use self::versions::OldVersions;
use self::watch::Writing;
use crate::model::{Description, FieldError, LoadError, PluginKind, PluginName};
use crate::numbers;
use crate::runtime::{JobRuntime, Program};
use crate::storage::PluginVersionStore;

/// Time limit for reading a plugin or listing its directory.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Components that are read or linked at once. Each is held in memory as a whole.
const LOADS: usize = 2;

/// A loaded plugin. A job holds a reference while it runs.
pub struct Plugin {
    pub name: PluginName,
    pub kind: PluginKind,
    /// SHA-256 of its files; see [`crate::model::PluginFiles::digest`].
    pub digest: String,
    pub description: Description,
    pub program: Arc<dyn Program>,
    pub loaded_at: DateTime<Utc>,
    params: Validator,
}

/// A plugin's entry in the registry.
#[derive(Clone)]
pub struct Entry {
    /// May be an invalid plugin name; the entry is broken then.
    pub name: String,
    pub kind: PluginKind,
    /// The serving version; `None` if none was ever loaded.
    pub plugin: Option<Arc<Plugin>>,
    /// The reason why the current file does not load.
    pub error: Option<LoadError>,
    /// Another file that claims the same name.
    pub conflict: Option<String>,
    /// The background load of the current file, if it has not finished.
    loading: Option<Arc<Loading>>,
    file: PathBuf,
    /// `None` for an unreadable file.
    stamp: Option<Stamp>,
    /// The stamp of the modules next to it, if it imports any or does not load, possibly because of a
    /// missing module.
    modules: Option<u64>,
}

/// A directory and the runtime for the files in it.
pub struct Source {
    directory: PathBuf,
    runtime: Arc<dyn JobRuntime>,
    patience: Patience,
    /// The reason why the last scan could not read the directory.
    problem: parking_lot::Mutex<Option<String>>,
    /// Whether the directory was reported as missing; logged once.
    absent: AtomicBool,
}

impl Source {
    #[must_use]
    pub fn new(directory: PathBuf, runtime: Arc<dyn JobRuntime>) -> Self {
        Self {
            directory,
            runtime,
            patience: Patience::new(READ_TIMEOUT),
            problem: parking_lot::Mutex::default(),
            absent: AtomicBool::new(false),
        }
    }
}

pub struct Registry {
    sources: Vec<Arc<Source>>,
    storage: Arc<dyn PluginVersionStore>,
    state: ArcSwap<State>,
    /// The number of published states, for waiting on changes.
    changes: channel::Sender<u64>,
    /// Held while the state is replaced, so that a newer state is never overwritten by an older one.
    replacing: Mutex<()>,
    writing: Writing,
    old: OldVersions,
    loads: Semaphore,
    /// The number of the last background load.
    last_load: AtomicU64,
}

#[derive(Clone, Default)]
struct State {
    entries: BTreeMap<String, Entry>,
    /// Entries with a name that another file has already.
    refused: Vec<Entry>,
}

impl State {
    fn find(&self, name: &str, kind: PluginKind) -> Option<&Entry> {
        let refused = self.refused.iter();
        let entry = self.entries.get(name).into_iter().chain(refused);
        entry
            .into_iter()
            .find(|entry| entry.name == name && entry.kind == kind)
    }

    /// Adds an entry. If two files claim a name, the one that already serves keeps it, else that of the
    /// first source.
    fn take_in(&mut self, before: &Self, mut entry: Entry) {
        let name = entry.name.clone();
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
            tracing::warn!(plugin = %name, serving = %first.file_name(), refused = %entry.file_name(), "two \
                 plugin files have the same name; ignoring one");
        }
        self.refused.push(entry);
    }

    /// Returns the entry with its conflict.
    fn shown(&self, entry: &Entry) -> Entry {
        let refused = self.refused.iter().find(|other| other.name == entry.name);
        Entry {
            conflict: refused.map(Entry::file_name),
            ..entry.clone()
        }
    }

    fn shown_refused(&self, entry: &Entry) -> Entry {
        let name = &entry.name;
        let first = self.entries.get(name).map(Entry::file_name);
        let first = first.unwrap_or_default();
        let message = format!(
            "duplicate plugin name `{name}`: {first} has it as well; rename one of \
                               the two files"
        );
        Entry {
            plugin: None,
            error: Some(LoadError::new(&entry.file_name(), message)),
            conflict: Some(first),
            loading: None,
            ..entry.clone()
        }
    }
}

impl Plugin {
    /// Adds the schema's defaults for absent parameters, so that a plugin finds every parameter that it
    /// described, and the job's record shows all the values it ran with.
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

    /// Checks parameters against the plugin's schema.
    ///
    /// # Errors
    /// All problems with the parameters, each with its position.
    pub fn check_params(&self, params: &Value) -> Result<(), Vec<FieldError>> {
        // Checked before the schema, because its library reads every number as a float or a 64-bit
        // integer.
        let number = numbers::out_of_range(params).or_else(|| numbers::too_long(params));
        if let Some((pointer, message)) = number {
            return Err(vec![FieldError { pointer, message }]);
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
                    ValidationErrorKind::FalseSchema => "unknown parameter".to_owned(),
                    _ => error.to_string(),
                };
                FieldError { pointer, message }
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
    pub fn new(sources: Vec<Source>, storage: Arc<dyn PluginVersionStore>) -> Arc<Self> {
        Arc::new(Self {
            sources: sources.into_iter().map(Arc::new).collect(),
            storage,
            state: ArcSwap::default(),
            changes: channel::Sender::default(),
            replacing: Mutex::new(()),
            writing: Writing::default(),
            old: OldVersions::default(),
            loads: Semaphore::new(LOADS),
            last_load: AtomicU64::default(),
        })
    }

    /// Returns the plugin that serves under a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Plugin>> {
        self.state.load().entries.get(name)?.plugin.clone()
    }

    #[must_use]
    pub fn entry(&self, name: &str) -> Option<Entry> {
        let state = self.state.load();
        state.entries.get(name).map(|entry| state.shown(entry))
    }

    /// Returns all entries by name. If several files claim a name, the one that has it comes first.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let state = self.state.load();
        let entries = state.entries.values().map(|entry| state.shown(entry));
        let refused = state.refused.iter().map(|entry| state.shown_refused(entry));
        let mut entries: Vec<Entry> = entries.chain(refused).collect();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        entries
    }

    /// Returns the directories that cannot be read, with the reason. Plugins loaded from them keep
    /// serving.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let problems = self.sources.iter().filter_map(|source| {
            let problem = source.problem.lock();
            let problem = problem.clone()?;
            Some(format!(
                "failed to read the plugin directory {}: {problem}",
                source.directory.display()
            ))
        });
        problems.collect()
    }

    /// Replaces the state and wakes the tasks that wait for a change.
    fn publish(&self, state: State) {
        self.state.store(Arc::new(state));
        self.changes.send_modify(|count| *count += 1);
    }
}

impl Entry {
    /// Returns whether the current file is still being loaded.
    #[must_use]
    pub fn is_compiling(&self) -> bool {
        self.loading.is_some()
    }

    /// Returns the name of the entry's file.
    #[must_use]
    pub fn file_name(&self) -> String {
        let name = self.file.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}
