//! Keeps logins to one device apart from one another: so many in any minute, and no more.
//!
//! Pure: the clock is an argument. Some devices allow four logins a minute, and lock out who comes
//! more often.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::history::Clock;

/// How often a device is logged in to. A device is known by its address as it is written, and by
/// the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginRate {
    /// At most so many logins, failed ones included: 30 by default. 0: no limit.
    pub logins: u32,
    /// Within this time: a minute by default. It slides.
    pub within: Duration,
}

impl Default for LoginRate {
    fn default() -> Self {
        Self {
            logins: 30,
            within: Duration::from_secs(60),
        }
    }
}

impl LoginRate {
    /// So many logins in a minute; 0: no limit.
    #[must_use]
    pub fn per_minute(logins: u32) -> Self {
        Self {
            logins,
            ..Self::default()
        }
    }

    fn most(&self) -> usize {
        usize::try_from(self.logins).unwrap_or(usize::MAX)
    }
}

/// The latest logins to one device, the oldest first; no more of them than are allowed.
#[derive(Debug, Default)]
pub(super) struct Logins(VecDeque<Instant>);

impl Logins {
    /// How long to wait before another login; none when it may come now.
    pub(super) fn wait(&self, rate: &LoginRate, now: Instant) -> Option<Duration> {
        let most = rate.most();
        // With fewer than that there is no such index.
        let at = self.0.len().checked_sub(most)?;
        let free_at = *self.0.get(at)? + rate.within;
        (now < free_at).then(|| free_at - now)
    }

    /// Notes a login that begins. It counts even if nobody waits for its end.
    pub(super) fn began(&mut self, rate: &LoginRate, now: Instant) {
        self.0.push_back(now);
        while self.0.len() > rate.most() {
            self.0.pop_front();
        }
    }

    /// Moves the latest login to its end: when exactly between the two the device has counted it
    /// is its own affair.
    pub(super) fn ended(&mut self, now: Instant) {
        if let Some(last) = self.0.back_mut() {
            *last = now;
        }
    }

    /// Takes back the latest login: the device was not reached.
    pub(super) fn take_back(&mut self) {
        self.0.pop_back();
    }

    pub(super) fn record(&self, clock: Clock) -> Vec<i64> {
        self.0.iter().map(|login| clock.to_wall(*login)).collect()
    }

    pub(super) fn restore(&mut self, logins: &[i64], rate: &LoginRate, clock: Clock) {
        for login in logins.iter().filter_map(|login| clock.past(*login)) {
            self.began(rate, login);
        }
    }

    /// Whether no login counts any more.
    pub(super) fn is_past(&self, rate: &LoginRate, now: Instant) -> bool {
        self.0.back().is_none_or(|last| now >= *last + rate.within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn in_no_minute_are_there_more_than_allowed() {
        let (rate, mut logins) = (LoginRate::per_minute(4), Logins::default());
        let begun = Instant::now();
        let (mut now, mut seen) = (begun, Vec::new());
        while seen.len() < 40 {
            match logins.wait(&rate, now) {
                Some(wait) => now += wait,
                None => {
                    logins.began(&rate, now);
                    // The device may count it at the end of the login alone.
                    now += SECOND * (seen.len() as u32 % 3);
                    logins.ended(now);
                    seen.push(now);
                }
            }
        }
        for window in seen.windows(5) {
            assert!(window[4] - window[0] >= rate.within, "{window:?}");
        }
        // And not fewer: four of them, then a wait.
        assert_eq!(
            seen.iter().filter(|at| **at - begun < rate.within).count(),
            4
        );
        assert!(now - begun < SECOND * 60 * 10);
    }

    #[test]
    fn what_is_kept_has_a_bound_and_is_forgotten() {
        let (rate, mut logins) = (LoginRate::per_minute(3), Logins::default());
        let now = Instant::now();
        assert!(logins.is_past(&rate, now));
        for _ in 0..100 {
            logins.began(&rate, now);
        }
        assert_eq!(logins.0.len(), 3);
        assert!(!logins.is_past(&rate, now + SECOND * 59));
        assert!(logins.is_past(&rate, now + SECOND * 60));
        assert_eq!(logins.wait(&rate, now + SECOND * 59), Some(SECOND));
        assert_eq!(logins.wait(&rate, now + SECOND * 60), None);
    }

    #[test]
    fn without_a_limit_nobody_waits_and_nothing_is_kept() {
        let (rate, mut logins) = (LoginRate::per_minute(0), Logins::default());
        let now = Instant::now();
        for _ in 0..100 {
            assert_eq!(logins.wait(&rate, now), None);
            logins.began(&rate, now);
            logins.ended(now);
        }
        assert!(logins.0.is_empty());
    }
}
