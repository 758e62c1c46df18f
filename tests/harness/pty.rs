//! A program at a real terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::{DEADLINE, clean};

/// The user's side of a terminal. All functions block.
pub(crate) struct Pty {
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    /// The output so far.
    pub(crate) shown: String,
    child: Child,
}

impl Pty {
    /// Starts the binary in its own session, at a terminal of this size.
    pub(crate) fn start(arguments: &[&str], url: &str, (columns, rows): (u16, u16)) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let user = || {
            File::options()
                .read(true)
                .write(true)
                .open(name.to_str().unwrap())
        };
        let keyboard = File::from(controller);
        resize(&keyboard, columns, rows);
        let mut command = clean(Command::new("setsid"));
        command
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_scheduler")])
            .args(arguments)
            .env("SCHEDULER_URL", url)
            .env("TERM", "xterm")
            .stdin(Stdio::from(user().unwrap()))
            .stdout(Stdio::from(user().unwrap()))
            .stderr(Stdio::from(user().unwrap()));
        let child = command.spawn().unwrap();
        let mut reading = keyboard.try_clone().unwrap();
        let (seen, screen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // Fails once the other side is closed.
            while let Ok(length) = reading.read(&mut chunk) {
                if length == 0 || seen.send(chunk[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            keyboard,
            screen,
            shown: String::new(),
            child,
        }
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for a text in the output.
    pub(crate) fn shows(&mut self, text: &str) {
        self.shows_after("", text);
    }

    /// Waits for a text after another one in the output.
    pub(crate) fn shows_after(&mut self, earlier: &str, text: &str) {
        let end = Instant::now() + DEADLINE;
        let shown = |all: &str| {
            let from = all.find(earlier)?;
            all[from + earlier.len()..].find(text)
        };
        while shown(&self.shown).is_none() {
            let left = end.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{text:?} is never shown: {:?}", self.shown),
            }
        }
    }

    /// Returns whether the terminal passes keys on as they are typed, instead of lines with an
    /// echo.
    pub(crate) fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.keyboard).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        resize(&self.keyboard, columns, rows);
    }

    /// Sends a signal to the binary.
    pub(crate) fn signal(&self, name: &str) {
        let parent = self.child.id().to_string();
        let sent = Command::new("pkill")
            .args(["--signal", name, "--parent", &parent])
            .status();
        // setsid forks only if necessary; otherwise it has become the binary.
        if !sent.unwrap().success() {
            let sent = Command::new("kill").args(["-s", name, &parent]).status();
            assert!(sent.unwrap().success());
        }
    }

    /// Waits for the end, and returns the exit code.
    pub(crate) fn ends(&mut self) -> Option<i32> {
        let code = self.child.wait().unwrap().code();
        while let Ok(bytes) = self.screen.try_recv() {
            self.shown.push_str(&String::from_utf8_lossy(&bytes));
        }
        code
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(terminal: &File, columns: u16, rows: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}
