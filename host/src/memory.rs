//! Gives memory that is no longer used back to the system.
//!
//! The allocator keeps freed pages for the next allocation, and gives them back while the thread
//! that freed them allocates again. After a large result there is often no next allocation.

use std::time::Duration;

use tikv_jemalloc_ctl::{Access, AsName as _, Mib, arenas, epoch, stats};

/// How often the unused pages are counted.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Unused pages below this are kept: taking them from the system again costs more than they do.
const KEPT_BYTES: usize = 8 * 1024 * 1024;

/// Gives unused memory back from time to time, as long as it is polled.
pub(crate) async fn give_back_regularly() {
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let given = tokio::task::spawn_blocking(|| {
            if unused().unwrap_or_default() > KEPT_BYTES {
                give_back();
            }
        });
        // It cannot fail, and another attempt follows.
        let _ = given.await;
    }
}

/// Gives all unused pages back.
pub(crate) fn give_back() {
    let arenas = arenas::narenas::read().unwrap_or_default();
    let name = b"arena.0.dirty_decay_ms\0".name();
    let Ok(mut key) = name.mib::<[usize; 3]>() else {
        return;
    };
    for arena in 0..arenas as usize {
        key[1] = arena;
        purge(&key);
    }
}

/// Pages are given back at once where they may be kept for no time at all.
fn purge(decay_time: &Mib<[usize; 3]>) {
    // An arena that was never used has no decay time.
    let usual: Result<isize, _> = decay_time.read();
    if let Ok(usual) = usual {
        let _ = decay_time.write(0_isize);
        let _ = decay_time.write(usual);
    }
}

/// Bytes of pages that the process holds and does not use.
fn unused() -> Option<usize> {
    // The figures are those of the last epoch.
    epoch::advance().ok()?;
    let (resident, active) = (stats::resident::read().ok()?, stats::active::read().ok()?);
    let metadata = stats::metadata::read().ok()?;
    Some(resident.saturating_sub(active).saturating_sub(metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_memory_is_given_back() {
        const BYTES: usize = 64 * 1024 * 1024;
        // Small pieces: large ones are returned to the system when they are freed.
        let pieces: Vec<Vec<u8>> = (0..BYTES / 4096).map(|_| vec![1; 4096]).collect();
        drop(pieces);
        give_back();
        let left = unused().unwrap();
        assert!(left < BYTES / 2, "{left}");
    }
}
