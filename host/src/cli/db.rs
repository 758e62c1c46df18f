//! `scheduler db`: maintains the database files, without the API.

mod backup;
mod check;
mod init;
mod restore;

use std::path::PathBuf;

use clap::Subcommand;

use super::{Failure, output};
use crate::config::Config;
use crate::sealing::{KeyId, MasterKey, old_file};
use crate::storage::sqlite::{Copied, file_of};

#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Check the whole database for damage; the server may be running
    Check,
    /// Write a copy of the database to a file; the server may be running
    Backup(backup::BackupArgs),
    /// Replace the database with a backup; the server must be stopped
    Restore(restore::RestoreArgs),
    /// Create an empty database for an existing master key
    Init,
}

impl DbCommand {
    pub(super) async fn run(self, config_file: Option<PathBuf>) -> Result<(), Failure> {
        let config = Config::from_process(config_file, Vec::new()).map_err(anyhow::Error::from)?;
        match self {
            Self::Check => check::run(&config).await,
            Self::Backup(args) => backup::run(args, &config).await,
            Self::Restore(args) => restore::run(args, &config).await,
            Self::Init => init::run(&config).await,
        }
    }
}

fn database(config: &Config) -> Result<PathBuf, Failure> {
    Ok(file_of(&config.database.url)?)
}

/// Formats a size, as in `1.4 MB`.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// Prints which master key the secrets in a copy need.
fn talk_of_key(copied: &Copied, config: &Config) {
    let key = &config.security.master_key_file;
    let shown = key.display();
    let check = copied.key_check.as_deref();
    let id = check.and_then(KeyId::of);
    let id = id.map_or_else(String::new, |id| format!(" {id}"));
    let secrets = match copied.sealed_connections {
        0 => "it contains no sealed secrets".to_owned(),
        1 => format!("the secrets of 1 connection in it need key{id}"),
        many => format!("the secrets of {many} connections in it need key{id}"),
    };
    output::talk(&format!(
        "the master key {shown} is not part of a backup: {secrets}. Keep a copy of the key apart from \
         the backups"
    ));
    let Some(check) = check else { return };
    if MasterKey::fits(key, check) != Some(false) {
        return;
    }
    let kept = KeyId::of(check).and_then(|id| old_file(key, id).ok());
    let kept = kept.filter(|kept| MasterKey::fits(kept, check) == Some(true));
    let advice = match kept {
        Some(kept) => format!("; the matching key is {}", kept.display()),
        None => String::new(),
    };
    output::talk(&format!(
        "warning: {shown} is not the master key of this database{advice}; a server does not start with \
         a wrong key"
    ));
}
