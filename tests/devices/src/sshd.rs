//! OpenSSH's server with its own configuration, host keys and user.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use crate::account::Account;
use crate::authority::Authority;
use crate::supervisor::{Supervisor, wait_until};
use crate::{check_requirements, random_hex};

/// A running `sshd`, and the credentials for a login.
#[derive(Debug)]
pub struct Sshd {
    /// `127.0.0.1`.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The name of the account.
    pub username: String,
    /// The password of the account.
    pub password: String,
    /// An ed25519 key that may log in, as text, without a passphrase.
    pub private_key: String,
    /// An ed25519 key that may log in, encrypted with [`Sshd::passphrase`].
    pub encrypted_private_key: String,
    /// The passphrase of [`Sshd::encrypted_private_key`].
    pub passphrase: String,
    /// A 2048-bit RSA key that may log in.
    pub rsa_private_key: String,
    /// An ECDSA key (nistp256) that may log in.
    pub ecdsa_private_key: String,
    /// The first host key as an OpenSSH line, without a comment.
    pub host_key: String,
    /// The `SHA256:…` fingerprint of [`Sshd::host_key`].
    pub host_key_fingerprint: String,
    log: Arc<Mutex<Vec<String>>>,
    listener: u32,
    // Dropped in this order: the server ends before its files are removed.
    _supervisor: Supervisor,
    directory: TempDir,
}

/// Options that differ from device to device.
pub(crate) struct Options<'a> {
    pub(crate) shell: &'a str,
    pub(crate) group: Option<&'a str>,
    /// Additional lines of `sshd_config`; they come first, because the first value applies.
    pub(crate) config: String,
    /// `ssh-keygen`'s options for each host key.
    pub(crate) host_keys: &'a [Vec<&'static str>],
    pub(crate) host_certificate: Option<(Arc<Authority>, Vec<&'static str>)>,
}

impl Sshd {
    pub(crate) fn start(options: &Options<'_>) -> Self {
        check_requirements();
        std::fs::create_dir_all("/run/sshd").expect("sshd's privilege separation directory");
        let directory = tempfile::Builder::new()
            .prefix("test-sshd-")
            .tempdir()
            .expect("a scratch directory");
        let path = directory.path();
        set_mode(path, 0o755);
        let home = path.join("home");
        std::fs::create_dir(&home).expect("the home directory");
        set_mode(&home, 0o777);

        let account = Account::create(options.shell, options.group, &home);
        let passphrase = random_hex(8);
        let keys = Keys::generate(path, &passphrase, options);
        let (supervisor, listener, port, log) = launch(path, options, &account);
        Self {
            host: "127.0.0.1".into(),
            port,
            username: account.name,
            password: account.password,
            private_key: keys.plain,
            encrypted_private_key: keys.encrypted,
            passphrase,
            rsa_private_key: keys.rsa,
            ecdsa_private_key: keys.ecdsa,
            host_key: keys.host,
            host_key_fingerprint: keys.host_fingerprint,
            log,
            listener,
            _supervisor: supervisor,
            directory,
        }
    }

    /// Returns the number of open connections, logged in or not.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        children_of(self.listener).len()
    }

    /// Waits until exactly `count` connections are open; panics after 20 s.
    pub fn wait_for_sessions(&self, count: usize) {
        wait_until(&format!("{count} open sessions"), || {
            (self.open_sessions() == count).then_some(())
        });
    }

    /// Kills the server's side of every open connection, as if the device had failed. Clients see
    /// the connection end; the listener keeps running.
    pub fn kill_sessions(&self) {
        for child in children_of(self.listener) {
            kill_tree(child);
        }
    }

    /// Returns sshd's log so far (`LogLevel VERBOSE`).
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns the number of refused passwords.
    #[must_use]
    pub fn failed_passwords(&self) -> usize {
        self.log()
            .iter()
            .filter(|line| line.starts_with("Failed password for"))
            .count()
    }

    /// Returns the number of successful logins.
    #[must_use]
    pub fn accepted_logins(&self) -> usize {
        self.log()
            .iter()
            .filter(|line| line.starts_with("Accepted "))
            .count()
    }

    /// Returns the user's home directory, which is writable for everyone.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }
}

struct Keys {
    plain: String,
    encrypted: String,
    rsa: String,
    ecdsa: String,
    host: String,
    host_fingerprint: String,
}

