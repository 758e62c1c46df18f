//! `cargo xtask test`: installs and builds the requirements of the tests, then runs them.

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
