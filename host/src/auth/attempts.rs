//! The rate limit of logins: guessing gets slow, and no user is locked out.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// Keys beyond which those without recent logins are removed.
const MANY_KEYS: usize = 10_000;
/// Keys beyond which logins are rejected, so that they do not use up the memory.
const MAX_KEYS: usize = 100_000;

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock>;

/// A client: its IPv4 address or its IPv6 network (/64). `None` is the Unix socket.
type ClientKey = Option<IpAddr>;

/// The limits of login attempts. They apply to the successful ones too, because the answer is not known
/// before the hash has been computed.
pub(super) struct LoginAttempts {
    /// Limit of one client for one user: guesses at a password.
    own: Limiter<(String, ClientKey)>,
    /// Limit of one client for all users: guesses at users with a common password.
    client: Limiter<ClientKey>,
    /// Limit of all clients for one user: guesses from many addresses. It is wide, so that the user waits
    /// for seconds only.
    user: Limiter<String>,
    clock: DefaultClock,
}

impl LoginAttempts {
    pub(super) fn new() -> Self {
        Self {
            own: limiter(5, Duration::from_secs(10)),
            client: limiter(20, Duration::from_secs(3)),
            user: limiter(30, Duration::from_secs(2)),
            clock: DefaultClock::default(),
        }
    }

    /// Counts an attempt.
    ///
    /// # Errors
    /// How long the client has to wait, in seconds, if the attempt exceeds a limit.
    pub(super) fn count(&self, name: &str, address: Option<IpAddr>) -> Result<(), u32> {
        let name = name.to_lowercase();
        let client = address.map(network_of);
        make_room(&self.own)?;
        make_room(&self.client)?;
        make_room(&self.user)?;
        let wait = |not_until: governor::NotUntil<_>| {
            let wait = not_until.wait_time_from(self.clock.now());
            u32::try_from(wait.as_secs())
                .unwrap_or(u32::MAX)
                .saturating_add(1)
        };
        self.client.check_key(&client).map_err(wait)?;
        self.own.check_key(&(name.clone(), client)).map_err(wait)?;
        self.user.check_key(&name).map_err(wait)
    }
}

fn limiter<K: std::hash::Hash + Eq + Clone>(burst: u32, interval: Duration) -> Limiter<K> {
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::with_period(interval)
        .unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN))
        .allow_burst(burst);
    RateLimiter::hashmap(quota)
}

fn make_room<K: std::hash::Hash + Eq + Clone>(limiter: &Limiter<K>) -> Result<(), u32> {
    if limiter.len() >= MANY_KEYS {
        limiter.retain_recent();
    }
    if limiter.len() >= MAX_KEYS {
        Err(10)
    } else {
        Ok(())
    }
}

fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn guesses_at_one_user_are_slowed_down_per_client() {
        let attempts = LoginAttempts::new();
        for name in ["anna", "Anna", "ANNA", "anna", "anna"] {
            assert_eq!(attempts.count(name, address("192.0.2.1")), Ok(()));
        }
        let wait = attempts.count("anna", address("192.0.2.1")).unwrap_err();
        assert!((1..=10).contains(&wait), "{wait}");
        let mapped = attempts.count("anna", address("::ffff:192.0.2.1"));
        assert!(mapped.is_err(), "the same client");
        assert_eq!(attempts.count("ben", address("192.0.2.1")), Ok(()));
        assert_eq!(attempts.count("anna", address("192.0.2.2")), Ok(()));
        assert_eq!(attempts.count("anna", None), Ok(()));
    }

    #[test]
    fn guesses_at_many_users_are_slowed_down_per_network() {
        let attempts = LoginAttempts::new();
        for number in 0..20 {
            let from = address(&format!("2001:db8::{number}"));
            assert_eq!(attempts.count(&format!("user{number}"), from), Ok(()));
        }
        assert!(
            attempts
                .count("one-more", address("2001:db8::ffff"))
                .is_err()
        );
        assert_eq!(
            attempts.count("one-more", address("2001:db8:0:1::1")),
            Ok(())
        );
    }

    #[test]
    fn guesses_from_many_clients_delay_a_user_by_seconds() {
        let attempts = LoginAttempts::new();
        let refused = (0..40).find_map(|number| {
            let from = address(&format!("192.0.2.{number}"));
            attempts.count("anna", from).err()
        });
        assert!(refused.is_some_and(|wait| wait <= 3), "{refused:?}");
    }
}
