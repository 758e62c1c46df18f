//! The devices of `FakeNOS`, a Python package that simulates forty platforms. `cargo xtask setup`
//! installs it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde::Deserialize;

/// One device per `FakeNOS` platform, in a process that ends with this value or with the test
/// process.
#[derive(Debug)]
pub struct FakeNos {
    /// All devices.
    pub devices: Vec<FakeDevice>,
    process: Child,
}

/// A device of `FakeNOS`, on 127.0.0.1.
#[derive(Debug, Clone, Deserialize)]
pub struct FakeDevice {
    /// `FakeNOS`'s name of the platform.
    pub platform: String,
    /// The port on which it listens.
    pub port: u16,
    /// The user name.
    pub username: String,
    /// The user's password.
    pub password: String,
    /// The prompt after the login.
    pub prompt: String,
    /// Commands for that prompt with their outputs, from `FakeNOS`'s data.
    pub outputs: BTreeMap<String, String>,
}

const PROGRAM: &str = include_str!("fakenos.py");

impl FakeNos {
    /// Starts the devices with the package in this directory.
    #[must_use]
    pub fn start(package: &Path) -> Self {
        assert!(
            package.join("fakenos").is_dir(),
            "FakeNOS is not installed; run: cargo xtask setup"
        );
        let mut process = Command::new("python3")
            .args(["-c", PROGRAM])
            .env("PYTHONPATH", package)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut stderr = process.stderr.take().expect("standard error");
        // Standard error is drained, or the devices would block on a full pipe.
        let complaints = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let stdout = process.stdout.take().expect("standard output");
        let mut devices = Vec::new();
        for line in BufReader::new(stdout).lines() {
            let line = line.expect("text");
            if line.is_empty() {
                return Self { devices, process };
            }
            devices.push(serde_json::from_str(&line).expect("a device"));
        }
        let _ = process.wait();
        panic!("FakeNOS ended: {}", complaints.join().unwrap_or_default());
    }
}

impl Drop for FakeNos {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
