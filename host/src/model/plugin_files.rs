//! The files of a plugin, and their digest.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::LoadError;

/// Opening a pipe without a writer would block without this flag.
pub(crate) const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// The files of a plugin as read. They are compiled, identified by a digest in each job, and stored for
/// later attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginFiles {
    /// Name of the plugin's main file, with its extension.
    pub name: String,
    pub main: Vec<u8>,
    /// Imported modules of a playbook, by path below the scripts directory, without the extension.
    pub modules: BTreeMap<String, Vec<u8>>,
}

impl PluginFiles {
    /// Reads a plugin that consists of a single file.
    ///
    /// # Errors
    /// If the file cannot be read, is not a regular file, or has more than `most` bytes.
    pub fn read(file: &Path, most: u64) -> Result<Self, LoadError> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let mut options = std::fs::OpenOptions::new();
        let opened = options.read(true).custom_flags(NONBLOCK).open(file);
        let main = opened.and_then(|opened| read_regular(opened, most));
        let main = main
            .map_err(|error| LoadError::new(&name, format!("failed to read the file: {error}")))?;
        Ok(Self {
            main,
            name: name.into_owned(),
            modules: BTreeMap::new(),
        })
    }

    /// Returns the SHA-256 of the main file in hexadecimal. With modules, it is the SHA-256 of that
    /// digest followed by the path, a zero byte and the digest of each module, in order.
    #[must_use]
    pub fn digest(&self) -> String {
        if self.modules.is_empty() {
            return digest_of(&self.main);
        }
        let mut all = digest_of(&self.main);
        for (path, bytes) in &self.modules {
            all.push_str(path);
            all.push('\0');
            all.push_str(&digest_of(bytes));
        }
        digest_of(all.as_bytes())
    }
}

/// Reads a file of a plugin.
///
/// # Errors
/// If the file cannot be read, is not a regular file, or has more than `most` bytes.
pub(crate) fn read_regular(file: std::fs::File, most: u64) -> io::Result<Vec<u8>> {
    // Checks the opened file: the path may refer to another file by now.
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let message = format!("file too large: at most {most} bytes are allowed");
        return Err(io::Error::other(message));
    }
    Ok(bytes)
}

/// Returns the SHA-256 in hexadecimal.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}
