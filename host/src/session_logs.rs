//! Session logs: what goes to and comes from each device, one file a connection, written by a thread
//! of their own, so that a slow disk holds up no session.
//!
//! What is missing is said in the log itself: [`SessionLogFile`] notices what the disk did not take,
//! and this module what did not reach the disk.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use netssh_core::{SessionLog, SessionLogEntry, SessionLogFile};

use crate::config::DevicesConfig;

/// Entries that wait to be written. Those beyond it are lost, and counted.
const WAITING: usize = 1024;
/// Files that are open at once.
const OPEN_FILES: usize = 64;
/// How often a log that lacks something is tried again without another entry.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How often the directory is searched for files that are too old or too many.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Part of the size of all files after which it is searched before that.
const SWEEPS_PER_SIZE: u64 = 16;

/// How much of the disk session logs may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Size of one file.
    file_bytes: u64,
    /// Older files of one connection.
    older: usize,
    /// Size of all files; `None` for no limit.
    max_bytes: Option<u64>,
    /// Time since the last entry of a file.
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

/// Entries that found no room to wait in, by connection.
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
    /// Makes the directory, and starts the thread, which ends with the last log.
    ///
    /// # Errors
    /// When there can be no such directory.
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

    /// The log of a connection; its name is one for a file, too.
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
        let mut of = self.locked();
        let missing = of.entry(Arc::clone(connection)).or_insert(Missing {
            bytes: 0,
            from: entry.time,
            to: entry.time,
        });
        missing.bytes += entry.text.len() as u64;
        missing.to = entry.time;
        self.any.store(true, Ordering::Release);
    }

    /// Takes what a connection has lost before a time.
    fn take_before(&self, connection: &Arc<str>, time: SystemTime) -> Option<Missing> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut of = self.locked();
        of.get(connection).filter(|lost| lost.from <= time)?;
        let missing = of.remove(connection);
        self.any.store(!of.is_empty(), Ordering::Release);
        missing
    }

    fn take_all(&self) -> HashMap<Arc<str>, Missing> {
        let mut of = self.locked();
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut of)
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Arc<str>, Missing>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer {
    directory: PathBuf,
    limits: Limits,
    open: HashMap<Arc<str>, SessionLogFile>,
    lost: Arc<Lost>,
    /// Bytes of entries since the directory was searched.
    written: u64,
}

impl Writer {
    fn run(mut self, waiting: &Receiver<(Arc<str>, SessionLogEntry)>) {
        let mut swept = None;
        // Whether something is missing that no log has said yet.
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

    /// Writes an entry; returns whether its log is complete, or says what it lacks.
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

    /// Has every log say what it lacks; returns whether all have.
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

    /// Removes files that are too old, and those written least recently while all are too large.
    fn sweep(&mut self) {
        self.written = 0;
        if self.limits.max_bytes.is_none() && self.limits.max_age.is_none() {
            return;
        }
        match self.remove_superfluous() {
            Ok(()) => {}
            // The first entry makes it again.
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
            let metadata = entry.metadata()?;
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
            fs::remove_file(self.directory.join(&name))?;
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

/// Whether a file's name is one of a session log: `NAME.log`, or `NAME.log.2`.
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
            // Nothing takes these entries: all but the first find no room.
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
