//! The plugins there are, by name.
//!
//! A plugin is loaded aside and swapped in whole. One that fails to load leaves the last good
//! version serving, with its error beside it; a running job keeps the version it began with,
//! because it holds it.

use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use jsonschema::Validator;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::model::{Description, LoadError, PluginKind, PluginName, now};
use crate::runtime::{JobRuntime, Program};

/// How often the directories are looked at for changes.
const SCAN_EVERY: Duration = Duration::from_secs(2);

/// A plugin that loaded: what a job holds while it runs.
pub struct Plugin {
    pub name: PluginName,
    pub kind: PluginKind,
    /// SHA-256 of the file's bytes, hexadecimal.
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

/// A plugin as it stands in the registry.
#[derive(Clone)]
pub struct Entry {
    pub name: PluginName,
    pub kind: PluginKind,
    /// What serves; `None` for one that never loaded.
    pub plugin: Option<Arc<Plugin>>,
    /// Why its file as it is now does not load.
    pub error: Option<LoadError>,
    file: PathBuf,
    /// Of the file as it was last looked at.
    stamp: Stamp,
}

/// What tells a changed file from an unchanged one without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
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
    entries: ArcSwap<BTreeMap<String, Entry>>,
    /// Held while loading, so that two scans never undo one another.
    scanning: Mutex<()>,
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
        let errors: Vec<_> = self
            .params
            .iter_errors(params)
            .map(|error| ParamError {
                pointer: error.instance_path().to_string(),
                message: error.to_string(),
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
    pub fn new(sources: Vec<Source>) -> Arc<Self> {
        Arc::new(Self {
            sources,
            entries: ArcSwap::default(),
            scanning: Mutex::new(()),
        })
    }

    /// The plugin that serves under a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Plugin>> {
        self.entries.load().get(name)?.plugin.clone()
    }

    #[must_use]
    pub fn entry(&self, name: &str) -> Option<Entry> {
        self.entries.load().get(name).cloned()
    }

    /// All of them, by name.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.load().values().cloned().collect()
    }

    /// Looks at the directories and loads what has changed since the last look.
    pub async fn scan(self: &Arc<Self>) {
        let _alone = self.scanning.lock().await;
        let registry = Arc::clone(self);
        // Loading compiles, and runs `describe`.
        let scanned = tokio::task::spawn_blocking(move || registry.scan_files()).await;
        match scanned {
            Ok(Some(entries)) => self.entries.store(Arc::new(entries)),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "looking for plugins failed"),
        }
    }

    /// Scans again and again; for as long as it is polled.
    pub async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SCAN_EVERY).await;
            self.scan().await;
        }
    }

    /// The new state, or `None` when nothing has changed.
    fn scan_files(&self) -> Option<BTreeMap<String, Entry>> {
        let before = self.entries.load_full();
        let mut after = BTreeMap::new();
        let mut changed = false;
        for source in &self.sources {
            let files = match files_of(source) {
                Ok(files) => {
                    source.out_of_reach.store(false, Ordering::Relaxed);
                    files
                }
                Err(error) => {
                    // Out of reach is not removed: what is loaded goes on serving.
                    if !source.out_of_reach.swap(true, Ordering::Relaxed) {
                        tracing::warn!(directory = %source.directory.display(), %error, "a plugin directory cannot be read");
                    }
                    let kept = before.iter();
                    let kept = kept.filter(|(_, entry)| entry.kind == source.runtime.kind());
                    after.extend(kept.map(|(name, entry)| (name.clone(), entry.clone())));
                    continue;
                }
            };
            for (name, file, metadata) in files {
                if after.contains_key(name.as_str()) {
                    // The first source keeps the name; the same file is reported once, at its change.
                    continue;
                }
                let stamp = Stamp::of(&metadata);
                let known = before.get(name.as_str());
                let entry = match known {
                    Some(known) if known.stamp == stamp && known.file == file => known.clone(),
                    _ => {
                        changed = true;
                        let last_good = known.and_then(|known| known.plugin.clone());
                        load(source, name.clone(), file, stamp, last_good)
                    }
                };
                after.insert(name.as_str().to_owned(), entry);
            }
        }
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            changed = true;
            tracing::info!(plugin = %name, "plugin removed");
        }
        changed.then_some(after)
    }
}

/// The plugin files of a directory, by name.
fn files_of(source: &Source) -> std::io::Result<Vec<(PluginName, PathBuf, Metadata)>> {
    let listing = std::fs::read_dir(&source.directory)?;
    let mut files: HashMap<PluginName, (PathBuf, Metadata)> = HashMap::new();
    for file in listing {
        let path = file?.path();
        let fits = path
            .extension()
            .is_some_and(|end| end == source.runtime.extension());
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let (true, Some(stem)) = (fits, stem) else {
            continue;
        };
        // Follows links: a deployment may swap them.
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if !metadata.is_file() {
            continue;
        }
        match PluginName::parse(stem) {
            Ok(name) => {
                files.insert(name, (path, metadata));
            }
            Err(message) => tracing::debug!(file = %path.display(), %message, "not a plugin"),
        }
    }
    let mut files: Vec<_> = files
        .into_iter()
        .map(|(name, (path, metadata))| (name, path, metadata))
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files)
}

fn load(
    source: &Source,
    name: PluginName,
    file: PathBuf,
    stamp: Stamp,
    last_good: Option<Arc<Plugin>>,
) -> Entry {
    let kind = source.runtime.kind();
    let (plugin, error) = match load_file(source, &name, &file) {
        Ok(plugin) => {
            tracing::info!(plugin = %name, digest = %plugin.digest, "plugin loaded");
            (Some(Arc::new(plugin)), None)
        }
        Err(error) => {
            let serving = last_good.as_ref().map(|plugin| plugin.digest.clone());
            tracing::warn!(plugin = %name, %error, ?serving, "plugin does not load");
            (last_good, Some(error))
        }
    };
    Entry {
        name,
        kind,
        plugin,
        error,
        file,
        stamp,
    }
}

fn load_file(source: &Source, name: &PluginName, file: &Path) -> Result<Plugin, LoadError> {
    let shown = file.file_name().unwrap_or_default().to_string_lossy();
    let files = source.runtime.read(file)?;
    let loaded = source.runtime.load(&files)?;
    let params = jsonschema::options()
        .offline()
        .build(&loaded.description.params)
        .map_err(|error| {
            let message = format!(
                "params is not a JSON Schema: at `{}`: {error}",
                error.instance_path()
            );
            LoadError::new(&shown, message)
        })?;
    Ok(Plugin {
        name: name.clone(),
        kind: source.runtime.kind(),
        digest: files.digest(),
        description: loaded.description,
        program: loaded.program,
        loaded_at: now(),
        params,
    })
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            inode: metadata.ino(),
        }
    }
}
