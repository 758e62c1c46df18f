//! A router: FRR in its own network namespace, with `vtysh` behind sshd.
//!
//! The namespace separates the router's addresses and routes from the machine's. Clients reach its
//! daemons through sockets in the scratch directory, which need no network.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use crate::check_requirements;
use crate::sshd::{Options, Sshd, set_mode};
use crate::supervisor::{Supervisor, wait_until};

/// A router.
#[derive(Debug)]
pub struct Frr {
    /// The SSH server of the router, with credentials.
    pub ssh: Sshd,
    /// The host name; the prompt is `edge1# `.
    pub hostname: String,
    supervisor: Mutex<Supervisor>,
    directory: TempDir,
}

/// Options of a router.
#[derive(Debug, Clone, Default)]
pub struct FrrOptions {
    /// `VTYSH_PAGER`, the pager of vtysh; none by default.
    pub pager: Option<String>,
    /// Whether the router has no banner; by default, its banner contains prompts and ends on the
    /// line of the prompt.
    pub plain_banner: bool,
}

const HOSTNAME: &str = "edge1";
const DAEMONS: [(&str, &str); 3] = [
    ("zebra", ""),
    ("staticd", ""),
    ("bgpd", "--bgp_port 0 --no_kernel"),
];

impl Frr {
    /// Starts a router with a start-up configuration of about 12 kB. Some of its lines look like
    /// prompts, pagers and error messages.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&FrrOptions::default())
    }

    /// Starts a router with options.
    #[must_use]
    pub fn start_with(options: &FrrOptions) -> Self {
        check_requirements();
        let directory = tempfile::Builder::new()
            .prefix("test-frr-")
            .tempdir()
            .expect("a scratch directory");
        let path = directory.path();
        set_mode(path, 0o755);
        for name in ["etc", "vty", "run"] {
            std::fs::create_dir(path.join(name)).expect("a directory");
        }
        std::fs::write(path.join("etc/vtysh.conf"), vtysh_conf(options)).expect("vtysh.conf");
        for (daemon, _) in DAEMONS {
            let file = path.join(format!("etc/{daemon}.conf"));
            std::fs::write(file, start_up_configuration(daemon)).expect("a configuration");
        }
        chown(path);
        set_mode(&path.join("vty"), 0o775);

        let (supervisor, lines) = Supervisor::start(&["unshare", "--net", "sh"], &script(path));
        // Drains the daemons' messages, so that the pipe does not fill up.
        std::thread::spawn(move || lines.iter().count());
        wait_until_ready(path);
        let pager = options.pager.as_ref();
        let pager = pager.map_or(String::new(), |pager| format!("VTYSH_PAGER='{pager}'"));
        let ssh = Sshd::start(&Options {
            shell: "/bin/sh",
            group: Some("frrvty"),
            config: format!(
                "ForceCommand exec env {pager} vtysh --vty_socket {0}/vty --config_dir {0}/etc",
                path.display()
            ),
            host_keys: &[vec!["-t", "ed25519"]],
            host_certificate: None,
        });
        Self {
            ssh,
            hostname: HOSTNAME.into(),
            supervisor: Mutex::new(supervisor),
            directory,
        }
    }

    /// Runs commands outside of the SSH session (`vtysh -c … -c …`), and returns their output.
    #[must_use]
    pub fn vtysh(&self, commands: &[&str]) -> String {
        let output = vtysh(self.directory.path(), commands);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Returns the running configuration of the daemons.
    #[must_use]
    pub fn running_config(&self) -> String {
        self.vtysh(&["show running-config"])
    }

    /// Restarts the daemons with the start-up configuration. Open sessions lose their daemons, so
    /// this is not for the shared router.
    pub fn reset(&self) {
        let path = self.directory.path();
        for (daemon, _) in DAEMONS {
            let file = path.join(format!("etc/{daemon}.conf"));
            std::fs::write(file, start_up_configuration(daemon)).expect("a configuration");
            let _ = std::fs::remove_file(path.join(format!("vty/{daemon}.vty")));
        }
        self.supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .restart();
        wait_until_ready(path);
    }
}

