//! A rate limit for logins to one device, over a sliding window.
//!
//! Pure: the clock is an argument. Some devices allow four logins per minute and lock out clients
//! that exceed it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::history::Clock;

/// A rate limit for logins to one device. A device is identified by its address as written and its
/// jump hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginRate {
    /// Maximum number of logins, failed ones included: 30 by default. 0 for no limit.
    pub logins: u32,
    /// The length of the sliding window: one minute by default.
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
    /// Returns a limit of this many logins per minute; 0 for no limit.
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

/// The latest logins to one device, oldest first, up to the limit.
#[derive(Debug, Default)]
pub(super) struct Logins(VecDeque<Instant>);

impl Logins {
    /// Returns how long to wait before the next login; `None` if it may begin now.
    pub(super) fn wait(&self, rate: &LoginRate, now: Instant) -> Option<Duration> {
        let most = rate.most();
        // With fewer logins than allowed, there is no such index.
        let at = self.0.len().checked_sub(most)?;
        let free_at = *self.0.get(at)? + rate.within;
        (now < free_at).then(|| free_at - now)
    }

    /// Records the start of a login. It counts even if its caller is cancelled.
    pub(super) fn began(&mut self, rate: &LoginRate, now: Instant) {
        self.0.push_back(now);
        while self.0.len() > rate.most() {
            self.0.pop_front();
        }
    }

    /// Moves the latest login to its end, because the device may count it at any time between the
    /// two.
    pub(super) fn ended(&mut self, now: Instant) {
        if let Some(last) = self.0.back_mut() {
            *last = now;
        }
    }

    /// Removes the latest login, which did not reach the device.
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

    /// Returns whether no login counts any longer.
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
                    // The device may count the login only at its end.
                    now += SECOND * (seen.len() as u32 % 3);
                    logins.ended(now);
                    seen.push(now);
                }
            }
        }
        for window in seen.windows(5) {
            assert!(window[4] - window[0] >= rate.within, "{window:?}");
        }
        // And no fewer: four logins, then a wait.
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
