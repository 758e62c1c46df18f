//! The example plugins in other languages: their compilers, and the components for the tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, bail};

use crate::process::{repository, run_to_success};
use crate::setup::target_directory;

/// Builds both examples, if they or the contract have changed since the last build.
pub(crate) fn build_for_tests() -> anyhow::Result<()> {
    let built = target_directory()?.join("tmp/guests");
    fs::create_dir_all(&built).with_context(|| built.display().to_string())?;
    python("version-watch", &built)?;
    javascript("command-diff", &built)
}

fn python(name: &str, built: &Path) -> anyhow::Result<()> {
    let source = source_of(name);
    let component = built.join(format!("{name}.wasm"));
    if !is_older(&component, &source)? {
        return Ok(());
    }
    let compiler = target_directory()?.join("tmp/componentize-py");
    let program = compiler.join("bin/componentize-py");
    if !program.is_file() {
        println!("examples: installing componentize-py");
        let mut command = Command::new("python3");
        command
            .args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(&compiler)
            .arg("--requirement")
            .arg(source.join("requirements.txt"));
        run_to_success(&mut command)?;
    }
    println!("examples: {name}");
    let mut command = Command::new(program);
    command
        .env("PYTHONPATH", &compiler)
        .current_dir(&source)
        .arg("--wit-path")
        .arg(contract())
        .args(["--world", "job-plugin", "componentize", "app", "--output"])
        .arg(&component);
    run_to_success(&mut command)
}

/// Builds in a copy: npm installs its packages next to the source.
fn javascript(name: &str, built: &Path) -> anyhow::Result<()> {
    let source = source_of(name);
    let component = built.join(format!("{name}.wasm"));
    if !is_older(&component, &source)? {
        return Ok(());
    }
    let copy = target_directory()?.join("tmp/examples").join(name);
    fs::create_dir_all(&copy).with_context(|| copy.display().to_string())?;
    let mut fresh = false;
    for entry in fs::read_dir(&source).with_context(|| source.display().to_string())? {
        let file = entry?.path();
        if file.is_file() {
            let to = copy.join(file.file_name().unwrap_or_default());
            let bytes = fs::read(&file).with_context(|| file.display().to_string())?;
            fresh |= to.ends_with("package.json") && fs::read(&to).ok().as_ref() != Some(&bytes);
            fs::write(&to, bytes).with_context(|| to.display().to_string())?;
        }
    }
    if fresh || !copy.join("node_modules").is_dir() {
        println!("examples: installing componentize-js");
        let mut command = Command::new("npm");
        command
            .args([
                "install",
                "--no-audit",
                "--no-fund",
                "--no-package-lock",
                "--loglevel=error",
            ])
            .current_dir(&copy);
        run_to_success(&mut command)?;
    }
    println!("examples: {name}");
    let mut command = Command::new("node");
    command
        .arg("build.mjs")
        .arg(contract())
        .arg(&component)
        .current_dir(&copy);
    run_to_success(&mut command)
}

fn source_of(name: &str) -> PathBuf {
    repository().join("plugins/examples").join(name)
}

fn contract() -> PathBuf {
    repository().join("plugin-sdk/wit")
}

/// Returns whether a component does not exist, or is older than its sources.
fn is_older(component: &Path, source: &Path) -> anyhow::Result<bool> {
    let Ok(made) = fs::metadata(component).and_then(|file| file.modified()) else {
        return Ok(true);
    };
    Ok(newest_in(source)?.max(newest_in(&contract())?) > made)
}

fn newest_in(directory: &Path) -> anyhow::Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        newest = newest.max(entry?.metadata()?.modified()?);
    }
    if newest == SystemTime::UNIX_EPOCH {
        bail!("{} is empty", directory.display());
    }
    Ok(newest)
}
