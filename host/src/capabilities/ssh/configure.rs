//! Configuration of devices: lines, commit, rollback, save.

use std::sync::atomic::Ordering;
use std::time::Duration;

use netssh_core::{Answer, Configuration, Left, Platform, Session};

use super::answers::{Question, with_answers};
use super::lines::{Element, check_order, check_texts, tidy, uncertain_lines};
use super::{Device, Exchange, ExchangeStart, ExecReply, JobContext, Result, ssh_failed};
use crate::capabilities::limits;
use crate::capabilities::policy::check_line;
use crate::model::{CommandKind, ErrorCode, JobError, LogLevel};

/// The reaction to a refused configuration line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRefused {
    #[default]
    Stop,
    Continue,
}

#[derive(Clone, Debug, Default)]
pub struct ConfigureOptions {
    pub on_refused: OnRefused,
    /// On a platform with a candidate: leave the lines uncommitted, for a later commit or rollback.
    pub stage: bool,
    /// How to commit; its answers are used for the lines too.
    pub commit: CommitOptions,
}

#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// The device reverts the commit after this time unless another commit confirms it.
    pub confirm_within: Option<Duration>,
    pub comment: Option<String>,
    /// Answers to questions that the device may ask.
    pub answers: Vec<Question>,
}

/// The outcome of configuring.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    pub replies: Vec<ExecReply>,
    /// The changes according to the platform; `None` without a candidate or a comparison.
    pub diff: Option<String>,
    /// Whether the lines have taken effect: they were neither staged nor discarded when configuration
    /// mode was left.
    pub in_effect: bool,
}

/// The lines of a configuration and their answers.
struct Lines<'a> {
    elements: &'a [Element],
    /// How many lines were given, including blank ones.
    given: usize,
    questions: &'a [Question],
    answers: &'a [Answer],
}

impl JobContext {
    /// Sends configuration lines and makes them take effect: immediately, or on a platform with a
    /// candidate by a commit, unless `options` stage them. Configuration mode is always left, except
    /// with a staged candidate.
    ///
    /// # Errors
    /// Code `refused` with the number and text of the line if the device refuses one and `options` stop
    /// there, or if it refuses the commit; a candidate is discarded then. Otherwise like
    /// [`Self::ssh_exec`].
    pub async fn ssh_configure(
        &self,
        device: &Device,
        lines: &[String],
        options: ConfigureOptions,
    ) -> Result<Configured> {
        self.may_configure().await?;
        let tidied = tidy(lines)?;
        for element in &tidied.elements {
            for line in &element.lines {
                let may = self.may_configure_line(line, &device.kind).await;
                may.map_err(|error| JobError {
                    message: format!("line {}: {}", element.number, error.message),
                    ..error
                })?;
            }
        }
        check_texts(&tidied.elements, &device.kind)?;
        for element in &tidied.elements {
            let lines = uncertain_lines(element, &device.kind).iter();
            for line in lines.filter(|line| !line.is_empty()) {
                let may = self.may_exec(line, &device.kind).await;
                may.map_err(|error| JobError {
                    message: format!(
                        "line {}: `{}` is not known to begin a text, so each line after it must be \
                         allowed as a command: {}",
                        element.number,
                        element.title(),
                        error.message
                    ),
                    ..error
                })?;
            }
        }
        check_order(&tidied.elements, &device.kind)?;
        check_comment(&options.commit, &device.kind)?;
        let answers = self.answers(device, &options.commit.answers).await?;
        if let Some(changes) = tidied.changes.describe() {
            self.note(LogLevel::Info, format!("{}: {changes}", device.target))
                .await;
        }
        let lines = Lines {
            elements: &tidied.elements,
            given: lines.len(),
            questions: &options.commit.answers,
            answers: &answers,
        };
        let mut using = self
            .unless_stopped(async { Ok(device.lock().await) })
            .await?;
        let session = using.session()?;
        let done = async {
            let mut configuration = self.enter(device, session, &answers).await?;
            self.send_all(device, &mut configuration, &lines, &options)
                .await
        }
        .await;
        if matches!(&done, Ok(configured) if !configured.in_effect) {
            return done;
        }
        let left = self.leave(device, session).await;
        let mut configured = done?;
        if left?.discarded {
            configured.in_effect = false;
            let message = format!(
                "{}: lines were (or may have been) discarded on leaving configuration mode",
                device.target
            );
            self.note(LogLevel::Warn, message).await;
        }
        Ok(configured)
    }

