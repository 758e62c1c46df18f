//! An open session: one command, one answer.
//!
//! Start at [`Session::connect`] (in `session/login.rs`) and [`Session::exec`]. A session is
//! never silently out of step with its device: whatever leaves an answer unread (a timeout, a
//! hang-up, a dropped future) makes it unusable, and [`Session::close`] still tidies up.

mod configuration;
mod dialogue;
mod login;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

pub use self::configuration::Configuration;
use self::dialogue::Manner;
use crate::endpoint::Timeouts;
use crate::error::Error;
use crate::platform::Platform;
use crate::transport::{Received, Shell};

/// A CLI session to one device. Dropping it without [`Session::close`] drops the connection.
#[derive(Debug)]
pub struct Session {
    shell: Shell,
    platform: Arc<Platform>,
    timeouts: Timeouts,
    output_limit: usize,
    prompt: String,
    health: Health,
    in_configuration: bool,
    /// The pager is off, as far as known, so nothing but the CLI reads what is typed ahead.
    type_ahead: bool,
    /// Random, so that no output can hold it.
    word: String,
    commands: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// At a prompt.
    Ready,
    /// An answer is being waited for, or the future that did was dropped.
    Busy,
    /// The answer never came.
    Broken,
}

/// What a device answered to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The command as it was given.
    pub command: String,
    /// What it printed: lines separated by `\n`, without echo, prompt, pager marks and terminal
    /// control, and without the last newline.
    pub output: String,
    /// Why it failed, in the device's words (`% Unknown command: …`), or `exit code 2` where
    /// the platform has exit codes.
    pub failure: Option<String>,
    /// Where the platform has one (`linux`).
    pub exit_code: Option<i32>,
    /// From sending the command to the prompt after it.
    pub elapsed: Duration,
    /// The output was longer than [`crate::Endpoint::output_limit`]; its beginning is kept.
    pub truncated: bool,
}

impl Reply {
    /// Whether the device accepted the command.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.failure.is_none()
    }
}

/// Tidying up takes no longer than this.
const CLOSING: Duration = Duration::from_secs(1);

impl Session {
    /// Sends a command and waits for its answer, at most the endpoint's command timeout.
    ///
    /// In configuration mode (after a [`Configuration`] was dropped) it leaves that first.
    /// A command that the device refuses is no error: see [`Reply::failure`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a command with control characters (nothing is sent),
    /// [`Error::Timeout`], [`Error::Disconnected`]; the latter two end the session.
    pub async fn exec(&mut self, command: &str) -> Result<Reply, Error> {
        self.exec_timeout(command, self.timeouts.command).await
    }

    /// [`Session::exec`] with a limit of its own.
    ///
    /// # Errors
    /// As [`Session::exec`].
    pub async fn exec_timeout(&mut self, command: &str, limit: Duration) -> Result<Reply, Error> {
        check_command(command)?;
        if self.in_configuration {
            self.leave_configuration().await?;
        }
        let manner = if self.platform.may_type_ahead(command) {
            Manner::TypeAhead
        } else {
            Manner::Careful
        };
        self.run(command, manner, limit).await
    }

    /// Makes the running configuration the start-up configuration.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a platform without such a command, and as [`Session::exec`].
    pub async fn save(&mut self) -> Result<Reply, Error> {
        let Some(command) = self.platform.save.clone() else {
            return Err(self.unsupported("save command"));
        };
        self.exec(&command.send).await
    }

    /// The prompt that the device showed last, without the space after it. On `linux`, the
    /// user's own prompt as it was at login.
    #[must_use]
    pub fn prompt(&self) -> &str {
        &self.prompt
    }

    /// The kind of device.
    #[must_use]
    pub fn platform(&self) -> &Arc<Platform> {
        &self.platform
    }

    /// Whether it can take another command. Not after a timeout, after the device has hung up,
    /// and after a future of [`Session::exec`] was dropped before its end.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.health == Health::Ready && !self.shell.is_closed()
    }

    /// Ends the session: leaves configuration mode if it may be in it (also when a command was
    /// cut off by dropping its future or by a timeout), says `exit`, closes the connection.
    /// Takes a second at most.
    pub async fn close(mut self) {
        let _ = timeout(CLOSING, async {
            if !self.shell.is_closed() {
                self.say_goodbye().await;
            }
            self.shell.disconnect().await;
        })
        .await;
    }

    async fn say_goodbye(&mut self) {
        let exit = format!("{}\n", self.platform.exit);
        if self.health == Health::Ready && !self.in_configuration {
            // Nothing to wait for: the device frees its line on `exit` or on the disconnect.
            let _ = self.shell.send(&exit).await;
            return;
        }
        // Ctrl-C stops what still runs or waits for an answer. It flushes what the terminal has
        // not read yet, so the rest goes into a message of its own.
        if self.health != Health::Ready && self.shell.send("\x03").await.is_err() {
            return;
        }
        let leave = match &self.platform.configuration {
            Some(configuration) if self.in_configuration => {
                format!("{}\n", configuration.leave.send)
            }
            _ => String::new(),
        };
        if self.shell.send(&(leave + &exit)).await.is_err() {
            return;
        }
        // The device closes the channel when it has read all of it.
        while let Ok(Received::Bytes(_)) = self.shell.receive().await {}
    }

    fn unsupported(&self, what: &str) -> Error {
        Error::Unsupported {
            platform: self.platform.name.clone(),
            what: what.into(),
        }
    }
}

/// One line of text and nothing that a terminal would act on: a newline would start a second
/// command, Ctrl-C or a tab do what no caller means.
fn check_command(command: &str) -> Result<(), Error> {
    match command.chars().position(char::is_control) {
        None => Ok(()),
        Some(at) => Err(Error::invalid(format!(
            "the command holds a control character (a newline, a tab, …) at position {}; send one \
             line at a time",
            at + 1
        ))),
    }
}
