//! Tests that all cargo commands in the documentation and in `.ci/run` build the same dependencies, with
//! the same features and profile. Otherwise alternating between them rebuilds dependencies, for minutes.

#![expect(clippy::unwrap_used, reason = "a test panics on failure")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Returns what a command builds of the crates from outside of the repository.
fn units(arguments: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let listed = Command::new(cargo)
        .args(arguments)
        .args(["--locked", "--unit-graph", "-Z", "unstable-options"])
        // Only with this variable does a stable cargo print its plan. It builds nothing.
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(repository)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&listed.stderr);
    assert!(listed.status.success(), "{arguments:?}: {error}");
    let graph: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let units = graph["units"].as_array().unwrap().iter();
    let foreign = units.filter(|unit| !unit["pkg_id"].as_str().unwrap().starts_with("path+file"));
    let described = foreign.map(|unit| {
        let profile = &unit["profile"];
        format!(
            "{} {} {} for {}, features {}, optimisation {}, debug information {}",
            unit["pkg_id"],
            unit["target"]["kind"],
            unit["mode"],
            unit["platform"],
            unit["features"],
            profile["opt_level"],
            profile["debuginfo"]
        )
    });
    let described: BTreeSet<_> = described.collect();
    assert!(described.len() > 300, "{arguments:?}: {described:#?}");
    described
}

#[test]
fn no_command_builds_dependencies_a_second_time() {
    let all = ["test", "--no-run", "--workspace", "--all-features"];
    let all = units(&all);
    for arguments in [
        ["build"].as_slice(),
        &["build", "--package", "host"],
        &["build", "--package", "host", "--package", "netssh-lab"],
        &["build", "--workspace"],
        &["test", "--no-run", "--package", "host"],
    ] {
        let others: Vec<_> = units(arguments).difference(&all).cloned().collect();
        assert!(others.is_empty(), "{arguments:?} also builds {others:#?}");
    }
}