impl Keys {
    fn generate(path: &Path, passphrase: &str, options: &Options<'_>) -> Self {
        let make = |name: &str, kind: &[&str], passphrase: &str| {
            let file = path.join(name);
            let output = Command::new("ssh-keygen")
                .args(["-q", "-N", passphrase, "-C", "test", "-f"])
                .arg(&file)
                .args(kind)
                .output()
                .expect("ssh-keygen");
            assert!(output.status.success(), "ssh-keygen: {output:?}");
            std::fs::read_to_string(&file).expect("the key")
        };
        for (number, kind) in options.host_keys.iter().enumerate() {
            let text = make(&host_key_file(number), kind, "");
            if let Some((authority, sign)) = &options.host_certificate
                && number == 0
            {
                let certificate = authority.sign(&text, sign);
                std::fs::write(path.join("host-cert.pub"), certificate).expect("the certificate");
            }
        }
        let keys = Self {
            plain: make("plain", &["-t", "ed25519"], ""),
            encrypted: make("encrypted", &["-t", "ed25519"], passphrase),
            rsa: make("rsa", &["-t", "rsa", "-b", "2048"], ""),
            ecdsa: make("ecdsa", &["-t", "ecdsa", "-b", "256"], ""),
            host: std::fs::read_to_string(path.join("host.pub"))
                .expect("the host key")
                .trim()
                .trim_end_matches(" test")
                .to_owned(),
            host_fingerprint: fingerprint(&path.join("host.pub")),
        };
        let authorized: String = ["plain", "encrypted", "rsa", "ecdsa"]
            .iter()
            .map(|name| std::fs::read_to_string(path.join(format!("{name}.pub"))).expect("a key"))
            .collect();
        let file = path.join("authorized_keys");
        std::fs::write(&file, authorized).expect("authorized_keys");
        set_mode(&file, 0o644);
        keys
    }
}

fn host_key_file(number: usize) -> String {
    match number {
        0 => "host".into(),
        number => format!("host{number}"),
    }
}

fn fingerprint(public_key: &Path) -> String {
    let output = Command::new("ssh-keygen")
        .arg("-lf")
        .arg(public_key)
        .output()
        .expect("ssh-keygen");
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .nth(1)
        .expect("a fingerprint")
        .to_owned()
}

/// Starts sshd on a free port. Retries, because another process may take the port in between.
fn launch(
    path: &Path,
    options: &Options<'_>,
    account: &Account,
) -> (Supervisor, u32, u16, Arc<Mutex<Vec<String>>>) {
    let directory = path.display();
    let mut host_keys: String = (0..options.host_keys.len())
        .map(|number| format!("HostKey {directory}/{}\n", host_key_file(number)))
        .collect();
    if options.host_certificate.is_some() {
        host_keys += &format!("HostCertificate {directory}/host-cert.pub\n");
    }
    for _ in 0..20 {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let sftp = if options.config.contains("Subsystem") {
            ""
        } else {
            "Subsystem sftp internal-sftp\n"
        };
        let config = format!(
            "{}\n\
             Port {port}\n\
             ListenAddress 127.0.0.1\n\
             {host_keys}\
             {sftp}\
             PidFile {directory}/sshd.pid\n\
             AuthorizedKeysFile {directory}/authorized_keys\n\
             AllowUsers {}\n\
             StrictModes no\n\
             UsePAM no\n\
             PasswordAuthentication yes\n\
             KbdInteractiveAuthentication no\n\
             UseDNS no\n\
             PrintMotd no\n\
             PrintLastLog no\n\
             MaxStartups 500\n\
             MaxSessions 100\n\
             LogLevel VERBOSE\n",
            options.config, account.name
        );
        std::fs::write(path.join("sshd_config"), config).expect("sshd_config");
        let script = format!(
            "start() {{ /usr/sbin/sshd -D -e -f {directory}/sshd_config </dev/null & children=$!; }}\n\
             clean() {{ {}; rm -rf {directory}; }}",
            account.removal()
        );
        let (supervisor, lines) = Supervisor::start(&["sh"], &script);
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut listening = false;
        while let Ok(line) = lines.recv_timeout(Duration::from_secs(20)) {
            let failed = line.contains("Cannot bind") || line.contains("Bad configuration");
            listening = line.starts_with("Server listening");
            log.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
            if listening || failed {
                break;
            }
        }
        if listening {
            let keep = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in lines {
                    keep.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(line);
                }
            });
            let listener = wait_until("sshd's pid file", || {
                let text = std::fs::read_to_string(path.join("sshd.pid")).ok()?;
                text.trim().parse().ok()
            });
            return (supervisor, listener, port, log);
        }
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(
            log.iter().any(|line| line.contains("Cannot bind")),
            "sshd does not start: {log:?}"
        );
    }
    panic!("sshd found no free port in 20 tries");
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
}

fn children_of(parent: u32) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|process| {
            // `pid (name) state ppid …`: parsed from the end of the name, which may contain any
            // character. Zombies count as ended.
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            let mut fields = stat.rsplit(") ").next().unwrap_or("").split(' ');
            fields.next() != Some("Z") && fields.next() == Some(parent.to_string().as_str())
        })
        .collect()
}

/// Kills a process before its children, so that the server cannot close the connection cleanly.
fn kill_tree(process: u32) {
    let children = children_of(process);
    let _ = Command::new("kill")
        .args(["-KILL", &process.to_string()])
        .output();
    for child in children {
        kill_tree(child);
    }
}
