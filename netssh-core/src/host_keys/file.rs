//! A host key store in OpenSSH's `known_hosts` format.
//!
//! Has its own parser, because russh's silently ignores `@revoked` and does not support patterns.
//! It supports names, `[name]:port`, comma-separated lists, `*`, `?` and `!` patterns, hashed
//! names, comments, `@revoked` and `@cert-authority`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use tokio::io::AsyncWriteExt;

use super::{HostKey, HostKeyMarks, HostKeyStore, HostKeyStoreError};

/// A file of host keys in OpenSSH's `known_hosts` format, created with mode 0600 when the first key
/// is remembered.
#[derive(Debug)]
pub struct KnownHostsFile {
    path: PathBuf,
    // Held by `remember`: its lookup and append have to be one step.
    writing: tokio::sync::Mutex<()>,
}

impl KnownHostsFile {
    /// Returns a store for this file, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            writing: tokio::sync::Mutex::new(()),
        }
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn read(&self, host: &str, port: u16) -> Result<Found, HostKeyStoreError> {
        match tokio::fs::read_to_string(&self.path).await {
            Ok(text) => Ok(find(&text, host, port)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::default()),
            Err(error) => Err(format!("{}: {error}", self.path.display()).into()),
        }
    }
}

#[async_trait]
impl HostKeyStore for KnownHostsFile {
    async fn lookup(&self, host: &str, port: u16) -> Result<Vec<HostKey>, HostKeyStoreError> {
        Ok(self.read(host, port).await?.keys)
    }

    async fn marks(&self, host: &str, port: u16) -> Result<HostKeyMarks, HostKeyStoreError> {
        Ok(self.read(host, port).await?.marks)
    }

    async fn remember(
        &self,
        host: &str,
        port: u16,
        key: &HostKey,
    ) -> Result<(), HostKeyStoreError> {
        let _writing = self.writing.lock().await;
        if self.lookup(host, port).await?.contains(key) {
            return Ok(());
        }
        let mut options = tokio::fs::OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        options.mode(0o600);
        let mut file = options.open(&self.path).await?;
        // One write, so that a second process that appends at the same time cannot split the line.
        let line = format!("{} {}\n", written_name(host, port), key.key);
        file.write_all(line.as_bytes()).await?;
        file.flush().await?;
        Ok(())
    }
}

fn written_name(host: &str, port: u16) -> String {
    if port == 22 {
        host.to_owned()
    } else {
        format!("[{host}]:{port}")
    }
}

/// The entries of a `known_hosts` file for one device. Invalid lines are skipped, as in OpenSSH.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    keys: Vec<HostKey>,
    marks: HostKeyMarks,
}

fn find(text: &str, host: &str, port: u16) -> Found {
    let name = written_name(host, port).to_lowercase();
    let mut found = Found::default();
    for line in text.lines() {
        let line = line.trim();
        let (mark, rest) = match line.split_once(char::is_whitespace) {
            Some((mark, rest)) if mark.starts_with('@') => (Some(mark), rest.trim_start()),
            _ => (None, line),
        };
        if rest.starts_with('#') {
            continue;
        }
        let Some((names, key)) = rest.split_once(char::is_whitespace) else {
            continue;
        };
        if !names_match(names, &name) {
            continue;
        }
        let Ok(key) = HostKey::parse(key) else {
            continue;
        };
        match mark {
            None => found.keys.push(key),
            Some("@revoked") => found.marks.revoked.push(key),
            Some("@cert-authority") => found.marks.authorities.push(key),
            Some(_) => {}
        }
    }
    found
}

fn names_match(names: &str, name: &str) -> bool {
    if let Some(hashed) = names.strip_prefix("|1|") {
        return hash_matches(hashed, name).unwrap_or_default();
    }
    let mut found = false;
    for pattern in names.split(',') {
        let (pattern, negated) = match pattern.strip_prefix('!') {
            Some(pattern) => (pattern, true),
            None => (pattern, false),
        };
        if pattern_matches(pattern.to_lowercase().as_bytes(), name.as_bytes()) {
            if negated {
                return false;
            }
            found = true;
        }
    }
    found
}

/// Compares `salt|hash`, the HMAC-SHA1 of a name, with a name; see `ssh-keygen -H`.
fn hash_matches(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let salt = BASE64.decode(salt.as_bytes()).ok()?;
    let hash = BASE64.decode(hash.as_bytes()).ok()?;
    let mut mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?;
    mac.update(name.as_bytes());
    Some(mac.verify_slice(&hash).is_ok())
}

/// Matches `*` and `?` patterns, in constant memory and without recursion.
pub(super) fn pattern_matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    p = star + 1;
                    n = from + 1;
                    retry = Some((star, n));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn finds_names_ports_and_patterns() {
        let text = format!("# note\n\nr1,10.0.0.* {KEY} comment\n[r2]:2222 {KEY}\n!r9,r* {KEY}\n");
        let count = |host, port| find(&text, host, port).keys.len();
        assert_eq!(count("R1", 22), 2);
        assert_eq!(count("10.0.0.7", 22), 1);
        assert_eq!(count("r2", 2222), 1);
        assert_eq!(count("r9", 22), 0);
        assert_eq!(count("x", 22), 0);
    }

    #[test]
    fn marked_keys_are_no_known_keys() {
        let text = format!("@revoked * {KEY}\n@cert-authority *.lab {KEY}\n@other * {KEY}\n");
        let found = find(&text, "r1.lab", 22);
        assert_eq!(found.keys, []);
        assert_eq!(found.marks.revoked.len(), 1);
        assert_eq!(found.marks.authorities.len(), 1);
        assert_eq!(find(&text, "r1", 22).marks.authorities, []);
    }

    #[test]
    fn hashed_names_are_found() {
        // `printf 'r1 ssh-ed25519 …' > f; ssh-keygen -H -f f`
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_hosts");
        std::fs::write(&path, format!("r1 {KEY}\n[r2]:2222 {KEY}\n")).unwrap();
        let hashing = std::process::Command::new("ssh-keygen")
            .args(["-H", "-f"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(hashing.status.success(), "{hashing:?}");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().all(|line| line.starts_with("|1|")), "{text}");
        assert_eq!(find(&text, "r1", 22).keys.len(), 1);
        assert_eq!(find(&text, "R2", 2222).keys.len(), 1);
        assert_eq!(find(&text, "r3", 22).keys.len(), 0);
        assert_eq!(find("|1|!|! ssh-ed25519 AAAA", "r1", 22), Found::default());
    }
}
