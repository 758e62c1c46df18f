//! Exponential backoff: delays between retries.

use std::time::Duration;

/// Doublings after which the delay no longer grows, whatever its maximum.
const MAX_DOUBLINGS: u32 = 16;

/// Delays that double with each failure, up to a maximum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// Returns the delay after this many failures, with random jitter: up to half of the delay is added,
    /// so that jobs or clients that failed together do not retry together.
    pub(crate) fn delay(self, failures: u32) -> Duration {
        // Without random numbers there is no jitter.
        self.delay_with(failures, getrandom::u32().unwrap_or_default())
    }

    fn delay_with(self, failures: u32, random: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(MAX_DOUBLINGS);
        let delay = self.first.saturating_mul(1 << doublings).min(self.longest);
        delay.saturating_add(delay.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn delay_doubles_with_each_failure_up_to_the_maximum() {
        let backoff = Backoff::new(5 * SECOND, 600 * SECOND);
        let delays = [0, 1, 2, 3, 7, 8, 9, u32::MAX];
        let delays = delays.map(|failures| backoff.delay_with(failures, 0).as_secs());
        assert_eq!(delays, [5, 5, 10, 20, 320, 600, 600, 600]);
        let unbounded = Backoff::new(SECOND, Duration::MAX);
        assert_eq!(unbounded.delay_with(u32::MAX, 0), 65_536 * SECOND);
        let longest = Backoff::new(Duration::MAX, Duration::MAX);
        assert_eq!(longest.delay_with(2, 0), Duration::MAX);
    }

    #[test]
    fn jitter_adds_up_to_half_of_the_delay() {
        let backoff = Backoff::new(10 * SECOND, 600 * SECOND);
        assert_eq!(backoff.delay_with(1, u32::MAX), 15 * SECOND);
        assert_eq!(backoff.delay_with(9, u32::MAX), 900 * SECOND);
        let delays: Vec<_> = (0..20).map(|_| backoff.delay(1)).collect();
        let range = 10 * SECOND..=15 * SECOND;
        assert!(
            delays.iter().all(|delay| range.contains(delay)),
            "{delays:?}"
        );
        assert!(delays.iter().any(|delay| *delay != delays[0]), "{delays:?}");
    }
}
