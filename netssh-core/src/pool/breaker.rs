//! Keeps a device that does not let anybody in from being tried again and again.
//!
//! Pure: the clock is an argument. Logins to one device come one after the other, so whoever is let
//! in after the pause is the only one who tries.

use std::time::{Duration, Instant};

use super::key::Key;
use crate::error::Error;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOptions {
    /// It opens after so many failures to connect in a row: 3 by default. 0: never.
    pub connection_failures: u32,
    /// It opens after so many refused logins in a row with the same credentials: 2 by default, because
    /// an account can be locked out. 0: never.
    pub authentication_failures: u32,
    /// It then waits so long until one try is let through: 60 s by default. Each one that fails
    /// doubles it.
    pub pause: Duration,
    /// It never waits longer: 15 minutes by default.
    pub longest_pause: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            connection_failures: 3,
            authentication_failures: 2,
            pause: Duration::from_secs(60),
            longest_pause: Duration::from_secs(900),
        }
    }
}

/// What is known of the last logins to one device.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    connection_failures: u32,
    /// Of these credentials.
    refused: Option<(Key, u32)>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    /// Only these credentials are kept out; all, where it is not about them.
    key: Option<Key>,
    until: Instant,
    pause: Duration,
    why: String,
}

/// A breaker that is open, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBreaker {
    /// Host and port, and the way there.
    pub address: String,
    /// The failure that opened it, or kept it open.
    pub reason: String,
    /// Until the next try is let through; zero when it may come.
    pub retry_after: Duration,
}

impl Breaker {
    /// Whether a login may be tried.
    pub(super) fn admit(&self, key: &Key, now: Instant) -> Result<(), (String, Duration)> {
        match &self.open {
            Some(open) if now < open.until && open.key.is_none_or(|kept_out| kept_out == *key) => {
                Err((open.why.clone(), open.until - now))
            }
            _ => Ok(()),
        }
    }

    /// Notes a login that worked; says whether the breaker was open.
    pub(super) fn succeeded(&mut self, key: &Key) -> bool {
        self.connection_failures = 0;
        self.refused.take_if(|(refused, _)| refused == key);
        let about_this = |open: &mut Open| open.key.is_none_or(|kept_out| kept_out == *key);
        self.open.take_if(about_this).is_some()
    }

    /// Notes a login that failed; gives the pause if the breaker is open now because of it.
    pub(super) fn failed(
        &mut self,
        key: Key,
        error: &Error,
        options: &BreakerOptions,
        now: Instant,
    ) -> Option<Duration> {
        let (kept_out, opens) = match error {
            Error::Authentication { .. } => {
                // The device was reached.
                self.connection_failures = 0;
                let count = match self.refused {
                    Some((refused, count)) if refused == key => count.saturating_add(1),
                    _ => 1,
                };
                self.refused = Some((key, count));
                (Some(key), reached(count, options.authentication_failures))
            }
            Error::Network { .. }
            | Error::Timeout { .. }
            | Error::Disconnected { .. }
            | Error::Protocol { .. } => {
                self.connection_failures = self.connection_failures.saturating_add(1);
                (
                    None,
                    reached(self.connection_failures, options.connection_failures),
                )
            }
            _ => return None,
        };
        if !opens {
            return None;
        }
        let before = self.open.as_ref().map(|open| open.pause * 2);
        let pause = before.unwrap_or(options.pause).min(options.longest_pause);
        self.open = Some(Open {
            key: kept_out,
            until: now + pause,
            pause,
            why: error.to_string(),
        });
        Some(pause)
    }

    /// Why it is open, and for how long yet.
    pub(super) fn state(&self, now: Instant) -> Option<(String, Duration)> {
        let open = self.open.as_ref()?;
        Some((open.why.clone(), open.until.saturating_duration_since(now)))
    }

    /// Whether there is anything to remember.
    pub(super) fn is_clean(&self) -> bool {
        self.connection_failures == 0 && self.refused.is_none() && self.open.is_none()
    }
}

fn reached(count: u32, most: u32) -> bool {
    most > 0 && count >= most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Endpoint, Platform};

    const PAUSE: Duration = Duration::from_secs(60);

    fn key(password: &str) -> Key {
        let mut endpoint = Endpoint::new("192.0.2.1", "u", Platform::named("linux").unwrap());
        endpoint.credentials.password = Some(password.into());
        Key::of(&endpoint)
    }

    fn refused() -> Error {
        Error::authentication("the password was refused")
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_try_after_the_pause() {
        let (mut breaker, options, now) = (
            Breaker::default(),
            BreakerOptions::default(),
            Instant::now(),
        );
        let (one, gone) = (key("a"), Error::network("nobody listens"));
        for _ in 0..2 {
            assert_eq!(breaker.failed(one, &gone, &options, now), None);
            assert!(breaker.admit(&one, now).is_ok());
        }
        breaker.succeeded(&one);
        for _ in 0..2 {
            assert_eq!(
                breaker.failed(one, &gone, &options, now),
                None,
                "a success counts anew"
            );
        }
        assert_eq!(breaker.failed(one, &gone, &options, now), Some(PAUSE));
        let (why, left) = breaker.admit(&key("b"), now + PAUSE / 2).unwrap_err();
        assert_eq!((&*why, left), ("nobody listens", PAUSE / 2));
        assert!(breaker.admit(&one, now + PAUSE).is_ok());
        assert_eq!(
            breaker.failed(one, &gone, &options, now + PAUSE),
            Some(PAUSE * 2)
        );
        assert!(breaker.admit(&one, now + PAUSE * 2).is_err());
        assert!(breaker.succeeded(&one));
        assert!(breaker.is_clean());
    }

    #[test]
    fn refused_credentials_are_kept_out_and_others_are_not() {
        let (mut breaker, options, now) = (
            Breaker::default(),
            BreakerOptions::default(),
            Instant::now(),
        );
        let (wrong, right) = (key("wrong"), key("right"));
        assert_eq!(breaker.failed(wrong, &refused(), &options, now), None);
        assert_eq!(
            breaker.failed(wrong, &refused(), &options, now),
            Some(PAUSE)
        );
        assert!(breaker.admit(&wrong, now).is_err());
        assert!(breaker.admit(&right, now).is_ok(), "they were changed");
        assert!(!breaker.succeeded(&right));
        assert!(
            breaker.admit(&wrong, now).is_err(),
            "the account can still be locked"
        );
    }

    #[test]
    fn the_pause_has_a_bound_and_a_host_key_does_not_count() {
        let (mut breaker, options, mut now) = (
            Breaker::default(),
            BreakerOptions::default(),
            Instant::now(),
        );
        let one = key("a");
        for _ in 0..20 {
            assert_eq!(
                breaker.failed(one, &Error::host_key("changed"), &options, now),
                None
            );
        }
        assert!(breaker.is_clean());
        for _ in 0..20 {
            if let Some(pause) = breaker.failed(one, &refused(), &options, now) {
                assert!(pause <= options.longest_pause);
                now += pause;
            }
        }
    }
}
