//! `cargo xtask bench`: measures the server and the sessions, in a release build.

use std::process::Command;

use anyhow::bail;

use crate::plugins;
use crate::process::{cargo, repository, run_to_success};
use crate::setup::target_directory;

/// A benchmark: an example, with its arguments.
struct Program {
    example: &'static str,
    arguments: &'static [&'static str],
}

const BATCH: [Program; 1] = [Program {
    example: "bench",
    arguments: &["batch"],
}];
const JOBS: [Program; 1] = [Program {
    example: "bench",
    arguments: &["jobs"],
}];
const SESSIONS: [Program; 2] = [
    Program {
        example: "sessions",
        arguments: &[],
    },
    Program {
        example: "bench",
        arguments: &["sessions"],
    },
];
const RUNTIMES: [Program; 1] = [Program {
    example: "runtimes",
    arguments: &[],
}];
const HISTORY: [Program; 1] = [Program {
    example: "bench",
    arguments: &["history"],
}];
const MEMORY: [Program; 1] = [Program {
    example: "bench",
    arguments: &["memory"],
}];
const RECORDS: [Program; 1] = [Program {
    example: "records",
    arguments: &[],
}];
const BENCHES: [(&str, &[Program]); 7] = [
    ("batch", &BATCH),
    ("history", &HISTORY),
    ("jobs", &JOBS),
    ("memory", &MEMORY),
    ("records", &RECORDS),
    ("runtimes", &RUNTIMES),
    ("sessions", &SESSIONS),
];

pub(crate) fn run(names: &[String]) -> anyhow::Result<()> {
    let known = BENCHES.map(|(name, _)| name);
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("unknown benchmark `{unknown}`; known: {}", known.join(", "));
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    if wanted("memory") {
        plugins::run()?;
    }
    if wanted("runtimes") {
        plugins::build_for_tests()?;
    }
    // The benchmarks together with the server that some of them start.
    let all = ["build", "--release", "--workspace", "--all-features"];
    run_to_success(cargo(&all).args(["--bins", "--examples"]))?;
    let examples = target_directory()?.join("release/examples");
    for program in BENCHES
        .iter()
        .filter(|(name, _)| wanted(name))
        .flat_map(|(_, all)| *all)
    {
        let mut command = Command::new(examples.join(program.example));
        command.args(program.arguments).current_dir(repository());
        run_to_success(&mut command)?;
    }
    Ok(())
}
