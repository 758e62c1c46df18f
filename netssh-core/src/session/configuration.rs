//! Configuration mode of a session.

use std::sync::LazyLock;
use std::time::Duration;

use super::dialogue::{Manner, Request};
use super::{Reply, Session};
use crate::endpoint::{Answer, Answered};
use crate::error::Error;
use crate::platform::{Candidate, Command, Pattern};
use crate::prompt::same_prompt;

/// Minimum timeout of a commit, which may take longer than other commands.
const COMMIT: Duration = Duration::from_secs(180);
/// Maximum number of commands sent to leave configuration mode.
const LEVELS: usize = 8;

/// A session in configuration mode. Call [`Configuration::leave`] at the end. If the value is
/// dropped instead (by a `?`, for example), the session leaves the mode before its next command or
/// when it is closed.
///
/// On a platform with a candidate configuration ([`Configuration::has_candidate`]) changes take
/// effect only on [`Configuration::commit`]. Uncommitted changes survive a dropped value, and the
/// next [`Session::configuration`] finds them; leaving the mode and closing the session discard
/// them.
#[derive(Debug)]
pub struct Configuration<'a> {
    session: &'a mut Session,
}

/// Options of a commit.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// The device reverts the commit after this time, in whole minutes, unless
    /// [`Configuration::confirm`] is called first.
    pub confirm_within: Option<Duration>,
    /// A comment that the device records: one line, without `"`.
    pub comment: Option<String>,
    /// Maximum duration, instead of the greater of 180 s and the command timeout.
    pub timeout: Option<Duration>,
    /// Answers to questions that the platform file does not list.
    pub answers: Vec<Answer>,
}

/// The result of leaving configuration mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Whether changes that had not taken effect were discarded, or may have been.
    pub discarded: bool,
}

impl Session {
    /// Enters configuration mode, or continues in it if the session is in it already.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a platform without configuration mode, [`Error::Refused`] if the
    /// device does not let this user enter it, and as [`Session::exec`].
    pub async fn configuration(&mut self) -> Result<Configuration<'_>, Error> {
        self.configuration_with(&[]).await
    }

    /// Like [`Session::configuration`], with answers to questions that the device may ask.
    ///
    /// # Errors
    /// As [`Session::configuration`].
    pub async fn configuration_with(
        &mut self,
        answers: &[Answer],
    ) -> Result<Configuration<'_>, Error> {
        super::check_answers(answers)?;
        let Some(mode) = self.platform.configuration.clone() else {
            return Err(self.unsupported("configuration mode"));
        };
        if let Some(enter) = &mode.enter
            && !self.in_configuration
        {
            // Set before the command is sent: if this future is dropped, `close` has to leave the
            // mode.
            self.in_configuration = true;
            let reply = self.run_own(enter, answers, None).await?;
            self.after_configuring();
            if !self.in_configuration {
                return Err(Error::Refused {
                    command: enter.send.clone(),
                    message: words_of(reply),
                });
            }
        }
        Ok(Configuration { session: self })
    }

    /// Returns whether there are changes that were neither committed nor discarded.
    #[must_use]
    pub const fn has_uncommitted_changes(&self) -> bool {
        self.uncommitted
    }

    pub(super) async fn leave_configuration(&mut self) -> Result<Left, Error> {
        let mut left = Left::default();
        let Some(mode) = self.platform.configuration.clone() else {
            return Ok(left);
        };
        if self.uncommitted
            && let Some(candidate) = &mode.candidate
        {
            self.discard(candidate).await?;
            left.discarded = true;
        }
        let answers = leave_answers();
        let asked = self.answered.len();
        for _ in 0..LEVELS {
            if !self.in_configuration {
                break;
            }
            // Changes may be pending without a candidate: in a configuration session, or in a table
            // without an `end`.
            left.discarded |= self.uncommitted;
            let reply = self.run_own(&mode.leave, &answers, None).await?;
            self.after_configuring();
            if self.in_configuration && reply.failure.is_some() {
                break;
            }
        }
        let mut asked = self.answered.iter().skip(asked);
        left.discarded |= asked.any(|asked| TELLS_OF_CHANGES.matches(&asked.question));
        if self.in_configuration {
            return Err(Error::Refused {
                command: mode.leave.send,
                message: format!(
                    "failed to leave configuration mode; the prompt is {}",
                    self.prompt
                ),
            });
        }
        Ok(left)
    }

    pub(super) async fn save_while_configuring(
        &mut self,
        command: &Command,
        answers: &[Answer],
    ) -> Result<Reply, Error> {
        if self.uncommitted {
            return Err(Error::invalid(
                "not allowed with uncommitted changes; commit or discard them first",
            ));
        }
        let configuration = self.configuration().await?;
        let reply = configuration
            .session
            .run_own(command, answers, None)
            .await?;
        configuration.leave().await?;
        Ok(reply)
    }

    async fn discard(&mut self, candidate: &Candidate) -> Result<Reply, Error> {
        let reply = self.run_own(&candidate.discard, &[], None).await?;
        self.after_configuring();
        if reply.is_success() {
            self.uncommitted = false;
        }
        Ok(reply)
    }

    /// Runs one of the platform's commands at the current prompt.
    async fn run_own(
        &mut self,
        command: &Command,
        answers: &[Answer],
        limit: Option<Duration>,
    ) -> Result<Reply, Error> {
        if command.questions.is_empty() && answers.is_empty() && limit.is_none() {
            let request = Request {
                manner: Manner::TypeAhead,
                ..Request::new(&command.send)
            };
            return self.run(request).await;
        }
        self.run_command(command, &command.send, answers, limit)
            .await
    }

    /// Updates the state from the prompt: a line may leave configuration mode or, on platforms
    /// without a command to enter it, enter it.
    fn after_configuring(&mut self) {
        self.in_configuration = self.is_at_configuration_prompt();
        let mode = self.platform.configuration.as_ref();
        if let Some(pending) = mode.and_then(|mode| mode.pending.as_ref()) {
            self.uncommitted = pending.matches(&self.prompt);
        }
    }

    /// Returns whether the session is at a configuration prompt. The patterns distinguish modes;
    /// the device's ordinary prompt may match them too (`sw1(s1)#`).
    fn is_at_configuration_prompt(&self) -> bool {
        self.platform.is_configuration(&self.prompt) && !same_prompt(&self.home, &self.prompt)
    }

    /// Returns whether lines change a candidate at the current prompt.
    fn has_candidate(&self) -> bool {
        let mode = self.platform.configuration.as_ref();
        let Some(candidate) = mode.and_then(|mode| mode.candidate.as_ref()) else {
            return false;
        };
        let when = candidate.when.as_ref();
        when.is_none_or(|when| when.matches(&self.prompt))
    }
}

