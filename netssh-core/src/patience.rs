//! Timeouts that count only the time in which this process ran.
//!
//! A process may be stopped (`SIGSTOP`), and a virtual machine suspended. When it continues, its
//! timers fire at once, before it has read the data that arrived meanwhile, and the device would be
//! blamed for the process's own silence. A timeout here is therefore divided into slices. A slice
//! does not count if its timer fires much later than it was due, and the device gets that time
//! again.

use std::pin::Pin;
use std::time::{Duration, Instant};

/// The length of a slice, and so the most that one freeze can cost.
const SLICE: Duration = Duration::from_millis(500);
/// A timer that fires this long after it was due shows that the process did not run.
const FROZEN: Duration = Duration::from_millis(250);
/// Extra time before a long timeout expires, to read data that has already reached the socket.
const LAST_LOOK: Duration = Duration::from_millis(50);

/// The error of a wait that exceeded its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// A time budget for one or several waits.
#[derive(Debug)]
pub(crate) struct Patience {
    left: Duration,
    /// Bound on the time that may be added for freezes, so that a machine under constant load
    /// cannot wait forever.
    forgiven: Duration,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            left: limit,
            forgiven: limit.saturating_add(8 * SLICE),
        }
    }

    pub(crate) const fn left(&self) -> Duration {
        self.left
    }

    /// Waits for `work` while time is left, and subtracts the time that it took.
    ///
    /// The work is boxed: these waits are nested, and a future that contains others several times
    /// would grow with each level.
    pub(crate) fn wait<'a, T: 'a, W: Future<Output = T> + 'a>(
        &'a mut self,
        work: W,
    ) -> impl Future<Output = Result<T, Elapsed>> + use<'a, T, W> {
        let work = Box::pin(work);
        self.wait_pinned(work)
    }

    async fn wait_pinned<T>(
        &mut self,
        mut work: Pin<Box<impl Future<Output = T>>>,
    ) -> Result<T, Elapsed> {
        let is_long = self.left >= SLICE;
        loop {
            let slice = self.left.min(SLICE);
            let began = Instant::now();
            let done = tokio::time::timeout(slice, work.as_mut()).await;
            let elapsed = began.elapsed();
            if let Ok(done) = done {
                self.left -= elapsed.min(slice);
                return Ok(done);
            }
            if elapsed >= slice + FROZEN && !slice.is_zero() && self.forgiven >= slice {
                tracing::debug!(?elapsed, "timer fired late; this process was suspended");
                self.forgiven -= slice;
                continue;
            }
            self.left -= slice;
            if !self.left.is_zero() {
                continue;
            }
            let last_look = if is_long { LAST_LOOK } else { Duration::ZERO };
            let done = tokio::time::timeout(last_look, work.as_mut()).await;
            return done.map_err(|_| Elapsed);
        }
    }
}

/// Waits for `work`, for at most `limit`.
pub(crate) fn timeout<T, W: Future<Output = T>>(
    limit: Duration,
    work: W,
) -> impl Future<Output = Result<T, Elapsed>> {
    let work = Box::pin(work);
    async move { Patience::new(limit).wait_pinned(work).await }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    /// Blocks the runtime's only thread once, as a signal would stop the process.
    async fn freeze(time: Duration) {
        tokio::task::yield_now().await;
        std::thread::sleep(time);
    }

    #[tokio::test]
    async fn an_ordinary_timeout_ends_in_time() {
        for limit in [0, 20, 600].map(Duration::from_millis) {
            let began = Instant::now();
            assert_eq!(timeout(limit, pending::<()>()).await, Err(Elapsed));
            assert!(began.elapsed() >= limit);
        }
        assert_eq!(timeout(Duration::ZERO, async { 1 }).await, Ok(1));
    }

    #[tokio::test]
    async fn a_freeze_does_not_use_up_the_time() {
        // The awaited work completes after the freeze, within the time that counts.
        let limit = Duration::from_millis(700);
        let work = async move {
            freeze(limit * 3).await;
            tokio::time::sleep(limit / 3).await;
        };
        let mut patience = Patience::new(limit);
        let freezing = tokio::spawn(async move { patience.wait(work).await });
        assert_eq!(freezing.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_freeze_elsewhere_gives_its_time_again() {
        let limit = Duration::from_millis(600);
        tokio::spawn(freeze(limit * 3));
        let began = Instant::now();
        assert_eq!(timeout(limit, pending::<()>()).await, Err(Elapsed));
        let elapsed = began.elapsed();
        assert!(elapsed >= limit * 4 - SLICE, "{elapsed:?}");
    }

    #[tokio::test]
    async fn several_waits_share_their_time() {
        let mut patience = Patience::new(Duration::from_secs(60));
        let nap = Duration::from_millis(30);
        let began = Instant::now();
        for _ in 0..3 {
            assert_eq!(patience.wait(tokio::time::sleep(nap)).await, Ok(()));
        }
        let used = Duration::from_secs(60) - patience.left();
        assert!(used >= nap * 3, "{used:?}");
        assert!(used <= began.elapsed(), "{used:?}");
    }
}
