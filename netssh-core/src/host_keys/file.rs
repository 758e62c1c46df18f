//! Host keys in a file of OpenSSH's `known_hosts` format.
//!
//! An own reader, because russh's silently ignores `@revoked` and knows no patterns. Understood
//! are names, `[name]:port`, comma lists, `*`, `?` and `!` patterns, comments and `@revoked`
//! (refused by being reported as an error). Hashed names (`|1|…`) and `@cert-authority` are
//! skipped: a device known only by those counts as unknown.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::io::AsyncWriteExt;

use super::{HostKey, HostKeyStore, HostKeyStoreError};

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
}

#[async_trait]
impl HostKeyStore for KnownHostsFile {
    async fn lookup(&self, host: &str, port: u16) -> Result<Vec<HostKey>, HostKeyStoreError> {
        match tokio::fs::read_to_string(&self.path).await {
            Ok(text) => find(&text, host, port),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(format!("{}: {error}", self.path.display()).into()),
        }
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
    if port == 22 {
        host.to_owned()
    } else {
        format!("[{host}]:{port}")
    }
}

/// The keys that a `known_hosts` text holds for one device. Lines that cannot be read are skipped,
/// as OpenSSH does; a revoked key is an error.
fn find(text: &str, host: &str, port: u16) -> Result<Vec<HostKey>, HostKeyStoreError> {
    let name = written_name(host, port).to_lowercase();
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let (mark, rest) = match line.split_once(char::is_whitespace) {
            Some((mark, rest)) if mark.starts_with('@') => (Some(mark), rest.trim_start()),
            _ => (None, line),
        };
        if rest.starts_with('#') || mark == Some("@cert-authority") {
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
        if mark == Some("@revoked") {
            return Err(format!(
                "the known hosts file revokes a key of {name} in line {}: {}",
                number + 1,
                key.fingerprint
            )
            .into());
        }
        keys.push(key);
    }
    Ok(keys)
}

fn names_match(names: &str, name: &str) -> bool {
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

/// `*` and `?` patterns, in linear memory and without recursion.
fn pattern_matches(pattern: &[u8], name: &[u8]) -> bool {
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
        assert_eq!(find(&text, "R1", 22).unwrap().len(), 2);
        assert_eq!(find(&text, "10.0.0.7", 22).unwrap().len(), 1);
        assert_eq!(find(&text, "r2", 2222).unwrap().len(), 1);
        assert_eq!(find(&text, "r9", 22).unwrap().len(), 0);
        assert_eq!(find(&text, "x", 22).unwrap().len(), 0);
    }

    #[test]
    fn a_revoked_key_is_an_error() {
        assert!(find(&format!("@revoked * {KEY}\n"), "r1", 22).is_err());
    }
}
