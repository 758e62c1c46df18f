//! An open CLI session: one command, one reply.
//!
//! [`Session::connect`] (in `session/login.rs`) and [`Session::exec`] are the entry points. A
//! session is never silently out of step with its device: an event that leaves a reply unread (a
//! timeout, a hang-up, a dropped future) makes the session unusable. [`Session::close`] still
//! cleans up such a session.

mod configuration;
mod detect;
mod dialogue;
mod login;
mod pipeline;
mod word;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use russh::Channel;
use russh::client::Msg;

pub use self::configuration::{CommitOptions, Configuration, Left};
pub use self::detect::{Detection, detect};
use self::dialogue::{Manner, Request, SETTLED, SETTLED_SOON};
pub use self::pipeline::Pipeline;
use self::word::Word;
use crate::endpoint::{Answer, Answered, Timeouts};
use crate::error::Error;
use crate::patience::timeout;
use crate::platform::{Command, Platform};
use crate::prompt::same_prompt;
use crate::transport::{Received, Shell};

/// An open CLI session with one device. Dropping it without [`Session::close`] drops the
/// connection.
#[derive(Debug)]
pub struct Session {
    shell: Shell,
    platform: Arc<Platform>,
    timeouts: Timeouts,
    output_limit: usize,
    /// The prompt at which the login ended, and the prompt shown last.
    home: String,
    prompt: String,
    health: Health,
    in_configuration: bool,
    /// Lines have changed the candidate and were neither committed nor discarded.
    uncommitted: bool,
    /// No command has run that may change the effect of the next one.
    pristine: bool,
    /// A line was typed at the prompt without Enter; further input could run it.
    typed_unentered: bool,
    /// The device echoes typed input.
    echo: bool,
    /// The pager is off, as far as known, so only the CLI reads typed-ahead input.
    type_ahead: bool,
    word: Word,
    commands: u64,
    /// The questions answered since the last [`Session::take_answered`].
    answered: Vec<Answered>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// At a prompt.
    Ready,
    /// A reply is awaited, or the future that awaited it was dropped.
    Busy,
    /// The reply never arrived.
    Broken,
}

/// A device's reply to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The command as passed by the caller.
    pub command: String,
    /// The command's output: lines separated by `\n`, without the echo, the prompt, pager marks,
    /// terminal control sequences and the last newline.
    pub output: String,
    /// The reason for a failure, in the device's words (`% Unknown command: …`), or `exit code 2`
    /// on platforms with exit codes.
    pub failure: Option<String>,
    /// The exit code, on platforms that have one (`linux`).
    pub exit_code: Option<i32>,
    /// The time from sending the command to the prompt after it.
    pub elapsed: Duration,
    /// The output exceeded [`crate::Endpoint::output_limit`]; only its beginning was kept.
    pub truncated: bool,
}

impl Reply {
    /// Returns whether the device accepted the command.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.failure.is_none()
    }
}

/// Limits on waiting for a reply, and a watcher of the output. The default uses the endpoint's
/// command timeout and no watcher.
#[derive(Default)]
pub struct ExecOptions<'a> {
    /// Maximum total time, instead of the endpoint's command timeout.
    pub timeout: Option<Duration>,
    /// Maximum time without a received byte. Devices are often silent for several seconds.
    pub silence: Option<Duration>,
    /// Called with the output as it arrives, several complete lines at a time. Each line is passed
    /// once, in order, cleaned as in [`Reply::output`], and only up to the output limit.
    pub watch: Option<&'a mut (dyn FnMut(&str) + Send)>,
}

impl std::fmt::Debug for ExecOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecOptions")
            .field("timeout", &self.timeout)
            .field("silence", &self.silence)
            .field("watched", &self.watch.is_some())
            .finish()
    }
}

/// Maximum duration of the cleanup in [`Session::close`].
const CLOSING: Duration = Duration::from_secs(1);
/// Maximum duration of [`Session::check`].
const CHECKING: Duration = Duration::from_secs(5);

impl Session {
    /// Sends a command and waits for its reply, up to the endpoint's command timeout.
    ///
    /// In configuration mode (after a [`Configuration`] was dropped) the session leaves the mode
    /// first. With uncommitted changes it stays in the mode and runs the command from there (`do
    /// show …`). A command that the device refuses is not an error: see [`Reply::failure`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a command with control characters (nothing is sent),
    /// [`Error::Timeout`], [`Error::Disconnected`]; the latter two end the session.
    pub async fn exec(&mut self, command: &str) -> Result<Reply, Error> {
        self.exec_with(command, ExecOptions::default()).await
    }

    /// Like [`Session::exec`], with a timeout for this command.
    ///
    /// # Errors
    /// As [`Session::exec`].
    pub async fn exec_timeout(&mut self, command: &str, limit: Duration) -> Result<Reply, Error> {
        let options = ExecOptions {
            timeout: Some(limit),
            ..ExecOptions::default()
        };
        self.exec_with(command, options).await
    }

