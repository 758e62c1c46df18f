//! A circuit breaker per device: stops logins to a device that repeatedly refuses or fails them.
//!
//! Pure: the clock is an argument. Logins to one device are serialized, so after the pause a single
//! login tests the device (half-open).

use std::time::{Duration, Instant};

use super::history::{Clock, FailureRecord, LoginRecord};
use crate::error::Error;

/// The limits of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOptions {
    /// Number of consecutive connection failures that open it: 3 by default. 0 for never.
    pub connection_failures: u32,
    /// Number of consecutive refusals that open it for the refused credentials: 2 by default,
    /// because an account can be locked. 0 for never.
    pub authentication_failures: u32,
    /// How long it stays open before one attempt is admitted: 60 s by default. Each failed attempt
    /// doubles it.
    pub pause: Duration,
    /// Maximum length of the pause: 15 minutes by default.
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

/// Maximum number of remembered refused credentials per device, and of users of interactive logins;
/// the latest are kept.
const MAX_REFUSED_CREDENTIALS: usize = 16;
/// Number of consecutive refused interactive logins of one user after which they pause, with any
/// passwords: more than typing mistakes, fewer than most devices need to lock an account.
const MAX_TRIALS: u32 = 5;

/// The outcomes of the last logins to one device.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Connection failures, with any credentials.
    connecting: Failures,
    /// Refused logins by credentials. Each is counted separately, so that two wrong ones do not
    /// hide each other.
    refused: Vec<(String, Failures)>,
    /// Interactive logins by user, with any credentials. They do not affect jobs.
    trials: Vec<(String, Trials)>,
    /// Logins that have begun and not ended.
    pending: Vec<String>,
}

/// Consecutive interactive logins that were refused or have an unknown outcome.
#[derive(Debug, Default)]
struct Trials {
    count: u32,
    pause: Duration,
    until: Option<Instant>,
}

/// Consecutive failures of one kind.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    pause: Duration,
    why: String,
}

/// An open circuit breaker, for reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBreaker {
    /// Host, port and jump hosts.
    pub address: String,
    /// The failure that opened it, or kept it open.
    pub reason: String,
    /// The time until the next attempt is admitted; zero if it may begin now.
    pub retry_after: Duration,
}

impl Breaker {
    /// Checks whether a login may be tried. The error contains the reason and the remaining pause.
    pub(super) fn admit(&self, key: &str, now: Instant) -> Result<(), (String, Duration)> {
        let refused = self.refused.iter().filter(|(refused, _)| refused == key);
        let mut failures = refused
            .map(|(_, failures)| failures)
            .chain([&self.connecting]);
        let open =
            failures.find_map(|failures| failures.open.as_ref().filter(|open| now < open.until));
        open.map_or(Ok(()), |open| Err((open.why.clone(), open.until - now)))
    }

    /// Checks whether a person may try a login.
    pub(super) fn admit_trial(
        &self,
        key: &str,
        username: &str,
        now: Instant,
    ) -> Result<(), (String, Duration)> {
        let refused = self.refused.iter().filter(|(refused, _)| refused == key);
        let mut open = refused.filter_map(|(_, failures)| failures.open.as_ref());
        if let Some(open) = open.find(|open| now < open.until) {
            return Err((open.why.clone(), open.until - now));
        }
        let trials = self.trials.iter().find(|(user, _)| user == username);
        match trials.and_then(|(_, trials)| trials.until) {
            Some(until) if now < until => {
                Err(("too many wrong passwords in a row".to_owned(), until - now))
            }
            _ => Ok(()),
        }
    }

    /// Records the start of a person's login.
    pub(super) fn trial_began(&mut self, username: &str, options: &BreakerOptions, now: Instant) {
        if options.authentication_failures == 0 {
            return;
        }
        let before = self.trials.iter().position(|(user, _)| user == username);
        let (user, mut trials) = match before {
            Some(at) => self.trials.remove(at),
            None => (username.to_owned(), Trials::default()),
        };
        if self.trials.len() >= MAX_REFUSED_CREDENTIALS {
            self.trials.remove(0);
        }
        trials.count = trials.count.saturating_add(1);
        if trials.count >= MAX_TRIALS {
            let doubled = trials.pause * 2;
            trials.pause = doubled.clamp(options.pause, options.longest_pause.max(options.pause));
            trials.until = Some(now + trials.pause);
        }
        self.trials.push((user, trials));
    }

    /// Records a person's successful login.
    pub(super) fn trial_succeeded(&mut self, username: &str) {
        self.trials.retain(|(user, _)| user != username);
    }

