use std::path::PathBuf;

use clap::Args;

use super::{database, size, talk_of_key};
use crate::cli::{Failure, output};
use crate::config::Config;
use crate::storage::sqlite;

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup file, written by `db backup`
    file: PathBuf,
}

pub(super) async fn run(args: RestoreArgs, config: &Config) -> Result<(), Failure> {
    let database = database(config)?;
    let restored = sqlite::restore(&database, &args.file).await?;
    output::data(&format!(
        "{}: restored from {}, {}, schema {}\n",
        database.display(),
        args.file.display(),
        size(restored.copied.bytes),
        restored.copied.schema
    ))?;
    if let Some(replaced) = restored.replaced {
        output::talk(&format!(
            "the replaced database was moved to {}; remove it when it is no longer needed",
            replaced.display()
        ));
    }
    talk_of_key(&restored.copied, config);
    Ok(())
}
