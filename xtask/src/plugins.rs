//! `cargo xtask plugins`: builds the components, the bundled ones and those of the tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::process::{cargo, repository, run_to_success};
use crate::setup::target_directory;

const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "plugin";

/// Builds every crate in `plugins/` to `plugins/NAME.wasm`, from where the server loads components.
pub(crate) fn run() -> anyhow::Result<()> {
    let directory = repository().join("plugins");
    build(&directory, &directory)
}

/// Builds the components of the tests into cargo's directory for test files.
pub(crate) fn build_for_tests() -> anyhow::Result<()> {
    let built = target_directory()?.join("tmp/guests");
    build(&repository().join("tests/plugins"), &built)
}

fn build(crates: &Path, built: &Path) -> anyhow::Result<()> {
    add_target()?;
    let names = packages_in(crates)?;
    let mut command = cargo(&[
        "build",
        "--locked",
        "--profile",
        PROFILE,
        "--target",
        TARGET,
    ]);
    for name in &names {
        command.args(["--package", name]);
    }
    run_to_success(&mut command)?;
    let output = target_directory()?.join(TARGET).join(PROFILE);
    fs::create_dir_all(built).with_context(|| built.display().to_string())?;
    for name in &names {
        let component = output.join(format!("{}.wasm", name.replace('-', "_")));
        let place = built.join(format!("{name}.wasm"));
        replace(&component, &place)?;
        println!("plugins: {}", place.display());
    }
    Ok(())
}

/// Returns the names of the crates in a directory.
fn packages_in(directory: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let manifest = entry?.path().join("Cargo.toml");
        let Ok(text) = fs::read_to_string(&manifest) else {
            continue;
        };
        let name = text
            .lines()
            .find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        let name =
            name.with_context(|| format!("package name not found in {}", manifest.display()))?;
        names.push(name.to_owned());
    }
    names.sort();
    Ok(names)
}

/// Replaces a component atomically, so that a server that watches the directory sees either file,
/// and only if the component has changed, so that the server does not reload it needlessly.
fn replace(component: &Path, place: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(component).with_context(|| component.display().to_string())?;
    if fs::read(place).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let part: PathBuf = place.with_extension("wasm.part");
    fs::write(&part, bytes).with_context(|| part.display().to_string())?;
    fs::rename(&part, place).with_context(|| place.display().to_string())
}

fn add_target() -> anyhow::Result<()> {
    let asked = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(repository())
        .stderr(Stdio::inherit())
        .output()
        .context("failed to run rustc")?;
    let directory = String::from_utf8_lossy(&asked.stdout);
    if Path::new(directory.trim()).is_dir() {
        return Ok(());
    }
    println!("plugins: adding the target {TARGET}");
    let mut command = Command::new("rustup");
    command
        .args(["target", "add", TARGET])
        .current_dir(repository());
    if run_to_success(&mut command).is_err() {
        bail!("`rustup target add {TARGET}` failed; without rustup, install the target for rustc");
    }
    Ok(())
}
