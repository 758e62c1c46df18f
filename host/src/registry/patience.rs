//! File access with a deadline.
//!
//! A read from a hung mount, or of a file that answers only when it likes, returns never. It gets a
//! thread of its own, which is given up after a while; until it comes back, its path is not tried
//! again, so that there is one such thread per path at most.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Playbooks are parsed on these stacks, for their imports.
const STACK_BYTES: usize = 8 * 1024 * 1024;

pub(super) struct Patience {
    limit: Duration,
    stuck: Arc<Mutex<HashSet<PathBuf>>>,
}

struct Progress<T> {
    done: Vec<T>,
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

    /// Does `work` with a path.
    ///
    /// # Errors
    /// Says that it takes too long.
    pub(super) fn try_one<T: Send + 'static>(
        &self,
        path: &Path,
        work: impl Fn(&Path) -> T + Send + Sync + 'static,
    ) -> Result<T, String> {
        let mut results = self.try_each(&[path.to_owned()], work);
        results.pop().unwrap_or_else(|| Err(self.too_long()))
    }

    /// Does `work` with each path, in order; the others are done even if one takes too long.
    pub(super) fn try_each<T: Send + 'static>(
        &self,
        paths: &[PathBuf],
        work: impl Fn(&Path) -> T + Send + Sync + 'static,
    ) -> Vec<Result<T, String>> {
        let work = Arc::new(work);
        let mut results = Vec::with_capacity(paths.len());
        while results.len() < paths.len() {
            let ahead = &paths[results.len()..];
            if lock(&self.stuck).contains(&ahead[0]) {
                results.push(Err(self.too_long()));
                continue;
            }
            let stuck = lock(&self.stuck).clone();
            let ahead = ahead.iter().take_while(|path| !stuck.contains(*path));
            let ahead: Arc<[PathBuf]> = ahead.cloned().collect();
            match self.start(Arc::clone(&ahead), Arc::clone(&work)) {
                Ok(shared) => {
                    let done = self.wait(&shared, &ahead);
                    let late = done.len() < ahead.len();
                    results.extend(done.into_iter().map(Ok));
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
                    let result = work(path);
                    let mut progress = lock(&sharing.progress);
                    if progress.given_up {
                        lock(&stuck).remove(path);
                        return;
                    }
                    progress.done.push(result);
                    sharing.changed.notify_one();
                }
            })?;
        Ok(shared)
    }

    /// Returns what is done, up to the first path that takes too long.
    fn wait<T>(&self, shared: &Shared<T>, paths: &[PathBuf]) -> Vec<T> {
        let mut progress = lock(&shared.progress);
        let mut since = Instant::now();
        while progress.done.len() < paths.len() {
            let done = progress.done.len();
            let left = self.limit.saturating_sub(since.elapsed());
            if left.is_zero() {
                progress.given_up = true;
                lock(&self.stuck).insert(paths[done].clone());
                break;
            }
            let waited = shared.changed.wait_timeout(progress, left);
            progress = waited.unwrap_or_else(PoisonError::into_inner).0;
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_takes_too_long_is_left_and_not_tried_again_until_it_has_ended() {
        let patience = Patience::new(Duration::from_millis(50));
        let (go, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let paths = ["a", "stuck", "b"].map(PathBuf::from);
        let work = move |path: &Path| {
            if path == Path::new("stuck") {
                let _ = lock(&gate).recv();
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
        // Not even tried, which would take 50 ms at least.
        let begun = Instant::now();
        assert!(attempt()[1].is_err());
        assert!(begun.elapsed() < Duration::from_millis(50));

        drop(go);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !lock(&patience.stuck).is_empty() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        assert_eq!(attempt()[1].as_deref(), Ok(Path::new("stuck")));
    }
}
