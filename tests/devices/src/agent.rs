//! A real `ssh-agent`.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::supervisor::{Supervisor, wait_until};

/// A running `ssh-agent`.
#[derive(Debug)]
pub struct Agent {
    _supervisor: Supervisor,
    directory: TempDir,
}

impl Agent {
    /// Starts an agent with these private keys.
    #[must_use]
    pub fn start(private_keys: &[&str]) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("test-agent-")
            .tempdir()
            .expect("a scratch directory");
        let path = directory.path().display();
        let script = format!(
            "start() {{ ssh-agent -D -a {path}/socket </dev/null >/dev/null & children=$!; }}\n\
             clean() {{ rm -rf {path}; }}"
        );
        let (supervisor, lines) = Supervisor::start(&["sh"], &script);
        std::thread::spawn(move || lines.iter().count());
        let agent = Self {
            _supervisor: supervisor,
            directory,
        };
        wait_until("ssh-agent", || agent.socket().exists().then_some(()));
        for key in private_keys {
            agent.add(key);
        }
        agent
    }

    /// Returns the path of the agent's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn add(&self, private_key: &str) {
        let mut add = Command::new("ssh-add")
            .args(["-q", "-"])
            .env("SSH_AUTH_SOCK", self.socket())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ssh-add");
        let mut stdin = add.stdin.take().expect("its input");
        stdin.write_all(private_key.as_bytes()).expect("its input");
        drop(stdin);
        let output = add.wait_with_output().expect("ssh-add");
        assert!(output.status.success(), "ssh-add: {output:?}");
    }
}