/// Returns answers to the questions that devices ask when a session leaves the mode with
/// uncommitted changes: leave it and discard the changes.
///
/// Sources: netmiko #2625 (VRP); "Cisco IOS XR CLI Configuration Guide", "Uncommitted changes
/// found"; the same on IOS XE in controller mode; Junos' "Exit with uncommitted changes?".
fn leave_answers() -> Vec<Answer> {
    static QUESTIONS: LazyLock<Vec<(Pattern, &str)>> = LazyLock::new(|| {
        [
            (r"(?i)uncommitted\b.*\byes/no/cancel\b.*$", "no"),
            (r"(?i)uncommitted\b.*\bn\(no\)/c\(cancel\).*$", "N"),
            (r"(?i)uncommitted\b.*\[yes,no\].*$", "yes"),
            (
                r"(?i)without (committing|saving)\b.*\b(y/n|yes/no)\b.*$",
                "y",
            ),
        ]
        .map(|(question, answer)| {
            let question = Pattern::new(question).expect("tests match every question");
            (question, answer)
        })
        .into()
    });
    let answers = QUESTIONS.iter();
    let answers = answers.map(|(question, answer)| Answer::new(question.clone(), *answer).shown());
    answers.collect()
}

static TELLS_OF_CHANGES: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(r"(?i)\buncommitted\b|\bwithout (committing|saving)\b")
        .expect("tests match every question")
});

fn words_of(reply: Reply) -> String {
    reply.failure.unwrap_or(reply.output)
}

