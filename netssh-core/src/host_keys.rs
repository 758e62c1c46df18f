//! Host keys: which are known, and whether the one a device offers is acceptable.
//!
//! The decision is a pure function, [`judge`]; where keys are kept is the caller's choice.

mod file;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use russh::keys::{HashAlg, PublicKey};

pub use self::file::KnownHostsFile;

/// One host key of one device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostKey {
    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa` …
    pub algorithm: String,
    /// The OpenSSH line: algorithm and base64, no comment.
    pub key: String,
    /// `SHA256:…`, as `ssh-keygen -lf` prints it.
    pub fingerprint: String,
}

impl HostKey {
    /// Reads an OpenSSH public key line (`ssh-ed25519 AAAA… comment`).
    ///
    /// # Errors
    /// Says why the line is no public key.
    pub fn parse(line: &str) -> Result<Self, HostKeyStoreError> {
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

/// What to do with the host key of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostKeyPolicy {
    /// Only keys that are known already.
    Strict,
    /// The first key of a device is remembered, a changed one is an error.
    #[default]
    AcceptNew,
    /// Any key at all. Whoever is in the path can read and change everything.
    Insecure,
}

/// What a store of host keys may fail with.
pub type HostKeyStoreError = Box<dyn std::error::Error + Send + Sync>;

/// Where known host keys are kept.
#[async_trait]
pub trait HostKeyStore: Send + Sync + Debug {
    /// All keys known for one device; empty when it is not known.
    async fn lookup(&self, host: &str, port: u16) -> Result<Vec<HostKey>, HostKeyStoreError>;

    /// Adds a key. Two sessions may be opening the same device at once, so the same key may
    /// come twice.
    async fn remember(&self, host: &str, port: u16, key: &HostKey)
    -> Result<(), HostKeyStoreError>;
}

/// Host keys in memory, forgotten with the process.
#[derive(Debug, Default)]
pub struct MemoryHostKeys(Mutex<HashMap<(String, u16), Vec<HostKey>>>);

#[async_trait]
impl HostKeyStore for MemoryHostKeys {
    async fn lookup(&self, host: &str, port: u16) -> Result<Vec<HostKey>, HostKeyStoreError> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(keys
            .get(&(host.to_owned(), port))
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
        let known = keys.entry((host.to_owned(), port)).or_default();
        if !known.contains(key) {
            known.push(key.clone());
        }
        Ok(())
    }
}

/// What is to be done with an acceptable key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    AcceptAndRemember,
}

/// Decides about the key a device offers. The error is a message for the operator.
///
/// A device that is known by a key of another algorithm has changed too: the known algorithms
/// are asked for first, so a device that still had its old key would have shown that one.
pub(crate) fn judge(
    policy: HostKeyPolicy,
    pinned: Option<&str>,
    known: &[HostKey],
    offered: &HostKey,
) -> Result<Verdict, String> {
    if let Some(pinned) = pinned {
        let expected = if pinned.starts_with("SHA256:") {
            pinned.trim().to_owned()
        } else {
            HostKey::parse(pinned)
                .map_err(|error| format!("the pinned host key cannot be read: {error}"))?
                .fingerprint
        };
        return if expected == offered.fingerprint {
            Ok(Verdict::Accept)
        } else {
            Err(format!(
                "the host key is not the pinned one: expected {expected}, offered {} ({})",
                offered.fingerprint, offered.algorithm
            ))
        };
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
                "the host key has changed: known is {} ({}), offered is {} ({}); if the device was \
                 replaced or reinstalled, remove the known key, otherwise someone may be in the path",
                known.fingerprint, known.algorithm, offered.fingerprint, offered.algorithm
            ))
        }
        (None, HostKeyPolicy::Strict) => Err(format!(
            "the host key is not known: offered is {} ({}); add it to the known host keys, or use \
             the policy accept-new",
            offered.fingerprint, offered.algorithm
        )),
        (None, _) => Ok(Verdict::AcceptAndRemember),
    }
}
