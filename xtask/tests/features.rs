//! Tests that cargo commands for one package enable the same features of dependencies as commands for
//! the workspace. Otherwise alternating between them rebuilds the dependencies, for minutes.

#![expect(clippy::unwrap_used, reason = "a test panics on failure")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// The sets of features with which each package is built.
type Features = BTreeMap<String, BTreeSet<String>>;

fn features(arguments: &[&str]) -> Features {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let listed = Command::new(cargo)
        .args([
            "tree",
            "--locked",
            "--offline",
            "--no-dedupe",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p}|{f}"])
        .args(arguments)
        .current_dir(repository)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&listed.stderr);
    assert!(listed.status.success(), "{error}");
    let mut features = Features::new();
    for line in String::from_utf8(listed.stdout).unwrap().lines() {
        if let Some((package, enabled)) = line.split_once('|') {
            let package = package.trim_end_matches(" (proc-macro)").to_owned();
            features
                .entry(package)
                .or_default()
                .insert(enabled.to_owned());
        }
    }
    assert!(features.len() > 50, "{arguments:?} lists {features:?}");
    features
}

#[test]
fn commands_for_one_package_rebuild_no_dependencies() {
    let all = features(&[
        "--workspace",
        "--all-features",
        "--edges",
        "normal,build,dev",
    ]);
    for arguments in [
        ["--workspace", "--edges", "normal,build"].as_slice(),
        &["--package", "host", "--edges", "normal,build"],
        &["--package", "host", "--edges", "normal,build,dev"],
    ] {
        let mut differ = Vec::new();
        for (package, sets) in features(arguments) {
            let known = &all[&package];
            differ.extend(sets.difference(known).map(|set| {
                format!("{package} has the features {set:?} instead of one of {known:?}")
            }));
        }
        assert!(differ.is_empty(), "{arguments:?}: {differ:#?}");
    }
}
