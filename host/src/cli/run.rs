use std::path::PathBuf;
use clap::Args;
use super::Failure;
#[derive(Debug, Args)]
pub(crate) struct RunArgs { file: PathBuf }
pub(super) fn run(args: RunArgs, _config: Option<PathBuf>) -> Result<(), Failure> {
    Err(Failure::Usage(format!("{}", args.file.display())))
}
