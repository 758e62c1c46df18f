//! Configuration: lines, commit, rollback, save.

use std::sync::atomic::Ordering;
use std::time::Duration;

use netssh_core::{Configuration, Session};

use super::{Began, Device, Exchange, ExecReply, JobContext, Result, ssh_failed};
use crate::capabilities::policy::check_command_text;
use crate::model::{CommandKind, ErrorCode, JobError};

/// What to do when a device refuses a line of configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRefused {
    #[default]
    Stop,
    Continue,
}

#[derive(Clone, Debug, Default)]
pub struct ConfigureOptions {
    pub on_refused: OnRefused,
    /// Where the platform has a candidate: leave it at that, for a later commit or rollback.
    pub stage: bool,
    pub commit: CommitOptions,
}

#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// The device takes the commit back after this time unless it is confirmed by another one.
    pub confirm_within: Option<Duration>,
    pub comment: Option<String>,
}

/// What came of configuring.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    pub replies: Vec<ExecReply>,
    /// What the platform says that the lines change, where it has a candidate and can tell.
    pub diff: Option<String>,
    /// The lines have taken effect.
    pub in_effect: bool,
}

impl JobContext {
    /// Sends lines of configuration and makes them take effect: at once where the platform knows
    /// no other way; where it has a candidate, by committing that, unless `options` say to stage
    /// it. Configuration mode is left whatever happens, save for a staged candidate.
    ///
    /// # Errors
    /// Code `refused` with the number and text of the line when the device refuses one and
    /// `options` say to stop, or when it refuses the commit; a candidate is thrown away then. Else
    /// as [`Self::ssh_exec`].
    pub async fn ssh_configure(
        &self,
        device: &Device,
        lines: &[String],
        options: ConfigureOptions,
    ) -> Result<Configured> {
        self.may_configure().await?;
        for (number, line) in (1..).zip(lines) {
            check_command_text(line).map_err(|error| JobError {
                message: format!("line {number}: {}", error.message),
                ..error
            })?;
        }
        let mut using = self
            .unless_stopped(async { Ok(device.lock().await) })
            .await?;
        let session = using.session()?;
        let done = async {
            let mut configuration = self.enter(device, session).await?;
            self.send_all(device, &mut configuration, lines, &options)
                .await
        }
        .await;
        if matches!(&done, Ok(configured) if !configured.in_effect) {
            return done;
        }
        let left = self.leave(device, session).await;
        let configured = done?;
        left?;
        Ok(configured)
    }

    /// Makes a staged candidate take effect, or confirms a commit that would be taken back.
    ///
    /// # Errors
    /// Code `unsupported` where the platform commits nothing, `invalid` when there is nothing to
    /// commit, `refused` when the device does not want to: the candidate is kept then.
    pub async fn ssh_commit(&self, device: &Device, options: CommitOptions) -> Result<ExecReply> {
        self.may_configure().await?;
        let mut using = self
            .unless_stopped(async { Ok(device.lock().await) })
            .await?;
        let session = using.session()?;
        let confirms =
            !session.has_uncommitted_changes() && device.held.unconfirmed.load(Ordering::Relaxed);
        let nothing = !session.has_uncommitted_changes() && !confirms;
        let mut configuration = self.enter(device, session).await?;
        if nothing && configuration.has_candidate() {
            let error = JobError::new(
                ErrorCode::INVALID,
                format!("{}: there is nothing to commit", device.target()),
            );
            self.leave(device, session).await?;
            return Err(error);
        }
        let reply = if confirms {
            self.confirm(device, &mut configuration).await
        } else {
            self.commit(device, &mut configuration, &options).await
        };
        let reply = reply?;
        self.leave(device, session).await?;
        Ok(reply)
    }

