//! The real binary as a process, for tests that kill it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use rustix::process::{Resource, Rlimit, Signal};
use serde_json::Value;

use super::{Client, DEADLINE, scripts_dir};

/// `scheduler serve` in a directory, on a free port.
pub(crate) struct Server {
    pub(crate) client: Client,
    child: Child,
}

impl Server {
    /// Starts the binary and returns when it listens.
    pub(crate) fn start(directory: &Path) -> Self {
        Self::start_with(directory, &[])
    }

    pub(crate) fn start_with(directory: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start_logged(directory, environment, None)
    }

    /// Starts the binary with its log in a file rather than in the test's output.
    pub(crate) fn start_logged(
        directory: &Path,
        environment: &[(&str, &str)],
        log: Option<File>,
    ) -> Self {
        let mut command = Self::command(directory);
        command.envs(environment.iter().copied());
        Self::spawn(command, log)
    }

    /// Starts the binary with this limit of file descriptors.
    pub(crate) fn start_with_descriptors(
        directory: &Path,
        environment: &[(&str, &str)],
        most: u32,
        log: File,
    ) -> Self {
        let limited = format!("ulimit -n {most} && exec \"$0\" serve");
        let mut command = clean(Command::new("sh"));
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_scheduler")]);
        let mut command = in_directory(command, directory);
        command.envs(environment.iter().copied());
        Self::spawn(command, Some(log))
    }

    /// Starts the command of [`Self::command`], possibly wrapped, and returns when it listens.
    pub(crate) fn spawn(mut command: Command, log: Option<File>) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (found, listening) = mpsc::channel();
        std::thread::spawn(move || read_log(stderr, log, &found));
        let url = listening
            .recv_timeout(DEADLINE)
            .expect("the server says where it listens");
        Self {
            client: Client::new(&url),
            child,
        }
    }

    /// Returns `scheduler serve` without the environment variables that it reads.
    pub(crate) fn command(directory: &Path) -> Command {
        let mut command = scheduler();
        command.arg("serve");
        in_directory(command, directory)
    }

    /// Lowers the limit of file descriptors so that the server can open only `spare` more.
    pub(crate) fn leave_descriptors(&self, spare: usize) {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let names = open.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let taken: Vec<u64> = names.filter_map(|name| name.parse().ok()).collect();
        // The limit applies to a descriptor's number; some numbers below the highest are free.
        let most = (0..).filter(|number| !taken.contains(number)).nth(spare);
        let limit = Rlimit {
            current: most,
            maximum: most,
        };
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::prlimit(Some(id), Resource::Nofile, limit).unwrap();
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Returns the exit status if the process has ended.
    pub(crate) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Sends SIGKILL, after which the process writes nothing more.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM, and returns the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn in_directory(mut command: Command, directory: &Path) -> Command {
    command
        .current_dir(directory)
        .env("SCHEDULER_SERVER_PORT", "0")
        .env("SCHEDULER_LOGGING_FORMAT", "json")
        .env("SCHEDULER_PLUGINS_SCRIPTS_DIR", scripts_dir())
        .stdin(Stdio::null());
    command
}

/// Returns the binary without the environment variables that it reads.
pub(crate) fn scheduler() -> Command {
    let mut command = clean(Command::new(env!("CARGO_BIN_EXE_scheduler")));
    // Shared by all tests, as by all runs of one user.
    command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// Removes the environment variables that the binary reads.
pub(crate) fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SCHEDULER_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command
}

/// Reads the log to its end, so that the server never blocks.
fn read_log(stderr: impl Read, mut log: Option<File>, found: &mpsc::Sender<String>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        match &mut log {
            Some(file) => writeln!(file, "{line}").unwrap(),
            None => eprintln!("{line}"),
        }
        let line: Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(url) = line["url"].as_str() {
            let _ = found.send(url.to_owned());
        }
    }
}