    /// Records that a person's login failed for a reason other than its credentials.
    pub(super) fn trial_did_not_count(&mut self, username: &str) {
        let found = self.trials.iter_mut().find(|(user, _)| user == username);
        if let Some((_, trials)) = found {
            trials.count = trials.count.saturating_sub(1);
            if trials.count < MAX_TRIALS {
                trials.until = None;
            }
        }
        self.trials.retain(|(_, trials)| trials.count > 0);
    }

    /// Records a successful login. Returns whether the breaker was open.
    pub(super) fn succeeded(&mut self, key: &str) -> bool {
        let connecting = std::mem::take(&mut self.connecting);
        let before = self.refused.iter().position(|(refused, _)| refused == key);
        let refused = before.map(|at| self.refused.remove(at).1);
        connecting.open.is_some() || refused.is_some_and(|refused| refused.open.is_some())
    }

    /// Records a failed login. Returns the pause if the breaker opens. Only the errors listed here
    /// are the device's; a shortage of this machine does not count.
    pub(super) fn failed(
        &mut self,
        key: &str,
        error: &Error,
        options: &BreakerOptions,
        now: Instant,
    ) -> Option<Duration> {
        match error {
            Error::Authentication { refused: true, .. } => {
                // The device was reached.
                self.connecting = Failures::default();
                let most = options.authentication_failures;
                self.refused(key).another(error, most, options, now)
            }
            Error::Network {
                of_device: true, ..
            }
            | Error::Timeout { .. }
            | Error::Disconnected { .. }
            | Error::Protocol { .. } => {
                let most = options.connection_failures;
                self.connecting.another(error, most, options, now)
            }
            _ => None,
        }
    }

    fn refused(&mut self, key: &str) -> &mut Failures {
        let before = self.refused.iter().position(|(refused, _)| refused == key);
        let refused = match before {
            Some(at) => self.refused.remove(at),
            None => (key.to_owned(), Failures::default()),
        };
        if self.refused.len() >= MAX_REFUSED_CREDENTIALS {
            self.refused.remove(0);
        }
        self.refused.push(refused);
        let last = self.refused.len() - 1;
        &mut self.refused[last].1
    }

    /// Returns the reason and the remaining time of the longest pause.
    pub(super) fn state(&self, now: Instant) -> Option<(String, Duration)> {
        let refused = self.refused.iter().map(|(_, failures)| failures);
        let open = refused
            .chain([&self.connecting])
            .filter_map(|failures| failures.open.as_ref())
            .max_by_key(|open| open.until)?;
        Some((open.why.clone(), open.until.saturating_duration_since(now)))
    }

    /// Returns whether there is nothing to remember.
    pub(super) fn is_clean(&self) -> bool {
        self.connecting.count == 0
            && self.refused.is_empty()
            && self.trials.is_empty()
            && self.pending.is_empty()
    }

    /// Records the start of a login.
    pub(super) fn began(&mut self, key: &str) {
        self.pending.push(key.to_owned());
    }

    /// Records the end of a login.
    pub(super) fn ended(&mut self, key: &str) {
        if let Some(at) = self.pending.iter().position(|pending| pending == key) {
            self.pending.remove(at);
        }
    }

    /// Adds the breaker's state to a record.
    pub(super) fn record(&self, record: &mut LoginRecord, clock: Clock) {
        record.connecting = self.connecting.record(clock);
        let refused = self.refused.iter();
        record.refused = refused
            .map(|(key, failures)| (key.clone(), failures.record(clock)))
            .collect();
        let trials = self.trials.iter();
        record.trials = trials
            .map(|(user, trials)| (user.clone(), trials.record(clock)))
            .collect();
        record.pending.clone_from(&self.pending);
    }

    /// Restores the state of an earlier process. A login that it did not finish counts as refused,
    /// because the device may have refused it.
    pub(super) fn restore(&mut self, record: &LoginRecord, options: &BreakerOptions, clock: Clock) {
        let failures = |record| Failures::restored(record, options, clock);
        self.connecting = failures(&record.connecting);
        let refused = record
            .refused
            .iter()
            .rev()
            .take(MAX_REFUSED_CREDENTIALS)
            .rev();
        self.refused = refused
            .map(|(key, record)| (key.clone(), failures(record)))
            .collect();
        let trials = record
            .trials
            .iter()
            .rev()
            .take(MAX_REFUSED_CREDENTIALS)
            .rev();
        self.trials = trials
            .map(|(user, record)| (user.clone(), Trials::restored(record, options, clock)))
            .collect();
        for key in record.pending.iter().take(MAX_REFUSED_CREDENTIALS) {
            let unknown = Error::authentication(
                "the server stopped during the login, so the outcome is unknown",
            );
            let most = options.authentication_failures;
            self.refused(key)
                .another(&unknown, most, options, clock.now);
        }
    }
}

