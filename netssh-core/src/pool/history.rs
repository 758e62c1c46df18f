//! What is known of logins to devices, as it is kept across restarts.
//!
//! A restart must not forget how often a device was logged in to, and which credentials it refused:
//! a server that is restarted in a loop would lock an account. So a login is stored before its
//! secret is sent, as pending, and its outcome afterwards. A pending login of an earlier process
//! counts as refused, since its outcome is not known.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// The reason why a store failed, for the operator.
pub type LoginHistoryError = Box<dyn std::error::Error + Send + Sync>;

/// Where what is known of logins is kept. Without one, a [`crate::Pool`] forgets it when it ends.
#[async_trait]
pub trait LoginHistory: Send + Sync + Debug {
    /// Stores what is known of the logins to the device at an address, instead of what was stored
    /// before. Returns when it would survive a crash.
    async fn store(&self, address: &str, record: &LoginRecord) -> Result<(), LoginHistoryError>;

    /// Returns a digest of credentials under a key that is not stored with it: what is stored must
    /// not tell whether a guessed password is right.
    fn digest(&self, credentials: &[u8; 32]) -> String;
}

/// What is known of the logins to one device. Times are milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LoginRecord {
    /// The latest logins, the oldest first.
    pub logins: Vec<i64>,
    /// Failures to connect.
    pub connecting: FailureRecord,
    /// Refused logins, by the digest of their credentials.
    pub refused: Vec<(String, FailureRecord)>,
    /// Logins beside the pool that were refused, or whose outcome is not known, by user.
    pub trials: Vec<(String, FailureRecord)>,
    /// Logins that were begun and have not ended, by the digest of their credentials.
    pub pending: Vec<String>,
}

/// Failures in a row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FailureRecord {
    /// How many there were.
    pub count: u32,
    /// The breaker is open until this time.
    pub until: Option<i64>,
    /// For how long it was opened.
    pub pause_ms: u64,
    /// The last failure.
    pub reason: String,
}

impl LoginRecord {
    /// For as long failures are remembered after the last login.
    const FAILURES_KEPT: Duration = Duration::from_secs(7 * 86_400);

    /// Returns when the record may be forgotten, in milliseconds since 1970: `within` after the
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

/// Converts between the clock of this process and times that survive it.
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

    /// Returns a time of the past, `None` if it is too long ago. Of a time to come, which a clock
    /// that was set back leaves, it makes the present.
    pub(super) fn past(self, wall: i64) -> Option<Instant> {
        let ago = u64::try_from(self.wall.saturating_sub(wall)).unwrap_or(0);
        self.now.checked_sub(Duration::from_millis(ago))
    }

    /// Returns a time to come, at most `most` ahead; `None` if it is past.
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