    /// Commits a staged candidate, or confirms a commit that the device would revert.
    ///
    /// # Errors
    /// Code `unsupported` on a platform without commits, `invalid` if there is nothing to commit,
    /// `refused` if the device refuses: the candidate is kept then.
    pub async fn ssh_commit(&self, device: &Device, options: CommitOptions) -> Result<ExecReply> {
        self.may_configure().await?;
        check_comment(&options, &device.kind)?;
        let answers = self.answers(device, &options.answers).await?;
        let mut using = self
            .unless_stopped(async { Ok(device.lock().await) })
            .await?;
        let session = using.session()?;
        let confirms =
            !session.has_uncommitted_changes() && device.held.unconfirmed.load(Ordering::Relaxed);
        let nothing = !session.has_uncommitted_changes() && !confirms;
        let mut configuration = self.enter(device, session, &answers).await?;
        let has_candidate = configuration.has_candidate();
        if nothing || !has_candidate {
            let error = match has_candidate {
                true => JobError::new(
                    ErrorCode::INVALID,
                    format!("{}: nothing to commit", device.target()),
                ),
                false => JobError::new(
                    "unsupported",
                    format!(
                        "{}: platform {} has no candidate configuration to commit",
                        device.target(),
                        device.kind.name
                    ),
                ),
            };
            self.leave(device, session).await?;
            return Err(error);
        }
        let reply = if confirms {
            self.confirm(device, &mut configuration, &options, &answers)
                .await
        } else {
            self.commit(device, &mut configuration, &options, &answers)
                .await
        };
        let reply = reply?;
        self.leave(device, session).await?;
        Ok(reply)
    }

    /// Discards a staged candidate; without one, restores the configuration before the last commit.
    ///
    /// # Errors
    /// Code `unsupported` on a platform without rollback, `refused` if the device refuses.
    pub async fn ssh_rollback(&self, device: &Device, number: Option<u32>) -> Result<ExecReply> {
        self.may_configure().await?;
        let mut using = self
            .unless_stopped(async { Ok(device.lock().await) })
            .await?;
        let session = using.session()?;
        let staged = session.has_uncommitted_changes();
        let mut configuration = self.enter(device, session, &[]).await?;
        let doing = if staged && number.is_none() {
            "discard"
        } else {
            "rollback"
        };
        let note = self
            .begin_write(device, CommandKind::Rollback, doing)
            .await?;
        let began = ExchangeStart::noted(note);
        let (what, outcome) = match number {
            None if staged => {
                let call = async { Ok(configuration.discard().await) };
                let cut_off = || device.cut_off("discard", true);
                ("discard", self.unless_cut_off(cut_off, call).await)
            }
            number => {
                let number = number.unwrap_or(1);
                let call = async { Ok(configuration.rollback(number).await) };
                let cut_off = || device.cut_off("rollback", true);
                ("rollback", self.unless_cut_off(cut_off, call).await)
            }
        };
        let exchange = Exchange::new(began, outcome).answered(configuration.take_answered());
        let reply = self
            .record(device, CommandKind::Rollback, what, exchange)
            .await;
        let reply = reply.and_then(|reply| accepted(device, what, reply));
        let left = self.leave(device, session).await;
        let reply = reply?;
        left?;
        device.held.unconfirmed.store(false, Ordering::Relaxed);
        Ok(reply)
    }

    /// Saves the running configuration as the start-up configuration.
    ///
    /// # Errors
    /// Code `unsupported` on a platform without a save command; otherwise like [`Self::ssh_exec`].
    pub async fn ssh_save(&self, device: &Device, questions: &[Question]) -> Result<ExecReply> {
        self.may_configure().await?;
        self.may_save(&device.kind).await?;
        let answers = self.answers(device, questions).await?;
        let about = with_answers("save", questions);
        let note = self.begin_write(device, CommandKind::Save, &about).await?;
        let began = ExchangeStart::noted(note);
        let saving = async {
            let mut using = device.lock().await;
            Ok(using.session()?.save_with(&answers).await)
        };
        let cut_off = || device.cut_off(&about, true);
        let outcome = self.unless_cut_off(cut_off, saving).await;
        let command = match &outcome {
            Ok(Ok(reply)) => reply.command.clone(),
            _ => "save".to_owned(),
        };
        let answered = match device.lock().await.session() {
            Ok(session) => session.take_answered(),
            Err(_) => Vec::new(),
        };
        let exchange = Exchange::new(began, outcome)
            .hiding(questions)
            .answered(answered);
        self.record(device, CommandKind::Save, &command, exchange)
            .await
    }

