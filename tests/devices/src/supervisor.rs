//! Programs that end with the test process, even if it is killed.
//!
//! A shell starts them and reads commands from a pipe to the test process. When the pipe closes,
//! because the value was dropped or the process was killed, the shell stops the programs with all
//! their descendants, and runs a clean-up.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The caller defines the shell functions `start` and `clean`.
const LOOP: &str = r#"
trap '' INT TERM HUP
children=
tree() {
    kill -STOP "$1" 2>/dev/null
    for child in $(pgrep -P "$1"); do tree "$child"; done
    kill -KILL "$1" 2>/dev/null
}
stop() { for child in $children; do tree "$child"; done; wait 2>/dev/null; children=; }
start
while read -r line; do
    case $line in restart) stop; start;; esac
done
stop
clean
"#;

#[derive(Debug)]
pub(crate) struct Supervisor {
    shell: Child,
    commands: Option<ChildStdin>,
}

impl Supervisor {
    /// Runs `script`, which defines the functions `start` (starts programs in the background and
    /// adds their ids to `$children`) and `clean`. Returns the lines that they write to standard
    /// error.
    pub(crate) fn start(launcher: &[&str], script: &str) -> (Self, Receiver<String>) {
        let script = format!("{script}\n{LOOP}");
        let (program, arguments) = launcher.split_first().expect("a launcher");
        let mut shell = Command::new(program)
            .args(arguments)
            .args(["-c", &script])
            // Ignores Ctrl-C in the terminal: the shell ends when the pipe closes.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell");
        let commands = shell.stdin.take();
        let stderr = shell.stderr.take().expect("standard error");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n') {
                let Ok(line) = line else { return };
                let _ = sender.send(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        });
        (Self { shell, commands }, lines)
    }

    /// Stops and restarts everything.
    pub(crate) fn restart(&mut self) {
        let commands = self.commands.as_mut().expect("the pipe");
        commands.write_all(b"restart\n").expect("a live supervisor");
        commands.flush().expect("a live supervisor");
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.shell.wait();
    }
}

/// Polls until `ready` returns a value, for conditions without an event.
pub(crate) fn wait_until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}
