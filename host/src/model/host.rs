//! Hosts, and patterns of hosts: `10.9.*`, `10.9.0.0/16`, `2001:db8::/32`, `*.lab.example.net`.

use std::net::IpAddr;

use super::matches_pattern;

const MAX_HOST_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// Checks a host name or an IP address, without a scheme, a user or a port.
///
/// # Errors
/// A message that says what is expected.
pub fn check_host(host: &str) -> Result<(), String> {
    if is_address(host) || is_host_name(host) {
        return Ok(());
    }
    Err(format!(
        "expected a host name or an IP address{}",
        host_hint(host)
    ))
}

fn host_hint(host: &str) -> &'static str {
    let is_port = |text: &str| !text.is_empty() && text.chars().all(|digit| digit.is_ascii_digit());
    let before_port = host.rsplit_once(':').filter(|(_, port)| is_port(port));
    if host.contains("://") {
        " without a scheme"
    } else if host.contains('@') {
        "; the user is a separate field"
    } else if host.starts_with('[') && host.ends_with(']') {
        " without brackets"
    } else if before_port.is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']')) {
        "; the port is a separate field"
    } else if is_dotted(host) {
        "; an IPv4 address consists of four numbers from 0 to 255"
    } else if !host.is_ascii() {
        " of ASCII characters; write a name in another script as xn--…"
    } else {
        ""
    }
}

/// Returns whether the text is an IP address; an IPv6 address may have a zone, as in `fe80::1%eth0`.
fn is_address(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, ""));
    let of_zone = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => text == address,
        Ok(IpAddr::V6(_)) => text == address || (!zone.is_empty() && zone.chars().all(of_zone)),
        Err(_) => false,
    }
}

/// Returns whether the text is a host name of ASCII characters.
#[must_use]
pub fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    name.len() <= MAX_HOST_BYTES && !is_dotted(name) && name.split('.').all(is_label)
}

/// Returns whether the text consists of digits and dots, and is therefore meant as an address.
fn is_dotted(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// A pattern of hosts.
///
/// A pattern of addresses covers only addresses in their usual notation: the name
/// `10.9.example.net` begins like an address, and some resolvers read `167837953` as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    Any,
    Address(IpAddr),
    Network {
        address: IpAddr,
        length: u8,
    },
    /// `*` matches any text.
    Addresses(String),
    /// `*` matches any text.
    Names(String),
}

impl HostPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// A message that says what is expected, also for a pattern that covers no host.
    pub fn parse(text: &str) -> Result<Self, String> {
        let pattern = text.trim().to_lowercase();
        let invalid = |expected: &str| Err(format!("invalid host `{text}`: expected {expected}"));
        if let Some((address, length)) = pattern.split_once('/') {
            let Ok(address) = address.parse::<IpAddr>() else {
                return invalid("an IP address before the /, as in 10.9.0.0/16");
            };
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let is_number = length.chars().all(|digit| digit.is_ascii_digit());
            return match length.parse::<u8>() {
                Ok(length) if is_number && length <= longest => {
                    Ok(Self::Network { address, length })
                }
                _ => invalid(&format!("a prefix length from 0 to {longest} after the /")),
            };
        }
        if pattern == "*" {
            return Ok(Self::Any);
        }
        if let Ok(address) = pattern.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        if is_of_addresses(&pattern) {
            return match pattern.contains('*') && may_match_address(&pattern) {
                true => Ok(Self::Addresses(pattern)),
                false => invalid("an IP address in its shortest notation, with * for any text"),
            };
        }
        // `*` matches dots too, so replacing it with a label gives a valid name.
        let example = pattern.replace('*', "x");
        match is_host_name(&example) {
            true => Ok(Self::Names(pattern)),
            false => invalid(
                "an IP address, a network such as 10.9.0.0/16, or a host name, with * for any text",
            ),
        }
    }

    /// Returns whether the pattern covers the host of a connection.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let host = host.trim().to_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let address = host.parse::<IpAddr>().map(|address| address.to_canonical());
        match (self, address) {
            (Self::Any, _) => true,
            (Self::Address(wanted), Ok(address)) => address == *wanted,
            (Self::Network { address, length }, Ok(host)) => in_network(*address, *length, host),
            (Self::Addresses(pattern), Ok(address)) => {
                matches_pattern(pattern, &address.to_string())
            }
            (Self::Names(pattern), Err(_)) => matches_pattern(pattern, host),
            _ => false,
        }
    }
}

/// Returns whether a pattern is a pattern of addresses: it contains only their characters.
fn is_of_addresses(pattern: &str) -> bool {
    let of_v4 = pattern
        .chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '.' | '*'));
    let of_v6 = pattern.contains(':')
        && pattern
            .chars()
            .all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.' | '*'));
    !pattern.is_empty() && (of_v4 || of_v6)
}

