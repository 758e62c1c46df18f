//! `cargo xtask bench`: measures the server and the sessions, in a release build.

use anyhow::bail;

use crate::plugins;
use crate::process::{cargo, run_to_success};

/// A benchmark: an example of a package, with its arguments.
struct Program {
    package: &'static str,
    example: &'static str,
    arguments: &'static [&'static str],
}

const BATCH: [Program; 1] = [Program {
    package: "host",
    example: "bench",
    arguments: &["batch"],
}];
const JOBS: [Program; 1] = [Program {
    package: "host",
    example: "bench",
    arguments: &["jobs"],
}];
const SESSIONS: [Program; 2] = [
    Program {
        package: "netssh-core",
        example: "sessions",
        arguments: &[],
    },
    Program {
        package: "host",
        example: "bench",
        arguments: &["sessions"],
    },
];
const RUNTIMES: [Program; 1] = [Program {
    package: "host",
    example: "runtimes",
    arguments: &[],
}];
const HISTORY: [Program; 1] = [Program {
    package: "host",
    example: "bench",
    arguments: &["history"],
}];
const MEMORY: [Program; 1] = [Program {
    package: "host",
    example: "bench",
    arguments: &["memory"],
}];
const RECORDS: [Program; 1] = [Program {
    package: "host",
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
    if wanted("memory") || wanted("runtimes") {
        // Builds the component that runs and the server that starts together with the benchmark, so
        // that all have the same dependencies.
        plugins::build_for_tests()?;
        let all = ["build", "--release", "--all-features", "--package", "host"];
        run_to_success(cargo(&all).args(["--bins", "--examples"]))?;
    }
    for program in BENCHES
        .iter()
        .filter(|(name, _)| wanted(name))
        .flat_map(|(_, all)| *all)
    {
        let mut command = cargo(&["run", "--release", "--all-features"]);
        command
            .args([
                "--package",
                program.package,
                "--example",
                program.example,
                "--",
            ])
            .args(program.arguments);
        run_to_success(&mut command)?;
    }
    Ok(())
}
