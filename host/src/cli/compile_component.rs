//! `scheduler compile-component`: the server's child process that compiles one component. Not for users.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::runtime::wasm;

#[derive(Debug, Args)]
pub(crate) struct CompileComponentArgs {
    /// The directory for the compiled code
    staging: PathBuf,

    /// Memory limit, MiB
    #[arg(long)]
    memory_mb: u64,

    /// The process id of the server
    #[arg(long)]
    parent: u32,
}

pub(super) fn run(args: &CompileComponentArgs) -> Result<(), Failure> {
    Ok(wasm::compile(&args.staging, args.memory_mb, args.parent)?)
}
