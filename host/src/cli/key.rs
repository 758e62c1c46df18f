//! `scheduler key`: manages the master key, without the API.

mod rotate;

use std::path::PathBuf;

use clap::Subcommand;

use super::Failure;
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Replace the master key and seal all secrets with the new one; the server must be stopped
    Rotate,
}

impl KeyCommand {
    pub(super) async fn run(self, config_file: Option<PathBuf>) -> Result<(), Failure> {
        let config = Config::from_process(config_file, Vec::new()).map_err(anyhow::Error::from)?;
        match self {
            Self::Rotate => rotate::run(&config).await,
        }
    }
}
