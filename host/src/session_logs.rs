//! Session logs: what goes to and comes from each device, one file a connection, written by a thread
//! of their own, so that a slow disk holds up no session.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use netssh_core::{SessionLog, SessionLogEntry, SessionLogFile};

/// A file that has grown to this many bytes is put aside, in place of the one before it.
const FILE_BYTES: u64 = 8 * 1024 * 1024;
/// Entries that wait to be written. What comes on top of them is lost, and counted.
const WAITING: usize = 1024;
/// Files that are open at once.
const OPEN_FILES: usize = 64;

/// The logs of all connections.
#[derive(Clone, Debug)]
pub struct SessionLogs {
    entries: SyncSender<(Arc<str>, SessionLogEntry)>,
    lost: Arc<AtomicU64>,
}

/// The log of one connection.
#[derive(Debug)]
struct ConnectionLog {
    connection: Arc<str>,
    logs: SessionLogs,
}

impl SessionLogs {
    /// Makes the directory, and starts the thread, which ends when nobody can write any more.
    ///
    /// # Errors
    /// When there can be no such directory.
    pub fn start(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let (entries, waiting) = sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            directory: directory.to_owned(),
            open: HashMap::new(),
            failing: HashSet::new(),
            lost: Arc::clone(&lost),
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
        let entry = (Arc::clone(&self.connection), entry.clone());
        if self.logs.entries.try_send(entry).is_err() {
            self.logs.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Writer {
    directory: PathBuf,
    open: HashMap<Arc<str>, SessionLogFile>,
    /// Whose logs could not be written the last time; it is said once.
    failing: HashSet<Arc<str>>,
    lost: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, waiting: &Receiver<(Arc<str>, SessionLogEntry)>) {
        while let Ok((connection, entry)) = waiting.recv() {
            match self.lost.swap(0, Ordering::Relaxed) {
                0 => {}
                lost => tracing::warn!(lost, "entries of session logs: the disk is too slow"),
            }
            match self.write(&connection, &entry) {
                Ok(()) => {
                    self.failing.remove(&connection);
                }
                Err(error) => {
                    if self.failing.insert(Arc::clone(&connection)) {
                        tracing::warn!(%error, %connection, "a session log cannot be written");
                    }
                }
            }
        }
    }

    fn write(&mut self, connection: &Arc<str>, entry: &SessionLogEntry) -> io::Result<()> {
        if self.open.len() >= OPEN_FILES && !self.open.contains_key(connection) {
            self.open.clear();
        }
        let path = self.directory.join(format!("{connection}.log"));
        if std::fs::metadata(&path).is_ok_and(|file| file.len() >= FILE_BYTES) {
            self.open.remove(connection);
            std::fs::rename(&path, self.directory.join(format!("{connection}.log.1")))?;
        }
        if !self.open.contains_key(connection) {
            let file = SessionLogFile::open(&path, 2 * FILE_BYTES)?;
            self.open.insert(Arc::clone(connection), file);
        }
        if let Some(file) = self.open.get(connection) {
            file.write(entry);
        }
        Ok(())
    }
}