    /// Throws a staged candidate away; without one, takes the device back to its configuration
    /// before the last commit.
    ///
    /// # Errors
    /// Code `unsupported` where the platform cannot, `refused` when the device does not want to.
    pub async fn ssh_rollback(&self, device: &Device, number: Option<u32>) -> Result<ExecReply> {
        self.may_configure().await?;
        let mut using = self
            .unless_stopped(async { Ok(device.lock().await) })
            .await?;
        let session = using.session()?;
        let staged = session.has_uncommitted_changes();
        let mut configuration = self.enter(device, session).await?;
        let doing = if staged && number.is_none() {
            "discard"
        } else {
            "rollback"
        };
        let note = self
            .begin_write(device, CommandKind::Rollback, doing)
            .await?;
        let began = Began::noted(note);
        let (what, outcome) = match number {
            None if staged => {
                let call = async { Ok(configuration.discard().await) };
                ("discard", self.unless_stopped(call).await)
            }
            number => {
                let number = number.unwrap_or(1);
                let call = async { Ok(configuration.rollback(number).await) };
                ("rollback", self.unless_stopped(call).await)
            }
        };
        let exchange = Exchange::new(began, outcome);
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

    /// Makes the running configuration the one the device starts with.
    ///
    /// # Errors
    /// Code `unsupported` where the platform has no such thing; else as [`Self::ssh_exec`].
    pub async fn ssh_save(&self, device: &Device) -> Result<ExecReply> {
        self.may_configure().await?;
        let note = self.begin_write(device, CommandKind::Save, "save").await?;
        let began = Began::noted(note);
        let outcome = self
            .unless_stopped(async { Ok(device.lock().await.session()?.save().await) })
            .await;
        let command = match &outcome {
            Ok(Ok(reply)) => reply.command.clone(),
            _ => "save".to_owned(),
        };
        let exchange = Exchange::new(began, outcome);
        self.record(device, CommandKind::Save, &command, exchange)
            .await
    }

    async fn enter<'s>(
        &self,
        device: &Device,
        session: &'s mut Session,
    ) -> Result<Configuration<'s>> {
        let entered = async { Ok(session.configuration().await) };
        self.unless_stopped(entered)
            .await?
            .map_err(|error| ssh_failed(&device.target, "entering configuration mode", &error))
    }

    async fn leave(&self, device: &Device, session: &mut Session) -> Result<()> {
        if !session.is_configuring() {
            return Ok(());
        }
        let left = async {
            let configuration = session.configuration().await;
            Ok(match configuration {
                Ok(configuration) => configuration.leave().await.map(|_| ()),
                Err(error) => Err(error),
            })
        };
        self.unless_stopped(left)
            .await?
            .map_err(|error| ssh_failed(&device.target, "leaving configuration mode", &error))
    }

    async fn send_all(
        &self,
        device: &Device,
        configuration: &mut Configuration<'_>,
        lines: &[String],
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
            self.commit(device, configuration, &options.commit).await?;
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
        lines: &[String],
        on_refused: OnRefused,
    ) -> Result<Vec<ExecReply>> {
        let mut replies = Vec::with_capacity(lines.len());
        for (number, line) in (1..).zip(lines) {
            let note = self
                .begin_write(device, CommandKind::Configure, line)
                .await?;
            let began = Began::noted(note);
            let outcome = self
                .unless_stopped(async { Ok(configuration.line(line).await) })
                .await;
            let exchange = Exchange::new(began, outcome);
            let reply = self
                .record(device, CommandKind::Configure, line, exchange)
                .await?;
            if let (Some(failure), OnRefused::Stop) = (&reply.failure, on_refused) {
                return Err(JobError::new(
                    "refused",
                    format!(
                        "{} refused line {number} of {}, `{line}`: {failure}",
                        device.target,
                        lines.len()
                    ),
                ));
            }
            replies.push(reply);
        }
        Ok(replies)
    }

    async fn compare(
        &self,
        device: &Device,
        configuration: &mut Configuration<'_>,
    ) -> Result<Option<String>> {
        let compared = async { Ok(configuration.compare().await) };
        match self.unless_stopped(compared).await? {
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
    ) -> Result<ExecReply> {
        let note = self
            .begin_write(device, CommandKind::Commit, "commit")
            .await?;
        let began = Began::noted(note);
        let commit = netssh_core::CommitOptions {
            confirm_within: options.confirm_within,
            comment: options.comment.clone(),
            ..netssh_core::CommitOptions::default()
        };
        let outcome = self
            .unless_stopped(async { Ok(configuration.commit(&commit).await) })
            .await;
        let exchange = Exchange::new(began, outcome);
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
    ) -> Result<ExecReply> {
        let note = self
            .begin_write(device, CommandKind::Commit, "confirm")
            .await?;
        let began = Began::noted(note);
        let outcome = self
            .unless_stopped(async { Ok(configuration.confirm().await) })
            .await;
        let exchange = Exchange::new(began, outcome);
        let reply = self
            .record(device, CommandKind::Commit, "confirm", exchange)
            .await?;
        let reply = accepted(device, "the confirmation", reply)?;
        device.held.unconfirmed.store(false, Ordering::Relaxed);
        Ok(reply)
    }
}

/// What the device refuses here leaves nothing for the caller to go on with.
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
