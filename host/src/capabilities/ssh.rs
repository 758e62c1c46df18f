//! Capability `ssh`: sessions to the job's targets, commands, configuration.
//!
//! The job names a target and gets a handle. Address and credentials stay on this side, and every
//! exchange with the device is stored before the job hears of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use netssh_core::{Configuration, Error as SshError, Reply, Session};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::policy::check_command_text;
use super::{JobContext, Result, limits, storage_failed};
use crate::model::{CommandKind, CommandResult, ErrorCode, JobError, LogLevel, now};

/// Time for a session to say goodbye when its job has ended.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// An open session, as the job holds it.
#[derive(Clone)]
pub struct Device {
    target: Arc<str>,
    platform: Arc<str>,
    id: u64,
    session: Arc<Mutex<Option<Session>>>,
}

/// The sessions a job has open.
#[derive(Default)]
pub(super) struct Sessions {
    next_id: AtomicU64,
    open: std::sync::Mutex<HashMap<u64, Arc<Mutex<Option<Session>>>>>,
}

/// What a device answered to a command.
#[derive(Clone, Debug)]
pub struct ExecReply {
    pub command: String,
    pub output: String,
    /// Where the platform has one.
    pub exit_code: Option<i32>,
    /// The device's own words of refusal; `None` when it did as it was told.
    pub failure: Option<String>,
    pub elapsed: Duration,
    pub truncated: bool,
}

/// What to do when a device refuses a line of configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRefused {
    #[default]
    Stop,
    Continue,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct ConfigureOptions {
    pub on_refused: OnRefused,
}

impl Device {
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    #[must_use]
    pub fn platform(&self) -> &str {
        &self.platform
    }
}

impl JobContext {
    /// Opens a session to a target, or to the only one when none is named.
    ///
    /// # Errors
    /// Code `denied` when the job was not submitted for it, else what went wrong on the way.
    pub async fn ssh_open(&self, target: Option<&str>) -> Result<Device> {
        self.may_open()?;
        let target = self.name_target(target)?;
        if self.sessions.count() >= limits::SESSIONS {
            return Err(JobError::new(
                ErrorCode::LIMIT,
                format!(
                    "a job holds at most {} sessions open; close one first",
                    limits::SESSIONS
                ),
            ));
        }
        self.unless_stopped(async {
            let (endpoint, platform) = self.services.connections.endpoint(target).await?;
            let begun = std::time::Instant::now();
            let session = Session::connect(&endpoint)
                .await
                .map_err(|error| ssh_failed(&target.name, "opening a session", &error))?;
            let elapsed = begun.elapsed();
            tracing::debug!(target = %target.name, ?elapsed, "session open");
            Ok(self.sessions.add(&target.name, &platform, session))
        })
        .await
    }

    /// Runs a command and waits for what the device answers, at most `timeout` or as long as the
    /// connection says.
    ///
    /// A refusal is an answer, with [`ExecReply::failure`] set; an error is when there is none.
    ///
    /// # Errors
    /// Code `denied` for a command that was not declared; `timeout`, `disconnected` and the like
    /// when no answer came. The session is then of no use, and says so.
    pub async fn ssh_exec(
        &self,
        device: &Device,
        command: &str,
        timeout: Option<Duration>,
    ) -> Result<ExecReply> {
        self.may_exec(command)?;
        let began = self.begin();
        let exchange = self
            .unless_stopped(async {
                let mut session = device.session.lock().await;
                let session = session.as_mut().ok_or_else(|| closed(device))?;
                let exchange = match timeout {
                    Some(timeout) => session.exec_timeout(command, timeout).await,
                    None => session.exec(command).await,
                };
                Ok(exchange)
            })
            .await;
        self.record(device, CommandKind::Exec, command, began, exchange)
            .await
    }

    /// Enters configuration mode, sends lines, and leaves it again whatever happened.
    ///
    /// # Errors
    /// Code `refused` with the number and text of the line when the device refuses one and
    /// `options` say to stop; else as [`Self::ssh_exec`].
    pub async fn ssh_configure(
        &self,
        device: &Device,
        lines: &[String],
        options: ConfigureOptions,
    ) -> Result<Vec<ExecReply>> {
        self.may_configure()?;
        for (number, line) in (1..).zip(lines) {
            check_command_text(line).map_err(|error| JobError {
                message: format!("line {number}: {}", error.message),
                ..error
            })?;
        }
        let mut session = self
            .unless_stopped(async { Ok(device.session.lock().await) })
            .await?;
        let session = session.as_mut().ok_or_else(|| closed(device))?;
        let entered = async { Ok(session.configuration().await) };
        let mut configuration = self
            .unless_stopped(entered)
            .await?
            .map_err(|error| ssh_failed(&device.target, "entering configuration mode", &error))?;
        let sent = self
            .send_lines(device, &mut configuration, lines, options)
            .await;
        let left = self
            .unless_stopped(async { Ok(configuration.leave().await) })
            .await;
        let replies = sent?;
        left?.map_err(|error| ssh_failed(&device.target, "leaving configuration mode", &error))?;
        Ok(replies)
    }

