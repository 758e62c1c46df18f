//! The record of logins to devices that survives a restart.
//!
//! After a restart, the number of recent logins and the refused credentials must still be known: a
//! server that restarts in a loop would otherwise lock an account. A login is therefore stored as
//! pending before its secret is sent, and its outcome is stored afterwards. A pending login of an
//! earlier process counts as refused, because its outcome is unknown.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// The reason why a store failed, for the operator.
pub type LoginHistoryError = Box<dyn std::error::Error + Send + Sync>;

/// A store of login records. Without one, a [`crate::Pool`] loses them when it ends.
#[async_trait]
pub trait LoginHistory: Send + Sync + Debug {
    /// Replaces the record of the logins to the device at an address. Returns once it would survive
    /// a crash.
    async fn store(&self, address: &str, record: &LoginRecord) -> Result<(), LoginHistoryError>;

    /// Returns a digest of credentials under a key that is not stored with it, so that the stored
    /// digest cannot be used to test a guessed password.
    fn digest(&self, credentials: &[u8; 32]) -> String;
}

/// The record of logins to one device. Times are in milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LoginRecord {
    /// The latest logins, oldest first.
    pub logins: Vec<i64>,
    /// Consecutive connection failures.
    pub connecting: FailureRecord,
    /// Refused logins, by the digest of their credentials.
    pub refused: Vec<(String, FailureRecord)>,
    /// Interactive logins that were refused or have an unknown outcome, by user.
    pub trials: Vec<(String, FailureRecord)>,
    /// Logins that have begun and not ended, by the digest of their credentials.
    pub pending: Vec<String>,
}

/// Consecutive failures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FailureRecord {
    /// Number of failures.
    pub count: u32,
    /// When the open breaker admits the next attempt.
    pub until: Option<i64>,
    /// The length of the pause, in milliseconds.
    pub pause_ms: u64,
    /// The last failure.
    pub reason: String,
}

impl LoginRecord {
    /// How long failures are remembered after the last login.
    const FAILURES_KEPT: Duration = Duration::from_secs(7 * 86_400);

    /// Returns when the record may be deleted, in milliseconds since 1970: `within` after the
    /// latest login, or later if there were failures.
    #[must_use]
    pub fn expires_at(&self, within: Duration) -> i64 {
        let failures = self.connecting.count > 0
            || !self.refused.is_empty()
            || !self.trials.is_empty()
            || !self.pending.is_empty();
        let kept = match failures {
            true => Self::FAILURES_KEPT.max(within),
            false => within,
        };
        let latest = self.logins.last().copied();
        latest
            .unwrap_or_else(milliseconds_now)
            .saturating_add(milliseconds(kept))
    }
}

/// Converts between the process's monotonic clock and wall-clock times that survive it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) now: Instant,
    wall: i64,
}

impl Clock {
    pub(super) fn read() -> Self {
        Self {
            now: Instant::now(),
            wall: milliseconds_now(),
        }
    }

    pub(super) fn to_wall(self, time: Instant) -> i64 {
        match time.checked_duration_since(self.now) {
            Some(ahead) => self.wall.saturating_add(milliseconds(ahead)),
            None => self.wall.saturating_sub(milliseconds(self.now - time)),
        }
    }

    /// Converts a past time; `None` if it is too long ago. A future time, as left behind by a clock
    /// that was set back, becomes the present.
    pub(super) fn past(self, wall: i64) -> Option<Instant> {
        let ago = u64::try_from(self.wall.saturating_sub(wall)).unwrap_or(0);
        self.now.checked_sub(Duration::from_millis(ago))
    }

    /// Converts a future time, at most `most` ahead; `None` if it is past.
    pub(super) fn future(self, wall: i64, most: Duration) -> Option<Instant> {
        let ahead = u64::try_from(wall.saturating_sub(self.wall)).ok()?;
        Some(self.now + Duration::from_millis(ahead).min(most))
    }
}

fn milliseconds_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    milliseconds(since.unwrap_or_default())
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn times_survive_the_process() {
        let clock = Clock::read();
        let later = clock.now + MINUTE;
        assert_eq!(clock.past(clock.to_wall(clock.now)), Some(clock.now));
        assert_eq!(clock.future(clock.to_wall(later), MINUTE), Some(later));
        // The clock was set back, or is wrong.
        assert_eq!(clock.past(clock.to_wall(later)), Some(clock.now));
        let bounded = clock.future(i64::MAX, MINUTE);
        assert_eq!(bounded, Some(later));
        assert_eq!(clock.future(clock.wall - 1, MINUTE), None);
        assert!(clock.past(i64::MIN).is_none_or(|past| past < clock.now));
    }

    #[test]
    fn failures_are_remembered_longer_than_logins() {
        let mut record = LoginRecord {
            logins: vec![1_000, 5_000],
            ..LoginRecord::default()
        };
        assert_eq!(record.expires_at(MINUTE), 65_000);
        record.pending.push("digest".into());
        assert!(record.expires_at(MINUTE) > 5_000 + 6 * 86_400_000);
    }
}