impl Trials {
    fn record(&self, clock: Clock) -> FailureRecord {
        FailureRecord {
            count: self.count,
            until: self.until.map(|until| clock.to_wall(until)),
            pause_ms: u64::try_from(self.pause.as_millis()).unwrap_or(u64::MAX),
            ..FailureRecord::default()
        }
    }

    fn restored(record: &FailureRecord, options: &BreakerOptions, clock: Clock) -> Self {
        let longest = options.longest_pause.max(options.pause);
        Self {
            count: record.count,
            pause: Duration::from_millis(record.pause_ms).min(longest),
            until: record.until.and_then(|until| clock.future(until, longest)),
        }
    }
}

impl Failures {
    fn record(&self, clock: Clock) -> FailureRecord {
        let open = self.open.as_ref();
        FailureRecord {
            count: self.count,
            until: open.map(|open| clock.to_wall(open.until)),
            pause_ms: open.map_or(0, |open| {
                u64::try_from(open.pause.as_millis()).unwrap_or(u64::MAX)
            }),
            reason: open.map(|open| open.why.clone()).unwrap_or_default(),
        }
    }

    fn restored(record: &FailureRecord, options: &BreakerOptions, clock: Clock) -> Self {
        let open = record.until.map(|until| Open {
            // A pause that is over still doubles the next one.
            until: clock
                .future(until, options.longest_pause)
                .unwrap_or(clock.now),
            pause: Duration::from_millis(record.pause_ms).min(options.longest_pause),
            why: record.reason.clone(),
        });
        Self {
            count: record.count,
            open,
        }
    }

