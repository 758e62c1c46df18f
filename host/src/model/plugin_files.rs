//! The files a plugin is made of, and the digest that names them.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::LoadError;

/// Without it, a pipe that has no writer could not even be opened.
pub(crate) const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// A plugin as it was read: what is compiled, what a job's digest stands for, and what is kept of
/// it for the job's next attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginFiles {
    /// The name of the plugin's own file, with its ending.
    pub name: String,
    pub main: Vec<u8>,
    /// What a playbook imports, by path below the scripts directory, without the ending.
    pub modules: BTreeMap<String, Vec<u8>>,
}

impl PluginFiles {
    /// Reads the file of a plugin that has no other.
    ///
    /// # Errors
    /// It cannot be read, or has more than `most` bytes.
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

    /// SHA-256 of the file's bytes, hexadecimal. Where there are modules: of the file's digest
    /// followed by, for each module in order, its path, a zero byte and its digest.
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
/// It cannot be read, is not a regular file, or has more than `most` bytes.
pub(crate) fn read_regular(file: std::fs::File, most: u64) -> io::Result<Vec<u8>> {
    // Of what was opened: the path may lead elsewhere by now.
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

/// SHA-256, hexadecimal.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}
