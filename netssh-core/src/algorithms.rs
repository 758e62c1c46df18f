//! SSH algorithms to offer, and hints for a device that supports none of them.

use std::borrow::Cow;

use russh::keys::Algorithm;
use russh::{AlgorithmKind, Preferred, cipher, compression, kex, mac};

use crate::host_keys::HostKey;

/// The SSH algorithms to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Algorithms {
    /// Only algorithms that are considered safe.
    #[default]
    Default,
    /// The safe algorithms first, then those that old devices need: key exchange with SHA-1,
    /// `ssh-rsa` signatures, CBC modes, `hmac-sha1`, and RSA host keys of 1024 bits.
    Legacy,
}

const LEGACY_KEY_EXCHANGES: &[kex::Name] = &[kex::DH_G14_SHA1, kex::DH_GEX_SHA1, kex::DH_G1_SHA1];
/// Key exchanges in which the device chooses the group.
pub(crate) const GROUP_EXCHANGES: &[kex::Name] = &[kex::DH_GEX_SHA1, kex::DH_GEX_SHA256];
const LEGACY_CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_CBC,
    cipher::AES_192_CBC,
    cipher::AES_128_CBC,
    cipher::TRIPLE_DES_CBC,
];
const LEGACY_MACS: &[mac::Name] = &[mac::HMAC_SHA1_ETM, mac::HMAC_SHA1];

/// The hint for a device that needs legacy algorithms.
pub(crate) const HINT: &str = "set algorithms to legacy for this connection";

impl Algorithms {
    /// Returns the algorithms to offer to a device with the `known` host keys, except host keys of
    /// the types in `without` (see [`HostKey::algorithm`]).
    pub(crate) fn preferred(self, known: &[HostKey], without: &[String]) -> Preferred {
        let legacy = self == Self::Legacy;
        let safe = Preferred::default();
        let mut offered = Preferred {
            kex: Cow::Owned(safe_key_exchanges()),
            key: Cow::Owned(self.host_key_algorithms(known, without)),
            compression: Cow::Borrowed(&[compression::NONE]),
            ..safe
        };
        if legacy {
            offered.kex.to_mut().extend(LEGACY_KEY_EXCHANGES);
            offered.cipher.to_mut().extend(LEGACY_CIPHERS);
            offered.mac.to_mut().extend(LEGACY_MACS);
        }
        offered
    }

    /// Returns the hint for a device on which group exchange fails, if legacy algorithms would
    /// help.
    pub(crate) fn hint_without_group_exchange(self, theirs: &[String]) -> Option<String> {
        let fixed: Vec<String> = theirs
            .iter()
            .filter(|name| !names(GROUP_EXCHANGES).contains(&name.as_str()))
            .cloned()
            .collect();
        let hint = self.hint(&AlgorithmKind::Kex, &fixed);
        hint.strip_prefix("; ").map(str::to_owned)
    }

    /// Returns the host key algorithms, those of known keys first: a device with several keys
    /// should show the known one.
    fn host_key_algorithms(self, known: &[HostKey], without: &[String]) -> Vec<Algorithm> {
        let mut algorithms: Vec<Algorithm> = Preferred::default()
            .key
            .iter()
            .filter(|algorithm| {
                self == Self::Legacy || !matches!(algorithm, Algorithm::Rsa { hash: None })
            })
            .filter(|algorithm| !without.iter().any(|without| without == key_type(algorithm)))
            .cloned()
            .collect();
        algorithms
            .sort_by_key(|algorithm| !known.iter().any(|key| key.algorithm == key_type(algorithm)));
        algorithms
    }

    /// Returns the minimum size of an accepted RSA host key, in bits.
    pub(crate) const fn shortest_rsa(self) -> u32 {
        match self {
            Self::Default => 2048,
            Self::Legacy => 1024,
        }
    }

    /// Returns the hint for an error about missing common algorithms: empty, or `"; …"`.
    pub(crate) fn hint(self, kind: &AlgorithmKind, theirs: &[String]) -> String {
        let offers = |names: &[&str]| theirs.iter().any(|name| names.contains(&name.as_str()));
        let helps = match kind {
            AlgorithmKind::Kex => offers(&names(LEGACY_KEY_EXCHANGES)),
            AlgorithmKind::Cipher => offers(&names(LEGACY_CIPHERS)),
            AlgorithmKind::Mac => offers(&names(LEGACY_MACS)),
            AlgorithmKind::Key => offers(&["ssh-rsa"]),
            AlgorithmKind::Compression => false,
        };
        match (self, helps) {
            (Self::Default, true) => format!("; these algorithms are old and weak: {HINT}"),
            _ => String::new(),
        }
    }
}

fn names<N: AsRef<str>>(names: &[N]) -> Vec<&str> {
    names.iter().map(AsRef::as_ref).collect()
}

/// Returns the type of a host key as in [`HostKey::algorithm`]: all RSA signatures use the same
/// type.
fn key_type(algorithm: &Algorithm) -> &str {
    match algorithm {
        Algorithm::Rsa { .. } => "ssh-rsa",
        other => other.as_str(),
    }
}

/// Returns the library's safe key exchanges and the NIST curves, which are the best that many
/// devices offer.
fn safe_key_exchanges() -> Vec<kex::Name> {
    let mut names = Preferred::default().kex.into_owned();
    let at = names
        .iter()
        .position(|name| *name == kex::DH_GEX_SHA256)
        .unwrap_or(0);
    names.splice(
        at..at,
        [
            kex::ECDH_SHA2_NISTP256,
            kex::ECDH_SHA2_NISTP384,
            kex::ECDH_SHA2_NISTP521,
        ],
    );
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_legacy_is_offered_by_default() {
        let offered = Algorithms::Default.preferred(&[], &[]);
        let all: Vec<String> = names(&offered.kex)
            .into_iter()
            .chain(names(&offered.cipher))
            .chain(names(&offered.mac))
            .map(str::to_owned)
            .chain(offered.key.iter().map(ToString::to_string))
            .collect();
        for name in &all {
            assert!(
                !["sha1", "cbc", "3des", "ssh-rsa", "none", "group1-"]
                    .iter()
                    .any(|weak| name.contains(weak)),
                "{name}"
            );
        }
    }

    #[test]
    fn legacy_adds_after_the_safe_ones() {
        let safe = Algorithms::Default.preferred(&[], &[]);
        let legacy = Algorithms::Legacy.preferred(&[], &[]);
        assert!(legacy.kex.starts_with(&safe.kex));
        assert!(legacy.cipher.starts_with(&safe.cipher));
        assert!(legacy.mac.starts_with(&safe.mac));
        assert!(legacy.key.starts_with(&safe.key));
        assert_eq!(legacy.key.last(), Some(&Algorithm::Rsa { hash: None }));
    }

    #[test]
    fn the_known_key_type_comes_first_and_an_excluded_one_never() {
        let rsa = HostKey {
            algorithm: "ssh-rsa".into(),
            key: String::new(),
            fingerprint: String::new(),
        };
        let offered = Algorithms::Default.preferred(&[rsa], &["ssh-ed25519".into()]);
        assert!(matches!(offered.key[0], Algorithm::Rsa { .. }));
        assert!(!offered.key.contains(&Algorithm::Ed25519));
    }
}
