//! Reads secrets from separate files, which keeps them out of the configuration.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use secrecy::SecretString;

use crate::model::NONBLOCK;

const MAX_BYTES: u64 = 16 * 1024;

/// Reads a file without one trailing line end. `key` is the configuration key for errors.
pub(super) fn read(key: &str, path: &Path) -> anyhow::Result<SecretString> {
    let shown = path.display();
    let read = || -> anyhow::Result<SecretString> {
        // A FIFO must not block the start.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(NONBLOCK)
            .open(path)?;
        let metadata = file.metadata()?;
        ensure!(metadata.is_file(), "not a regular file");
        // Only a warning: operators often cannot choose the mode of mounted secrets.
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o007 != 0 {
            tracing::warn!(file = %shown, mode = format!("{mode:o}"), "other users can read this \
                 secret; make it private with chmod o=");
        }
        let mut text = String::new();
        file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
        ensure!(text.len() as u64 <= MAX_BYTES, "expected at most 16 KiB");
        let secret = text.strip_suffix('\n').unwrap_or(&text);
        let secret = secret.strip_suffix('\r').unwrap_or(secret);
        ensure!(!secret.trim().is_empty(), "empty file");
        Ok(SecretString::from(secret))
    };
    read().with_context(|| format!("failed to read {shown} ({key})"))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn one_line_end_is_no_part_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        for (text, secret) in [
            ("a b\n", "a b"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a", "a"),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read("key", &path).unwrap().expose_secret(), secret);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let refusal = |path: &Path| format!("{:#}", read("some.key", path).unwrap_err());
        let told = refusal(&path);
        assert!(
            told.contains("(some.key)") && told.contains("No such file"),
            "{told}"
        );
        assert!(refusal(directory.path()).contains("not a regular file"));
        let fifo = directory.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        assert!(refusal(&fifo).contains("not a regular file"));
        std::fs::write(&path, "\n").unwrap();
        assert!(refusal(&path).contains("empty"));
        std::fs::write(&path, "x".repeat(20_000)).unwrap();
        assert!(refusal(&path).contains("16 KiB"));
    }
}
