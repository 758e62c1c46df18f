//! Lists the files of the plugin directories and detects changed ones.

use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::Source;
use crate::model::PluginName;

/// The subdirectory of playbook modules.
pub(super) const MODULES: &str = "lib";
/// Maximum number of module files considered, which bounds the walk through an endless tree.
const MODULE_FILES: usize = 10_000;
const MODULE_DEPTH: usize = 8;

/// A candidate plugin file.
#[derive(Clone)]
pub(super) struct Found {
    /// The plugin's name, or the file's name if that is not a valid plugin name.
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// The stamp, or the reason why the file cannot be a plugin.
    pub(super) stamp: Result<Stamp, String>,
}

impl Found {
    /// Returns the same file with its current stamp.
    pub(super) async fn stamped_again(mut self, source: &Arc<Source>) -> Self {
        let (checking, path) = (Arc::clone(source), self.path.clone());
        let checked = tokio::task::spawn_blocking(move || checking.patience.try_one(&path, check));
        self.stamp = match checked.await {
            Ok(Ok(Ok(stamp))) => stamp.ok_or_else(|| "file not found".to_owned()),
            Ok(Ok(Err(reason)) | Err(reason)) => Err(reason),
            Err(error) => Err(error.to_string()),
        };
        self
    }
}

/// Metadata that reveals a changed file without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    /// The time of the last inode change, which covers renames too and cannot be set by programs.
    changed: (i64, i64),
    length: u64,
    inode: u64,
}

impl Stamp {
    /// Returns the stamp of a file, following links.
    pub(super) fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().as_ref().map(Self::of)
    }

    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            modified: metadata.modified().ok(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            length: metadata.len(),
            inode: metadata.ino(),
        }
    }
}

/// Returns the plugin files of a directory by name. An invalid file does not hide the others.
///
/// # Errors
/// If the directory cannot be listed.
pub(super) fn find(source: &Source) -> Result<Vec<Found>, Unreadable> {
    let extension = source.runtime.extension();
    let listed = source
        .patience
        .try_one(&source.directory, move |directory| {
            list(directory, extension)
        });
    let paths = listed.map_err(Unreadable::Other)??;
    let checked = source.patience.try_each(&paths, check);
    let found = paths
        .into_iter()
        .zip(checked)
        .filter_map(|(path, checked)| {
            let stamp = match checked {
                Ok(Ok(stamp)) => Ok(stamp?),
                Ok(Err(reason)) | Err(reason) => Err(reason),
            };
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let name = name.into_owned();
            let stamp = PluginName::parse(&name).and(stamp);
            Some(Found { name, path, stamp })
        });
    Ok(found.collect())
}

/// The reason why a directory could not be listed.
pub(super) enum Unreadable {
    /// The directory does not exist, or not yet.
    Absent,
    Other(String),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Absent,
            _ => Self::Other(error.to_string()),
        }
    }
}

fn list(directory: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for file in std::fs::read_dir(directory)? {
        let file = file?;
        // Programs create hidden temporary files next to those that they write.
        let hidden = file.file_name().as_encoded_bytes().starts_with(b".");
        let path = file.path();
        if !hidden && path.extension().is_some_and(|end| end == extension) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Returns the stamp of a regular file, or `None` if it does not exist.
fn check(path: &Path) -> Result<Option<Stamp>, String> {
    // Follows links, because deployments may swap them.
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(Stamp::of(&metadata))),
        Ok(_) => Err("not a regular file".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("failed to read the file: {error}")),
    }
}

/// Returns a hash of the stamps of all module files, which changes when any of them does.
pub(super) fn stamp_of_modules(directory: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in below(&directory.join(MODULES)) {
        path.hash(&mut hasher);
        Stamp::at(&path).hash(&mut hasher);
    }
    hasher.finish()
}

/// Returns a directory and all directories below it, for watching.
pub(super) fn directories_at(directory: &Path) -> Vec<PathBuf> {
    let below = below(directory).into_iter().filter(|path| path.is_dir());
    std::iter::once(directory.to_owned())
        .chain(below)
        .filter(|path| path.is_dir())
        .collect()
}

fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ahead = vec![(directory.to_owned(), MODULE_DEPTH)];
    while let Some((directory, depth)) = ahead.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if found.len() >= MODULE_FILES {
                break;
            }
            let path = entry.path();
            if depth > 0 && path.is_dir() {
                ahead.push((path.clone(), depth - 1));
            }
            found.push(path);
        }
    }
    found.sort();
    found
}
