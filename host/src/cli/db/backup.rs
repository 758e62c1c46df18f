use std::path::PathBuf;

use clap::Args;

use super::{database, size, talk_of_key};
use crate::cli::{Failure, output};
use crate::config::Config;
use crate::storage::sqlite;

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to write
    file: PathBuf,

    /// Replace the file if it exists
    #[arg(long)]
    replace: bool,
}

pub(super) async fn run(args: BackupArgs, config: &Config) -> Result<(), Failure> {
    let copied = sqlite::back_up(&database(config)?, &args.file, args.replace).await?;
    output::data(&format!(
        "{}: checked, {}, schema {}\n",
        args.file.display(),
        size(copied.bytes),
        copied.schema
    ))?;
    talk_of_key(&copied, config);
    Ok(())
}
