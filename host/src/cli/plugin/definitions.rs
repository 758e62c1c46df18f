use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::cli::{Failure, output};
use crate::runtime::rhai::RhaiRuntime;

#[derive(Debug, Args)]
pub(crate) struct DefinitionsArgs {
    /// The directory to write to; created if missing
    directory: PathBuf,
}

pub(super) fn run(args: &DefinitionsArgs) -> Result<(), Failure> {
    let written = RhaiRuntime::write_definitions(&args.directory);
    let written = written.with_context(|| args.directory.display().to_string())?;
    for file in written {
        output::talk(&format!("wrote {}", file.display()));
    }
    Ok(())
}
