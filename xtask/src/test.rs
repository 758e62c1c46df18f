//! `cargo xtask test`: everything that the tests need, then the tests.

use crate::process::{cargo, run_to_success};
use crate::{examples, plugins, setup};

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    setup::run()?;
    plugins::run()?;
    plugins::build_for_tests()?;
    examples::build_for_tests()?;
    let mut command = cargo(&["test", "--workspace", "--all-features"]);
    command.args(arguments);
    run_to_success(&mut command)
}