impl Configuration<'_> {
    /// Sends one line. A refused line is not an error (see [`Reply::failure`]) and does not leave
    /// the mode.
    ///
    /// # Errors
    /// As [`Session::exec`].
    pub async fn line(&mut self, line: &str) -> Result<Reply, Error> {
        self.line_with(line, &[]).await
    }

    /// Like [`Configuration::line`], with answers to questions that the device may ask.
    ///
    /// # Errors
    /// As [`Configuration::line`].
    pub async fn line_with(&mut self, line: &str, answers: &[Answer]) -> Result<Reply, Error> {
        self.session.check_command(line)?;
        super::check_answers(answers)?;
        self.begin_line(line)?;
        let manner = match self.begins_text(line).is_some() {
            true => Manner::BeginsText,
            false => Manner::ConfigurationLine,
        };
        let request = Request {
            manner,
            answers,
            ..Request::new(line)
        };
        let reply = self.session.run(request).await?;
        self.session.after_configuring();
        Ok(reply)
    }

    /// Sends a command that reads text (`banner motd ^`) and the text with its end mark, as one
    /// element of the configuration. If the device returns to its prompt early, the rest of the
    /// text is not sent and [`Reply::failure`] reports it.
    ///
    /// # Errors
    /// As [`Session::exec`].
    pub async fn block(&mut self, lines: &[String], answers: &[Answer]) -> Result<Reply, Error> {
        let (first, text) = match lines {
            [] => return Err(Error::invalid("invalid block: expected at least one line")),
            [line] => return self.line_with(line, answers).await,
            [first, text @ ..] => (first, text),
        };
        for line in lines {
            self.session.check_command(line)?;
        }
        super::check_answers(answers)?;
        self.begin_line(first)?;
        let end = self.begins_text(first).unwrap_or_default();
        let before = self.session.prompt.clone();
        let (mut reply, unsent) = self.session.run_block(first, text, &end, answers).await?;
        self.session.after_configuring();
        let text = &text[text.len() - unsent..];
        // IOS reads a certificate in a mode with a prompt for each line.
        let in_mode = self.takes_lines() && !same_prompt(&before, &self.session.prompt);
        if !text.is_empty() && in_mode && reply.is_success() {
            for line in text {
                let own = self.line_with(line, answers).await?;
                reply.output = format!("{}\n{}", reply.output, own.output)
                    .trim()
                    .to_owned();
                if own.failure.is_some() {
                    reply.failure = own.failure;
                    return Ok(reply);
                }
            }
        } else if !text.is_empty() {
            reply.failure.get_or_insert_with(|| {
                format!(
                    "`{first}` does not begin a text on this device; {} more lines were not sent",
                    text.len()
                )
            });
        }
        Ok(reply)
    }

    /// Returns the keys that end the text after this line, if the platform declares one.
    fn begins_text(&self, line: &str) -> Option<String> {
        let mode = self.session.platform.configuration.as_ref()?;
        let block = mode.blocks.iter().find(|block| block.start.matches(line))?;
        Some(block.end.clone())
    }

    /// Checks that the session is in configuration mode; at another prompt the line would run as a
    /// command.
    fn begin_line(&mut self, line: &str) -> Result<(), Error> {
        let session = &mut *self.session;
        let mode = session.platform.configuration.as_ref();
        if mode.is_some_and(|mode| mode.enter.is_some()) && !session.in_configuration {
            return Err(Error::invalid(format!(
                "{line:?} was not sent: an earlier line left configuration mode, so it would run \
                 as a command"
            )));
        }
        // A line may run a command or lead to another device.
        session.pristine = false;
        let pending = mode.and_then(|mode| mode.pending.as_ref());
        if pending.is_none() && session.has_candidate() {
            session.uncommitted = true;
        }
        Ok(())
    }

    /// Returns whether lines change a candidate, which takes effect when it is committed. On some
    /// platforms this depends on the device's current mode.
    #[must_use]
    pub fn has_candidate(&self) -> bool {
        self.session.has_candidate()
    }

    /// Returns the changes that a commit would make, in the platform's own notation.
    ///
    /// # Errors
    /// [`Error::Unsupported`], and as [`Session::exec`].
    pub async fn compare(&mut self) -> Result<Reply, Error> {
        let candidate = self.candidate()?;
        let Some(compare) = candidate.compare else {
            return Err(self.session.unsupported("command to compare a candidate"));
        };
        self.session.run_own(&compare, &[], None).await
    }

    /// Commits the candidate. If the device refuses, [`Reply::failure`] contains the reason and the
    /// candidate is unchanged.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a platform without a candidate or without a requested option,
    /// [`Error::Invalid`], and as [`Session::exec`].
    pub async fn commit(&mut self, options: &CommitOptions) -> Result<Reply, Error> {
        super::check_answers(&options.answers)?;
        let candidate = self.candidate()?;
        let command = self.commit_command(&candidate, options)?;
        let limit = options
            .timeout
            .unwrap_or_else(|| self.session.timeouts.command.max(COMMIT));
        let answers = &options.answers;
        let mut reply = self.session.run_own(&command, answers, Some(limit)).await?;
        self.session.after_configuring();
        if candidate.commit_leaves {
            for _ in 0..LEVELS {
                if !self.session.in_configuration || !reply.is_success() {
                    break;
                }
                reply = self.session.run_own(&command, answers, Some(limit)).await?;
                self.session.after_configuring();
            }
        }
        if reply.is_success() {
            self.session.uncommitted = false;
        } else if let Some(explain) = &candidate.explain {
            let request = Request {
                manner: Manner::TypeAhead,
                ..Request::new(explain)
            };
            let explanation = self.session.run(request).await?;
            reply.output.push('\n');
            reply.output.push_str(&explanation.output);
        }
        Ok(reply)
    }

    /// Confirms a commit that the device would revert otherwise.
    ///
    /// # Errors
    /// As [`Configuration::commit`].
    pub async fn confirm(&mut self) -> Result<Reply, Error> {
        self.confirm_with(&[]).await
    }

    /// Like [`Configuration::confirm`], with answers to questions that the device may ask.
    ///
    /// # Errors
    /// As [`Configuration::commit`].
    pub async fn confirm_with(&mut self, answers: &[Answer]) -> Result<Reply, Error> {
        super::check_answers(answers)?;
        let candidate = self.candidate()?;
        let command = candidate.confirm.unwrap_or(candidate.commit);
        let limit = self.session.timeouts.command.max(COMMIT);
        let reply = self.session.run_own(&command, answers, Some(limit)).await?;
        self.session.after_configuring();
        Ok(reply)
    }

    /// Discards the candidate.
    ///
    /// # Errors
    /// [`Error::Unsupported`], and as [`Session::exec`].
    pub async fn discard(&mut self) -> Result<Reply, Error> {
        let candidate = self.candidate()?;
        self.session.discard(&candidate).await
    }

    /// Restores the configuration of `number` commits ago, 1 being the one before the last commit,
    /// and commits it.
    ///
    /// # Errors
    /// [`Error::Unsupported`], and as [`Session::exec`].
    pub async fn rollback(&mut self, number: u32) -> Result<Reply, Error> {
        let candidate = self.candidate()?;
        let Some(rollback) = &candidate.rollback else {
            return Err(self.session.unsupported("rollback to an earlier commit"));
        };
        let command = rollback.with("number", &number.to_string());
        let limit = self.session.timeouts.command.max(COMMIT);
        self.session.uncommitted = !candidate.rollback_commits;
        let reply = self.session.run_own(&command, &[], Some(limit)).await?;
        self.session.after_configuring();
        if candidate.rollback_commits || !reply.is_success() {
            return Ok(reply);
        }
        self.commit(&CommitOptions::default()).await
    }

    /// Returns the prompt that the device showed last.
    #[must_use]
    pub fn prompt(&self) -> &str {
        self.session.prompt()
    }

    /// Returns whether another line would be sent; `false` after a line that left the mode.
    #[must_use]
    pub fn takes_lines(&self) -> bool {
        let mode = self.session.platform.configuration.as_ref();
        let has_mode = mode.is_some_and(|mode| mode.enter.is_some());
        !has_mode || self.session.in_configuration
    }

    /// Like [`Session::take_answered`].
    pub fn take_answered(&mut self) -> Vec<Answered> {
        self.session.take_answered()
    }

    /// Leaves configuration mode from any of its sub-modes. Uncommitted changes are discarded,
    /// which [`Left::discarded`] reports.
    ///
    /// # Errors
    /// As [`Session::exec`], and [`Error::Refused`] if the device stays in the mode.
    pub async fn leave(self) -> Result<Left, Error> {
        if !self.session.in_configuration {
            return Ok(Left::default());
        }
        self.session.leave_configuration().await
    }

    fn candidate(&self) -> Result<Candidate, Error> {
        let mode = self.session.platform.configuration.as_ref();
        mode.and_then(|mode| mode.candidate.clone())
            .filter(|_| self.session.has_candidate())
            .ok_or_else(|| self.session.unsupported("candidate configuration"))
    }

    fn commit_command(
        &self,
        candidate: &Candidate,
        options: &CommitOptions,
    ) -> Result<Command, Error> {
        let lacking = |what: &str| self.session.unsupported(what);
        match (&options.confirm_within, &options.comment) {
            (None, None) => Ok(candidate.commit.clone()),
            (Some(_), Some(_)) => Err(Error::invalid(
                "a comment is not allowed in a commit with confirmation; give it when confirming",
            )),
            (Some(time), None) => {
                let command = candidate.commit_confirmed.as_ref();
                let command = command.ok_or_else(|| lacking("commit with confirmation"))?;
                let minutes = time.as_secs().div_ceil(60);
                if minutes == 0 {
                    return Err(Error::invalid(
                        "invalid confirm_within: expected at least one minute",
                    ));
                }
                Ok(command.with("minutes", &minutes.to_string()))
            }
            (None, Some(comment)) => {
                self.session.check_command(comment)?;
                if comment.contains('"') {
                    return Err(Error::invalid("invalid commit comment: \" is not allowed"));
                }
                let command = candidate.commit_comment.as_ref();
                let command = command.ok_or_else(|| lacking("commit with a comment"))?;
                Ok(command.with("comment", comment))
            }
        }
    }
}
