//! The campaign's devices: simulated ones, which record the lines that they receive, and a real
//! router if possible.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use netssh_lab::{Lab, LabDevice};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_devices::Frr;

use super::evidence::Device;
use crate::harness::{DEADLINE, lab_connection, password_connection};

const LABS: usize = 5;
/// Duration of a command: long enough to be interrupted.
const DELAY: Duration = Duration::from_millis(40);

pub(super) struct Devices {
    labs: Vec<Lab>,
    /// The commands taken from each lab's record, which is bounded.
    seen: std::sync::Mutex<Vec<Vec<String>>>,
    router: Option<Router>,
}

/// FRRouting, with its log of received lines.
struct Router {
    frr: Frr,
    log: TempDir,
}

impl Devices {
    pub(super) async fn start(password: &str) -> Self {
        let mut labs = Vec::new();
        for number in 1..=LABS {
            let device = LabDevice {
                password: password.to_owned(),
                privileged: true,
                delay: DELAY,
                ..LabDevice::cisco_ios(&format!("lab-{number}"))
            };
            labs.push(Lab::start(device).await.unwrap());
        }
        let router = tokio::task::spawn_blocking(Router::start);
        Self {
            seen: std::sync::Mutex::new(vec![Vec::new(); labs.len()]),
            labs,
            router: router.await.unwrap(),
        }
    }

    pub(super) fn labs(&self) -> usize {
        self.labs.len()
    }

    /// Returns the connections for the server.
    pub(super) fn connections(&self) -> Vec<Value> {
        let labs = self.labs.iter().zip(1..).map(|(lab, number)| {
            let mut connection = lab_connection(&name(number), lab, "cisco_ios");
            // Some devices accept two jobs at once.
            connection["max_sessions"] = json!(1 + number % 2);
            connection
        });
        let router = self.router.iter();
        let router = router.map(|router| password_connection("router", &router.frr.ssh, "frr"));
        let mut all: Vec<Value> = labs.chain(router).collect();
        for connection in &mut all {
            connection["tags"] = json!(["chaos"]);
            connection["timeout_seconds"] = json!(10);
        }
        all
    }

    pub(super) fn cut(&self, lab: usize) {
        self.labs[lab].cut_connections();
    }

    pub(super) fn cut_router(&self) {
        if let Some(router) = &self.router {
            tokio::task::block_in_place(|| router.frr.ssh.kill_sessions());
        }
    }

    /// Takes a device down for a while.
    pub(super) async fn down(&self, lab: usize, pause: Duration) {
        self.labs[lab].go_down();
        tokio::time::sleep(pause).await;
        // The previous listener may still hold the port.
        let up = async {
            while self.labs[lab].come_up().await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, up).await.unwrap();
    }

    /// Records the commands that the devices have received since the last call.
    pub(super) fn remember(&self) {
        let mut seen = self.seen.lock().unwrap();
        for (lab, seen) in self.labs.iter().zip(seen.iter_mut()) {
            seen.extend(lab.take_commands());
        }
    }

    /// Returns the devices that still have a session.
    pub(super) async fn left_open(&self) -> Vec<String> {
        let mut open = Vec::new();
        for (lab, number) in self.labs.iter().zip(1..) {
            let gone = tokio::time::timeout(DEADLINE / 4, lab.wait_for_open_sessions(0));
            if gone.await.is_err() {
                open.push(format!("{}: {}", name(number), lab.open_sessions()));
            }
        }
        open
    }

    /// Returns the commands that each device has received.
    pub(super) fn history(&self) -> Vec<Device> {
        self.remember();
        let seen = self.seen.lock().unwrap();
        let labs = seen.iter().zip(1..).map(|(seen, number)| Device {
            name: name(number),
            seen: seen.clone(),
            reads: true,
        });
        let router = self.router.iter().map(|router| Device {
            name: "router".to_owned(),
            seen: router.lines(),
            reads: false,
        });
        labs.chain(router).collect()
    }
}

fn name(number: usize) -> String {
    format!("lab-{number}")
}

impl Router {
    /// Returns `None` without root or the packages.
    fn start() -> Option<Self> {
        let root = rustix::process::geteuid().is_root();
        let installed = ["/usr/sbin/sshd", "/usr/bin/vtysh", "/usr/lib/frr/zebra"];
        if !root || !installed.iter().all(|file| Path::new(file).exists()) {
            println!("chaos: no real router: that needs root, and `cargo xtask setup`");
            return None;
        }
        let frr = Frr::start();
        // The daemons run as another user.
        let open = std::fs::Permissions::from_mode(0o777);
        let log = tempfile::Builder::new().permissions(open.clone()).tempdir();
        let log = log.unwrap();
        std::fs::set_permissions(log.path(), open).unwrap();
        let file = format!(
            "log file {} informational",
            log.path().join("log").display()
        );
        let _ = frr.vtysh(&["configure terminal", &file, "log commands"]);
        Some(Self { frr, log })
    }

    /// Returns the lines of one daemon: every daemon logs every line.
    fn lines(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.log.path().join("log")).unwrap();
        let lines = log.lines().filter(|line| line.contains(" ZEBRA: "));
        let typed = lines.filter_map(|line| line.split_once("(config)# "));
        typed.map(|(_, typed)| typed.to_owned()).collect()
    }
}
