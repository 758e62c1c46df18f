//! `cargo xtask bench`: measures the server and the sessions, in a release build.

use anyhow::bail;

use crate::process::{cargo, run_to_success};

/// What is measured: the package, the example in it, and what it is told.
const BENCHES: [(&str, &[(&str, &str, &[&str])]); 2] = [
    ("jobs", &[("host", "bench", &["jobs"])]),
    (
        "sessions",
        &[
            ("netssh-core", "sessions", &[]),
            ("host", "bench", &["sessions"]),
        ],
    ),
];

pub(crate) fn run(names: &[String]) -> anyhow::Result<()> {
    let known = BENCHES.map(|(name, _)| name);
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!(
            "there is no bench `{unknown}`; there are {}",
            known.join(", ")
        );
    }
    for (name, examples) in BENCHES {
        if !names.is_empty() && names.iter().all(|wanted| wanted != name) {
            continue;
        }
        for (package, example, arguments) in examples {
            let mut command = cargo(&["run", "--release", "--all-features"]);
            command.args(["--package", package, "--example", example, "--"]);
            command.args(*arguments);
            run_to_success(&mut command)?;
        }
    }
    Ok(())
}
