//! Session logs: the traffic with each device, one file per connection, written by a separate thread so
//! that a slow disk does not block sessions.
//!
//! The log itself says what is missing: [`SessionLogFile`] reports failed writes, this module entries
//! that were dropped before.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use netssh_core::{SessionLog, SessionLogEntry, SessionLogFile};
use parking_lot::Mutex;

use crate::config::DevicesConfig;

/// Maximum number of pending entries. Further ones are dropped and counted.
const WAITING: usize = 1024;
/// Maximum number of open files.
const OPEN_FILES: usize = 64;
/// Retry interval for incomplete logs, if there is no new entry.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Interval at which the directory is checked for old or excess files.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// The directory is also checked after writing this fraction (1/16) of the maximum total size.
const SWEEPS_PER_SIZE: u64 = 16;

/// Limits on the disk usage of session logs.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum size of a file.
    file_bytes: u64,
    /// Number of older files kept per connection.
    older: usize,
    /// Maximum total size; `None` for no limit.
    max_bytes: Option<u64>,
    /// Maximum age of the last entry of a file.
    max_age: Option<Duration>,
}

impl From<&DevicesConfig> for Limits {
    fn from(config: &DevicesConfig) -> Self {
        let days = config.session_log_days;
        let max = config.session_log_max_mb;
        Self {
            file_bytes: config.session_log_file_mb << 20,
            older: config.session_log_files,
            max_bytes: (max > 0).then_some(max << 20),
            max_age: (days > 0).then(|| Duration::from_secs(u64::from(days) * 86_400)),
        }
    }
}

/// The logs of all connections.
#[derive(Clone, Debug)]
pub struct SessionLogs {
    entries: SyncSender<(Arc<str>, SessionLogEntry)>,
    lost: Arc<Lost>,
}

/// The log of one connection.
#[derive(Debug)]
struct ConnectionLog {
    connection: Arc<str>,
    logs: SessionLogs,
}

/// Entries dropped because the queue was full, by connection.
#[derive(Debug, Default)]
struct Lost {
    any: AtomicBool,
    of: Mutex<HashMap<Arc<str>, Missing>>,
}

#[derive(Debug)]
struct Missing {
    bytes: u64,
    from: SystemTime,
    to: SystemTime,
}

impl SessionLogs {
    /// Creates the directory and starts the writer thread, which ends once all logs are dropped.
    ///
    /// # Errors
    /// If the directory or the thread cannot be created.
    pub fn start(directory: &Path, limits: Limits) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let (entries, waiting) = sync_channel(WAITING);
        let lost = Arc::new(Lost::default());
        let writer = Writer {
            directory: directory.to_owned(),
            limits,
            open: HashMap::new(),
            lost: Arc::clone(&lost),
            written: 0,
        };
        std::thread::Builder::new()
            .name("session-logs".to_owned())
            .spawn(move || writer.run(&waiting))?;
        Ok(Self { entries, lost })
    }

    /// Returns the log of a connection. The name must be valid as a file name.
    #[must_use]
    pub fn of(&self, connection: &str) -> Arc<dyn SessionLog> {
        Arc::new(ConnectionLog {
            connection: connection.into(),
            logs: self.clone(),
        })
    }
}

impl SessionLog for ConnectionLog {
    fn name(&self) -> &str {
        &self.connection
    }

    fn write(&self, entry: &SessionLogEntry) {
        let sent = (Arc::clone(&self.connection), entry.clone());
        if self.logs.entries.try_send(sent).is_err() {
            self.logs.lost.add(&self.connection, entry);
        }
    }
}

impl Lost {
    fn add(&self, connection: &Arc<str>, entry: &SessionLogEntry) {
        let mut of = self.of.lock();
        let missing = of.entry(Arc::clone(connection)).or_insert(Missing {
            bytes: 0,
            from: entry.time,
            to: entry.time,
        });
        missing.bytes += entry.text.len() as u64;
        missing.to = entry.time;
        self.any.store(true, Ordering::Release);
    }

