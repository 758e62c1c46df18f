//! Free space on a disk: new work is refused while there is still room to end what runs.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::statvfs;

/// How long an answer of the file system is used.
const FRESH: Duration = Duration::from_secs(2);
/// The limit is a twentieth of the disk on small ones.
const SMALL_DISK: u64 = 20;

/// The free space of the disk that a directory is on.
#[derive(Debug)]
pub struct DiskSpace {
    directory: PathBuf,
    /// The configuration's limit; 0 for none.
    min_free: u64,
    last: Mutex<Option<(Instant, Space)>>,
}

#[derive(Clone, Copy, Debug)]
struct Space {
    free: u64,
    total: u64,
}

/// Too little is free for new work.
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
            last: Mutex::default(),
        }
    }

    /// Rejects new work while less is free than the limit. The file system is asked once in some
    /// seconds; one that does not answer limits nothing.
    ///
    /// # Errors
    /// With what is free, and what has to be.
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
        // Every disk has less free than all of it.
        let low = DiskSpace::new(here, u64::MAX >> 20).space().unwrap();
        assert!(low.total > 0);
    }
}
