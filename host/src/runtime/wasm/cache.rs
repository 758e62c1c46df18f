//! The on-disk cache of compiled code.
//!
//! `compiled/` is a directory of wasmtime's own cache. The server's engine has no compiler: it loads a
//! component's code from there, and fails if there is none. `refused/` has a note for each component
//! that failed to compile, `staging-*` are directories of running compilers.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use wasmtime::{Cache, CacheConfig, Engine};

const COMPILED: &str = "compiled";
const REFUSED: &str = "refused";
const STAGING: &str = "staging-";
/// Staging directories older than this are leftovers of a crash.
const MAX_COMPILATION: Duration = Duration::from_secs(24 * 60 * 60);

/// The directory `plugins.cache_dir`. It contains machine code that the server runs, so no other user
/// may write to it, and it is never a directory for plugin files.
pub(super) struct CodeCache {
    directory: PathBuf,
}

impl CodeCache {
    /// Opens or creates the cache.
    ///
    /// # Errors
    /// If the directory cannot be created, or another user may write to it.
    pub(super) fn open(directory: &Path) -> anyhow::Result<Self> {
        let shown = directory.display();
        let opened = make_private(directory).and_then(|()| {
            let directory = directory.canonicalize()?;
            std::fs::create_dir_all(directory.join(COMPILED))?;
            std::fs::create_dir_all(directory.join(REFUSED))?;
            Ok(Self { directory })
        });
        let cache = opened.with_context(|| format!("failed to open plugins.cache_dir {shown}"))?;
        cache.remove_old_staging();
        Ok(cache)
    }

    /// Returns the cache that the server's engine reads.
    pub(super) fn of_engine(&self) -> anyhow::Result<Cache> {
        wasmtime_cache(&self.directory.join(COMPILED))
    }

    /// Creates an empty directory for one compiler.
    pub(super) fn staging(&self) -> io::Result<TempDir> {
        tempfile::Builder::new()
            .prefix(STAGING)
            .tempdir_in(&self.directory)
    }

    /// Moves the code from a compiler's staging directory into the engine's cache.
    pub(super) fn publish(&self, staging: &Path, key: &str) -> io::Result<()> {
        let code = find_code(staging)?.ok_or_else(|| {
            io::Error::other("compiled code not found; check whether the disk is full")
        })?;
        let parent = code.parent().unwrap_or(staging);
        let version = parent.strip_prefix(staging).map_err(io::Error::other)?;
        let version = self.directory.join(COMPILED).join(version);
        std::fs::create_dir_all(&version)?;
        std::fs::rename(&code, version.join(key))
    }

    /// Returns the path of the note with the reason why a component was refused.
    pub(super) fn note(&self, key: &str) -> PathBuf {
        self.directory.join(REFUSED).join(key)
    }

    fn remove_old_staging(&self) {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten();
        for entry in entries.flatten() {
            let is_staging = entry.file_name().to_string_lossy().starts_with(STAGING);
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified
                .ok()
                .and_then(|modified| SystemTime::now().duration_since(modified).ok());
            if is_staging && age.is_some_and(|age| age > MAX_COMPILATION) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Returns wasmtime's cache in a directory, given by its absolute path.
pub(super) fn wasmtime_cache(directory: &Path) -> anyhow::Result<Cache> {
    let mut config = CacheConfig::new();
    config.with_directory(directory);
    Cache::new(config).map_err(|error| anyhow::anyhow!("{}: {error:#}", directory.display()))
}

/// Returns the file name under which an engine's cache stores a component's code.
///
/// Wasmtime does not expose this name, so it is computed here in the same way. If wasmtime changes it,
/// no component loads, and the tests fail.
pub(super) fn key(engine: &Engine, component: &[u8]) -> String {
    struct Sha256Hasher(Sha256);
    impl Hasher for Sha256Hasher {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    Cow::Borrowed(component).hash(&mut hasher);
    // No DWARF package, no unsafe intrinsics.
    (None::<&[u8]>, None::<&str>).hash(&mut hasher);
    BASE64URL_NOPAD.encode(&hasher.0.finalize())
}

/// Finds the only code file below `modules/<version>/`; the statistics next to it have an extension.
fn find_code(staging: &Path) -> io::Result<Option<PathBuf>> {
    let modules = staging.join("modules");
    if !modules.is_dir() {
        return Ok(None);
    }
    for version in std::fs::read_dir(modules)? {
        for file in std::fs::read_dir(version?.path())? {
            let file = file?.path();
            if file.extension().is_none() {
                return Ok(Some(file));
            }
        }
    }
    Ok(None)
}

fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let metadata = std::fs::metadata(directory)?;
    let mine = metadata.uid() == rustix::process::geteuid().as_raw();
    if !mine || metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other(
            "other users may write to this directory, which code is run from; chown it to the server's \
             user, and chmod 700",
        ));
    }
    Ok(())
}
