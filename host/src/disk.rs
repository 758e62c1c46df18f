//! Free disk space: new work is rejected while there is still space to finish running jobs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::statvfs;

/// How long a measurement is reused.
const FRESH: Duration = Duration::from_secs(2);
/// How long a caller waits for the file system, which answers within microseconds unless it hangs.
const TIMEOUT: Duration = Duration::from_millis(100);
/// On small disks, the limit is this fraction (1/20) of the disk.
const SMALL_DISK: u64 = 20;

/// The free space of the disk that a directory is on.
#[derive(Debug)]
pub struct DiskSpace {
    directory: PathBuf,
    /// Configured limit in bytes; 0 for none.
    min_free: u64,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    last: Option<(Instant, Space)>,
    /// The file system was asked and has not answered.
    asked: bool,
}

#[derive(Clone, Copy, Debug)]
struct Space {
    free: u64,
    total: u64,
}

/// Free disk space is too low for new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "disk space is low: {free} bytes are free, and database.min_free_mb reserves {least} for running \
     jobs"
)]
pub struct LowSpace {
    pub free: u64,
    pub least: u64,
}

impl DiskSpace {
    #[must_use]
    pub fn new(directory: PathBuf, min_free_mb: u64) -> Self {
        Self {
            directory,
            min_free: min_free_mb << 20,
            known: Arc::default(),
        }
    }

    /// Rejects new work while free space is below the limit. The file system is queried at most every
    /// few seconds, on a thread of its own; while it does not answer, there is no limit.
    ///
    /// # Errors
    /// The free and the required space.
    pub fn check(&self) -> Result<(), LowSpace> {
        match self.min_free {
            0 => Ok(()),
            min_free => self.space().map_or(Ok(()), |space| space.check(min_free)),
        }
    }

    fn space(&self) -> Option<Space> {
        {
            let mut known = self.known.lock();
            let fresh = known.last.filter(|(at, _)| at.elapsed() < FRESH);
            if fresh.is_some() || known.asked {
                return fresh.map(|(_, space)| space);
            }
            known.asked = true;
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let (directory, known) = (self.directory.clone(), Arc::clone(&self.known));
        let asking = move || {
            let space = Space::of(&directory);
            let mut known = known.lock();
            known.asked = false;
            known.last = space.map(|space| (Instant::now(), space));
            // Fails if the caller has stopped waiting.
            let _ = answer.send(space);
        };
        let started = std::thread::Builder::new()
            .name("disk".to_owned())
            .spawn(asking);
        if started.is_err() {
            self.known.lock().asked = false;
            return None;
        }
        answered.recv_timeout(TIMEOUT).ok().flatten()
    }
}

impl Space {
    fn of(directory: &Path) -> Option<Self> {
        let found = statvfs(directory).ok()?;
        Some(Self {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }

    fn check(self, min_free: u64) -> Result<(), LowSpace> {
        let least = min_free.min(self.total / SMALL_DISK);
        if self.free >= least {
            return Ok(());
        }
        Err(LowSpace {
            free: self.free,
            least,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_a_twentieth_of_a_small_disk() {
        const MIB: u64 = 1 << 20;
        let space = |free, total| Space { free, total };
        for (free, total, least) in [
            (255 * MIB, 1 << 40, 256 * MIB),
            (MIB, 100 * MIB, 5 * MIB),
            (0, 6 * MIB, 6 * MIB / 20),
        ] {
            let low = space(free, total).check(256 * MIB).unwrap_err();
            assert_eq!(low, LowSpace { free, least });
            assert!(space(least, total).check(256 * MIB).is_ok());
        }
    }

    #[test]
    fn no_limit_and_no_answer_let_everything_pass() {
        let here = std::env::temp_dir();
        assert!(DiskSpace::new(here.clone(), 0).check().is_ok());
        let missing = here.join("there-is-no-such-directory");
        assert!(DiskSpace::new(missing, 1 << 40).check().is_ok());
    }
}
