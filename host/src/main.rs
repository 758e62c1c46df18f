//! The `scheduler` binary: see [`host::cli`].

use std::process::ExitCode;

use clap::Parser;
use host::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
