//! Timeouts that count only the time in which this process ran.
//!
//! A process may be stopped (`SIGSTOP`), and a virtual machine suspended. Its timers are then due at
//! once when it continues, before it has read what arrived meanwhile, and the device would be blamed
//! for a silence that was the process's own. So a timeout here is waited for in slices: a slice
//! whose timer fires much later than it was due does not count, and the device gets its time again.

use std::pin::Pin;
use std::time::{Duration, Instant};

/// The longest time that is counted at once, so the longest that a freeze can cost.
const SLICE: Duration = Duration::from_millis(500);
/// A timer that fires this much after it was due shows that the process did not run.
const FROZEN: Duration = Duration::from_millis(250);
/// Before a long timeout is final, data that has reached the socket gets this much time to be read.
const LAST_LOOK: Duration = Duration::from_millis(50);

/// The time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// The time that is left for one or several waits.
#[derive(Debug)]
pub(crate) struct Patience {
    left: Duration,
    /// The time that may still be given again, so that a machine under constant load cannot wait for
    /// ever.
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

    /// Waits for `work` as long as there is time left, and takes what it needed from that time.
    ///
    /// The work is boxed: these waits are nested, and futures that hold others several times over
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

/// Waits for `work`, at most for `limit`.
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

    /// Stops the only thread of the runtime once, as a signal would stop the process.
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
        // What was to be waited for comes after the freeze, in time that counts.
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
        for _ in 0..3 {
            assert_eq!(patience.wait(tokio::time::sleep(nap)).await, Ok(()));
        }
        assert!(patience.left() <= Duration::from_secs(60) - nap * 3);
    }
}
