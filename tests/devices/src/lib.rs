//! Real devices for tests: OpenSSH hosts and FRR routers, started on loopback.
//!
//! [`linux`] and [`frr`] return one device of each kind for a whole test process. [`Linux::start`]
//! and [`Frr::start`] start another one, for tests that stop or count sessions. Every device has
//! its own free ports, scratch directory and local account, so any number of test processes can run
//! at once. A device ends with its value, or when the test process is killed: see `supervisor.rs`.
//!
//! Everything here needs root and the Debian packages that `cargo xtask setup` installs. A missing
//! requirement is a panic with a hint, never a skipped test.

mod account;
mod agent;
mod authority;
mod fakenos;
mod frr;
mod linux;
mod sshd;
mod supervisor;
mod zebra;

use std::path::Path;
use std::sync::LazyLock;

pub use crate::agent::Agent;
pub use crate::authority::Authority;
pub use crate::fakenos::{FakeDevice, FakeNos};
pub use crate::frr::{Frr, FrrOptions};
pub use crate::linux::{Linux, LinuxOptions};
pub use crate::sshd::Sshd;
pub use crate::zebra::Zebra;

/// Returns the router shared by all tests of this process. Tests compare its configuration while
/// they run, so a test that changes the configuration starts another router.
#[must_use]
pub fn frr() -> &'static Frr {
    static FRR: LazyLock<Frr> = LazyLock::new(Frr::start);
    &FRR
}

/// Returns the Linux host (bash) shared by all tests of this process.
#[must_use]
pub fn linux() -> &'static Linux {
    static LINUX: LazyLock<Linux> = LazyLock::new(Linux::start);
    &LINUX
}

/// Panics unless all requirements are met.
fn check_requirements() {
    for (program, package) in [
        ("/usr/sbin/sshd", "openssh-server"),
        ("/usr/bin/vtysh", "frr"),
        ("/usr/lib/frr/zebra", "frr"),
        ("/usr/bin/pgrep", "procps"),
        ("/usr/bin/telnet", "inetutils-telnet"),
    ] {
        assert!(
            Path::new(program).exists(),
            "{package} is not installed; run: cargo xtask setup"
        );
    }
    let root = std::fs::metadata("/proc/self")
        .map(|meta| std::os::unix::fs::MetadataExt::uid(&meta))
        .is_ok_and(|uid| uid == 0);
    assert!(
        root,
        "the test devices need root: sshd checks passwords, FRRouting changes its user"
    );
}

/// Returns `bytes` random bytes in hexadecimal.
fn random_hex(bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).expect("random numbers");
    buffer.iter().map(|byte| format!("{byte:02x}")).collect()
}