    /// Removes and returns the loss of a connection, if it began before a time.
    fn take_before(&self, connection: &Arc<str>, time: SystemTime) -> Option<Missing> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut of = self.of.lock();
        of.get(connection).filter(|lost| lost.from <= time)?;
        let missing = of.remove(connection);
        self.any.store(!of.is_empty(), Ordering::Release);
        missing
    }

    fn take_all(&self) -> HashMap<Arc<str>, Missing> {
        let mut of = self.of.lock();
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut of)
    }
}

struct Writer {
    directory: PathBuf,
    limits: Limits,
    open: HashMap<Arc<str>, SessionLogFile>,
    lost: Arc<Lost>,
    /// Bytes of entries since the last check of the directory.
    written: u64,
}

impl Writer {
    fn run(mut self, waiting: &Receiver<(Arc<str>, SessionLogEntry)>) {
        let mut swept = None;
        // Whether a loss is not reported in its log yet.
        let mut incomplete = false;
        let mut retried = Instant::now();
        loop {
            let due = swept.is_none_or(|at: Instant| at.elapsed() >= SWEEP_INTERVAL);
            let grown = self.limits.max_bytes.map(|max| max / SWEEPS_PER_SIZE);
            if due || grown.is_some_and(|grown| self.written > grown) {
                self.sweep();
                swept = Some(Instant::now());
            }
            let pause = match incomplete || self.lost.any.load(Ordering::Acquire) {
                true => RETRY_INTERVAL,
                false => SWEEP_INTERVAL,
            };
            match waiting.recv_timeout(pause) {
                Ok((connection, entry)) => incomplete |= !self.write(&connection, &entry),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if retried.elapsed() >= RETRY_INTERVAL {
                retried = Instant::now();
                incomplete = !self.report_missing();
            }
        }
        self.report_missing();
    }

    /// Writes an entry; returns whether its log is complete or reports all losses.
    fn write(&mut self, connection: &Arc<str>, entry: &SessionLogEntry) -> bool {
        self.written += entry.text.len() as u64;
        let lost = self.lost.take_before(connection, entry.time);
        let file = self.file(connection);
        if let Some(lost) = lost {
            add_lost(connection, file, &lost);
        }
        file.write(entry);
        file.is_complete()
    }

    /// Reports all losses in the logs; returns whether that succeeded.
    fn report_missing(&mut self) -> bool {
        for (connection, lost) in self.lost.take_all() {
            add_lost(&connection, self.file(&connection), &lost);
        }
        let mut complete = true;
        for file in self.open.values() {
            complete &= file.report_missing();
        }
        complete
    }

    fn file(&mut self, connection: &Arc<str>) -> &SessionLogFile {
        if self.open.len() >= OPEN_FILES && !self.open.contains_key(connection) {
            self.open.retain(|_, file| {
                file.release();
                !file.is_complete()
            });
        }
        let limits = self.limits;
        self.open.entry(Arc::clone(connection)).or_insert_with(|| {
            let path = self.directory.join(format!("{connection}.log"));
            SessionLogFile::new(path, limits.file_bytes).keeping(limits.older)
        })
    }

    /// Removes files that are too old, and the least recently written ones while the total is too
    /// large.
    fn sweep(&mut self) {
        self.written = 0;
        if self.limits.max_bytes.is_none() && self.limits.max_age.is_none() {
            return;
        }
        match self.remove_superfluous() {
            Ok(()) => {}
            // The next entry creates the directory again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, directory = %self.directory.display(), "failed to remove old session logs");
            }
        }
    }

    fn remove_superfluous(&mut self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap_or_default();
            // Another program may have removed it meanwhile.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_file() && is_log(&name) {
                files.push((metadata.modified()?, metadata.len(), name));
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        let oldest = self.limits.max_age.map(|age| SystemTime::now() - age);
        for (modified, bytes, name) in files {
            let too_old = oldest.is_some_and(|oldest| modified < oldest);
            let too_large = self.limits.max_bytes.is_some_and(|max| total > max);
            if !too_old && !too_large {
                break;
            }
            if let Some(connection) = name.strip_suffix(".log") {
                self.open.remove(connection);
            }
            match fs::remove_file(self.directory.join(&name)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    total -= bytes;
                    continue;
                }
                // The next one may be removable.
                Err(error) => {
                    tracing::warn!(%error, file = name, "failed to remove an old session log");
                    continue;
                }
            }
            total -= bytes;
            let reason = match too_old {
                true => "devices.session_log_days",
                false => "devices.session_log_max_mb",
            };
            tracing::info!(file = name, bytes, reason, "removed an old session log");
        }
        Ok(())
    }
}

