//! A local account for one device, removed with the device.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::random_hex;

/// Serializes changes of accounts; concurrent `useradd` processes fail.
const LOCK: &str = "/run/lock/test-devices.lock";
/// Prefix of account names, followed by the process id and a number.
const PREFIX: &str = "nst";

#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl Account {
    /// Creates an account with a random password. The supervisor removes it with
    /// [`Account::removal`].
    pub(crate) fn create(shell: &str, group: Option<&str>, home: &Path) -> Self {
        let account = Self {
            name: format!("{PREFIX}{}x{}", std::process::id(), random_hex(3)),
            password: random_hex(12),
        };
        let lock = File::create(LOCK).expect("the lock file");
        lock.lock().expect("the lock");
        remove_left_over();
        let mut useradd = Command::new("useradd");
        useradd
            .args(["--no-create-home", "--no-log-init", "--shell", shell])
            .arg("--home-dir")
            .arg(home);
        if let Some(group) = group {
            useradd.args(["--no-user-group", "--gid", group]);
        }
        run(useradd.arg(&account.name));
        // A cheap hash with few rounds: the tests measure logins.
        let mut chpasswd = Command::new("chpasswd")
            .args(["--crypt-method", "SHA256", "--sha-rounds", "1000"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("chpasswd");
        let mut stdin = chpasswd.stdin.take().expect("its input");
        writeln!(stdin, "{}:{}", account.name, account.password).expect("its input");
        drop(stdin);
        assert!(chpasswd.wait().expect("chpasswd").success(), "chpasswd");
        account
    }

    /// Returns the shell command that removes the account.
    pub(crate) fn removal(&self) -> String {
        format!("flock {LOCK} userdel -f {} >/dev/null 2>&1", self.name)
    }
}

/// Removes the accounts of processes that were killed together with their supervisor.
fn remove_left_over() {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    for name in passwd.lines().filter_map(|line| line.split(':').next()) {
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('x'))
            .and_then(|(process, _)| process.parse::<u32>().ok());
        if let Some(owner) = owner
            && !Path::new(&format!("/proc/{owner}")).exists()
        {
            let _ = Command::new("userdel")
                .args(["-f", name])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("a program of the base system");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
