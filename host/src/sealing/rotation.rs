//! Master key rotation.
//!
//! The new key is written beside the old one, all secrets are sealed with it in one transaction, and
//! then it replaces the old one. If this is interrupted at any point, the key that the database was
//! sealed with exists under one of two names, and the next start finds it:
//!
//! 1. `KEY` is the old key, `KEY.new` the new one; the database is sealed with the old one.
//! 2. The same files, but the database is sealed with the new one: [`complete`] finishes the rotation.
//! 3. `KEY` is the new key, `KEY.old-ID` the old one, for backups of the database.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::{KeyId, MasterKey, is_version1};
use crate::connections::resealed_with;
use crate::storage::{ConnectionChange, MASTER_KEY_CHECK, Storage};

/// The result of a key rotation.
#[derive(Debug)]
pub struct Rotated {
    pub old: KeyId,
    pub new: KeyId,
    /// Path of the old key.
    pub old_file: PathBuf,
    /// Number of connections with secrets sealed with the new key.
    pub connections: usize,
    /// Descriptions of values that could not be opened with the old key, and are unchanged.
    pub left: Vec<String>,
}

/// Replaces the key in a file. No server may use the database at the same time.
///
/// # Errors
/// If the file is not the key of this database, or a step fails. After a failure in any step, the
/// database still opens with the key in place, or with the one that the next start puts there.
pub async fn rotate(storage: &dyn Storage, path: &Path) -> anyhow::Result<Rotated> {
    let Some(check) = storage.meta(MASTER_KEY_CHECK).await? else {
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

/// Finishes a rotation that was interrupted after the database was sealed with the new key.
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

/// Returns where a rotation keeps the old key with this id.
pub(crate) fn old_file(path: &Path, id: KeyId) -> anyhow::Result<PathBuf> {
    Ok(with_suffix(&resolved(path)?, &format!(".old-{id}")))
}

/// Replaces the key file. After each step there is a complete key under the configured name.
fn put_in_place(file: &Path, next: &Path, old: KeyId) -> anyhow::Result<PathBuf> {
    let failed = || format!("failed to replace the master key file {}", file.display());
    let old_file = with_suffix(file, &format!(".old-{old}"));
    match std::fs::hard_link(file, &old_file) {
        // Created by an earlier attempt.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        linked => linked.with_context(failed)?,
    }
    sync_directory(file).with_context(failed)?;
    std::fs::rename(next, file).with_context(failed)?;
    sync_directory(file).with_context(failed)?;
    Ok(old_file)
}

/// Resolves links, because the new key has to be in the directory of the actual file.
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

/// Makes creations and renames survive a power failure.
pub(super) fn sync_directory(file: &Path) -> std::io::Result<()> {
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}
