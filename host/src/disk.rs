//! Free disk space: new work is rejected while there is still space to finish running jobs.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::statvfs;

/// How long a measurement is reused.
const FRESH: Duration = Duration::from_secs(2);
/// On small disks, the limit is this fraction (1/20) of the disk.
const SMALL_DISK: u64 = 20;

/// The free space of the disk that a directory is on.
#[derive(Debug)]
pub struct DiskSpace {
    directory: PathBuf,
    /// Configured limit in bytes; 0 for none.
    min_free: u64,
    last: Mutex<Option<(Instant, Space)>>,
}

#[derive(Clone, Copy, Debug)]
struct Space {
    free: u64,
    total: u64,
}

/// Free disk space is too low for new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the disk is nearly full: {free} bytes are free, and database.min_free_mb keeps {least} for jobs \
     that run"
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
            last: Mutex::default(),
        }
    }

    /// Rejects new work while free space is below the limit. The file system is queried at most every
    /// few seconds; if that fails, there is no limit.
    ///
    /// # Errors
    /// The free and the required space.
    pub fn check(&self) -> Result<(), LowSpace> {
        match self.space() {
            Some(space) if self.min_free > 0 => space.check(self.min_free),
            _ => Ok(()),
        }
    }

    fn space(&self) -> Option<Space> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, space)) = last.filter(|(at, _)| at.elapsed() < FRESH) {
            return Some(space);
        }
        let found = statvfs(&self.directory).ok()?;
        let space = Space {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
        };
        *last = Some((Instant::now(), space));
        Some(space)
    }
}

impl Space {
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
        // Only checks that the file system responds.
        let low = DiskSpace::new(here, u64::MAX >> 20).space().unwrap();
        assert!(low.total > 0);
    }
}
