//! Host keys: known keys, and whether the key that a device offers is acceptable.
//!
//! The decision is a pure function, [`judge`]; the caller chooses where keys are stored.

mod file;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Certificate, HashAlg, PublicKey};

pub use self::file::KnownHostsFile;
use crate::certificate::{check_nesting, validity};

/// A host key of a device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostKey {
    /// The key's algorithm: `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, …
    pub algorithm: String,
    /// The OpenSSH public key line: algorithm and base64, without a comment.
    pub key: String,
    /// The fingerprint as printed by `ssh-keygen -lf`: `SHA256:…`.
    pub fingerprint: String,
}

impl HostKey {
    /// Parses an OpenSSH public key line (`ssh-ed25519 AAAA… comment`).
    ///
    /// # Errors
    /// The reason why the line is not a public key.
    pub fn parse(line: &str) -> Result<Self, HostKeyStoreError> {
        check_nesting(line)?;
        Ok(Self::from_public_key(&PublicKey::from_openssh(
            line.trim(),
        )?)?)
    }

    pub(crate) fn from_public_key(key: &PublicKey) -> Result<Self, russh::keys::ssh_key::Error> {
        let mut plain = key.clone();
        plain.set_comment("");
        Ok(Self {
            algorithm: plain.algorithm().as_str().to_owned(),
            key: plain.to_openssh()?.trim().to_owned(),
            fingerprint: plain.fingerprint(HashAlg::Sha256).to_string(),
        })
    }
}

/// The policy for the host key of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostKeyPolicy {
    /// Accepts only known keys.
    Strict,
    /// Accepts and remembers the first key of a device; a changed key is an error.
    #[default]
    AcceptNew,
    /// Accepts any key. An attacker in the path can read and change everything.
    Insecure,
}

/// The error of a host key store.
pub type HostKeyStoreError = Box<dyn std::error::Error + Send + Sync>;

/// A store of known host keys.
#[async_trait]
pub trait HostKeyStore: Send + Sync + Debug {
    /// Returns all known keys of a device; empty if the device is unknown.
    async fn lookup(&self, host: &str, port: u16) -> Result<Vec<HostKey>, HostKeyStoreError>;

    /// Adds a key. The same key may be added twice, because two sessions may connect to the same
    /// device at once.
    async fn remember(&self, host: &str, port: u16, key: &HostKey)
    -> Result<(), HostKeyStoreError>;

    /// Returns certificate authorities for the device and its revoked keys. None by default.
    async fn marks(&self, host: &str, port: u16) -> Result<HostKeyMarks, HostKeyStoreError> {
        let _ = (host, port);
        Ok(HostKeyMarks::default())
    }
}

/// Markers that a store may have for a device in addition to its keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostKeyMarks {
    /// The keys of certificate authorities that are trusted for host certificates
    /// (`@cert-authority`). With any, a device is asked for its certificate.
    pub authorities: Vec<HostKey>,
    /// Keys that are rejected by every policy (`@revoked`).
    pub revoked: Vec<HostKey>,
}

impl HostKeyMarks {
    /// Checks whether the certificate proves that its key is the host's. The error is a message for
    /// the operator.
    pub(crate) fn check_certificate(
        &self,
        certificate: &Certificate,
        host: &str,
    ) -> Result<(), String> {
        let wrong = |what: String| Err(format!("invalid host certificate: {what}"));
        let read = |key: &russh::keys::ssh_key::public::KeyData| {
            HostKey::from_public_key(&PublicKey::new(key.clone(), ""))
                .map_err(|error| format!("failed to read the host certificate: {error}"))
        };
        let authority = read(certificate.signature_key())?;
        let key = read(certificate.public_key())?;
        if let Some(revoked) = [&key, &authority]
            .into_iter()
            .find(|key| self.revoked.contains(key))
        {
            return wrong(format!("the key {} is revoked", revoked.fingerprint));
        }
        if !self.authorities.contains(&authority) {
            return wrong(format!(
                "it is signed by {}, which is not a known authority for this host",
                authority.fingerprint
            ));
        }
        if certificate.cert_type() != CertType::Host {
            return wrong("expected a host certificate, got a user certificate".into());
        }
        let principals = certificate.valid_principals();
        // A certificate without names is valid for all hosts.
        let named = principals.is_empty()
            || principals
                .iter()
                .any(|name| file::pattern_matches(name.to_lowercase().as_bytes(), host.as_bytes()));
        if !named {
            return wrong(format!(
                "it is valid for {}, not for {host}",
                principals.join(", ")
            ));
        }
        if let Some((option, _)) = certificate.critical_options().iter().next() {
            return wrong(format!("unknown critical option {option:?}"));
        }
        let fingerprint = certificate.signature_key().fingerprint(HashAlg::Sha256);
        if certificate.validate([&fingerprint]).is_err() {
            return wrong(format!(
                "its signature does not match, or it is not valid now (valid {})",
                validity(certificate)
            ));
        }
        Ok(())
    }
}

