//! The database's files: creates them private, locks them, and detects that one was deleted or
//! replaced.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::process::{Resource, getrlimit};
use sqlx::error::DatabaseError;

use crate::storage::{Fault, StorageError};

/// File systems on which `flock` and SQLite's locks conflict, because both lock the same bytes on the
/// server.
const NETWORK_FILE_SYSTEMS: [&str; 7] =
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs"];

/// Size of the reserve file, in bytes: enough for the index of a WAL of 64 MiB.
const RESERVE: usize = 128 * 1024;
/// Bytes written to test for free space.
const PROBE: usize = 16 * 1024;
/// Upper bound for a single write of SQLite, in bytes.
const MAX_WRITE: u64 = 1024 * 1024;

/// The database's file, open and locked for as long as SQLite has it open.
///
/// Closing any descriptor of a file drops all POSIX locks of the process on it, and SQLite uses those
/// locks. This descriptor is therefore opened before SQLite opens the file and closed after SQLite has
/// closed it, and nothing else may open the file in between.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    file: File,
    path: PathBuf,
    identity: Identity,
}

/// The files that SQLite uses, as they were just after it opened them.
#[derive(Debug)]
pub(super) struct WatchedFiles {
    files: Vec<(PathBuf, Identity)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

impl DatabaseFile {
    /// Opens the file, creating it with mode 0600 if it is missing, and locks its inode. A second
    /// server is kept out even if it uses a symbolic or hard link, or if the lock file was removed.
    ///
    /// # Errors
    /// If the file cannot be created or opened, or another process holds the lock.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = open_private(path)?;
        let metadata = file.metadata()?;
        if is_on_network(metadata.dev()) {
            // There, `flock` and SQLite's own locks are the same locks and would conflict.
            tracing::warn!(file = %path.display(), "the database is on a network file system, where \
                 SQLite's locks are unreliable; only the lock file keeps out a second server");
        } else {
            lock(&file, path)?;
        }
        Ok(Self {
            path: path
                .canonicalize()
                .with_context(|| format!("failed to resolve {}", path.display()))?,
            identity: Identity::of(&metadata),
            file,
        })
    }

    pub(super) fn is_empty(&self) -> anyhow::Result<bool> {
        Ok(self.file.metadata()?.len() == 0)
    }

    /// Reserves space on the disk beside the database, for [`Self::free_reserve`].
    pub(super) fn keep_reserve(&self) {
        let path = self.reserve();
        if std::fs::metadata(&path).is_ok_and(|file| file.len() >= RESERVE as u64) {
            return;
        }
        // Random bytes, which no file system compresses away.
        let mut bytes = vec![0; RESERVE];
        let kept = getrandom::fill(&mut bytes).is_ok()
            && open_private(&path)
                .and_then(|mut file| {
                    file.set_len(0)?;
                    Ok(file.write_all(&bytes)?)
                })
                .is_ok();
        if !kept {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Removes the reserve file; returns whether it existed. SQLite needs a little space even to read a
    /// database that has a WAL: on a full disk, a server could not show its data without it.
    pub(super) fn free_reserve(&self) -> bool {
        std::fs::remove_file(self.reserve()).is_ok()
    }

    fn reserve(&self) -> PathBuf {
        beside(&self.path, ".reserve")
    }

    /// Records which files SQLite has opened, for [`WatchedFiles::changed`].
    ///
    /// # Errors
    /// If a file cannot be examined, or the database is not the file that was locked.
    pub(super) fn watch(&self) -> anyhow::Result<WatchedFiles> {
        let mut files = vec![(self.path.clone(), self.identity)];
        for suffix in ["-wal", "-shm"] {
            let file = beside(&self.path, suffix);
            match std::fs::metadata(&file) {
                Ok(metadata) => files.push((file, Identity::of(&metadata))),
                // SQLite cannot keep a WAL on this file system.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("failed to examine {}", file.display()));
                }
            }
        }
        let watched = WatchedFiles { files };
        match watched.changed() {
            None => Ok(watched),
            Some(fault) => Err(fault.into()),
        }
    }
}

impl WatchedFiles {
    /// Returns the fault if a file was deleted or replaced.
    pub(super) fn changed(&self) -> Option<Fault> {
        self.files.iter().find_map(|(file, opened)| {
            let change = match std::fs::metadata(file) {
                Ok(metadata) if Identity::of(&metadata) == *opened => return None,
                Ok(_) => "was replaced by another file",
                Err(error) => match error.kind() {
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                        "was deleted or moved away"
                    }
                    // A file that cannot be examined now is not known to have changed.
                    _ => return None,
                },
            };
            Some(Fault::Moved {
                file: file.display().to_string(),
                change,
            })
        })
    }
}

impl WatchedFiles {
    /// Returns [`StorageError::Full`] for a write that failed for lack of space. SQLite itself reports
    /// only a full disk as such; for an exceeded quota or file size limit it returns an I/O error.
    pub(super) fn explain(&self, error: StorageError) -> StorageError {
        match error {
            StorageError::Database(error) if is_failed_write(&error) && self.has_no_room() => {
                StorageError::Full
            }
            other => other,
        }
    }

