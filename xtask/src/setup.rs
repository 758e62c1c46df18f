//! `cargo xtask setup`: installs the missing Debian packages for the tests, and the Python
//! packages: TextFSM templates and `FakeNOS`.
//!
//! The list contains no C compiler, though some crates need one: cargo needed one to link this
//! program.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process::run_to_success;

const PACKAGES: [(&str, &str); 10] = [
    ("openssh-server", "real SSH devices"),
    ("frr", "a real router"),
    ("iproute2", "a separate network for the router"),
    ("inetutils-telnet", "a telnet-only router"),
    ("procps", "counting a device's sessions"),
    (
        "python3-pip",
        "TextFSM templates, FakeNOS and componentize-py, which are Python packages",
    ),
    ("python3-aiosmtpd", "a real mail server"),
    ("openssl", "its certificate"),
    ("chromium", "the dashboard's tests"),
    ("chromium-driver", "the dashboard's tests"),
];

/// For the example plugin in JavaScript and the checks of the dashboard.
const NODE: [(&str, &str); 2] = [
    (
        "nodejs",
        "an example plugin in JavaScript, checks of the dashboard",
    ),
    (
        "npm",
        "an example plugin in JavaScript, checks of the dashboard",
    ),
];

/// Runs as root, with the packages as arguments.
///
/// A package's service must not start on the developer's machine: policy-rc.d prevents that during
/// the installation. An existing file belongs to another program and is kept, unless a killed run
/// has left it. The shell removes its own file on every exit.
const INSTALL: &str = r#"
    set -eu
    exec 9> /run/lock/job-scheduler-setup.lock
    flock 9

    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ] || grep -q 'cargo xtask setup' "$policy"; then
        trap 'rm -f "$policy"' EXIT
        trap 'exit 130' INT TERM HUP
        printf '#!/bin/sh\n# by cargo xtask setup, for as long as it runs\nexit 101\n' > "$policy"
        chmod 755 "$policy"
    fi

    # DPkg::Lock::Timeout makes apt wait for the lock on dpkg, not for the one on its lists.
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C
    waited=0
    until output=$(apt-get -q update 2>&1); do
        case $output in
            *"Could not get lock"*) ;;
            *) printf '%s\n' "$output" >&2; break ;;
        esac
        if [ "$waited" -ge 120 ]; then
            printf '%s\n' "$output" >&2
            exit 1
        fi
        sleep 2
        waited=$((waited + 2))
    done
    apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@"
"#;

pub(crate) fn run() -> anyhow::Result<()> {
    let missing = missing()?;
    if missing.is_empty() {
        install_python_packages()?;
        println!("setup: everything is installed");
        return Ok(());
    }
    install(&missing)?;
    install_python_packages()?;
    println!("setup: done");
    Ok(())
}

/// Installs Node.js and npm if they are missing.
pub(crate) fn node() -> anyhow::Result<()> {
    if has_node() {
        return Ok(());
    }
    install(&NODE)
}

fn has_node() -> bool {
    ["node", "npm"].iter().all(|name| {
        let asked = Command::new(name).arg("--version").output();
        asked.is_ok_and(|answer| answer.status.success())
    })
}

fn install(packages: &[(&str, &str)]) -> anyhow::Result<()> {
    for (package, reason) in packages {
        println!("setup: installing {package} ({reason})");
    }
    let mut command = as_root()?;
    command
        .args(["sh", "-c", INSTALL, "cargo-xtask-setup"])
        .args(packages.iter().map(|(package, _)| package));
    run_quoting_only_the_outcome(&mut command, packages)
}

/// A Python package for tests, installed in its own directory next to cargo's test files.
struct PythonPackage {
    requirements: &'static [&'static str],
    reason: &'static str,
    directory: &'static str,
    /// Files that exist after the installation.
    files: &'static [&'static str],
    /// Whether to install its dependencies.
    dependencies: bool,
}

const PYTHON_PACKAGES: [PythonPackage; 2] = [
    PythonPackage {
        // The templates, and the Python interpreter of templates that the tests compare with.
        requirements: &["ntc-templates==9.3.0", "textfsm==2.1.0"],
        reason: "structured output",
        directory: "ntc-templates",
        files: &["ntc_templates/templates/index", "textfsm/__init__.py"],
        dependencies: false,
    },
    PythonPackage {
        requirements: &["fakenos==1.2.1"],
        reason: "simulated devices of forty platforms",
        directory: "fakenos",
        files: &["fakenos/__init__.py"],
        dependencies: true,
    },
];

fn install_python_packages() -> anyhow::Result<()> {
    for package in &PYTHON_PACKAGES {
        install_python_package(package)?;
    }
    Ok(())
}

fn install_python_package(package: &PythonPackage) -> anyhow::Result<()> {
    let directory = target_directory()?.join("tmp").join(package.directory);
    if package
        .files
        .iter()
        .all(|file| directory.join(file).is_file())
    {
        return Ok(());
    }
    println!(
        "setup: installing {} ({})",
        package.requirements.join(" and "),
        package.reason
    );
    let mut command = Command::new("python3");
    // A directory of its own avoids conflicts with other Python packages.
    command.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-warn-conflicts",
        "--upgrade",
    ]);
    command.arg("--target");
    command.arg(&directory);
    if !package.dependencies {
        command.arg("--no-deps");
    }
    command.args(package.requirements);
    run_to_success(&mut command)
}

/// Returns cargo's target directory: this program is in `<target>/<profile>/`.
pub(crate) fn target_directory() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("failed to find the path of this program")?;
    let target = program.ancestors().nth(2);
    target
        .map(Path::to_owned)
        .with_context(|| format!("{} is not in a target directory", program.display()))
}

fn missing() -> anyhow::Result<Vec<(&'static str, &'static str)>> {
    let names: Vec<&str> = PACKAGES
        .iter()
        .chain(&NODE)
        .map(|(package, _)| *package)
        .collect();
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
        .args(&names)
        .output()
        .with_context(|| {
            format!(
                "dpkg-query not found: `cargo xtask setup` supports Debian only; on another system, \
                 install the equivalents of {} and run `cargo test`",
                names.join(", ")
            )
        })?;
    // dpkg-query fails if it does not know one of the packages, and reports the others.
    let answer = String::from_utf8_lossy(&output.stdout);
    // Keeps a Node.js from another source.
    let node = if has_node() { &[][..] } else { &NODE[..] };
    Ok(PACKAGES
        .iter()
        .chain(node)
        .copied()
        .filter(|(package, _)| {
            !answer
                .lines()
                .any(|line| line == format!("{package} installed"))
        })
        .collect())
}

/// Returns `env`, with sudo unless the user is root.
fn as_root() -> anyhow::Result<Command> {
    let output = Command::new("id").arg("-u").output().context("id")?;
    if output.stdout.trim_ascii() == b"0" {
        return Ok(Command::new("env"));
    }
    let sudo = Command::new("sudo").arg("--version").output();
    if sudo.is_err() {
        bail!("installing the missing packages needs root or sudo");
    }
    let mut command = Command::new("sudo");
    command.arg("env");
    Ok(command)
}

fn run_quoting_only_the_outcome(
    command: &mut Command,
    missing: &[(&str, &str)],
) -> anyhow::Result<()> {
    // The command contains the whole script, which does not help in an error message.
    run_to_success(command).map_err(|_| {
        let names: Vec<&str> = missing.iter().map(|(package, _)| *package).collect();
        anyhow::anyhow!("installing {} failed; see above", names.join(", "))
    })
}