/// A pinned host key, the only one to accept.
#[derive(Debug, Clone)]
pub(crate) enum Pin {
    Fingerprint(String),
    Key(HostKey),
}

impl Pin {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with("SHA256:") {
            return Ok(Self::Fingerprint(text.trim_end_matches('=').to_owned()));
        }
        HostKey::parse(text)
            .map(Self::Key)
            .map_err(|error| format!("invalid pinned host key: {error}"))
    }

    pub(crate) const fn is_fingerprint(&self) -> bool {
        matches!(self, Self::Fingerprint(_))
    }

    /// Returns the pinned key; `None` for a fingerprint, which does not identify the type of key.
    pub(crate) const fn key(&self) -> Option<&HostKey> {
        match self {
            Self::Fingerprint(_) => None,
            Self::Key(key) => Some(key),
        }
    }

    pub(crate) fn check(&self, offered: &HostKey) -> Result<(), String> {
        let expected = match self {
            Self::Fingerprint(fingerprint) => fingerprint,
            Self::Key(key) => &key.fingerprint,
        };
        if *expected == offered.fingerprint {
            return Ok(());
        }
        Err(format!(
            "host key mismatch: expected the pinned key {expected}, got {} ({})",
            offered.fingerprint, offered.algorithm
        ))
    }
}

/// An in-memory store of host keys.
#[derive(Debug, Default)]
pub struct MemoryHostKeys(Mutex<HashMap<(String, u16), Vec<HostKey>>>);

#[async_trait]
impl HostKeyStore for MemoryHostKeys {
    async fn lookup(&self, host: &str, port: u16) -> Result<Vec<HostKey>, HostKeyStoreError> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(keys
            .get(&(host.to_lowercase(), port))
            .cloned()
            .unwrap_or_default())
    }

    async fn remember(
        &self,
        host: &str,
        port: u16,
        key: &HostKey,
    ) -> Result<(), HostKeyStoreError> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = keys.entry((host.to_lowercase(), port)).or_default();
        if !known.contains(key) {
            known.push(key.clone());
        }
        Ok(())
    }
}

/// The action for an acceptable key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    AcceptAndRemember,
}

/// Decides whether to accept the key that a device offers. The error is a message for the operator.
///
/// A key of another algorithm than the known ones is a changed key, too: the known algorithms are
/// offered first, so a device that still had its old key would have shown that one.
pub(crate) fn judge(
    policy: HostKeyPolicy,
    known: &[HostKey],
    marks: &HostKeyMarks,
    offered: &HostKey,
) -> Result<Verdict, String> {
    if marks.revoked.contains(offered) {
        return Err(format!(
            "the host key is revoked: {} ({})",
            offered.fingerprint, offered.algorithm
        ));
    }
    if policy == HostKeyPolicy::Insecure || known.iter().any(|known| known.key == offered.key) {
        return Ok(Verdict::Accept);
    }
    match (known.first(), policy) {
        (Some(first), _) => {
            let known = known
                .iter()
                .find(|known| known.algorithm == offered.algorithm)
                .unwrap_or(first);
            Err(format!(
                "the host key has changed: expected {} ({}), got {} ({}); if the device was replaced \
                 or reinstalled, remove the known key; otherwise this may be a man-in-the-middle \
                 attack",
                known.fingerprint, known.algorithm, offered.fingerprint, offered.algorithm
            ))
        }
        (None, HostKeyPolicy::Strict) => Err(format!(
            "unknown host key: {} ({}); add it to the known host keys, or use the policy accept-new",
            offered.fingerprint, offered.algorithm
        )),
        (None, _) => Ok(Verdict::AcceptAndRemember),
    }
}
