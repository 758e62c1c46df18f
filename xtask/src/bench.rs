//! `cargo xtask bench`: measures the server, in a release build.

use crate::process::{cargo, run_to_success};

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let mut command = cargo(&[
        "run",
        "--release",
        "--package",
        "host",
        "--example",
        "bench",
    ]);
    command.arg("--").args(arguments);
    run_to_success(&mut command)
}