    async fn enter<'s>(
        &self,
        device: &Device,
        session: &'s mut Session,
        answers: &[Answer],
    ) -> Result<Configuration<'s>> {
        let entered = async { Ok(session.configuration_with(answers).await) };
        let mut configuration = self
            .unless_cut_off(
                || device.cut_off("entering configuration mode", false),
                entered,
            )
            .await?
            .map_err(|error| ssh_failed(&device.target, "entering configuration mode", &error))?;
        let answered = configuration.take_answered();
        self.record_answers(device, answered).await?;
        Ok(configuration)
    }

    async fn leave(&self, device: &Device, session: &mut Session) -> Result<Left> {
        if !session.is_configuring() {
            return Ok(Left::default());
        }
        let left = async {
            let configuration = session.configuration().await;
            Ok(match configuration {
                Ok(configuration) => configuration.leave().await,
                Err(error) => Err(error),
            })
        };
        let cut_off = || device.cut_off("leaving configuration mode", false);
        let left = self.unless_cut_off(cut_off, left).await;
        let answered = session.take_answered();
        self.record_answers(device, answered).await?;
        left?.map_err(|error| ssh_failed(&device.target, "leaving configuration mode", &error))
    }

    async fn send_all(
        &self,
        device: &Device,
        configuration: &mut Configuration<'_>,
        lines: &Lines<'_>,
        options: &ConfigureOptions,
    ) -> Result<Configured> {
        let replies = self
            .send_lines(device, configuration, lines, options.on_refused)
            .await?;
        if !configuration.has_candidate() {
            return Ok(Configured {
                replies,
                diff: None,
                in_effect: true,
            });
        }
        let diff = self.compare(device, configuration).await?;
        if !options.stage {
            self.commit(device, configuration, &options.commit, lines.answers)
                .await?;
        }
        Ok(Configured {
            replies,
            diff,
            in_effect: !options.stage,
        })
    }

    async fn send_lines(
        &self,
        device: &Device,
        configuration: &mut Configuration<'_>,
        lines: &Lines<'_>,
        on_refused: OnRefused,
    ) -> Result<Vec<ExecReply>> {
        let mut replies = Vec::with_capacity(lines.elements.len());
        let last = lines.elements.len();
        for (place, element) in (1..).zip(lines.elements) {
            let text = element.text();
            let about = with_answers(&text, lines.questions);
            let note = self
                .begin_write(device, CommandKind::Configure, &about)
                .await?;
            let began = ExchangeStart::noted(note);
            let sending = async { Ok(send(configuration, element, lines.answers).await) };
            let cut_off = || device.cut_off(&about, true);
            let outcome = self.unless_cut_off(cut_off, sending).await;
            let exchange = Exchange::new(began, outcome)
                .hiding(lines.questions)
                .answered(configuration.take_answered());
            let reply = self
                .record(device, CommandKind::Configure, &text, exchange)
                .await?;
            if let (Some(failure), OnRefused::Stop) = (&reply.failure, on_refused) {
                return Err(JobError::new(
                    "refused",
                    format!(
                        "{} refused line {} of {}, `{}`: {failure}",
                        device.target,
                        element.number,
                        lines.given,
                        element.title()
                    ),
                ));
            }
            replies.push(reply);
            if place < last && !configuration.takes_lines() {
                return Err(JobError::new(
                    ErrorCode::INVALID,
                    format!(
                        "{}: line {}, `{}`, left configuration mode; the lines after it were not \
                         sent",
                        device.target,
                        element.number,
                        element.title()
                    ),
                ));
            }
        }
        Ok(replies)
    }

    async fn compare(
        &self,
        device: &Device,
        configuration: &mut Configuration<'_>,
    ) -> Result<Option<String>> {
        let compared = async { Ok(configuration.compare().await) };
        let cut_off = || device.cut_off("comparing", false);
        match self.unless_cut_off(cut_off, compared).await? {
            Ok(reply) => Ok(Some(reply.output)),
            Err(error) if error.code() == "unsupported" => Ok(None),
            Err(error) => Err(ssh_failed(&device.target, "comparing", &error)),
        }
    }

    async fn commit(
        &self,
        device: &Device,
        configuration: &mut Configuration<'_>,
        options: &CommitOptions,
        answers: &[Answer],
    ) -> Result<ExecReply> {
        let about = with_answers("commit", &options.answers);
        let note = self
            .begin_write(device, CommandKind::Commit, &about)
            .await?;
        let began = ExchangeStart::noted(note);
        let commit = netssh_core::CommitOptions {
            confirm_within: options.confirm_within,
            comment: options.comment.clone(),
            answers: answers.to_vec(),
            ..netssh_core::CommitOptions::default()
        };
        let committing = async { Ok(configuration.commit(&commit).await) };
        let cut_off = || device.cut_off(&about, true);
        let outcome = self.unless_cut_off(cut_off, committing).await;
        let exchange = Exchange::new(began, outcome)
            .hiding(&options.answers)
            .answered(configuration.take_answered());
        let reply = self
            .record(device, CommandKind::Commit, "commit", exchange)
            .await?;
        let reply = accepted(device, "the commit", reply)?;
        let unconfirmed = options.confirm_within.is_some();
        device
            .held
            .unconfirmed
            .store(unconfirmed, Ordering::Relaxed);
        Ok(reply)
    }

    async fn confirm(
        &self,
        device: &Device,
        configuration: &mut Configuration<'_>,
        options: &CommitOptions,
        answers: &[Answer],
    ) -> Result<ExecReply> {
        let about = with_answers("confirm", &options.answers);
        let note = self
            .begin_write(device, CommandKind::Commit, &about)
            .await?;
        let began = ExchangeStart::noted(note);
        let confirming = async { Ok(configuration.confirm_with(answers).await) };
        let cut_off = || device.cut_off(&about, true);
        let outcome = self.unless_cut_off(cut_off, confirming).await;
        let exchange = Exchange::new(began, outcome)
            .hiding(&options.answers)
            .answered(configuration.take_answered());
        let reply = self
            .record(device, CommandKind::Commit, "confirm", exchange)
            .await?;
        let reply = accepted(device, "the confirmation", reply)?;
        device.held.unconfirmed.store(false, Ordering::Relaxed);
        Ok(reply)
    }
}

