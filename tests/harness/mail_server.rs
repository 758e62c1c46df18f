//! A real SMTP server, aiosmtpd, in a process.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::DEADLINE;

/// The certificate of a server that requires STARTTLS and a login.
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// A server that stores mails in a maildir. It refuses the recipient `nobody`.
pub(crate) struct MailServer {
    pub(crate) port: u16,
    directory: TempDir,
    child: Child,
}

impl MailServer {
    /// Starts the server, and returns when it listens.
    pub(crate) fn start(certificate: Option<&Certificate>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/harness/mail_server.py");
        let mut command = Command::new(python());
        command
            .arg(program)
            .arg(port.to_string())
            .arg(directory.path().join("mails"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(files) = certificate {
            command.args([&files.certificate, &files.key]);
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the mail server does not start");
        Self {
            port,
            directory,
            child,
        }
    }

    /// Waits for the next mail; returns its headers, with folded lines joined, and its body.
    pub(crate) async fn next(&self) -> (String, String) {
        let new = self.directory.path().join("mails/new");
        let end = Instant::now() + DEADLINE;
        loop {
            let mut found = std::fs::read_dir(&new).unwrap();
            if let Some(file) = found.next() {
                let file = file.unwrap().path();
                let mail = std::fs::read_to_string(&file)
                    .unwrap()
                    .replace("\r\n", "\n");
                std::fs::remove_file(file).unwrap();
                let (headers, body) = mail.split_once("\n\n").unwrap();
                return (headers.replace("\n ", " "), body.to_owned());
            }
            assert!(Instant::now() < end, "no mail comes");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a Python with aiosmtpd: the system's package is not available to other installations.
fn python() -> &'static str {
    let has_it = |python: &&str| {
        let mut command = Command::new(python);
        let asked = command.args(["-c", "import aiosmtpd"]).output();
        asked.is_ok_and(|answer| answer.status.success())
    };
    let mut known = ["python3", "/usr/bin/python3"].into_iter();
    known
        .find(has_it)
        .expect("aiosmtpd is not installed; run: cargo xtask setup")
}

/// Returns a port without a listener.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