    /// Counts another failure. Returns the pause if the limit is reached.
    fn another(
        &mut self,
        error: &Error,
        most: u32,
        options: &BreakerOptions,
        now: Instant,
    ) -> Option<Duration> {
        self.count = self.count.saturating_add(1);
        if most == 0 || self.count < most {
            return None;
        }
        let before = self.open.as_ref().map(|open| open.pause * 2);
        let pause = before.unwrap_or(options.pause).min(options.longest_pause);
        self.open = Some(Open {
            until: now + pause,
            pause,
            why: error.to_string(),
        });
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(60);

    fn key(password: &str) -> String {
        format!("digest of {password}")
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
            assert_eq!(breaker.failed(&one, &gone, &options, now), None);
            assert!(breaker.admit(&one, now).is_ok());
        }
        breaker.succeeded(&one);
        for _ in 0..2 {
            assert_eq!(
                breaker.failed(&one, &gone, &options, now),
                None,
                "a success counts anew"
            );
        }
        assert_eq!(breaker.failed(&one, &gone, &options, now), Some(PAUSE));
        let (why, left) = breaker.admit(&key("b"), now + PAUSE / 2).unwrap_err();
        assert_eq!((&*why, left), ("nobody listens", PAUSE / 2));
        assert!(breaker.admit(&one, now + PAUSE).is_ok());
        assert_eq!(
            breaker.failed(&one, &gone, &options, now + PAUSE),
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
        assert_eq!(breaker.failed(&wrong, &refused(), &options, now), None);
        assert_eq!(
            breaker.failed(&wrong, &refused(), &options, now),
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

    /// Two connections to one device, each with a wrong password, used in turn.
    #[test]
    fn each_credentials_refusals_count_for_themselves() {
        let (mut breaker, options, now) = (
            Breaker::default(),
            BreakerOptions::default(),
            Instant::now(),
        );
        let (one, other) = (key("wrong"), key("wrong, too"));
        assert_eq!(breaker.failed(&one, &refused(), &options, now), None);
        assert_eq!(breaker.failed(&other, &refused(), &options, now), None);
        assert_eq!(breaker.failed(&one, &refused(), &options, now), Some(PAUSE));
        assert_eq!(
            breaker.failed(&other, &refused(), &options, now),
            Some(PAUSE)
        );
        assert!(breaker.admit(&one, now).is_err());
        assert!(breaker.admit(&other, now).is_err());
        for number in 0..100 {
            breaker.failed(&key(&number.to_string()), &refused(), &options, now);
        }
        assert!(breaker.refused.len() <= MAX_REFUSED_CREDENTIALS);
    }

    /// A person or a program that tries one password after the other.
    #[test]
    fn trials_with_other_passwords_are_kept_out_and_jobs_are_not() {
        let (mut breaker, options, now) = (
            Breaker::default(),
            BreakerOptions::default(),
            Instant::now(),
        );
        for number in 0..MAX_TRIALS {
            let key = key(&number.to_string());
            assert!(breaker.admit_trial(&key, "u", now).is_ok(), "{number}");
            breaker.trial_began("u", &options, now);
            breaker.failed(&key, &refused(), &options, now);
        }
        let (other, job) = (key("another"), key("right"));
        let (_, left) = breaker.admit_trial(&other, "u", now).unwrap_err();
        assert_eq!(left, PAUSE);
        assert!(breaker.admit_trial(&other, "v", now).is_ok());
        assert!(breaker.admit(&job, now).is_ok());
        // One attempt is admitted after the pause; then the pause doubles.
        let later = now + PAUSE;
        assert!(breaker.admit_trial(&other, "u", later).is_ok());
        breaker.trial_began("u", &options, later);
        let (_, left) = breaker.admit_trial(&other, "u", later).unwrap_err();
        assert_eq!(left, PAUSE * 2);
        breaker.trial_succeeded("u");
        assert!(breaker.admit_trial(&other, "u", later).is_ok());
        // An unreachable device has refused nothing.
        for _ in 0..20 {
            assert!(breaker.admit_trial(&other, "v", later).is_ok());
            breaker.trial_began("v", &options, later);
            breaker.trial_did_not_count("v");
        }
        for number in 0..100 {
            breaker.trial_began(&number.to_string(), &options, later);
        }
        assert!(breaker.trials.len() <= MAX_REFUSED_CREDENTIALS);
    }

    #[test]
    fn a_restart_does_not_forget_the_passwords_that_a_person_tried() {
        let (options, clock) = (BreakerOptions::default(), Clock::read());
        let mut breaker = Breaker::default();
        for _ in 0..MAX_TRIALS {
            assert!(breaker.admit_trial("any", "u", clock.now).is_ok());
            breaker.trial_began("u", &options, clock.now);
            let mut record = LoginRecord::default();
            breaker.record(&mut record, clock);
            breaker = Breaker::default();
            breaker.restore(&record, &options, clock);
        }
        let (_, left) = breaker.admit_trial("any", "u", clock.now).unwrap_err();
        assert_eq!(left, PAUSE);
        assert!(breaker.admit_trial("any", "v", clock.now).is_ok());
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
                breaker.failed(&one, &Error::host_key("changed"), &options, now),
                None
            );
        }
        assert!(breaker.is_clean());
        for _ in 0..20 {
            if let Some(pause) = breaker.failed(&one, &refused(), &options, now) {
                assert!(pause <= options.longest_pause);
                now += pause;
            }
        }
    }

    #[test]
    fn only_what_the_device_did_counts() {
        let (mut breaker, options, now) = (
            Breaker::default(),
            BreakerOptions::default(),
            Instant::now(),
        );
        let own = [
            Error::Server {
                message: "the server has no file descriptors left".into(),
                reached: false,
            },
            Error::Network {
                message: "the name is not known".into(),
                of_device: false,
            },
            Error::no_credentials("no password is configured"),
            Error::invalid("the pool is closed"),
        ];
        for error in own.iter().cycle().take(40) {
            assert_eq!(breaker.failed("a", error, &options, now), None, "{error}");
        }
        assert!(breaker.is_clean());
    }

    #[test]
    fn a_restart_forgets_neither_refusals_nor_pauses() {
        let options = BreakerOptions::default();
        let clock = Clock::read();
        let mut breaker = Breaker::default();
        breaker.failed("wrong", &refused(), &options, clock.now);
        let restarted = |breaker: &Breaker| {
            let mut record = LoginRecord::default();
            breaker.record(&mut record, clock);
            let mut restored = Breaker::default();
            restored.restore(&record, &options, clock);
            restored
        };
        let mut breaker = restarted(&breaker);
        assert!(breaker.admit("wrong", clock.now).is_ok());
        let opened = breaker.failed("wrong", &refused(), &options, clock.now);
        assert_eq!(opened, Some(PAUSE));
        let mut breaker = restarted(&breaker);
        assert!(breaker.admit("wrong", clock.now + PAUSE / 2).is_err());
        assert!(breaker.admit("wrong", clock.now + PAUSE).is_ok());
        let opened = breaker.failed("wrong", &refused(), &options, clock.now + PAUSE);
        assert_eq!(opened, Some(PAUSE * 2), "the pause doubles");
    }

    #[test]
    fn a_login_that_the_process_did_not_end_counts_as_refused() {
        let options = BreakerOptions::default();
        let clock = Clock::read();
        let mut breaker = Breaker::default();
        for killed in 1..=2 {
            assert!(breaker.admit("a", clock.now).is_ok(), "{killed}");
            breaker.began("a");
            let mut record = LoginRecord::default();
            breaker.record(&mut record, clock);
            breaker = Breaker::default();
            breaker.restore(&record, &options, clock);
        }
        let (why, left) = breaker.admit("a", clock.now).unwrap_err();
        assert!(why.contains("stopped during the login"), "{why}");
        assert_eq!(left, PAUSE);
        assert!(breaker.admit("b", clock.now).is_ok());
    }
}