/// Changes the owner to `frr`: the daemons do not run as root.
pub(crate) fn chown(path: &Path) {
    let chown = Command::new("chown")
        .args(["-R", "frr:frrvty"])
        .arg(path)
        .output()
        .expect("chown");
    assert!(chown.status.success(), "chown: {chown:?}");
}

fn script(path: &Path) -> String {
    let directory = path.display();
    let mut start = String::new();
    for (daemon, options) in DAEMONS {
        let _ = write!(
            start,
            "rm -f {directory}/vty/{daemon}.vty\n\
             /usr/lib/frr/{daemon} -u frr -g frr --vty_socket {directory}/vty \
             -i {directory}/run/{daemon}.pid -z {directory}/run/zserv.api \
             -f {directory}/etc/{daemon}.conf -P 0 {options} </dev/null & \
             children=\"$children $!\"\n"
        );
        if daemon == "zebra" {
            // The other daemons check for its socket only once a second.
            let _ = writeln!(
                start,
                "for n in $(seq 500); do [ -S {directory}/run/zserv.api ] && break; sleep 0.01; done"
            );
        }
    }
    format!(
        "ip link set lo up; for n in 0 1 2 3; do ip link add eth$n type dummy; done\n\
         start() {{\nrm -f {directory}/run/*\n{start}}}\n\
         clean() {{ rm -rf {directory}; }}"
    )
}

fn vtysh(path: &Path, commands: &[&str]) -> std::process::Output {
    let mut vtysh = Command::new("vtysh");
    vtysh
        .arg("--vty_socket")
        .arg(path.join("vty"))
        .arg("--config_dir")
        .arg(path.join("etc"));
    for command in commands {
        vtysh.args(["-c", command]);
    }
    vtysh.output().expect("vtysh")
}

/// Waits until all daemons respond and have read their configuration.
fn wait_until_ready(path: &Path) {
    wait_until("FRRouting", || {
        let output = vtysh(path, &["show daemons", "show running-config"]);
        let text = String::from_utf8_lossy(&output.stdout);
        let ready = DAEMONS.iter().all(|(daemon, _)| text.contains(daemon))
            && text.contains("router bgp 65001")
            && text.contains("198.51.100.0/24")
            && text.contains("description uplink");
        ready.then_some(())
    });
}

fn vtysh_conf(options: &FrrOptions) -> String {
    if options.plain_banner {
        return format!("hostname {HOSTNAME}\n");
    }
    // A banner with prompt characters, which a login must not mistake for a prompt.
    format!(
        "hostname {HOSTNAME}\nbanner motd line Authorised use only. {HOSTNAME}# is watched > always #\n"
    )
}

fn start_up_configuration(daemon: &str) -> String {
    let mut text = format!("hostname {HOSTNAME}\n");
    match daemon {
        "zebra" => {
            text.push_str(
                "interface eth0\n description uplink\n ip address 192.0.2.1/24\n!\n\
                 interface eth1\n description edge1#\n!\n\
                 interface eth2\n description --More--\n!\n\
                 interface eth3\n description % Unknown command: edge1>\n!\n",
            );
            for number in 0..120 {
                let _ = writeln!(
                    text,
                    "ip prefix-list customers seq {} permit 10.{}.{}.0/24 le 32",
                    (number + 1) * 5,
                    number / 50,
                    number % 50
                );
            }
        }
        "staticd" => {
            text.push_str("ip route 198.51.100.0/24 Null0\n");
        }
        _ => {
            text.push_str("router bgp 65001\n no bgp default ipv4-unicast\n");
            for number in 1..=40 {
                let _ = writeln!(
                    text,
                    " neighbor 192.0.2.{number} remote-as 65100\n neighbor 192.0.2.{number} description edge1# customer {number}\n neighbor 192.0.2.{number} shutdown"
                );
            }
        }
    }
    text
}
