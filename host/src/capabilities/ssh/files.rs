//! File transfers between the operator's directory and devices.
//!
//! A job can only name files inside `devices.files_dir`: neither `..`, an absolute path nor a symbolic
//! link leads out of it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt as _, OpenOptions, OpenOptionsExt as _};
use chrono::{DateTime, Utc};
use netssh_core::{Error as SshError, Transfer, TransferOptions};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::quota::{Charge, LimitedFile, Quota};
use super::{Device, ExchangeStart, JobContext, Result, StoredOutput, ssh_failed};
use crate::capabilities::policy::{check_line, check_visible};
use crate::capabilities::{limits, storage_failed};
use crate::config::DevicesConfig;
use crate::disk::DiskSpace;
use crate::model::{CommandKind, ErrorCode, JobError};
use crate::storage::{DownloadStore, DownloadedFile};

/// Maximum depth of the search for leftovers of downloads.
const DEPTH: usize = 32;

/// The operator's directory for file transfers.
#[derive(Clone)]
pub struct Files {
    directory: Arc<Dir>,
    quota: Arc<Quota>,
    /// Held while the files are compared with their records, and while a file and its record are
    /// added: otherwise a file that was just added could lose its record.
    records: Arc<Mutex<()>>,
}

impl Files {
    /// Opens the directory and removes partial downloads left by an earlier process. `downloaded` are
    /// the files that jobs have downloaded so far.
    ///
    /// # Errors
    /// If the path does not exist or is not a directory.
    pub async fn open(
        path: &Path,
        config: &DevicesConfig,
        space: Arc<DiskSpace>,
        downloaded: Vec<DownloadedFile>,
    ) -> io::Result<Self> {
        let directory = Arc::new(Dir::open_ambient_dir(path, ambient_authority())?);
        let quota = Quota::new(config.into(), space, downloaded);
        let (swept, began) = (Arc::clone(&directory), Utc::now());
        let removed = blocking(move || Ok(remove_parts(&swept, began, DEPTH))).await?;
        if removed > 0 {
            tracing::info!(files = removed, directory = %path.display(), "removed parts of unfinished \
                 downloads");
        }
        Ok(Self {
            directory,
            quota,
            records: Arc::default(),
        })
    }

    /// Admits a download to a file. If a limit is reached, first checks for files that were removed by
    /// hand, which no longer count.
    async fn admit(&self, storage: &dyn DownloadStore, plugin: &str, path: &str) -> Result<Charge> {
        let path = normal(path);
        let refused = match self.quota.begin(plugin, &path) {
            Ok(charge) => return Ok(charge),
            Err(refused) => refused,
        };
        let Some(paths) = self.quota.paths_to_reconcile() else {
            return Err(refused);
        };
        let _records = self.records.lock().await;
        let directory = Arc::clone(&self.directory);
        let size = move |path: &String| directory.metadata(path).ok().map(|file| file.len());
        let found = blocking(move || {
            let found = paths.into_iter().map(|path| (size(&path), path));
            Ok(found.map(|(size, path)| (path, size)).collect::<Vec<_>>())
        });
        let found = found
            .await
            .map_err(|error| not_a_file("the directory", &error))?;
        let gone = found.iter().filter(|(_, size)| size.is_none());
        let gone: Vec<_> = gone.map(|(path, _)| path.clone()).collect();
        self.quota.reconcile(found);
        storage
            .forget_downloaded_files(&gone)
            .await
            .map_err(|error| storage_failed(&error))?;
        self.quota.begin(plugin, &path)
    }

    async fn read(&self, path: &str) -> io::Result<(tokio::fs::File, u64)> {
        let (directory, path) = (Arc::clone(&self.directory), path.to_owned());
        blocking(move || {
            let file = directory.open(&path)?;
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "not a regular file",
                ));
            }
            let size = metadata.len();
            Ok((tokio::fs::File::from_std(file.into_std()), size))
        })
        .await
    }

    /// Creates a temporary file with a unique name next to the destination, which it replaces once
    /// complete.
    async fn create(&self, path: &str) -> io::Result<(Part, tokio::fs::File)> {
        let part = Part {
            directory: Arc::clone(&self.directory),
            path: path.to_owned(),
            name: format!("{path}.{}.part", Uuid::now_v7().simple()),
        };
        blocking(move || {
            if let Some(parent) = Path::new(&part.path).parent() {
                let mut builder = DirBuilder::new();
                builder.recursive(true).mode(0o700);
                part.directory.create_dir_with(parent, &builder)?;
            }
            // A device's configuration contains secrets.
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let file = part.directory.open_with(&part.name, &options)?.into_std();
            // The lock keeps other processes from removing the file as a leftover while it is open.
            // Without file locks on the file system, this process works the same.
            let _ = file.try_lock();
            Ok((part, tokio::fs::File::from_std(file)))
        })
        .await
    }
}