    async fn send_lines(
        &self,
        device: &Device,
        configuration: &mut Configuration<'_>,
        lines: &[String],
        options: ConfigureOptions,
    ) -> Result<Vec<ExecReply>> {
        let mut replies = Vec::with_capacity(lines.len());
        for (number, line) in (1..).zip(lines) {
            let began = self.begin();
            let exchange = self
                .unless_stopped(async { Ok(configuration.line(line).await) })
                .await;
            let reply = self
                .record(device, CommandKind::Configure, line, began, exchange)
                .await?;
            if let (Some(failure), OnRefused::Stop) = (&reply.failure, options.on_refused) {
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

    /// Makes the running configuration the one the device starts with.
    ///
    /// # Errors
    /// Code `unsupported` where the platform has no such thing; else as [`Self::ssh_exec`].
    pub async fn ssh_save(&self, device: &Device) -> Result<ExecReply> {
        self.may_configure()?;
        let began = self.begin();
        let exchange = self
            .unless_stopped(async {
                let mut session = device.session.lock().await;
                let session = session.as_mut().ok_or_else(|| closed(device))?;
                Ok(session.save().await)
            })
            .await;
        self.record(device, CommandKind::Save, "save", began, exchange)
            .await
    }

    /// Closes a session; closing it twice does nothing.
    pub async fn ssh_close(&self, device: &Device) {
        self.sessions.forget(device.id);
        if let Some(session) = device.session.lock().await.take() {
            close(session).await;
        }
    }

    /// Closes every session the job left open.
    pub(super) async fn close_sessions(&self) {
        let open: Vec<_> = self.sessions.take_all();
        let closing = open.into_iter().map(|session| async move {
            if let Some(session) = session.lock().await.take() {
                close(session).await;
            }
        });
        futures::future::join_all(closing).await;
    }

    /// An exchange with a device begins: from here on the attempt has acted.
    fn begin(&self) -> Began {
        self.acted.store(true, Ordering::Relaxed);
        Began {
            at: now(),
            clock: std::time::Instant::now(),
        }
    }

    /// Stores an exchange, then hands its outcome on.
    async fn record(
        &self,
        device: &Device,
        kind: CommandKind,
        command: &str,
        began: Began,
        exchange: Result<std::result::Result<Reply, SshError>>,
    ) -> Result<ExecReply> {
        let (command, output, error, exit_code, truncated, outcome) = match exchange {
            Ok(Ok(reply)) => {
                let command = if kind == CommandKind::Save {
                    reply.command.clone()
                } else {
                    command.to_owned()
                };
                let outcome = ExecReply {
                    command: command.clone(),
                    output: reply.output.clone(),
                    exit_code: reply.exit_code,
                    failure: reply.failure.clone(),
                    elapsed: reply.elapsed,
                    truncated: reply.truncated,
                };
                (
                    command,
                    reply.output,
                    reply.failure,
                    reply.exit_code,
                    reply.truncated,
                    Ok(outcome),
                )
            }
            Ok(Err(error)) => {
                let failed = ssh_failed(&device.target, &format!("`{command}`"), &error);
                let partial = error.partial().unwrap_or_default().to_owned();
                let message = Some(failed.message.clone());
                (
                    command.to_owned(),
                    partial,
                    message,
                    None,
                    false,
                    Err(failed),
                )
            }
            Err(stopped) => {
                let message = Some(stopped.message.clone());
                (
                    command.to_owned(),
                    String::new(),
                    message,
                    None,
                    false,
                    Err(stopped),
                )
            }
        };
        self.count_result(output.len() as u64)?;
        let result = CommandResult {
            id: Uuid::now_v7(),
            job_id: self.job.id,
            attempt: self.claim.attempt,
            target: device.target.to_string(),
            kind,
            command,
            output,
            error,
            exit_code,
            truncated,
            executed_at: began.at,
            duration_ms: u64::try_from(began.clock.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let stored = self.services.storage.add_result(&self.claim, &result).await;
        stored.map_err(|error| storage_failed(&error))?;
        if let Some(failure) = &result.error {
            let message = format!("{}: `{}`: {failure}", result.target, result.command);
            self.note(LogLevel::Warn, message).await;
        }
        outcome
    }

    fn count_result(&self, bytes: u64) -> Result<()> {
        let results = self.results.fetch_add(1, Ordering::Relaxed);
        let kept = self.output_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if results >= limits::RESULTS || kept > limits::OUTPUT_BYTES {
            return Err(JobError::new(
                ErrorCode::LIMIT,
                format!(
                    "a job keeps at most {} results with {} bytes of output",
                    limits::RESULTS,
                    limits::OUTPUT_BYTES
                ),
            ));
        }
        Ok(())
    }
}

impl Sessions {
    fn count(&self) -> usize {
        self.lock().len()
    }

    fn add(&self, target: &str, platform: &str, session: Session) -> Device {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(Mutex::new(Some(session)));
        self.lock().insert(id, Arc::clone(&session));
        Device {
            target: target.into(),
            platform: platform.into(),
            id,
            session,
        }
    }

    fn forget(&self, id: u64) {
        self.lock().remove(&id);
    }

    fn take_all(&self) -> Vec<Arc<Mutex<Option<Session>>>> {
        self.lock().drain().map(|(_, session)| session).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Mutex<Option<Session>>>>> {
        self.open
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// When an exchange began: for people, and for measuring.
struct Began {
    at: DateTime<Utc>,
    clock: std::time::Instant,
}

async fn close(session: Session) {
    if tokio::time::timeout(CLOSE_TIMEOUT, session.close())
        .await
        .is_err()
    {
        tracing::debug!("a session did not say goodbye in time; it is cut");
    }
}

fn closed(device: &Device) -> JobError {
    JobError::new(
        ErrorCode::INVALID,
        format!("the session to {} is closed; open another", device.target),
    )
}

/// An error of the session library as a job sees it: its code as it is, and whose device it was.
fn ssh_failed(target: &str, doing: &str, error: &SshError) -> JobError {
    JobError::new(error.code(), format!("{target}: {doing}: {error}"))
}
