//! A real SMTP server as a process: aiosmtpd.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::DEADLINE;

/// What it is given so that it wants STARTTLS and a login.
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Puts mails into a maildir. Refuses those to `nobody`.
pub(crate) struct MailServer {
    pub(crate) port: u16,
    directory: TempDir,
    child: Child,
}

impl MailServer {
    /// Starts it, and returns when it listens.
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

    /// Waits for the next mail: its headers, with folded lines put together, and its body.
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

/// The Python that has it: the system's package is not there for one from elsewhere.
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

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