    /// Like [`Session::exec`], with limits for this command or a watcher.
    ///
    /// # Errors
    /// As [`Session::exec`].
    pub async fn exec_with(
        &mut self,
        command: &str,
        options: ExecOptions<'_>,
    ) -> Result<Reply, Error> {
        self.check_command(command)?;
        let typed = self.at_the_right_prompt(command).await?;
        let manner = if self.platform.may_type_ahead(command) {
            Manner::TypeAhead
        } else {
            self.pristine = false;
            Manner::Careful
        };
        let request = Request {
            manner,
            options,
            ..Request::new(&typed)
        };
        let reply = self.run(request).await?;
        Ok(Reply {
            command: command.to_owned(),
            ..reply
        })
    }

    /// Runs a command that asks questions, and answers them. Each answer is used at most once, in
    /// the order in which the device asks. Secret answers are not written to the session log.
    ///
    /// # Errors
    /// As [`Session::exec`]; [`Error::Refused`] if the device repeats an answered question, which
    /// ends the session. A question without a matching answer leads to [`Error::Timeout`], with the
    /// question at the end of the partial output.
    pub async fn interact(
        &mut self,
        command: &str,
        answers: &[Answer],
        options: ExecOptions<'_>,
    ) -> Result<Reply, Error> {
        self.check_command(command)?;
        check_answers(answers)?;
        let typed = self.at_the_right_prompt(command).await?;
        self.pristine = false;
        let request = Request {
            answers,
            options,
            ..Request::new(&typed)
        };
        self.run(request).await
    }

    /// Copies the running configuration to the start-up configuration.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a platform without such a command, and as [`Session::exec`].
    pub async fn save(&mut self) -> Result<Reply, Error> {
        self.save_with(&[]).await
    }

    /// Like [`Session::save`], with answers to questions that the platform file does not list.
    ///
    /// # Errors
    /// As [`Session::save`].
    pub async fn save_with(&mut self, answers: &[Answer]) -> Result<Reply, Error> {
        check_answers(answers)?;
        let platform = Arc::clone(&self.platform);
        let mode = platform.configuration.as_ref();
        match (&platform.save, mode.and_then(|mode| mode.save.as_ref())) {
            (Some(command), _) => {
                let typed = self.at_the_right_prompt(&command.send).await?;
                self.run_command(command, &typed, answers, None).await
            }
            (None, Some(command)) => self.save_while_configuring(command, answers).await,
            (None, None) => Err(self.unsupported("save command")),
        }
    }

    /// Returns the questions that the device asked since the last call and their answers, in order,
    /// including those of failed commands.
    pub fn take_answered(&mut self) -> Vec<Answered> {
        std::mem::take(&mut self.answered)
    }

    /// Returns facts about the device: `hostname`, `version`, `model`, `serial`, `uptime`, as far
    /// as the platform defines their sources.
    ///
    /// # Errors
    /// As [`Session::exec`].
    pub async fn facts(&mut self) -> Result<BTreeMap<String, String>, Error> {
        let platform = Arc::clone(&self.platform);
        let mut facts = BTreeMap::new();
        for source in &platform.facts {
            let reply = self.exec(&source.command).await?;
            // The output of a refused command contains no facts.
            if !reply.is_success() {
                continue;
            }
            let found = source.find_in(&reply.output);
            facts.extend(found.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        Ok(facts)
    }

    /// Returns the prompt that the device showed last, without trailing spaces. On `linux`, this is
    /// the user's own prompt, as shown at login.
    #[must_use]
    pub fn prompt(&self) -> &str {
        &self.prompt
    }

    /// Returns the device's platform.
    #[must_use]
    pub fn platform(&self) -> &Arc<Platform> {
        &self.platform
    }

    /// Returns whether the session can run another command. It cannot after a timeout, after the
    /// device has hung up, and after a future of [`Session::exec`] was dropped before it completed.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.health == Health::Ready && !self.shell.is_closed()
    }

    /// Returns whether the session is in configuration mode.
    #[must_use]
    pub const fn is_configuring(&self) -> bool {
        self.in_configuration
    }

    /// Returns whether the session is in the state that the login left: usable, not in
    /// configuration mode, and without a command that may change the effect of the next one.
    /// Commands that only read ([`Platform::only_reads`]) and [`Session::save`] keep a session
    /// pristine; any other command and any configuration line do not.
    #[must_use]
    pub fn is_pristine(&self) -> bool {
        self.is_usable() && self.pristine && !self.in_configuration && !self.uncommitted
    }

    /// Returns whether the device still responds at the prompt at which the login ended; costs one
    /// round trip. An idle session may have died or been logged out.
    pub async fn check(&mut self) -> bool {
        if !self.is_usable() {
            return false;
        }
        let answered = matches!(timeout(CHECKING, self.ask_for_prompt()).await, Ok(Ok(())));
        answered && same_prompt(&self.home, &self.prompt)
    }

    /// Waits until the device ends the session and discards the bytes that it sends meanwhile, so
    /// that they do not accumulate. Cancel safe.
    pub async fn idle(&mut self) {
        while !self.shell.is_closed() {
            match self.shell.receive().await {
                Ok(Received::Bytes(_)) => {}
                Ok(Received::Closed(_)) | Err(_) => return,
            }
        }
    }

    /// Ends the session: discards uncommitted changes, leaves configuration mode if the session may
    /// be in it (also after a timeout or a dropped future), sends `exit`, and closes the
    /// connection. Takes one second at most.
    pub async fn close(mut self) {
        let _ = timeout(CLOSING, async {
            if !self.shell.is_closed() && !self.typed_unentered {
                self.say_goodbye().await;
            }
            self.shell.disconnect().await;
        })
        .await;
    }

    /// Opens another channel next to the CLI, which stays at its prompt.
    pub(crate) async fn open_channel(&self, limit: Duration) -> Result<Channel<Msg>, Error> {
        if !self.is_usable() {
            return Err(Error::invalid("the session is no longer usable"));
        }
        let opening = timeout(limit, self.shell.open_channel());
        opening.await.unwrap_or_else(|_| {
            Err(Error::Timeout {
                doing: "opening a channel".into(),
                after: limit,
                partial: String::new(),
            })
        })
    }

    /// Runs `work` next to the CLI and discards what the CLI receives meanwhile: unread bytes would
    /// stall the connection.
    pub(crate) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let listening = async {
            self.idle().await;
            // `work` itself notices a closed connection.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            done = work => done,
            () = listening => unreachable!("listening never ends"),
        }
    }

