//! A router that asks for a login password and an enable secret: zebra's own command line.
//!
//! zebra only supports telnet, so sshd runs a telnet client. zebra runs in its own network
//! namespace, like [`crate::Frr`], and a relay connects to it.

use std::fs::File;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::check_requirements;
use crate::frr::chown;
use crate::sshd::{Options, Sshd, set_mode};
use crate::supervisor::{Supervisor, wait_until};

/// zebra's own command line.
#[derive(Debug)]
pub struct Zebra {
    /// The SSH server in front of the password question.
    pub ssh: Sshd,
    /// The password that zebra asks for.
    pub password: String,
    /// The secret that `enable` asks for.
    pub enable_secret: String,
    // Dropped in this order: zebra ends before its files are removed.
    _supervisor: Supervisor,
    _directory: TempDir,
}

/// The address of zebra in its own network.
const VTY: (&str, u16) = ("127.0.0.1", 2601);

impl Zebra {
    /// Starts a router with the host name `edge2`.
    #[must_use]
    pub fn start() -> Self {
        check_requirements();
        let directory = tempfile::Builder::new()
            .prefix("test-zebra-")
            .tempdir()
            .expect("a scratch directory");
        let path = directory.path();
        let (password, enable_secret) = (crate::random_hex(8), crate::random_hex(8));
        let configuration =
            format!("hostname edge2\npassword {password}\nenable password {enable_secret}\n");
        std::fs::write(path.join("zebra.conf"), configuration).expect("a configuration");
        chown(path);
        set_mode(path, 0o755);
        let (supervisor, lines) = Supervisor::start(&["unshare", "--net", "sh"], &script(path));
        // Drains zebra's messages, so that the pipe does not fill up.
        std::thread::spawn(move || lines.iter().count());
        let port = relay(network_of(path));
        Self {
            ssh: Sshd::start(&Options {
                shell: "/bin/sh",
                group: None,
                config: format!("ForceCommand exec telnet 127.0.0.1 {port}"),
                host_keys: &[vec!["-t", "ed25519"]],
                host_certificate: None,
            }),
            password,
            enable_secret,
            _supervisor: supervisor,
            _directory: directory,
        }
    }
}

fn script(path: &Path) -> String {
    let directory = path.display();
    let (address, port) = VTY;
    format!(
        "start() {{ ip link set lo up; \
         /usr/lib/frr/zebra -u frr -g frr --vty_socket {directory} -i {directory}/zebra.pid \
         -z {directory}/zserv.api -f {directory}/zebra.conf -A {address} -P {port} </dev/null & \
         children=$!; }}\n\
         clean() {{ rm -rf {directory}; }}"
    )
}

/// Returns zebra's network namespace, once zebra listens there.
fn network_of(path: &Path) -> File {
    wait_until("zebra", || {
        let process = std::fs::read_to_string(path.join("zebra.pid")).ok()?;
        let network = File::open(format!("/proc/{}/ns/net", process.trim())).ok()?;
        connect(&network).ok()?;
        Some(network)
    })
}

/// Forwards connections to zebra until the process ends; returns the port.
fn relay(network: File) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for here in listener.incoming().flatten() {
            if let Ok(there) = connect(&network) {
                carry(&here, &there);
                carry(&there, &here);
            }
        }
    });
    port
}

/// Connects from a new thread in zebra's network: a socket belongs to the network of its thread.
fn connect(network: &File) -> io::Result<TcpStream> {
    std::thread::scope(|scope| {
        let there = scope.spawn(|| {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            TcpStream::connect(VTY)
        });
        there.join().expect("no panic")
    })
}

fn carry(from: &TcpStream, to: &TcpStream) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("another handle");
    let (mut from, mut to) = (clone(from), clone(to));
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