/// Returns whether a file name is that of a session log: `NAME.log` or `NAME.log.2`.
fn is_log(name: &str) -> bool {
    let name = match name.rsplit_once('.') {
        Some((name, age)) if age.parse::<u32>().is_ok() => name,
        _ => name,
    };
    name.len() > ".log".len() && name.ends_with(".log")
}

fn add_lost(connection: &str, file: &SessionLogFile, lost: &Missing) {
    tracing::warn!(
        connection,
        bytes = lost.bytes,
        "failed to write to a session log: the disk is too slow"
    );
    file.add_missing(lost.bytes, lost.from, lost.to, "the disk is too slow");
}

#[cfg(test)]
mod tests {
    use netssh_core::Direction;

    use super::*;

    fn writer(directory: &Path, limits: Limits) -> Writer {
        Writer {
            directory: directory.to_owned(),
            limits,
            open: HashMap::new(),
            lost: Arc::default(),
            written: 0,
        }
    }

    const LIMITS: Limits = Limits {
        file_bytes: 1 << 20,
        older: 2,
        max_bytes: None,
        max_age: None,
    };

    fn names(directory: &Path) -> Vec<String> {
        let files = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn file(directory: &Path, name: &str, bytes: usize, age: u64) {
        let path = directory.join(name);
        fs::write(&path, vec![b'x'; bytes]).unwrap();
        let modified = SystemTime::now() - Duration::from_secs(age * 86_400);
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(modified).unwrap();
    }

    #[test]
    fn the_files_written_least_recently_are_removed_while_all_are_too_large() {
        let directory = tempfile::tempdir().unwrap();
        for (name, age) in [
            ("r1.log", 0),
            ("r1.log.1", 3),
            ("r1.log.2", 4),
            ("r2.log", 5),
            ("notes.txt", 9),
            ("r3.log.bak", 9),
            (".log", 9),
        ] {
            file(directory.path(), name, 1000, age);
        }
        let limits = Limits {
            max_bytes: Some(2500),
            ..LIMITS
        };
        writer(directory.path(), limits).sweep();
        let left = [".log", "notes.txt", "r1.log", "r1.log.1", "r3.log.bak"];
        assert_eq!(names(directory.path()), left);
    }

    #[test]
    fn files_that_are_too_old_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        file(directory.path(), "r1.log", 10, 1);
        file(directory.path(), "r1.log.1", 10, 31);
        file(directory.path(), "r2.log", 10, 40);
        let limits = Limits {
            max_age: Some(Duration::from_secs(30 * 86_400)),
            ..LIMITS
        };
        writer(directory.path(), limits).sweep();
        assert_eq!(names(directory.path()), ["r1.log"]);
    }

    #[test]
    fn what_found_no_room_to_wait_is_said_in_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = writer(directory.path(), LIMITS);
        let logs = {
            // The queue is never drained, so all entries but the first are dropped.
            let (entries, _waiting) = sync_channel(1);
            let lost = Arc::clone(&writer.lost);
            let logs = SessionLogs { entries, lost };
            let log = logs.of("r1");
            for time in 0..3 {
                log.write(&entry(time));
            }
            log
        };
        assert!(writer.write(&logs.name().into(), &entry(0)));
        let text = || fs::read_to_string(directory.path().join("r1.log")).unwrap();
        assert!(
            !text().contains("missing"),
            "it was written before: {}",
            text()
        );
        assert!(writer.write(&logs.name().into(), &entry(9)));
        let expected = "[… 16 bytes missing from 1970-01-01T00:00:01.000Z to \
                        1970-01-01T00:00:02.000Z: the disk is too slow]";
        let lines: Vec<_> = text().lines().map(str::to_owned).collect();
        assert!(lines[1].ends_with(expected), "{lines:?}");
        assert_eq!(lines.len(), 3);
    }

    fn entry(seconds: u64) -> SessionLogEntry {
        SessionLogEntry::new(
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            Direction::Sent,
            "show it\n".to_owned(),
        )
    }
}