    async fn say_goodbye(&mut self) {
        let newline = self.platform.terminal.newline.clone();
        let exit = format!("{}{newline}", self.platform.exit);
        if self.health == Health::Ready && !self.in_configuration {
            // No reply to wait for: the device frees its line on `exit` or on the disconnect.
            let _ = self.shell.send(&exit).await;
            return;
        }
        // Ctrl-C stops a command that still runs or waits for an answer. It flushes the terminal's
        // unread input, so the rest is sent in a separate message.
        if self.health != Health::Ready && self.shell.send("\x03").await.is_err() {
            return;
        }
        let mut goodbye = String::new();
        if let Some(mode) = &self.platform.configuration
            && self.in_configuration
        {
            if let Some(candidate) = &mode.candidate
                && self.uncommitted
            {
                goodbye.push_str(&candidate.discard.send);
                goodbye.push_str(&newline);
            }
            goodbye.push_str(&mode.leave.send);
            goodbye.push_str(&newline);
        }
        if self.shell.send(&(goodbye + &exit)).await.is_err() {
            return;
        }
        // The device closes the channel after it has read all of it.
        while let Ok(Received::Bytes(_)) = self.shell.receive().await {}
    }

    /// Rejects commands with control characters (so a command is one line) and with characters that
    /// the device's encoding lacks.
    fn check_command(&self, command: &str) -> Result<(), Error> {
        if let Some(at) = command.chars().position(char::is_control) {
            return Err(Error::invalid(format!(
                "invalid command: control character at position {}; send one line at a time, without \
                 tabs",
                at + 1
            )));
        }
        let encoding = self.platform.terminal.encoding;
        if encoding.is_some_and(|encoding| encoding.encode(command).is_none()) {
            return Err(Error::invalid(
                "invalid command: it contains a character that the device's encoding lacks",
            ));
        }
        Ok(())
    }

    /// Leaves configuration mode, or returns the form of the command that works in it.
    async fn at_the_right_prompt(&mut self, command: &str) -> Result<String, Error> {
        if !self.in_configuration {
            return Ok(command.to_owned());
        }
        if !self.uncommitted {
            self.leave_configuration().await?;
            return Ok(command.to_owned());
        }
        let mode = self.platform.configuration.as_ref();
        match mode.and_then(|mode| mode.run.as_ref()) {
            Some(form) => Ok(form.replace("{command}", command)),
            None => Err(Error::invalid(
                "not allowed with uncommitted changes; commit or discard them first",
            )),
        }
    }

    /// Runs one of the platform's own commands, and answers the questions that the platform file
    /// lists for it. The caller's answers take precedence.
    async fn run_command(
        &mut self,
        command: &Command,
        typed: &str,
        answers: &[Answer],
        limit: Option<Duration>,
    ) -> Result<Reply, Error> {
        let own_only = answers.is_empty();
        let own = command.questions.iter().map(Answer::from);
        let answers: Vec<Answer> = answers.iter().cloned().chain(own).collect();
        let options = ExecOptions {
            timeout: limit,
            ..ExecOptions::default()
        };
        let settle = match own_only {
            true => SETTLED_SOON,
            false => SETTLED,
        };
        self.run(Request {
            answers: &answers,
            settle,
            options,
            ..Request::new(typed)
        })
        .await
    }

    fn unsupported(&self, what: &str) -> Error {
        Error::Unsupported {
            platform: self.platform.name.clone(),
            what: what.into(),
        }
    }
}

fn check_answers(answers: &[Answer]) -> Result<(), Error> {
    answers.iter().try_for_each(Answer::check)
}
