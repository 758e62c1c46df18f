//! Replaces the master key.
//!
//! The new key is written beside the old one, everything is sealed with it in one transaction, and then
//! it takes the old one's place. Wherever this is interrupted, the file of the key that the database was
//! sealed with is there under one of two names, and the next start finds it:
//!
//! 1. `KEY` is the old key, `KEY.new` the new one; the database is sealed with the old one.
//! 2. The same, and the database is sealed with the new one: [`complete`] does the rest.
//! 3. `KEY` is the new key, `KEY.old-ID` the old one, for backups of the database.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::{CHECK, KeyId, MasterKey, is_version1};
use crate::connections::resealed_with;
use crate::storage::{ConnectionChange, Storage};

/// A key that was replaced.
#[derive(Debug)]
pub struct Rotated {
    pub old: KeyId,
    pub new: KeyId,
    /// Where the old key is now.
    pub old_file: PathBuf,
    /// Connections whose secrets were sealed with the new key.
    pub connections: usize,
    /// In words: values that did not open with the old key, and are as they were.
    pub left: Vec<String>,
}

/// Replaces the key in a file. No server may use the database.
///
/// # Errors
/// When the file does not hold the key of this database, or one of the steps fails. Whatever step it is,
/// the database opens with the key that is in place, or that the next start puts there.
pub async fn rotate(storage: &dyn Storage, path: &Path) -> anyhow::Result<Rotated> {
    let Some(check) = storage.meta(CHECK).await? else {
        bail!("this database has no master key yet; the next start creates one");
    };
    let file = resolved(path)?;
    let old = MasterKey::of(storage, path).await?;
    let next = new_file(&file);
    let new = MasterKey::load_or_create(&next)?;
    let is_version1 = is_version1(&check);
    let (sealed, left) = resealed_with(storage, |connection, field, way, sealed| {
        let row = connection.id;
        let secret = match is_version1 {
            true => old.open_secret_version1(row, field, sealed)?,
            false => old.open_secret(row, field, way, sealed)?,
        };
        Ok(new.seal_secret(row, field, way, &secret))
    })
    .await?;
    let connections = sealed.len();
    let change = ConnectionChange {
        sealed,
        master_key_check: Some(new.seal_check()),
        forgets_digests: true,
        ..ConnectionChange::default()
    };
    storage.change_connections(change).await?;
    let old_file = put_in_place(&file, &next, old.id)?;
    Ok(Rotated {
        old: old.id,
        new: new.id,
        old_file,
        connections,
        left,
    })
}

/// Puts the new key in its place if a rotation was interrupted after the database was sealed with it.
pub(super) fn complete(path: &Path, check: &[u8]) -> anyhow::Result<Option<MasterKey>> {
    let file = resolved(path)?;
    let next = new_file(&file);
    let (Some(old), Some(new)) = (MasterKey::read(&file), MasterKey::read(&next)) else {
        return Ok(None);
    };
    if !new.opens_check(check) {
        return Ok(None);
    }
    let old_file = put_in_place(&file, &next, old.id)?;
    tracing::info!(file = %path.display(), old_file = %old_file.display(), "completed an interrupted rotation of the master key");
    Ok(Some(new))
}

/// Returns where a rotation keeps the key with an id.
pub(crate) fn old_file(path: &Path, id: KeyId) -> anyhow::Result<PathBuf> {
    Ok(with_suffix(&resolved(path)?, &format!(".old-{id}")))
}

/// Each step leaves a whole key under the name of the key.
fn put_in_place(file: &Path, next: &Path, old: KeyId) -> anyhow::Result<PathBuf> {
    let failed = || format!("failed to replace the master key file {}", file.display());
    let old_file = with_suffix(file, &format!(".old-{old}"));
    match std::fs::hard_link(file, &old_file) {
        // An earlier attempt came this far.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        linked => linked.with_context(failed)?,
    }
    sync_directory(file).with_context(failed)?;
    std::fs::rename(next, file).with_context(failed)?;
    sync_directory(file).with_context(failed)?;
    Ok(old_file)
}

/// The file itself, where a link leads to it: the new key belongs into its directory.
fn resolved(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("failed to read the master key file {}", path.display()))
}

fn new_file(file: &Path) -> PathBuf {
    with_suffix(file, ".new")
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes new and renamed files survive a power cut.
pub(super) fn sync_directory(file: &Path) -> std::io::Result<()> {
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}