/// Returns whether an address can match: each complete number in the pattern has the notation of
/// addresses, without leading zeros.
fn may_match_address(pattern: &str) -> bool {
    let v6 = pattern.contains(':');
    let separator = if v6 { ':' } else { '.' };
    let parts: Vec<&str> = pattern.split(separator).collect();
    let is_number = |part: &str| {
        let shortest = part.len() == 1 || !part.starts_with('0');
        match v6 {
            true => part.is_empty() || (shortest && part.len() <= 4 && !part.contains('.')),
            false => shortest && part.parse::<u8>().is_ok(),
        }
    };
    parts.len() <= if v6 { 9 } else { 4 }
        && parts
            .iter()
            .all(|part| part.contains('*') || is_number(part))
}

fn in_network(network: IpAddr, length: u8, address: IpAddr) -> bool {
    let length = u32::from(length);
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, host: &str) -> bool {
        HostPattern::parse(pattern).unwrap().covers(host)
    }

    #[test]
    fn patterns_cover_hosts() {
        for (pattern, host) in [
            ("10.9.*", "10.9.0.1"),
            ("10.9.*", "::ffff:10.9.0.1"),
            ("*.9.0.1", "10.9.0.1"),
            ("1*", "10.9.0.1"),
            ("10.9.0.1", "10.9.0.1"),
            ("10.9.0.0/16", "10.9.255.1"),
            ("0.0.0.0/0", "192.0.2.1"),
            ("2001:db8::/32", "2001:DB8:0:0::1"),
            ("::/0", "2001:db8::1"),
            ("2001:db8:*", "2001:0db8::1"),
            ("*::1", "2001:db8::1"),
            ("*.lab.example.net", "r1.LAB.example.net."),
            ("*lab*", "r1.lab.example.net"),
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
            ("10.9.0.0/16", "10.9.example.net"),
            ("2001:db8::/32", "2001:db9::1"),
            ("*.lab.example.net", "192.0.2.1"),
            ("*.lab.example.net", "lab.example.net.evil.example"),
        ] {
            assert!(!covers(pattern, host), "{pattern} / {host}");
        }
    }

    #[test]
    fn patterns_that_cover_no_host_are_rejected() {
        for pattern in [
            "",
            "10.9.0.0/33",
            "10.9.0.0/99",
            "10.9.0.0/-1",
            "10.9.0.0/+8",
            "10.9.0.0/",
            "10.9/16",
            "10.9.*/16",
            "2001:db8::/129",
            "core1/24",
            "10.9.0.256",
            "10.9",
            "10.900.*",
            "10.09.*",
            "1.2.3.4.*",
            "2001:0db8:*",
            "2001:db8f0:*",
            "10.9.0.1:22",
            "ssh://core1",
            "admin@core1",
            "core 1",
            "-core1",
            "core1..example.net",
        ] {
            let message = HostPattern::parse(pattern).unwrap_err();
            assert!(message.contains("expected"), "{pattern}: {message}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        let label = "a".repeat(63);
        for host in [
            "core1",
            "core-1.example.net",
            "core1.example.net.",
            "sw_1",
            "1.example",
            "xn--zrich-kva.ch",
            "192.0.2.1",
            "2001:db8::1",
            "::1",
            "fe80::1%eth0",
            label.as_str(),
        ] {
            assert_eq!(check_host(host), Ok(()), "{host}");
        }
        let long = "a".repeat(64);
        for (host, hint) in [
            ("[::1]", "without brackets"),
            ("user@host", "the user is a separate field"),
            ("host:22", "the port is a separate field"),
            ("[2001:db8::1]:22", "the port is a separate field"),
            ("ssh://h", "without a scheme"),
            ("https://h:1/x", "without a scheme"),
            ("127.0.0.256", "four numbers"),
            ("10.1", "four numbers"),
            ("167837953", "four numbers"),
            ("zürich", "xn--"),
            ("a;b", "IP address"),
            ("a b", "IP address"),
            ("a/b", "IP address"),
            ("$(reboot)", "IP address"),
            ("-oProxyCommand=x", "IP address"),
            ("-x", "IP address"),
            ("a..b", "IP address"),
            (".", ""),
            ("..", ""),
            ("", ""),
            ("*", "IP address"),
            ("192.0.2.1%eth0", "IP address"),
            ("fe80::1%", "IP address"),
            (long.as_str(), "IP address"),
        ] {
            let message = check_host(host).unwrap_err();
            assert!(message.contains(hint), "{host}: {message}");
        }
    }
}
