//! Limits of downloaded files in the operator's directory, per plugin and in total.
//!
//! A device decides how long a file is, and a plugin how many there are, so a download counts while it
//! grows. Removed files are noticed only when a limit is reached.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::capabilities::Result;
use crate::config::DevicesConfig;
use crate::disk::DiskSpace;
use crate::model::{ErrorCode, JobError};
use crate::storage::DownloadedFile;

/// How often the directory is searched for removed files.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(5);
/// Bytes of a download after which the free space is checked again.
const CHECK_BYTES: u64 = 4 << 20;

/// The operator's limits; 0 means no limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileLimits {
    all: Limit,
    plugin: Limit,
}

#[derive(Clone, Copy, Debug)]
struct Limit {
    bytes: u64,
    files: u64,
    bytes_key: &'static str,
    files_key: &'static str,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct FileUse {
    files: u64,
    bytes: u64,
}

impl From<&DevicesConfig> for FileLimits {
    fn from(config: &DevicesConfig) -> Self {
        Self {
            all: Limit {
                bytes: config.files_max_mb << 20,
                files: config.files_max_count,
                bytes_key: "devices.files_max_mb",
                files_key: "devices.files_max_count",
            },
            plugin: Limit {
                bytes: config.files_plugin_max_mb << 20,
                files: config.files_plugin_max_count,
                bytes_key: "devices.files_plugin_max_mb",
                files_key: "devices.files_plugin_max_count",
            },
        }
    }
}

impl Limit {
    fn check(&self, owner: &str, used: FileUse) -> Result<()> {
        let over = |key: &str, most: u64, unit: &str| {
            JobError::new(
                ErrorCode::LIMIT,
                format!(
                    "too many downloaded files: {owner} has {} files with {} bytes, and {key} allows \
                     {most} {unit}; remove some files from devices.files_dir",
                    used.files, used.bytes
                ),
            )
        };
        if self.files > 0 && used.files > self.files {
            return Err(over(self.files_key, self.files, "files"));
        }
        if self.bytes > 0 && used.bytes > self.bytes {
            return Err(over(self.bytes_key, self.bytes, "bytes"));
        }
        Ok(())
    }
}

/// The completed and running downloads, with their use.
#[derive(Debug)]
pub(super) struct Quota {
    limits: FileLimits,
    space: Arc<DiskSpace>,
    usage: Mutex<Usage>,
}

#[derive(Debug, Default)]
struct Usage {
    files: HashMap<String, (String, u64)>,
    plugins: HashMap<String, FileUse>,
    all: FileUse,
    reconciled: Option<Instant>,
}

impl Quota {
    pub(super) fn new(
        limits: FileLimits,
        space: Arc<DiskSpace>,
        files: Vec<DownloadedFile>,
    ) -> Arc<Self> {
        let mut usage = Usage::default();
        for file in files {
            usage.insert(file.path, &file.plugin, file.bytes);
        }
        Arc::new(Self {
            limits,
            space,
            usage: Mutex::new(usage),
        })
    }

    /// Admits one more download, with no bytes yet.
    ///
    /// # Errors
    /// Code `limit`, with the key of the limit and the use; also if the disk is nearly full.
    pub(super) fn begin(self: &Arc<Self>, plugin: &str, path: &str) -> Result<Charge> {
        self.check_space()?;
        let mut usage = self.usage.lock();
        let replaced = usage.files.get(path).map(|(owner, _)| owner.as_str());
        let is_new = u64::from(replaced.is_none());
        let is_new_of_plugin = u64::from(replaced != Some(plugin));
        self.check(
            &usage,
            plugin,
            FileUse {
                files: is_new,
                bytes: 0,
            },
            FileUse {
                files: is_new_of_plugin,
                bytes: 0,
            },
        )?;
        usage.add(plugin, 1, 0);
        Ok(Charge {
            quota: Arc::clone(self),
            plugin: plugin.to_owned(),
            path: path.to_owned(),
            bytes: 0,
            checked: 0,
        })
    }

    /// Returns the files to check for removal, or `None` if they were checked recently.
    pub(super) fn paths_to_reconcile(&self) -> Option<Vec<String>> {
        let mut usage = self.usage.lock();
        let recently = |at: Instant| at.elapsed() < RECONCILE_INTERVAL;
        if usage.reconciled.is_some_and(recently) {
            return None;
        }
        usage.reconciled = Some(Instant::now());
        Some(usage.files.keys().cloned().collect())
    }

    /// Corrects the sizes of files; `None` means that the file was removed.
    pub(super) fn reconcile(&self, found: Vec<(String, Option<u64>)>) {
        let mut usage = self.usage.lock();
        for (path, bytes) in found {
            if let Some((plugin, _)) = usage.remove(&path)
                && let Some(bytes) = bytes
            {
                usage.insert(path, &plugin, bytes);
            }
        }
    }

    fn check(&self, usage: &Usage, plugin: &str, all: FileUse, own: FileUse) -> Result<()> {
        let plus = |used: FileUse, more: FileUse| FileUse {
            files: used.files + more.files,
            bytes: used.bytes + more.bytes,
        };
        let of_plugin = usage.plugins.get(plugin).copied().unwrap_or_default();
        let owner = format!("with this file, plugin `{plugin}`");
        self.limits.plugin.check(&owner, plus(of_plugin, own))?;
        let owner = "with this file, the directory";
        self.limits.all.check(owner, plus(usage.all, all))
    }

