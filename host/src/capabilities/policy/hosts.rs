//! Host patterns: `10.9.*`, `10.9.0.0/16`, `2001:db8::/32`, `*.lab.example.net`.

use std::net::IpAddr;

use crate::model::matches_pattern;

/// Returns whether a pattern covers the host of a connection.
///
/// A pattern of addresses covers only addresses in their usual notation: the name
/// `10.9.example.net` begins like an address, and some resolvers read `167837953` as one.
pub(super) fn covers(pattern: &str, host: &str) -> bool {
    let pattern = pattern.trim().to_lowercase();
    let host = host.trim().to_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    if let Some((network, length)) = pattern.split_once('/') {
        return in_network(network, length, host);
    }
    if pattern == "*" {
        return true;
    }
    let address = host.parse::<IpAddr>().map(|address| address.to_canonical());
    if let Ok(wanted) = pattern.parse::<IpAddr>() {
        return address == Ok(wanted.to_canonical());
    }
    match address {
        Ok(address) => is_of_addresses(&pattern) && matches_pattern(&pattern, &address.to_string()),
        Err(_) => !is_of_addresses(&pattern) && matches_pattern(&pattern, host),
    }
}

/// Returns whether a pattern with `*` is a pattern of addresses: it contains only their characters.
fn is_of_addresses(pattern: &str) -> bool {
    let of_v4 = pattern
        .chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '.' | '*'));
    let of_v6 = pattern.contains(':')
        && pattern
            .chars()
            .all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.' | '*'));
    of_v4 || of_v6
}

fn in_network(network: &str, length: &str, host: &str) -> bool {
    let parsed = (
        network.parse::<IpAddr>(),
        length.parse::<u32>(),
        host.parse::<IpAddr>(),
    );
    let (Ok(network), Ok(length), Ok(address)) = parsed else {
        return false;
    };
    match (network, address.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(address)) if length <= 32 => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) if length <= 128 => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_hosts() {
        for (pattern, host) in [
            ("10.9.*", "10.9.0.1"),
            ("10.9.*", "::ffff:10.9.0.1"),
            ("10.9.0.1", "10.9.0.1"),
            ("10.9.0.0/16", "10.9.255.1"),
            ("0.0.0.0/0", "192.0.2.1"),
            ("2001:db8::/32", "2001:DB8:0:0::1"),
            ("2001:db8:*", "2001:0db8::1"),
            ("*.lab.example.net", "r1.LAB.example.net."),
            ("core1", "Core1"),
            ("*", "anything"),
        ] {
            assert!(covers(pattern, host), "{pattern} / {host}");
        }
        for (pattern, host) in [
            ("10.9.*", "10.9.example.net"),
            ("10.9.*", "10.90.0.1"),
            ("10.9.*", "10.9.1"),
            ("10.9.*", "167837953"),
            ("10.9.0.0/16", "10.10.0.1"),
            ("10.9.0.0/33", "10.9.0.1"),
            ("10.9.0.0/16", "10.9.example.net"),
            ("2001:db8::/32", "2001:db9::1"),
            ("*.lab.example.net", "192.0.2.1"),
            ("*.lab.example.net", "lab.example.net.evil.example"),
        ] {
            assert!(!covers(pattern, host), "{pattern} / {host}");
        }
    }
}
