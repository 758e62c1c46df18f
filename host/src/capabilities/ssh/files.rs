//! Files: from the operator's directory to a device, and back into it.
//!
//! A job names files of `devices.files_dir` and nothing else of this machine: no way leads out of
//! that directory, by `..`, by an absolute path or by a symbolic link.

use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt as _, OpenOptions, OpenOptionsExt as _};
use netssh_core::{Error as SshError, Transfer, TransferOptions};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use super::{Began, Device, JobContext, Kept, Result, ssh_failed};
use crate::capabilities::limits;
use crate::capabilities::policy::{check_line, check_visible};
use crate::model::{CommandKind, ErrorCode, JobError};

/// The operator's directory of files.
#[derive(Clone)]
pub struct Files(Arc<Dir>);

impl Files {
    /// Opens the directory.
    ///
    /// # Errors
    /// It is not there, or no directory.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let directory = Dir::open_ambient_dir(directory, ambient_authority())?;
        Ok(Self(Arc::new(directory)))
    }

    async fn read(&self, path: &str) -> io::Result<(tokio::fs::File, u64)> {
        let (directory, path) = (Arc::clone(&self.0), path.to_owned());
        blocking(move || {
            let file = directory.open(&path)?;
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "is no file"));
            }
            let size = metadata.len();
            Ok((tokio::fs::File::from_std(file.into_std()), size))
        })
        .await
    }

    /// A new file beside the one that is to be, of a name that nobody else has: it takes its place
    /// when it is whole.
    async fn create(&self, path: &str) -> io::Result<(Part, tokio::fs::File)> {
        let part = Part {
            directory: Arc::clone(&self.0),
            path: path.to_owned(),
            name: format!("{path}.{}.part", Uuid::now_v7().simple()),
        };
        blocking(move || {
            if let Some(parent) = Path::new(&part.path).parent() {
                let mut builder = DirBuilder::new();
                builder.recursive(true).mode(0o700);
                part.directory.create_dir_with(parent, &builder)?;
            }
            // A device's configuration holds secrets.
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let file = part.directory.open_with(&part.name, &options)?;
            Ok((part, tokio::fs::File::from_std(file.into_std())))
        })
        .await
    }
}

/// A download that is not whole yet.
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
    done.unwrap_or_else(|_| Err(io::Error::other("it was not done")))
}

impl JobContext {
    /// Writes a file of the operator's directory to the device.
    ///
    /// # Errors
    /// Code `not_found` for a file that is not in the directory, `refused` in the device's words,
    /// `unsupported` where the device takes no files or the operator gives none.
    pub async fn ssh_upload(&self, device: &Device, file: &str, remote: &str) -> Result<Transfer> {
        self.may_upload().await?;
        check_names(file, remote)?;
        let files = self.files()?;
        let opened = files.read(file).await;
        let (mut source, size) = opened.map_err(|error| not_a_file(file, &error))?;
        let what = format!("upload {file} to {remote}");
        let began = Began::noted(self.begin_write(device, CommandKind::Upload, &what).await?);
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
        let outcome = self.unless_stopped(call).await;
        self.record_transfer(device, CommandKind::Upload, &what, began, outcome)
            .await
    }

    /// Writes a file of the device into the operator's directory, in place of one of that name.
    ///
    /// # Errors
    /// As [`Self::ssh_upload`]; `limit` is part of the message for a file that is too large.
    pub async fn ssh_download(
        &self,
        device: &Device,
        remote: &str,
        file: &str,
    ) -> Result<Transfer> {
        self.may_download().await?;
        check_names(file, remote)?;
        let files = self.files()?;
        let created = files.create(file).await;
        let (part, mut sink) = created.map_err(|error| not_a_file(file, &error))?;
        let what = format!("download {remote} to {file}");
        let began = Began::now();
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
        let outcome = self.unless_stopped(call).await;
        let flushed = sink.shutdown().await;
        let whole = matches!(outcome, Ok(Ok(_))) && flushed.is_ok();
        let finished = part.finish(whole).await;
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
                "there are no files to transfer: the operator sets devices.files_dir",
            )
        })
    }

    /// A transfer is a result like any other: what was asked, and what came of it.
    async fn record_transfer(
        &self,
        device: &Device,
        kind: CommandKind,
        what: &str,
        began: Began,
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
        let kept = Kept {
            output,
            error,
            ..Kept::default()
        };
        self.store(device, kind, what, began, kept).await?;
        outcome
    }
}

/// Checks the names of a transfer's two files.
fn check_names(file: &str, remote: &str) -> Result<()> {
    for name in [file, remote] {
        check_line("a file's name", name)?;
        check_visible("a file's name", name)?;
    }
    Ok(())
}

/// Says how far a transfer is, ten times.
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
        _ => ErrorCode::INVALID,
    };
    JobError::new(
        code,
        format!("`{file}` in the operator's directory of files: {error}"),
    )
}