/// Normalizes a path: `a/./b` and `a//b` become `a/b`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Removes leftovers of downloads that began before a time. Returns how many files were removed.
fn remove_parts(directory: &Dir, before: DateTime<Utc>, depth: usize) -> usize {
    let Ok(entries) = directory.entries() else {
        return 0;
    };
    let mut removed = 0;
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() && depth > 0 {
            removed += entry
                .open_dir()
                .map_or(0, |directory| remove_parts(&directory, before, depth - 1));
        } else if kind.is_file() && is_part(&entry.file_name().to_string_lossy(), before) {
            let opened = entry.open_with(OpenOptions::new().write(true));
            let left = opened.is_ok_and(|file| file.into_std().try_lock().is_ok());
            removed += usize::from(left && entry.remove_file().is_ok());
        }
    }
    removed
}

/// Returns whether [`Files::create`] chose a file name before a time.
fn is_part(name: &str, before: DateTime<Utc>) -> bool {
    let id = name
        .strip_suffix(".part")
        .and_then(|name| name.rsplit_once('.'))
        .filter(|(_, id)| id.len() == 32)
        .and_then(|(_, id)| Uuid::try_parse(id).ok());
    let made = id.and_then(|id| id.get_timestamp());
    made.is_some_and(|made| {
        let (seconds, _) = made.to_unix();
        i64::try_from(seconds).is_ok_and(|seconds| seconds < before.timestamp())
    })
}

/// An incomplete download.
struct Part {
    directory: Arc<Dir>,
    path: String,
    name: String,
}

