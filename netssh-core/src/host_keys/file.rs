//! Host keys in a file of OpenSSH's `known_hosts` format.
//!
//! An own reader, because russh's silently ignores `@revoked` and knows no patterns. Understood
//! are names, `[name]:port`, comma lists, `*`, `?` and `!` patterns, hashed names (`|1|…`),
//! comments, `@revoked` and `@cert-authority`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use tokio::io::AsyncWriteExt;

use super::{HostKey, HostKeyMarks, HostKeyStore, HostKeyStoreError};

/// Host keys in a file of OpenSSH's `known_hosts` format, created with mode 0600 when the first
/// key is remembered.
#[derive(Debug)]
pub struct KnownHostsFile {
    path: PathBuf,
    // One writer at a time: look-up and append of `remember` belong together.
    writing: tokio::sync::Mutex<()>,
}

impl KnownHostsFile {
    /// The file need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            writing: tokio::sync::Mutex::new(()),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn read(&self) -> Result<String, HostKeyStoreError> {
        match tokio::fs::read_to_string(&self.path).await {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(format!("{}: {error}", self.path.display()).into()),
        }
    }
}

#[async_trait]
impl HostKeyStore for KnownHostsFile {
    async fn lookup(&self, host: &str, port: u16) -> Result<Vec<HostKey>, HostKeyStoreError> {
        Ok(find(&self.read().await?, host, port).keys)
    }

    async fn marks(&self, host: &str, port: u16) -> Result<HostKeyMarks, HostKeyStoreError> {
        Ok(find(&self.read().await?, host, port).marks)
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
        // One write, so that a second process appending at the same time cannot split the line.
        let line = format!("{} {}\n", written_name(host, port), key.key);
        file.write_all(line.as_bytes()).await?;
        file.flush().await?;
        Ok(())
    }
}

fn written_name(host: &str, port: u16) -> String {
    let host = host.to_lowercase();
    if port == 22 {
        host
    } else {
        format!("[{host}]:{port}")
    }
}

/// What a `known_hosts` text holds for one device.
#[derive(Debug, Default)]
struct Found {
    keys: Vec<HostKey>,
    marks: HostKeyMarks,
}

/// Lines that cannot be read are skipped, as OpenSSH does.
fn find(text: &str, host: &str, port: u16) -> Found {
    let name = written_name(host, port);
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
            Some("@cert-authority") => found.marks.authorities.push(key),
            Some("@revoked") => found.marks.revoked.push(key),
            Some(_) => {}
        }
    }
    found
}

fn names_match(names: &str, name: &str) -> bool {
    if let Some(hashed) = names.strip_prefix("|1|") {
        return hash_matches(hashed, name);
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

/// `salt|hash`, both in base 64: HMAC-SHA1 of the name, with the salt as its key.
fn hash_matches(hashed: &str, name: &str) -> bool {
    let matches = || {
        let (salt, hash) = hashed.split_once('|')?;
        let salt = BASE64.decode(salt.as_bytes()).ok()?;
        let hash = BASE64.decode(hash.as_bytes()).ok()?;
        let mut mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?;
        mac.update(name.as_bytes());
        mac.verify_slice(&hash).ok()
    };
    matches().is_some()
}

/// `*` and `?` patterns, in linear memory and without recursion.
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

    fn keys(text: &str, host: &str, port: u16) -> usize {
        find(text, host, port).keys.len()
    }

    #[test]
    fn finds_names_ports_and_patterns() {
        let text = format!("# note\n\nr1,10.0.0.* {KEY} comment\n[r2]:2222 {KEY}\n!r9,r* {KEY}\n");
        assert_eq!(keys(&text, "R1", 22), 2);
        assert_eq!(keys(&text, "10.0.0.7", 22), 1);
        assert_eq!(keys(&text, "r2", 2222), 1);
        assert_eq!(keys(&text, "r9", 22), 0);
        assert_eq!(keys(&text, "x", 22), 0);
    }

    #[test]
    fn marked_keys_are_kept_apart() {
        let found = find(
            &format!("@revoked * {KEY}\n@cert-authority r* {KEY}\n@other * {KEY}\n"),
            "r1",
            22,
        );
        assert!(found.keys.is_empty());
        assert_eq!(found.marks.revoked.len(), 1);
        assert_eq!(found.marks.authorities.len(), 1);
    }
}
