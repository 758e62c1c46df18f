//! The plugins there are, by name.
//!
//! A plugin is loaded aside and swapped in whole. One that fails to load leaves the last good
//! version serving, with its error beside it; a running job keeps the version it began with,
//! because it holds it, and a job that is tried again gets it back by its digest.
//!
//! Playbooks are loaded while the directories are scanned, components in the background: the
//! compiler may take minutes.
//!
//! Start reading at [`Registry::scan`], in `registry/scan.rs`; `registry/files.rs` lists the
//! directories, `registry/watch.rs` decides when.

mod files;
mod formats;
mod loading;
mod patience;
mod scan;
mod versions;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, PoisonError};
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
use crate::model::{Description, LoadError, PluginKind, PluginName};
use crate::numbers;
use crate::runtime::{JobRuntime, Program};
use crate::storage::Storage;

/// The longest that reading a plugin or its directory may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Components that are read or linked at once; each is in memory with all its bytes.
const LOADS: usize = 2;

/// A plugin that loaded: what a job holds while it runs.
pub struct Plugin {
    pub name: PluginName,
    pub kind: PluginKind,
    /// SHA-256 of what it is made of; see [`crate::model::PluginFiles::digest`].
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
    /// Not always a valid one: the file that has it is then broken.
    pub name: String,
    pub kind: PluginKind,
    /// What serves; `None` for one that never loaded.
    pub plugin: Option<Arc<Plugin>>,
    /// Why its file as it is now does not load.
    pub error: Option<LoadError>,
    /// Another file that claims the same name.
    pub conflict: Option<String>,
    /// Its file as it is now is still being loaded.
    loading: Option<Arc<Loading>>,
    file: PathBuf,
    /// `None` for one that cannot be read.
    stamp: Option<Stamp>,
    /// Of the modules beside it, where it imports some, or does not load, perhaps for want of one.
    modules: Option<u64>,
}

/// A directory and the runtime for the files in it.
pub struct Source {
    directory: PathBuf,
    runtime: Arc<dyn JobRuntime>,
    patience: Patience,
    /// Why it could not be read at the last scan.
    problem: std::sync::Mutex<Option<String>>,
    /// There is no such directory yet; logged once.
    absent: AtomicBool,
}

impl Source {
    #[must_use]
    pub fn new(directory: PathBuf, runtime: Arc<dyn JobRuntime>) -> Self {
        Self {
            directory,
            runtime,
            patience: Patience::new(READ_TIMEOUT),
            problem: std::sync::Mutex::default(),
            absent: AtomicBool::new(false),
        }
    }
}

pub struct Registry {
    sources: Vec<Arc<Source>>,
    storage: Arc<dyn Storage>,
    state: ArcSwap<State>,
    /// Counts the states; of use to those that wait for another one.
    changes: channel::Sender<u64>,
    /// Held while the state is replaced, so that none is replaced by an older one.
    replacing: Mutex<()>,
    writing: Writing,
    old: OldVersions,
    loads: Semaphore,
    /// Numbers what is loaded in the background.
    last_load: AtomicU64,
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
            .find(|entry| entry.name == name && entry.kind == kind)
    }

    /// Two files may claim one name: who has served goes on serving, at first the first source's.
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

    /// As they are shown: with what each knows of the other.
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
                    ValidationErrorKind::FalseSchema => "unknown parameter".to_owned(),
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

    /// Why a directory of plugins cannot be read; what was loaded from it keeps serving.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let problems = self.sources.iter().filter_map(|source| {
            let problem = source.problem.lock();
            let problem = problem.unwrap_or_else(PoisonError::into_inner).clone()?;
            Some(format!(
                "failed to read the plugin directory {}: {problem}",
                source.directory.display()
            ))
        });
        problems.collect()
    }

    /// Swaps in a new state, and wakes what waits for one.
    fn publish(&self, state: State) {
        self.state.store(Arc::new(state));
        self.changes.send_modify(|count| *count += 1);
    }
}

impl Entry {
    /// Whether its file as it is now is still being loaded.
    #[must_use]
    pub fn is_compiling(&self) -> bool {
        self.loading.is_some()
    }

    /// The name of its file.
    #[must_use]
    pub fn file_name(&self) -> String {
        let name = self.file.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}