    fn check_space(&self) -> Result<()> {
        self.space
            .check()
            .map_err(|low| JobError::new(ErrorCode::LIMIT, low.to_string()))
    }
}

impl Usage {
    fn add(&mut self, plugin: &str, files: u64, bytes: u64) {
        let of_plugin = self.plugins.entry(plugin.to_owned()).or_default();
        for used in [of_plugin, &mut self.all] {
            used.files += files;
            used.bytes += bytes;
        }
    }

    fn subtract(&mut self, plugin: &str, files: u64, bytes: u64) {
        let of_plugin = self.plugins.entry(plugin.to_owned()).or_default();
        for used in [of_plugin, &mut self.all] {
            used.files = used.files.saturating_sub(files);
            used.bytes = used.bytes.saturating_sub(bytes);
        }
    }

    fn insert(&mut self, path: String, plugin: &str, bytes: u64) {
        self.remove(&path);
        self.add(plugin, 1, bytes);
        self.files.insert(path, (plugin.to_owned(), bytes));
    }

    fn remove(&mut self, path: &str) -> Option<(String, u64)> {
        let (plugin, bytes) = self.files.remove(path)?;
        self.subtract(&plugin, 1, bytes);
        Some((plugin, bytes))
    }
}

/// A running download. It counts until it is dropped or has settled.
#[derive(Debug)]
pub(super) struct Charge {
    quota: Arc<Quota>,
    plugin: String,
    path: String,
    bytes: u64,
    /// The size at which the free space was last checked, in bytes.
    checked: u64,
}

impl Charge {
    fn grow(&mut self, bytes: u64) -> Result<()> {
        if self.bytes + bytes >= self.checked + CHECK_BYTES {
            self.checked = self.bytes + bytes;
            self.quota.check_space()?;
        }
        let mut usage = self.quota.usage.lock();
        // The file that this one replaces still exists and counts, so it is subtracted here.
        let replaced = usage.files.get(&self.path);
        let files = u64::from(replaced.is_some());
        let own = replaced.filter(|(owner, _)| *owner == self.plugin);
        let without = |mut used: FileUse, files, bytes| {
            used.files = used.files.saturating_sub(files);
            used.bytes = used.bytes.saturating_sub(bytes);
            used
        };
        let all = without(usage.all, files, replaced.map_or(0, |(_, bytes)| *bytes));
        let of_plugin = usage.plugins.get(&self.plugin).copied().unwrap_or_default();
        let of_plugin = without(
            of_plugin,
            u64::from(own.is_some()),
            own.map_or(0, |(_, bytes)| *bytes),
        );
        let limits = self.quota.limits;
        let more = |used: FileUse| FileUse {
            bytes: used.bytes + bytes,
            ..used
        };
        let owner = format!("with this file, plugin `{}`", self.plugin);
        limits.plugin.check(&owner, more(of_plugin))?;
        limits
            .all
            .check("with this file, the directory", more(all))?;
        usage.add(&self.plugin, 0, bytes);
        self.bytes += bytes;
        Ok(())
    }

    /// Counts the download as a completed file.
    pub(super) fn settle(self) -> DownloadedFile {
        let file = DownloadedFile {
            path: self.path.clone(),
            plugin: self.plugin.clone(),
            bytes: self.bytes,
        };
        let quota = Arc::clone(&self.quota);
        drop(self);
        quota
            .usage
            .lock()
            .insert(file.path.clone(), &file.plugin, file.bytes);
        file
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.quota
            .usage
            .lock()
            .subtract(&self.plugin, 1, self.bytes);
    }
}

/// A file that enforces its limits while it is written.
#[derive(Debug)]
pub(super) struct LimitedFile {
    file: tokio::fs::File,
    charge: Charge,
    exceeded: Option<JobError>,
}

impl LimitedFile {
    pub(super) fn new(file: tokio::fs::File, charge: Charge) -> Self {
        Self {
            file,
            charge,
            exceeded: None,
        }
    }

    /// Flushes and closes the file. Returns the charge, or the limit that was exceeded.
    pub(super) async fn close(mut self) -> (io::Result<()>, std::result::Result<Charge, JobError>) {
        let flushed = self.file.shutdown().await;
        (flushed, self.exceeded.map_or(Ok(self.charge), Err))
    }
}

impl AsyncWrite for LimitedFile {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Charges all bytes first; those that the file does not accept are returned below.
        if let Err(error) = self.charge.grow(bytes.len() as u64) {
            let message = error.message.clone();
            self.exceeded = Some(error);
            return Poll::Ready(Err(io::Error::other(message)));
        }
        let written = Pin::new(&mut self.file).poll_write(context, bytes);
        let taken = match &written {
            Poll::Ready(Ok(taken)) => *taken,
            _ => 0,
        };
        self.charge.shrink((bytes.len() - taken) as u64);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_shutdown(context)
    }
}

impl Charge {
    fn shrink(&mut self, bytes: u64) {
        self.quota.usage.lock().subtract(&self.plugin, 0, bytes);
        self.bytes -= bytes;
    }
}
