//! `cargo xtask dashboard`: checks the dashboard's code with prettier, eslint and the type checker of
//! TypeScript. The dashboard itself needs no Node and no build.

use std::fs;
use std::process::Command;

use anyhow::Context as _;

use crate::process::{repository, run_to_success};
use crate::setup;

pub(crate) fn run() -> anyhow::Result<()> {
    setup::node()?;
    let directory = repository().join("xtask/dashboard");
    // npm copies the lock there once everything in it is installed.
    let installed = directory.join("node_modules/.package-lock.json");
    let lock = directory.join("package-lock.json");
    let modified = |path| fs::metadata(path).and_then(|file| file.modified());
    let changed = modified(&lock).with_context(|| lock.display().to_string())?;
    if modified(&installed).is_ok_and(|installed| installed >= changed) {
        return check(&directory);
    }
    let mut install = Command::new("npm");
    install
        .args(["ci", "--no-audit", "--no-fund"])
        .current_dir(&directory);
    run_to_success(&mut install)?;
    check(&directory)
}

fn check(directory: &std::path::Path) -> anyhow::Result<()> {
    let mut npm = Command::new("npm");
    npm.args(["run", "--silent", "check"])
        .current_dir(directory);
    run_to_success(&mut npm)
}
