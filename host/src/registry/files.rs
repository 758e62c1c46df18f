//! What lies in the plugin directories, and what tells a changed file from an unchanged one.

use std::collections::HashMap;
use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Source;
use crate::model::PluginName;

/// Where the modules of playbooks are, below their directory.
pub(super) const MODULES: &str = "lib";
/// Files below it that are looked at; a tree that grows without end is not followed.
const MODULE_FILES: usize = 10_000;
const MODULE_DEPTH: usize = 8;

/// A file that is to be a plugin.
pub(super) struct Found {
    pub(super) name: PluginName,
    pub(super) path: PathBuf,
    pub(super) stamp: Stamp,
}

/// What tells a changed file from an unchanged one without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    /// Of anything about it, its name in the directory too; nobody can set it.
    changed: (i64, i64),
    length: u64,
    inode: u64,
}

impl Stamp {
    /// Of the file that a path leads to, through links.
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

/// The plugin files of a directory, by name.
pub(super) fn find(source: &Source) -> io::Result<Vec<Found>> {
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
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
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
        .map(|(name, (path, metadata))| Found {
            name,
            path,
            stamp: Stamp::of(&metadata),
        })
        .collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// One number for everything below the directory of modules: another one when anything there
/// changes.
pub(super) fn stamp_of_modules(directory: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in below(&directory.join(MODULES)) {
        path.hash(&mut hasher);
        Stamp::at(&path).hash(&mut hasher);
    }
    hasher.finish()
}

/// The directories at and below one, for who wants to be told of changes in them.
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
