//! Decides when to scan the plugin directories: after a change notification, once changes have settled,
//! and periodically in case the file system sends none.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{Registry, files};

/// Scan interval without change notifications.
const SCAN_INTERVAL: Duration = Duration::from_secs(2);
/// Changes are scanned once no further change has followed for this long,
const QUIET: Duration = Duration::from_millis(100);
/// or once they have continued for this long.
const MAX_DEBOUNCE: Duration = Duration::from_secs(1);
/// A file that was written to and not closed is skipped for this long after the last write.
const MAX_WRITE: Duration = Duration::from_secs(60);

/// Files that are being written to, as far as the file system reports it.
#[derive(Clone, Default)]
pub(super) struct Writing(Arc<Mutex<HashMap<PathBuf, Instant>>>);

impl Writing {
    pub(super) fn contains(&self, path: &Path) -> bool {
        let Some(path) = real(path) else { return false };
        let since = self.lock().get(&path).copied();
        since.is_some_and(|since| since.elapsed() < MAX_WRITE)
    }

    fn begin(&self, path: &Path) {
        self.lock().insert(path.to_owned(), Instant::now());
    }

    fn end(&self, path: &Path) {
        self.lock().remove(path);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Instant>> {
        let mut writing = self.0.lock();
        writing.retain(|_, since| since.elapsed() < MAX_WRITE);
        writing
    }
}

impl Registry {
    /// Scans after every change, for as long as the future is polled.
    pub async fn watch(self: Arc<Self>) {
        let changed = Arc::new(Notify::new());
        let mut watched = Watched::new(&changed, &self.writing);
        loop {
            watched.follow(self.sources.iter().map(|source| source.directory.as_path()));
            if tokio::time::timeout(SCAN_INTERVAL, changed.notified())
                .await
                .is_ok()
            {
                settle(&changed).await;
            }
            self.scan().await;
        }
    }
}

async fn settle(changed: &Notify) {
    let deadline = tokio::time::Instant::now() + MAX_DEBOUNCE;
    loop {
        let quiet = (tokio::time::Instant::now() + QUIET).min(deadline);
        if tokio::time::timeout_at(quiet, changed.notified())
            .await
            .is_err()
        {
            return;
        }
    }
}

/// The directories with change notifications.
struct Watched {
    watcher: Option<RecommendedWatcher>,
    directories: BTreeSet<PathBuf>,
    filter: Arc<Mutex<EventFilter>>,
}

/// Selects the relevant change notifications.
#[derive(Default)]
struct EventFilter {
    /// Directories in which every change is relevant.
    inside: Vec<PathBuf>,
    /// Paths that lead to them: links and directories that may be swapped or created later.
    leading: Vec<PathBuf>,
}

impl EventFilter {
    fn matters(&self, path: &Path) -> bool {
        let inside = self
            .inside
            .iter()
            .any(|directory| path.starts_with(directory));
        inside || self.leading.iter().any(|leading| leading.starts_with(path))
    }
}

impl Watched {
    fn new(changed: &Arc<Notify>, writing: &Writing) -> Self {
        let filter = Arc::new(Mutex::new(EventFilter::default()));
        let (of_handler, changed, writing) =
            (Arc::clone(&filter), Arc::clone(changed), writing.clone());
        let handler = move |event: notify::Result<Event>| {
            let Ok(event) = event else { return };
            let filter = of_handler.lock();
            let matters =
                event.need_rescan() || event.paths.iter().any(|path| filter.matters(path));
            drop(filter);
            if matters && note(&event, &writing) {
                changed.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(handler);
        if let Err(error) = &watcher {
            tracing::warn!(%error, "file system events are not available; polling the plugin \
                                    directories every {SCAN_INTERVAL:?}");
        }
        Self {
            watcher: watcher.ok(),
            directories: BTreeSet::new(),
            filter,
        }
    }

    /// Updates the watched directories, which may have been created, removed or relinked.
    fn follow<'a>(&mut self, sources: impl Iterator<Item = &'a Path>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let mut wanted = BTreeSet::new();
        let mut filter = EventFilter::default();
        for source in sources {
            let Ok(absolute) = std::path::absolute(source) else {
                continue;
            };
            if let Ok(directory) = absolute.canonicalize() {
                wanted.extend(files::directories_at(&directory.join(files::MODULES)));
                filter.inside.push(directory.clone());
                wanted.insert(directory);
            }
            for way in absolute.ancestors() {
                let Some(parent) = way.parent() else { break };
                // A swapped link or a new directory is reported by its parent directory.
                if let (true, Ok(parent)) = (
                    way == absolute || way.is_symlink() || !way.exists(),
                    parent.canonicalize(),
                ) {
                    let name = way.file_name().unwrap_or_default();
                    filter.leading.push(parent.join(name));
                    wanted.insert(parent);
                }
            }
        }
        *self.filter.lock() = filter;
        for gone in self.directories.difference(&wanted) {
            let _ = watcher.unwatch(gone);
        }
        let mut now = BTreeSet::new();
        for directory in wanted {
            // Watched again even if already watched: the directory may have been replaced by another of
            // the same name.
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    now.insert(directory);
                }
                Err(error) => {
                    tracing::debug!(directory = %directory.display(), %error, "failed to watch a \
                         directory");
                }
            }
        }
        self.directories = now;
    }
}

/// Tracks files being written. Returns whether the event is a relevant change.
fn note(event: &Event, writing: &Writing) -> bool {
    for path in &event.paths {
        match event.kind {
            // Skips new hard links to existing files, which no close event follows.
            EventKind::Create(CreateKind::File) if is_new(path) => writing.begin(path),
            EventKind::Modify(ModifyKind::Data(_)) => writing.begin(path),
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_)) => writing.end(path),
            _ => {}
        }
    }
    // Read access is not a change.
    !matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
}

fn is_new(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.nlink() == 1)
}

/// Returns a path as the file system reports it: with links resolved in its directory, but not in its
/// own name.
fn real(path: &Path) -> Option<PathBuf> {
    let directory = path.parent()?.canonicalize().ok()?;
    Some(directory.join(path.file_name()?))
}
