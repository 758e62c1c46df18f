//! `cargo xtask chaos`: the fault campaign of `tests/chaos.rs`, for any length of time.

use anyhow::{Context as _, bail};

use crate::process::{cargo, run_to_success};

const MINUTES: u64 = 5;

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (minutes, seed) = parse(arguments)?;
    if minutes == 0 {
        bail!("invalid --minutes: expected at least 1");
    }
    // The same build as `cargo xtask test`, so that it is built only once.
    let mut command = cargo(&["test", "--workspace", "--all-features"]);
    command
        .args(["--test", "integration", "--", "--exact", "--nocapture"])
        .arg("chaos::promises_hold_whatever_fails")
        .env("CHAOS_SECONDS", minutes.saturating_mul(60).to_string());
    match seed {
        Some(seed) => command.env("CHAOS_SEED", seed.to_string()),
        None => command.env_remove("CHAOS_SEED"),
    };
    run_to_success(&mut command)
}

fn parse(arguments: &[String]) -> anyhow::Result<(u64, Option<u64>)> {
    let (mut minutes, mut seed) = (MINUTES, None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut number = || -> anyhow::Result<u64> {
            let value = arguments.next();
            let value = value.with_context(|| format!("{argument}: expected a number"))?;
            value.parse().with_context(|| {
                format!("invalid {argument}: expected a whole number, got {value}")
            })
        };
        match argument.as_str() {
            "--minutes" => minutes = number()?,
            "--seed" => seed = Some(number()?),
            _ => bail!("unknown argument `{argument}`; known: --minutes N and --seed N"),
        }
    }
    Ok((minutes, seed))
}