impl Part {
    async fn finish(self, whole: bool) -> io::Result<()> {
        blocking(move || {
            if whole {
                let renamed = self
                    .directory
                    .rename(&self.name, &self.directory, &self.path);
                if renamed.is_ok() {
                    return Ok(());
                }
                let _ = self.directory.remove_file(&self.name);
                return renamed;
            }
            self.directory.remove_file(&self.name)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(io::Error::other("the file operation failed")))
}

impl JobContext {
    /// Sends a file from the operator's directory to the device.
    ///
    /// # Errors
    /// Code `not_found` for a file that is not in the directory, `refused` with the device's message,
    /// `unsupported` if the device accepts no files or the operator configured no directory.
    pub async fn ssh_upload(&self, device: &Device, file: &str, remote: &str) -> Result<Transfer> {
        self.may_upload().await?;
        check_names(file, remote)?;
        let files = self.files()?;
        let opened = files.read(file).await;
        let (mut source, size) = opened.map_err(|error| not_a_file(file, &error))?;
        let what = format!("upload {file} to {remote}");
        let began =
            ExchangeStart::noted(self.begin_write(device, CommandKind::Upload, &what).await?);
        let live = self.watch(device, &what, began.at);
        let mut progress = Tenths::default();
        let mut watch = |done, of| progress.tell(done, of, &mut |line| live.push(line));
        let options = TransferOptions {
            progress: Some(&mut watch),
            ..TransferOptions::default()
        };
        let call = async {
            let mut using = device.lock().await;
            Ok(using
                .session()?
                .upload(&mut source, size, remote, options)
                .await)
        };
        let outcome = self
            .unless_cut_off(|| device.cut_off(&what, true), call)
            .await;
        self.record_transfer(device, CommandKind::Upload, &what, began, outcome)
            .await
    }

    /// Downloads a file from the device into the operator's directory and replaces a file of the same
    /// name.
    ///
    /// # Errors
    /// Like [`Self::ssh_upload`]; for a file that is too large, the message contains the limit.
    pub async fn ssh_download(
        &self,
        device: &Device,
        remote: &str,
        file: &str,
    ) -> Result<Transfer> {
        self.may_download().await?;
        check_names(file, remote)?;
        let files = self.files()?;
        let storage = &*self.services.storage;
        let charge = files.admit(storage, &self.job.plugin, file).await?;
        let created = files.create(file).await;
        let (part, sink) = created.map_err(|error| not_a_file(file, &error))?;
        let mut sink = LimitedFile::new(sink, charge);
        let what = format!("download {remote} to {file}");
        let began = ExchangeStart::now();
        let live = self.watch(device, &what, began.at);
        let mut progress = Tenths::default();
        let mut watch = |done, of| progress.tell(done, of, &mut |line| live.push(line));
        let options = TransferOptions {
            progress: Some(&mut watch),
            limit: limits::FILE_BYTES,
            ..TransferOptions::default()
        };
        let call = async {
            let mut using = device.lock().await;
            Ok(using.session()?.download(remote, &mut sink, options).await)
        };
        let outcome = self
            .unless_cut_off(|| device.cut_off(&what, false), call)
            .await;
        let (flushed, charge) = sink.close().await;
        let whole = matches!(outcome, Ok(Ok(_))) && flushed.is_ok();
        let records = files.records.lock().await;
        let finished = part.finish(whole).await;
        let outcome = match charge {
            Ok(charge) if whole && finished.is_ok() => {
                let file = charge.settle();
                if let Err(error) = storage.add_downloaded_file(&file).await {
                    // It still counts against the limits until the process ends.
                    tracing::warn!(%error, file = file.path, "failed to record a downloaded file");
                }
                outcome
            }
            Ok(_) => outcome,
            Err(exceeded) => Err(exceeded),
        };
        drop(records);
        let transfer = self
            .record_transfer(device, CommandKind::Download, &what, began, outcome)
            .await?;
        flushed
            .and(finished)
            .map_err(|error| not_a_file(file, &error))?;
        Ok(transfer)
    }

    fn files(&self) -> Result<Files> {
        self.services.files.clone().ok_or_else(|| {
            JobError::new(
                "unsupported",
                "file transfers are not available: devices.files_dir is not set in the server's \
                 configuration",
            )
        })
    }

    /// Stores a transfer as a result: the request, then its outcome.
    async fn record_transfer(
        &self,
        device: &Device,
        kind: CommandKind,
        what: &str,
        began: ExchangeStart,
        outcome: Result<std::result::Result<Transfer, SshError>>,
    ) -> Result<Transfer> {
        let outcome = match outcome {
            Ok(Ok(transfer)) => Ok(transfer),
            Ok(Err(error)) => Err(ssh_failed(&device.target, what, &error)),
            Err(stopped) => Err(stopped),
        };
        let (output, error) = match &outcome {
            Ok(transfer) => (
                format!("{} bytes, SHA-256 {}", transfer.bytes, transfer.sha256),
                None,
            ),
            Err(error) => (String::new(), Some(error.message.clone())),
        };
        let kept = StoredOutput {
            output,
            error,
            ..StoredOutput::default()
        };
        self.store(device, kind, what, began, kept).await?;
        outcome
    }
}

/// Checks the names of both files of a transfer.
fn check_names(file: &str, remote: &str) -> Result<()> {
    for name in [file, remote] {
        check_line("a file name", name)?;
        check_visible("a file name", name)?;
    }
    Ok(())
}

/// Reports the progress of a transfer in steps of a tenth.
#[derive(Default)]
struct Tenths(u64);

impl Tenths {
    fn tell(&mut self, done: u64, of: u64, say: &mut dyn FnMut(&str)) {
        let tenth = done.saturating_mul(10) / of.max(1);
        if tenth > self.0 {
            self.0 = tenth;
            say(&format!("{done} of {of} bytes\n"));
        }
    }
}

fn not_a_file(file: &str, error: &io::Error) -> JobError {
    let code = match error.kind() {
        io::ErrorKind::NotFound => ErrorCode::NOT_FOUND,
        io::ErrorKind::PermissionDenied => ErrorCode::DENIED,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorCode::LIMIT
        }
        _ => ErrorCode::INVALID,
    };
    JobError::new(code, format!("`{file}` in devices.files_dir: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_one_file_are_the_same() {
        for path in ["a/b", "./a//b", "a/./b", "a/c/../b"] {
            assert_eq!(normal(path), "a/b");
        }
    }

    #[test]
    fn parts_of_an_earlier_process_are_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir(root.join("below")).unwrap();
        let id = Uuid::now_v7().simple();
        let kept = ["image.part", "image.00000000.part", "image.bin", "x.4.part"];
        for name in kept {
            std::fs::write(root.join(name), "").unwrap();
        }
        let foreign = format!("core1.cfg.{}.part", Uuid::new_v4().simple());
        std::fs::write(root.join(&foreign), "").unwrap();
        for name in ["core1.cfg", "below/core2.cfg"] {
            std::fs::write(root.join(format!("{name}.{id}.part")), "half").unwrap();
        }
        let opened = Dir::open_ambient_dir(root, ambient_authority()).unwrap();
        let now = Utc::now();
        assert_eq!(
            remove_parts(&opened, now - chrono::TimeDelta::hours(1), DEPTH),
            0
        );
        assert_eq!(
            remove_parts(&opened, now + chrono::TimeDelta::seconds(2), DEPTH),
            2
        );
        let left = std::fs::read_dir(root).unwrap().count();
        assert_eq!(
            left,
            kept.len() + 2,
            "the foreign file and the directory are left"
        );
    }
}
