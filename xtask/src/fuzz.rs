//! `cargo xtask fuzz`: netssh-core's fuzz targets, each for a bounded time.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::process::{cargo, repository, run_to_success};

const CARGO_FUZZ: &str = "cargo-fuzz@0.13.2";
const TARGETS: [&str; 4] = ["terminal", "mask", "platform", "reader"];
const SECONDS: u32 = 60;
/// The time in seconds after which an input counts as a failure, like a panic.
const SLOW: u32 = 5;
/// Maximum size of an input in bytes, enough to expose quadratic work.
const LONGEST: u32 = 64 * 1024;

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (targets, seconds) = parse(arguments)?;
    if cargo(&["fuzz", "--version"])
        .output()
        .is_ok_and(|output| !output.status.success())
    {
        println!("fuzz: installing {CARGO_FUZZ}");
        run_to_success(&mut cargo(&["install", "--locked", CARGO_FUZZ]))?;
    }
    let directory = repository().join("netssh-core/fuzz");
    for target in targets {
        println!("fuzz: {target}, {seconds} s");
        fuzz(&directory, target, seconds)?;
    }
    Ok(())
}

fn fuzz(directory: &Path, target: &str, seconds: u32) -> anyhow::Result<()> {
    // libFuzzer writes new inputs to the first directory, which is not committed.
    let corpus = directory.join("corpus").join(target);
    fs::create_dir_all(&corpus)
        .with_context(|| format!("failed to create {}", corpus.display()))?;
    let seeds = directory.join("seeds").join(target);
    let mut command = cargo(&["fuzz", "run", "--fuzz-dir"]);
    command
        .arg(directory)
        // There is no unsafe code to check, and without a sanitizer fuzzing is many times faster.
        .args(["--sanitizer", "none"])
        .arg(target)
        .args([corpus, seeds])
        .arg("--")
        .args([
            format!("-max_total_time={seconds}"),
            format!("-timeout={SLOW}"),
            format!("-max_len={LONGEST}"),
        ]);
    run_to_success(&mut command)
}

fn parse(arguments: &[String]) -> anyhow::Result<(Vec<&str>, u32)> {
    let mut targets = Vec::new();
    let mut seconds = SECONDS;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--seconds" {
            let value = arguments.next().context("--seconds: expected a number")?;
            seconds = value.parse().with_context(|| {
                format!("invalid --seconds: expected a number of seconds, got {value}")
            })?;
        } else if TARGETS.contains(&argument.as_str()) {
            targets.push(argument.as_str());
        } else {
            bail!(
                "unknown fuzz target `{argument}`; known: {}",
                TARGETS.join(", ")
            );
        }
    }
    if targets.is_empty() {
        targets.extend(TARGETS);
    }
    Ok((targets, seconds))
}
