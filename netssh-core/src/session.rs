//! An open session: one command, one answer.
//!
//! Start at [`Session::connect`] (in `session/login.rs`) and [`Session::exec`]. A session is
//! never silently out of step with its device: whatever leaves an answer unread (a timeout, a
//! hang-up, a dropped future) makes it unusable, and [`Session::close`] still tidies up.

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

/// A CLI session to one device. Dropping it without [`Session::close`] drops the connection.
#[derive(Debug)]
pub struct Session {
    shell: Shell,
    platform: Arc<Platform>,
    timeouts: Timeouts,
    output_limit: usize,
    /// The prompt that the login ended at, and the one that was shown last.
    home: String,
    prompt: String,
    health: Health,
    in_configuration: bool,
    /// Lines have changed the candidate, and were neither committed nor thrown away.
    uncommitted: bool,
    /// Nothing was run that may have changed what the next command does.
    pristine: bool,
    /// A line was typed at the prompt without Enter: anything typed behind it could run it.
    typed_unentered: bool,
    /// What is typed comes back.
    echo: bool,
    /// The pager is off, as far as known, so nothing but the CLI reads what is typed ahead.
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

/// How to wait for an answer. The default: as long as the endpoint says, watched by nobody.
#[derive(Default)]
pub struct ExecOptions<'a> {
    /// At most this long in all, instead of the endpoint's command timeout.
    pub timeout: Option<Duration>,
    /// At most this long without a byte. Silence of several seconds is normal for a device.
    pub silence: Option<Duration>,
    /// Is given the output as it arrives, some finished lines at a time: each once, in order,
    /// cleaned as in [`Reply::output`], and none beyond the output limit.
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

/// Tidying up takes no longer than this.
const CLOSING: Duration = Duration::from_secs(1);
/// Asking a session that has been idle whether it is still there takes no longer than this.
const CHECKING: Duration = Duration::from_secs(5);

impl Session {
    /// Sends a command and waits for its answer, at most the endpoint's command timeout.
    ///
    /// In configuration mode (after a [`Configuration`] was dropped) it leaves that first, or,
    /// with uncommitted changes, runs the command from there (`do show …`).
    /// A command that the device refuses is no error: see [`Reply::failure`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a command with control characters (nothing is sent),
    /// [`Error::Timeout`], [`Error::Disconnected`]; the latter two end the session.
    pub async fn exec(&mut self, command: &str) -> Result<Reply, Error> {
        self.exec_with(command, ExecOptions::default()).await
    }

    /// [`Session::exec`] with a limit of its own.
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

    /// [`Session::exec`] with limits of its own, or watched.
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

    /// Runs a command that asks questions, and answers them: each answer is used at most once, in
    /// whatever order the device asks. Answers are not shown in the session log.
    ///
    /// # Errors
    /// As [`Session::exec`]; [`Error::Refused`] when a question that was answered is asked again,
    /// which ends the session. A question that no answer fits is waited out: [`Error::Timeout`],
    /// with the question at the end of its partial output.
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

    /// Makes the running configuration the start-up configuration.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a platform without such a command, and as [`Session::exec`].
    pub async fn save(&mut self) -> Result<Reply, Error> {
        self.save_with(&[]).await
    }

    /// Saves like [`Session::save`], with answers to questions that the device may ask beyond the
    /// platform's own.
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

    /// Returns the questions that the device asked since the last call, with the given answers, in
    /// order; also those of a failed command.
    pub fn take_answered(&mut self) -> Vec<Answered> {
        std::mem::take(&mut self.answered)
    }

    /// What the device says of itself: `hostname`, `version`, `model`, `serial`, `uptime`, as far
    /// as the platform knows where to find them.
    ///
    /// # Errors
    /// As [`Session::exec`].
    pub async fn facts(&mut self) -> Result<BTreeMap<String, String>, Error> {
        let platform = Arc::clone(&self.platform);
        let mut facts = BTreeMap::new();
        for source in &platform.facts {
            let reply = self.exec(&source.command).await?;
            // A complaint is no fact.
            if !reply.is_success() {
                continue;
            }
            let found = source.find_in(&reply.output);
            facts.extend(found.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        Ok(facts)
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

    /// Whether it is in configuration mode.
    #[must_use]
    pub const fn is_configuring(&self) -> bool {
        self.in_configuration
    }

    /// Whether it is as it was after the login: usable, not in configuration mode, and it has run
    /// nothing that may have changed what the next command does. Such are the commands that the
    /// platform calls safe, configuration, and [`Session::save`].
    #[must_use]
    pub fn is_pristine(&self) -> bool {
        self.is_usable() && self.pristine && !self.in_configuration && !self.uncommitted
    }

    /// Whether the device still answers, at the prompt that the login ended at; one round trip.
    /// A session that has been idle may have died, or been logged out.
    pub async fn check(&mut self) -> bool {
        if !self.is_usable() {
            return false;
        }
        let answered = matches!(timeout(CHECKING, self.ask_for_prompt()).await, Ok(Ok(())));
        answered && same_prompt(&self.home, &self.prompt)
    }

    /// Waits until the device ends the session, dropping what it says meanwhile, so that nothing
    /// piles up. Dropping the future is safe.
    pub async fn idle(&mut self) {
        while !self.shell.is_closed() {
            match self.shell.receive().await {
                Ok(Received::Bytes(_)) => {}
                Ok(Received::Closed(_)) | Err(_) => return,
            }
        }
    }

    /// Ends the session: throws away what was not committed, leaves configuration mode if it may
    /// be in it (also when a command was cut off by dropping its future or by a timeout), says
    /// `exit`, closes the connection. Takes a second at most.
    pub async fn close(mut self) {
        let _ = timeout(CLOSING, async {
            if !self.shell.is_closed() && !self.typed_unentered {
                self.say_goodbye().await;
            }
            self.shell.disconnect().await;
        })
        .await;
    }

    /// Another channel beside the CLI, which stays at its prompt.
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

    /// Does something beside the CLI. What that says meanwhile is dropped: left alone, it would
    /// stall the connection.
    pub(crate) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let listening = async {
            self.idle().await;
            // The work notices by itself when the connection is gone, too.
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
            // Nothing to wait for: the device frees its line on `exit` or on the disconnect.
            let _ = self.shell.send(&exit).await;
            return;
        }
        // Ctrl-C stops what still runs or waits for an answer. It flushes what the terminal has
        // not read yet, so the rest goes into a message of its own.
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
        // The device closes the channel when it has read all of it.
        while let Ok(Received::Bytes(_)) = self.shell.receive().await {}
    }

    /// One line, of characters that the device can be told.
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

    /// Leaves configuration mode, or finds the form of the command that works in it.
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

    /// One of the platform's own commands, with the questions it is known to ask.
    ///
    /// The caller's answers take precedence.
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
