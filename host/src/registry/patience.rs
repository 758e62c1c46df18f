//! File access with a deadline.
//!
//! A read may block forever, for example on a hung mount. It therefore runs on its own thread, which is
//! abandoned after a timeout. Until that thread returns, its path is not read again, so at most one
//! thread per path is stuck.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Stack size: playbooks are parsed on these threads, to find their imports.
const STACK_BYTES: usize = 8 * 1024 * 1024;

pub(super) struct Patience {
    limit: Duration,
    stuck: Arc<Mutex<HashSet<PathBuf>>>,
}

struct Progress<T> {
    /// The result for each path; `None` for one at which the work panicked.
    done: Vec<Option<T>>,
    given_up: bool,
}

struct Shared<T> {
    progress: Mutex<Progress<T>>,
    changed: Condvar,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            stuck: Arc::default(),
        }
    }

    /// Runs `work` with a path.
    ///
    /// # Errors
    /// If it takes too long.
    pub(super) fn try_one<T: Send + 'static>(
        &self,
        path: &Path,
        work: impl Fn(&Path) -> T + Send + Sync + 'static,
    ) -> Result<T, String> {
        let mut results = self.try_each(&[path.to_owned()], work);
        results.pop().unwrap_or_else(|| Err(self.too_long()))
    }

    /// Runs `work` with each path in order, continuing after a path that takes too long.
    pub(super) fn try_each<T: Send + 'static>(
        &self,
        paths: &[PathBuf],
        work: impl Fn(&Path) -> T + Send + Sync + 'static,
    ) -> Vec<Result<T, String>> {
        let work = Arc::new(work);
        let mut results = Vec::with_capacity(paths.len());
        while results.len() < paths.len() {
            let ahead = &paths[results.len()..];
            if self.stuck.lock().contains(&ahead[0]) {
                results.push(Err(self.too_long()));
                continue;
            }
            let stuck = self.stuck.lock().clone();
            let ahead = ahead.iter().take_while(|path| !stuck.contains(*path));
            let ahead: Arc<[PathBuf]> = ahead.cloned().collect();
            match self.start(Arc::clone(&ahead), Arc::clone(&work)) {
                Ok(shared) => {
                    let done = self.wait(&shared, &ahead);
                    let late = done.len() < ahead.len();
                    let failed = || "the host failed while it read this".to_owned();
                    results.extend(done.into_iter().map(|done| done.ok_or_else(failed)));
                    results.extend(late.then(|| Err(self.too_long())));
                }
                Err(error) => results.push(Err(format!("failed to start a thread: {error}"))),
            }
        }
        results
    }

    fn start<T: Send + 'static>(
        &self,
        paths: Arc<[PathBuf]>,
        work: Arc<impl Fn(&Path) -> T + Send + Sync + 'static>,
    ) -> std::io::Result<Arc<Shared<T>>> {
        let shared = Arc::new(Shared {
            progress: Mutex::new(Progress {
                done: Vec::with_capacity(paths.len()),
                given_up: false,
            }),
            changed: Condvar::new(),
        });
        let (sharing, stuck) = (Arc::clone(&shared), Arc::clone(&self.stuck));
        std::thread::Builder::new()
            .name("files".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                for path in &*paths {
                    let result = catch_unwind(AssertUnwindSafe(|| work(path))).ok();
                    let mut progress = sharing.progress.lock();
                    if progress.given_up {
                        stuck.lock().remove(path);
                        return;
                    }
                    progress.done.push(result);
                    sharing.changed.notify_one();
                }
            })?;
        Ok(shared)
    }

    /// Returns the results up to the first path that takes too long.
    fn wait<T>(&self, shared: &Shared<T>, paths: &[PathBuf]) -> Vec<Option<T>> {
        let mut progress = shared.progress.lock();
        let mut since = Instant::now();
        while progress.done.len() < paths.len() {
            let done = progress.done.len();
            let left = self.limit.saturating_sub(since.elapsed());
            if left.is_zero() {
                progress.given_up = true;
                self.stuck.lock().insert(paths[done].clone());
                break;
            }
            shared.changed.wait_for(&mut progress, left);
            if progress.done.len() > done {
                since = Instant::now();
            }
        }
        std::mem::take(&mut progress.done)
    }

    fn too_long(&self) -> String {
        format!(
            "timeout: reading the file took longer than {} s",
            self.limit.as_secs_f64()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_takes_too_long_is_left_and_not_tried_again_until_it_has_ended() {
        // Long enough for the report of a panic on a busy machine.
        let patience = Patience::new(Duration::from_secs(2));
        let (go, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let paths = ["a", "stuck", "b", "panics", "c"].map(PathBuf::from);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let work = move |path: &Path| {
            if path == Path::new("panics") {
                panic!("as a test of it");
            }
            if path == Path::new("stuck") {
                counted.fetch_add(1, Ordering::Relaxed);
                let _ = gate.lock().recv();
            }
            path.to_owned()
        };
        let work = Arc::new(work);
        let attempt = || {
            let work = Arc::clone(&work);
            patience.try_each(&paths, move |path| work(path))
        };
        let results = attempt();
        assert_eq!(results[0].as_deref(), Ok(Path::new("a")));
        assert!(results[1].as_ref().unwrap_err().contains("longer than"));
        assert_eq!(results[2].as_deref(), Ok(Path::new("b")));
        assert!(results[3].as_ref().unwrap_err().contains("the host failed"));
        assert_eq!(results[4].as_deref(), Ok(Path::new("c")));
        assert!(attempt()[1].is_err());
        assert_eq!(calls.load(Ordering::Relaxed), 1, "it is not tried again");

        drop(go);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !patience.stuck.lock().is_empty() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        assert_eq!(attempt()[1].as_deref(), Ok(Path::new("stuck")));
    }
}
