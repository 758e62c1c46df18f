//! One command to the device, one answer back: who says what, in which order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{Health, Reply, Session};
use crate::error::Error;
use crate::platform::{Ending, Platform};
use crate::reader::{Expect, Reader, Step};
use crate::transport::Received;

/// A longer command may reach the device in two pieces, and the second one after the first was
/// read: then the comment would be echoed in the middle of the output.
const TYPE_AHEAD_LIMIT: usize = 2000;

/// How a command is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
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
    fn failure(self, platform: &Platform) -> Option<String> {
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

impl Session {
    /// Sends one command and reads its answer; the session is unusable unless this ends well.
    pub(super) async fn run(
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
                    .failure(&platform)
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
                let silent = (manner == Manner::ConfigurationLine).then_some(command);
                self.read_carefully(prefix, silent, reader).await
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
                    self.read_carefully(prefix, None, reader).await?;
                    return Ok(None);
                }
                _ => {}
            }
        }
    }

    /// Reads up to something that looks like a prompt, and makes sure that it is one. That costs
    /// a round trip more, save for a configuration line, `silent`, that is echoed and has no output.
    /// The echo has to be there: a prompt that comes late, after something the device said by
    /// itself, must not be taken for the answer, or every answer after it belongs to the line before.
    async fn read_carefully(
        &mut self,
        prefix: &str,
        silent: Option<&str>,
        reader: &mut Reader<'_>,
    ) -> Result<CommandEnd, Error> {
        reader.expect(Expect::Prompt);
        loop {
            match self.next_step(reader).await? {
                Step::Prompt => {
                    if silent.is_some_and(|line| reader.holds_only_echo(line))
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
    pub(super) async fn next_step(&mut self, reader: &mut Reader<'_>) -> Result<Step, Error> {
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
    pub(super) fn next_comment(&mut self, prefix: &str) -> String {
        self.commands += 1;
        format!("{prefix}{}{:x}", self.word, self.commands)
    }
}

/// What is to be typed for a command.
fn typed(command: &str, platform: &Platform) -> String {
    match &platform.terminal.quote_question_mark {
        Some(quote) => command.replace('?', &format!("{quote}?")),
        None => command.to_owned(),
    }
}
