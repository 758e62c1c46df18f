//! A certificate authority of OpenSSH, for users and hosts.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::sshd::set_mode;

/// A key that signs certificates.
#[derive(Debug)]
pub struct Authority {
    /// The public key as an OpenSSH line, without a comment.
    pub public_key: String,
    directory: TempDir,
}

impl Authority {
    /// Creates an authority with a new key.
    #[must_use]
    pub fn create() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("test-authority-")
            .tempdir()
            .expect("a scratch directory");
        set_mode(directory.path(), 0o755);
        let file = directory.path().join("authority");
        keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"], &[&file]);
        let public_key = read(&file.with_extension("pub")).trim().to_owned();
        Self {
            public_key,
            directory,
        }
    }

    /// Returns the file with its public key, for `TrustedUserCAKeys`.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("authority.pub")
    }

    /// Signs a certificate for the public part of a private key. `options` are those of
    /// `ssh-keygen`: `-n` for the names, `-V` for the validity, `-h` for a host.
    #[must_use]
    pub fn sign(&self, private_key: &str, options: &[&str]) -> String {
        let scratch = TempDir::new_in(self.directory.path()).expect("a scratch directory");
        let key = scratch.path().join("key");
        std::fs::write(&key, private_key).expect("the key");
        set_mode(&key, 0o600);
        let public = Command::new("ssh-keygen")
            .args(["-y", "-f"])
            .arg(&key)
            .output()
            .expect("ssh-keygen");
        assert!(public.status.success(), "ssh-keygen: {public:?}");
        let public_file = scratch.path().join("key.pub");
        std::fs::write(&public_file, public.stdout).expect("the public key");
        let authority = self.directory.path().join("authority");
        let authority = authority.to_str().expect("a path in UTF-8");
        let arguments: Vec<&str> = ["-q", "-s", authority, "-I", "test"]
            .iter()
            .chain(options)
            .copied()
            .collect();
        keygen(&arguments, &[&public_file]);
        read(&scratch.path().join("key-cert.pub")).trim().to_owned()
    }
}

fn keygen(arguments: &[&str], files: &[&Path]) {
    let output = Command::new("ssh-keygen")
        .args(arguments)
        .args(files)
        .output()
        .expect("ssh-keygen");
    assert!(output.status.success(), "ssh-keygen: {output:?}");
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).expect("a file that ssh-keygen wrote")
}