    /// Returns whether nothing can be written beside the database, or a file has reached the file size
    /// limit.
    fn has_no_room(&self) -> bool {
        let size = |(file, _): &(PathBuf, Identity)| std::fs::metadata(file).map(|file| file.len());
        let sizes = self.files.iter().map(|file| size(file).unwrap_or_default());
        let largest = sizes.max().unwrap_or_default();
        let most = getrlimit(Resource::Fsize).current;
        if most.is_some_and(|most| largest.saturating_add(MAX_WRITE) >= most) {
            return true;
        }
        let Some((database, _)) = self.files.first() else {
            return false;
        };
        let path = beside(database, ".probe");
        let written = File::create(&path).and_then(|mut file| {
            // Not zeros, which some file systems do not store.
            file.write_all(&[b'x'; PROBE])?;
            file.sync_all()
        });
        let _ = std::fs::remove_file(path);
        written.is_err_and(|error| is_no_room(error.kind()))
    }
}

/// Returns whether an error means a lack of space: disk full, quota exceeded, or file too large.
fn is_no_room(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

/// Returns whether SQLite failed to write, truncate or sync a file.
fn is_failed_write(error: &sqlx::Error) -> bool {
    const IOERR_WRITE: &str = "778";
    const IOERR_FSYNC: &str = "1034";
    const IOERR_TRUNCATE: &str = "1546";
    let code = error.as_database_error().and_then(DatabaseError::code);
    matches!(
        code.as_deref(),
        Some(IOERR_WRITE | IOERR_FSYNC | IOERR_TRUNCATE)
    )
}

/// Locks the lock file beside the database, which keeps out a second server.
///
/// # Errors
/// If the file cannot be created, or another process holds the lock.
pub fn lock_beside(database: &Path) -> anyhow::Result<File> {
    let file = open_private(&beside(database, ".lock"))?;
    lock(&file, database)?;
    Ok(file)
}

fn lock(file: &File, database: &Path) -> anyhow::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(std::fs::TryLockError::WouldBlock) => anyhow::bail!(
            "the database {} is in use by another server; stop that server first, or set another \
             database with database.url",
            database.display()
        ),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("failed to lock {}", database.display()))
        }
    }
}

/// Returns the path with `suffix` appended to the file name.
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

/// Creates the file with mode 0600 before SQLite opens it; its `-wal` and `-shm` get the same mode.
///
/// # Errors
/// If the file does not exist and cannot be created.
pub fn create_private(path: &Path) -> anyhow::Result<()> {
    open_private(path).map(drop)
}

fn open_private(path: &Path) -> anyhow::Result<File> {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("failed to create or open {}", path.display()))?;
    // A file created by hand or under an older umask may be readable by others.
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(file = %path.display(), mode = format!("{:o}", mode & 0o777), "other users \
             could read this file; changed its mode to 0600");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Returns whether the device is a network file system, according to the mount table. An unknown device
/// counts as local.
fn is_on_network(device: u64) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    kind_of_mount(&mounts, device).is_some_and(|kind| NETWORK_FILE_SYSTEMS.contains(&kind))
}

/// Returns the file system type of a device in `/proc/self/mountinfo`.
fn kind_of_mount(mounts: &str, device: u64) -> Option<&str> {
    // As in glibc's `gnu_dev_major` and `gnu_dev_minor`.
    let major = ((device >> 8) & 0xfff) | ((device >> 32) & !0xfff);
    let minor = (device & 0xff) | ((device >> 12) & !0xff);
    let device = format!("{major}:{minor}");
    mounts.lines().find_map(|mount| {
        let is_it = mount.split(' ').nth(2) == Some(device.as_str());
        let (_, rest) = mount.split_once(" - ")?;
        rest.split(' ').next().filter(|_| is_it)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_mount_is_found_by_its_device() {
        let mounts = "\
            22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
            36 22 0:52 / /srv/with\\040blank rw,relatime shared:9 master:1 - nfs4 nas:/srv rw,vers=4.2\n\
            40 22 0:300 / /mnt rw - tmpfs tmpfs rw\n";
        assert_eq!(kind_of_mount(mounts, 0x801), Some("ext4"));
        assert_eq!(kind_of_mount(mounts, 52), Some("nfs4"));
        // Minor 300 is 0x12c: the low byte in place, the rest above the major number.
        assert_eq!(kind_of_mount(mounts, 0x10_002c), Some("tmpfs"));
        assert_eq!(kind_of_mount(mounts, 53), None);
    }

    #[test]
    fn a_file_is_locked_by_its_inode_whatever_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let first = DatabaseFile::open(&path).unwrap();
        let hard = directory.path().join("hard.db");
        std::fs::hard_link(&path, &hard).unwrap();
        let soft = directory.path().join("soft.db");
        std::os::unix::fs::symlink(&path, &soft).unwrap();
        for other in [&path, &hard, &soft] {
            let error = DatabaseFile::open(other).unwrap_err().to_string();
            assert!(error.contains("in use by another server"), "{error}");
            assert!(error.contains(&other.display().to_string()), "{error}");
        }
        drop(first);
        assert!(DatabaseFile::open(&hard).is_ok());
    }
}