async fn send(
    configuration: &mut Configuration<'_>,
    element: &Element,
    answers: &[Answer],
) -> std::result::Result<netssh_core::Reply, netssh_core::Error> {
    match element.lines.as_slice() {
        [line] => configuration.line_with(line, answers).await,
        lines => configuration.block(lines, answers).await,
    }
}

/// Rejects comments with a character that could end the comment on some platform.
fn check_comment(options: &CommitOptions, platform: &Platform) -> Result<()> {
    let Some(comment) = &options.comment else {
        return Ok(());
    };
    check_line("a commit comment", comment)?;
    let invalid = |message: String| Err(JobError::new(ErrorCode::INVALID, message));
    if comment.len() > limits::COMMENT_BYTES {
        let most = limits::COMMENT_BYTES;
        return invalid(format!("invalid comment: expected at most {most} bytes"));
    }
    let candidate = platform.configuration.as_ref();
    let candidate = candidate.and_then(|mode| mode.candidate.as_ref());
    let command = candidate.and_then(|candidate| candidate.commit_comment.as_ref());
    let is_quoted = command.is_none_or(|command| command.send.contains("\"{comment}\""));
    let allowed = if is_quoted {
        " _.,:;/#@+-"
    } else {
        " _.,:/@+-"
    };
    let encoding = platform.terminal.encoding;
    let is_plain = |c: char| {
        let bytes = encoding.and_then(|encoding| encoding.encode(c.encode_utf8(&mut [0; 4])));
        // The second byte of a character may be one that a device acts on.
        let ascii = bytes.is_some_and(|bytes| bytes.len() > 1 && bytes.iter().any(u8::is_ascii));
        allowed.contains(c) || c.is_ascii_alphanumeric() || (c.is_alphanumeric() && !ascii)
    };
    match comment.chars().find(|c| !is_plain(*c)) {
        None => Ok(()),
        Some(c) => invalid(format!(
            "invalid comment: expected letters, digits, spaces and `{}`, got U+{:04X}",
            allowed.trim(),
            c as u32
        )),
    }
}

/// Converts a refusal to an error, because the caller cannot continue.
fn accepted(device: &Device, what: &str, reply: ExecReply) -> Result<ExecReply> {
    match &reply.failure {
        None => Ok(reply),
        Some(failure) => Err(JobError::new(
            "refused",
            format!(
                "{} refused {what}: {failure}\n{}",
                device.target, reply.output
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_with_special_characters_are_rejected() {
        let check = |platform: &str, comment: &str| {
            let options = CommitOptions {
                comment: Some(comment.to_owned()),
                ..CommitOptions::default()
            };
            check_comment(&options, &Platform::named(platform).unwrap())
        };
        for platform in ["juniper_junos", "cisco_xr", "vyos", "paloalto_panos"] {
            for good in ["by a test", "CHG-1234: uplinks, r1/r2 @noc", "Zürich 中文"] {
                assert!(check(platform, good).is_ok(), "{platform}: {good}");
            }
            for bad in [
                "x\" | save /tmp/x",
                "x`reboot`",
                "$(reboot)",
                "x\nreload",
                "x | y",
                "x\\",
                "a && b",
                "it's",
                "x\u{200b}y",
                "x\u{a0}y",
                "",
                "?",
                "!",
            ] {
                let error = check(platform, bad).unwrap_err();
                assert_eq!(error.code.0, "invalid", "{platform}: {bad:?}");
            }
        }
        assert!(check("juniper_junos", "one; two #3").is_ok());
        assert!(check("cisco_xr", "one; two").is_err());
    }
}
