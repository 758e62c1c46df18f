//! An open session: one command, one answer.
//!
//! Start at [`Session::connect`] (in `session/login.rs`) and [`Session::exec`]. A session is
//! never silently out of step with its device: whatever leaves an answer unread (a timeout, a
//! hang-up, a dropped future) makes it unusable, and [`Session::close`] still tidies up.

mod configuration;
mod login;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

pub use self::configuration::Configuration;
use crate::endpoint::Timeouts;
use crate::error::Error;
use crate::platform::{Ending, Platform};
use crate::reader::{Expect, Reader, Step};
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

/// A longer command may reach the device in two pieces, and the second one after the first was
/// read: then the comment would be echoed in the middle of the output.
const TYPE_AHEAD_LIMIT: usize = 2000;

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
        self.exec(&command).await
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
            Some(configuration) if self.in_configuration => format!("{}\n", configuration.leave),
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

    /// Sends one command and reads its answer; the session is unusable unless this ends well.
    async fn run(
        &mut self,
        command: &str,
        manner: Manner,
        limit: Duration,
    ) -> Result<Reply, Error> {
        if self.health != Health::Ready {
            return Err(Error::invalid(
                "the session is not usable any more: an earlier command was cut off or timed out",
            ));
        }
        let unasked = self.shell.drain();
        if unasked > 0 {
            tracing::debug!(bytes = unasked, "dropped what the device said unasked");
        }
        self.health = Health::Busy;
        let platform = Arc::clone(&self.platform);
        let mut reader = Reader::new(&platform, self.output_limit, Expect::Prompt);
        let started = Instant::now();
        // The reader is outside the future: what has arrived survives the timeout.
        let outcome = timeout(limit, self.dialogue(command, manner, &mut reader)).await;
        let partial = || reader.answer(Some(command)).output;
        match outcome {
            Ok(Ok(end)) => {
                self.health = Health::Ready;
                let answer = reader.answer(Some(command));
                let failure = end
                    .failure(&platform, &answer.output)
                    .or_else(|| platform.refusal(&answer.output).map(str::to_owned));
                Ok(Reply {
                    command: command.to_owned(),
                    output: answer.output,
                    failure,
                    exit_code: end.exit_code,
                    elapsed: started.elapsed(),
                    truncated: answer.truncated,
                })
            }
            Ok(Err(Error::Disconnected { reason, .. })) => {
                self.health = Health::Broken;
                Err(Error::Disconnected {
                    doing: format!("{command:?}"),
                    reason,
                    partial: partial(),
                })
            }
            Ok(Err(error)) => {
                self.health = Health::Broken;
                Err(error)
            }
            Err(_) => {
                self.health = Health::Broken;
                Err(Error::Timeout {
                    doing: format!("{command:?}"),
                    after: limit,
                    partial: partial(),
                })
            }
        }
    }

    async fn dialogue(
        &mut self,
        command: &str,
        manner: Manner,
        reader: &mut Reader<'_>,
    ) -> Result<CommandEnd, Error> {
        let platform = Arc::clone(&self.platform);
        let typed = typed(command, &platform);
        match &platform.ending {
            Ending::ShellPrompt => self.shell_dialogue(&typed, reader).await,
            Ending::Comment { prefix } => {
                let ahead = manner != Manner::Careful
                    && manner != Manner::ConfigurationLine
                    && self.type_ahead
                    && typed.len() <= TYPE_AHEAD_LIMIT;
                if ahead {
                    let comment = self.next_comment(prefix);
                    reader.expect(Expect::Comment(comment.clone()));
                    self.shell.send(&format!("{typed}\n{comment}\n")).await?;
                    if let Some(end) = self.read_typed_ahead(reader).await? {
                        return Ok(end);
                    }
                    // A pager read the comment, so the output is cut short. Back in step, the
                    // command is sent once more: it only shows something.
                    self.type_ahead = false;
                    reader.clear();
                }
                self.shell.send(&format!("{typed}\n")).await?;
                self.read_carefully(prefix, manner, reader).await
            }
        }
    }

    async fn shell_dialogue(
        &mut self,
        typed: &str,
        reader: &mut Reader<'_>,
    ) -> Result<CommandEnd, Error> {
        reader.expect(Expect::ShellPrompt(self.word.clone()));
        self.shell.send(&format!("{typed}\n")).await?;
        let mut incomplete = false;
        loop {
            match self.next_step(reader).await? {
                Step::End { exit_code, .. } => {
                    return Ok(CommandEnd {
                        exit_code,
                        incomplete,
                    });
                }
                // The shell waits for a closing quote or the like, which will not come.
                Step::Incomplete => {
                    incomplete = true;
                    reader.clear();
                    self.shell.send("\x03").await?;
                }
                _ => {}
            }
        }
    }

    /// Reads an answer whose end was typed ahead. `None` if a pager swallowed that; then the
    /// session is in step again, and the answer is useless.
    async fn read_typed_ahead(
        &mut self,
        reader: &mut Reader<'_>,
    ) -> Result<Option<CommandEnd>, Error> {
        loop {
            match self.next_step(reader).await? {
                Step::End { prompt, .. } => {
                    self.prompt = prompt;
                    return Ok(Some(CommandEnd::default()));
                }
                Step::Pager(answer) => {
                    reader.pager_answered();
                    self.shell.send(&answer).await?;
                    let platform = Arc::clone(&self.platform);
                    let Ending::Comment { prefix } = &platform.ending else {
                        return Ok(None);
                    };
                    reader.expect(Expect::Prompt);
                    self.read_carefully(prefix, Manner::Careful, reader).await?;
                    return Ok(None);
                }
                _ => {}
            }
        }
    }

    /// Reads up to something that looks like a prompt, and makes sure that it is one. That costs
    /// a round trip more, save for a configuration line without any output.
    async fn read_carefully(
        &mut self,
        prefix: &str,
        manner: Manner,
        reader: &mut Reader<'_>,
    ) -> Result<CommandEnd, Error> {
        reader.expect(Expect::Prompt);
        loop {
            match self.next_step(reader).await? {
                Step::Prompt => {
                    if manner == Manner::ConfigurationLine
                        && reader.is_empty_before_prompt()
                        && self.platform.is_configuration(&reader.last_line())
                    {
                        self.prompt = reader.last_line().trim().to_owned();
                        reader.end_at_last_line();
                        return Ok(CommandEnd::default());
                    }
                    let comment = self.next_comment(prefix);
                    reader.expect(Expect::Comment(comment.clone()));
                    self.shell.send(&format!("{comment}\n")).await?;
                }
                Step::End { prompt, .. } => {
                    self.prompt = prompt;
                    return Ok(CommandEnd::default());
                }
                Step::Pager(answer) => {
                    reader.pager_answered();
                    self.shell.send(&answer).await?;
                }
                _ => {}
            }
        }
    }

    /// Reads until there is something to do.
    async fn next_step(&mut self, reader: &mut Reader<'_>) -> Result<Step, Error> {
        loop {
            match self.shell.receive().await? {
                Received::Bytes(bytes) => reader.push(&bytes),
                Received::Closed(reason) => {
                    return Err(Error::Disconnected {
                        doing: String::new(),
                        reason,
                        partial: String::new(),
                    });
                }
            }
            match reader.step() {
                Step::Read => {}
                step => return Ok(step),
            }
        }
    }

    /// A comment that no output can hold: random, and another one each time, so that a
    /// device's command history does not hold it either.
    fn next_comment(&mut self, prefix: &str) -> String {
        self.commands += 1;
        format!("{prefix}{}{:x}", self.word, self.commands)
    }
}

/// How a command is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Together with the comment that marks its end.
    TypeAhead,
    /// Alone: it may ask something.
    Careful,
    /// Alone, and usually without any output.
    ConfigurationLine,
}

#[derive(Debug, Clone, Copy, Default)]
struct CommandEnd {
    exit_code: Option<i32>,
    incomplete: bool,
}

impl CommandEnd {
    fn failure(self, platform: &Platform, _output: &str) -> Option<String> {
        if self.incomplete {
            return Some(format!(
                "incomplete command: {} waits for the rest of it (an open quote or block)",
                platform.name
            ));
        }
        self.exit_code
            .filter(|&code| code != 0)
            .map(|code| format!("exit code {code}"))
    }
}

/// What is to be typed for a command.
fn typed(command: &str, platform: &Platform) -> String {
    match &platform.terminal.quote_question_mark {
        Some(quote) => command.replace('?', &format!("{quote}?")),
        None => command.to_owned(),
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
