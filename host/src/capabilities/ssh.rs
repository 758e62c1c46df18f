//! Capability `ssh`: sessions to the job's targets, and commands. Configuration is in
//! `ssh/configure.rs`.
//!
//! The job names a target and gets a handle; address and credentials stay in the host. Every exchange
//! with the device is stored. An exchange that may change the device is stored before the job sees the
//! reply.

mod answers;
mod configure;
mod files;
mod lines;
mod quota;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use netssh_core::{
    Answer, Answered, Endpoint, Error as SshError, ExecOptions, Platform, Pool, PooledSession,
    Reply,
};
use tokio::sync::{Mutex, MutexGuard, mpsc};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use uuid::Uuid;

pub use self::answers::Question;
use self::answers::{with_answers, without_secrets};
pub use self::configure::{CommitOptions, ConfigureOptions, Configured, OnRefused};
pub use self::files::Files;
pub use self::lines::split_config;
use super::live::Live;
use super::{CutOff, JobContext, Result, limits, storage_failed};
use crate::model::{CommandKind, CommandResult, ErrorCode, InFlight, JobError, LogLevel, now};

/// Time limit for closing a session when its job has ended.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// A job's handle to an open session.
#[derive(Clone)]
pub struct Device {
    target: Arc<str>,
    /// The platform's name as the connection spells it.
    platform: Arc<str>,
    kind: Arc<Platform>,
    /// The address by which the pool counts the device's sessions.
    address: Arc<str>,
    id: u64,
    held: Arc<SessionState>,
}

/// The state shared by all handles to a session.
struct SessionState {
    session: Mutex<Option<PooledSession>>,
    /// The prompt shown last.
    prompt: parking_lot::Mutex<String>,
    /// Whether the device reverts the last commit unless it is confirmed.
    unconfirmed: AtomicBool,
}

/// The destination of a session.
struct Destination<'a> {
    target: &'a str,
    platform: &'a str,
    kind: Arc<Platform>,
    address: Arc<str>,
}

/// The open sessions of a job.
#[derive(Default)]
pub(super) struct Sessions {
    next_id: AtomicU64,
    open: parking_lot::Mutex<HashMap<u64, Device>>,
}

/// A device's reply to a command.
#[derive(Clone, Debug)]
pub struct ExecReply {
    pub command: String,
    pub output: String,
    /// `None` if the platform has no exit codes.
    pub exit_code: Option<i32>,
    /// The device's refusal; `None` if it executed the command.
    pub failure: Option<String>,
    pub elapsed: Duration,
    pub truncated: bool,
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

    /// Returns the prompt that the device showed last.
    #[must_use]
    pub fn prompt(&self) -> String {
        self.held.prompt.lock().clone()
    }
}

/// Exclusive use of a session. Publishes the session's prompt on drop.
struct SessionGuard<'a> {
    session: MutexGuard<'a, Option<PooledSession>>,
    device: &'a Device,
}

impl SessionGuard<'_> {
    fn session(&mut self) -> Result<&mut PooledSession> {
        self.session.as_mut().ok_or_else(|| closed(self.device))
    }
}

impl Drop for SessionGuard<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.as_ref() {
            session
                .prompt()
                .clone_into(&mut self.device.held.prompt.lock());
        }
    }
}

impl Device {
    /// Returns a write intent for a command.
    fn note(&self, kind: CommandKind, command: &str) -> InFlight {
        InFlight {
            id: Uuid::now_v7(),
            target: self.target.to_string(),
            kind,
            command: command.to_owned(),
            began_at: now(),
        }
    }

    /// Describes an exchange for the error of a job that is stopped in it.
    fn cut_off(&self, command: &str, changes: bool) -> CutOff {
        CutOff {
            command: command.to_owned(),
            target: self.target.to_string(),
            changes,
        }
    }

    async fn lock(&self) -> SessionGuard<'_> {
        SessionGuard {
            session: self.held.session.lock().await,
            device: self,
        }
    }
}

impl JobContext {
    /// Opens a session to a target, or to the only one if none is named.
    ///
    /// # Errors
    /// Code `denied` if the job was not submitted for the target; otherwise the code of the
    /// failure.
    pub async fn ssh_open(&self, target: Option<&str>) -> Result<Device> {
        self.may_open().await?;
        let target = self.name_target(target)?;
        if self.sessions.count() >= limits::SESSIONS {
            return Err(JobError::new(
                ErrorCode::LIMIT,
                format!(
                    "too many open sessions: at most {} per job are allowed; close one first",
                    limits::SESSIONS
                ),
            ));
        }
        self.unless_stopped(async {
            let connection = self.services.connections.of_target(target).await?;
            self.may_reach(&target.name, &connection).await?;
            let endpoint = self.services.connections.endpoint_of(&connection).await?;
            let login_answers = &endpoint.credentials.answers;
            let inline = connection.owner_job_id.is_some();
            self.may_log_in_with(login_answers, inline, &endpoint.platform)
                .await?;
            let (platform, kind) = (connection.device_type, Arc::clone(&endpoint.platform));
            let address: Arc<str> = Pool::address_of(&endpoint).into();
            self.may_wait_for_session(&target.name, &address)?;
            let begun = std::time::Instant::now();
            let mut session = self.open_session(&target.name, endpoint).await?;
            let (elapsed, reused) = (begun.elapsed(), session.is_reused());
            tracing::debug!(target = %target.name, ?elapsed, reused, "session opened");
            // The answers at the login belong to the connection; the job's log shows them.
            for answered in session.take_answered() {
                let answer = answered.answer.unwrap_or_else(|| "***".to_owned());
                let message = format!(
                    "{}: answered `{}` at login with `{answer}`",
                    target.name, answered.question
                );
                self.note(LogLevel::Debug, message).await;
            }
            let place = Destination {
                target: &target.name,
                platform: &platform,
                kind,
                address,
            };
            Ok(self.sessions.add(place, session))
        })
        .await
    }

    /// Takes a session from the pool. The job's log says at once if it has to wait for other jobs.
    async fn open_session(&self, target: &str, endpoint: Endpoint) -> Result<PooledSession> {
        let sessions = self.services.sessions.clone();
        let (waits, mut waiting) = mpsc::unbounded_channel();
        // Spawned, because a job's own thread would slow down the many short steps of a login.
        let opening = tokio::spawn(
            async move {
                let note = move |why: &str| {
                    // The job may have been stopped.
                    let _ = waits.send(why.to_owned());
                };
                sessions.open_noting(&endpoint, &note).await
            }
            .in_current_span(),
        );
        let opening = AbortOnDropHandle::new(opening);
        let noting = async {
            while let Some(why) = waiting.recv().await {
                let message = format!("waiting for a session to {target}: {why}");
                self.note(LogLevel::Info, message).await;
            }
        };
        let (opened, ()) = tokio::join!(opening, noting);
        opened
            .map_err(|error| {
                tracing::error!(%error, "panic while opening a session");
                let message = "internal error while opening a session; see the server's log";
                JobError::new(ErrorCode::INTERNAL, message)
            })?
            .map_err(|error| ssh_failed(target, "opening a session", &error))
    }

    /// Rejects a session for which the job would wait for itself.
    fn may_wait_for_session(&self, target: &str, address: &str) -> Result<()> {
        let pool = &self.services.sessions;
        let most = pool.sessions_per_device();
        let message = if self.sessions.count_to(address) >= most {
            match most {
                1 => format!(
                    "this job already holds the only session to {target}; close it first \
                     (devices.max_sessions_per_device)"
                ),
                _ => format!(
                    "this job already holds all {most} sessions to {target}; close one first"
                ),
            }
        } else if self.sessions.count() >= pool.connections() {
            format!(
                "this job already holds all {} sessions that the server has file descriptors for; \
                 close one first",
                pool.connections()
            )
        } else {
            return Ok(());
        };
        Err(JobError::new(ErrorCode::LIMIT, message))
    }

    /// Runs a command and waits for the device's reply, at most `timeout` or the connection's timeout.
    /// Questions that the device asks are answered in any order, each answer once.
    ///
    /// A refusal is a reply with [`ExecReply::failure`] set; a missing reply is an error.
    ///
    /// # Errors
    /// Code `denied` for a command or an answer that was not declared or granted; `invalid` for an
    /// invalid pattern; `refused` if the device asks a question again although it was answered;
    /// `timeout`, `disconnected` or another code if no reply came. The session is then unusable, and
    /// later calls on it fail.
    pub async fn ssh_exec(
        &self,
        device: &Device,
        command: &str,
        questions: &[Question],
        timeout: Option<Duration>,
    ) -> Result<ExecReply> {
        self.may_exec(command, &device.kind).await?;
        let answers = self.answers(device, questions).await?;
        self.may_leave_results(1)?;
        let note = with_answers(command, questions);
        let exchange = self.exchange(device, command, &note, (&answers, questions), timeout);
        let exchange = exchange.await.hiding(questions);
        self.record(device, CommandKind::Exec, command, exchange)
            .await
    }

    /// Runs commands together, with one round trip for all of them if the platform allows it. A refused
    /// command does not stop those after it.
    ///
    /// # Errors
    /// Like [`Self::ssh_exec`]; the replies before the error are in the job's results. Code `denied`
    /// before anything is sent.
    pub async fn ssh_exec_all(
        &self,
        device: &Device,
        commands: &[String],
    ) -> Result<Vec<ExecReply>> {
        for command in commands {
            self.may_exec(command, &device.kind).await?;
        }
        self.may_leave_results(commands.len())?;
        let mut using = self
            .unless_stopped(async { Ok(device.lock().await) })
            .await?;
        let session = using.session()?;
        let platform = Arc::clone(session.platform());
        let mut pipeline = session
            .pipeline(commands.to_vec())
            .map_err(|error| ssh_failed(&device.target, "several commands", &error))?;
        let mut replies = Vec::with_capacity(commands.len());
        for command in commands {
            let mut began = ExchangeStart::now();
            if !platform.only_reads(command) {
                let note = self.begin_write(device, CommandKind::Exec, command).await;
                began.note = Some(note?);
            }
            let live = self.watch(device, command, began.at);
            let next = async {
                match pipeline.next().await {
                    Some(outcome) => Ok(outcome),
                    None => Err(closed(device)),
                }
            };
            let cut_off = || device.cut_off(command, began.note.is_some());
            let outcome = self.unless_cut_off(cut_off, next).await;
            let exchange = Exchange::watched(began, outcome, &live);
            drop(live);
            replies.push(
                self.record(device, CommandKind::Exec, command, exchange)
                    .await?,
            );
        }
        Ok(replies)
    }

    /// Returns the facts that the platform can find: `hostname`, `version`, `model`, `serial`, `uptime`.
    /// Their commands need no declaration.
    ///
    /// # Errors
    /// Like [`Self::ssh_exec`].
    pub async fn ssh_facts(&self, device: &Device) -> Result<BTreeMap<String, String>> {
        self.may_open().await?;
        let platform = self
            .unless_stopped(async {
                let mut using = device.lock().await;
                Ok(Arc::clone(using.session()?.platform()))
            })
            .await?;
        let mut facts = BTreeMap::new();
        for source in &platform.facts {
            let command = &source.command;
            self.may_ask(command, &platform).await?;
            let exchange = self.exchange(device, command, command, (&[], &[]), None);
            let exchange = exchange.await;
            let recorded = self.record(device, CommandKind::Exec, command, exchange);
            let reply = recorded.await?;
            // A refusal contains no fact.
            if reply.failure.is_none() {
                let found = source.find_in(&reply.output);
                facts.extend(found.map(|(name, value)| (name.to_owned(), value.to_owned())));
            }
        }
        Ok(facts)
    }

    /// Stores a write intent before a change is sent, so that a crash leaves a trace. From here on the
    /// attempt counts as having acted.
    async fn begin_write(&self, device: &Device, kind: CommandKind, command: &str) -> Result<Uuid> {
        let note = device.note(kind, command);
        self.write_down(&note).await?;
        Ok(note.id)
    }

    async fn write_down(&self, note: &InFlight) -> Result<()> {
        self.results.flush().await?;
        self.acted.store(true, Ordering::Relaxed);
        let noted = self.services.storage.begin_command(&self.claim, note).await;
        noted.map_err(|error| storage_failed(&error))
    }

    /// Sends one command to the device, publishes its output live, and stops waiting when the job
    /// is stopped. `note` is the text of the write intent.
    async fn exchange(
        &self,
        device: &Device,
        command: &str,
        note: &str,
        (answers, questions): (&[Answer], &[Question]),
        timeout: Option<Duration>,
    ) -> Exchange {
        let mut began = ExchangeStart::now();
        let live = self.watch(device, command, began.at);
        let mut watch = |lines: &str| live.push(&without_secrets(lines.to_owned(), questions));
        let options = ExecOptions {
            timeout,
            watch: Some(&mut watch),
            ..ExecOptions::default()
        };
        let noted = &mut began.note;
        let changes = !answers.is_empty() || !device.kind.only_reads(command);
        let call = async {
            let mut using = device.lock().await;
            let session = using.session()?;
            if changes {
                let about = device.note(CommandKind::Exec, note);
                // Set before the write: if the job is stopped during the write, the intent is
                // stored all the same, and the result has to remove it.
                *noted = Some(about.id);
                self.write_down(&about).await?;
            }
            Ok(if answers.is_empty() {
                session.exec_with(command, options).await
            } else {
                session.interact(command, answers, options).await
            })
        };
        let cut_off = || device.cut_off(note, changes);
        let outcome = self.unless_cut_off(cut_off, call).await;
        let answered = match device.lock().await.session() {
            Ok(session) => session.take_answered(),
            Err(_) => Vec::new(),
        };
        Exchange::watched(began, outcome, &live).answered(answered)
    }

    fn watch(&self, device: &Device, command: &str, began: DateTime<Utc>) -> Live {
        let live = &self.services.live;
        live.begin(self.job.id, &device.target, command, began)
    }

    /// Closes a session; closing it twice does nothing.
    pub async fn ssh_close(&self, device: &Device) {
        self.sessions.forget(device.id);
        let session = device.held.session.lock().await.take();
        if let Some(session) = session {
            self.give_back(&device.target, session).await;
        }
    }

    /// Closes every session the job left open.
    pub(super) async fn close_sessions(&self) {
        let closing = self
            .sessions
            .take_all()
            .into_iter()
            .map(|device| async move {
                let session = device.held.session.lock().await.take();
                if let Some(session) = session {
                    self.give_back(&device.target, session).await;
                }
            });
        futures::future::join_all(closing).await;
    }

    /// Returns the session to the pool, or closes it if its state differs from that after login.
    async fn give_back(&self, target: &str, session: PooledSession) {
        if session.has_uncommitted_changes() {
            let message = format!("{target}: discarding uncommitted changes");
            self.note(LogLevel::Warn, message).await;
        }
        if tokio::time::timeout(CLOSE_TIMEOUT, session.release())
            .await
            .is_err()
        {
            tracing::debug!("timeout while closing a session; dropping the connection");
        }
    }

    /// Stores an exchange and returns its outcome.
    async fn record(
        &self,
        device: &Device,
        kind: CommandKind,
        command: &str,
        exchange: Exchange,
    ) -> Result<ExecReply> {
        let Exchange {
            began,
            outcome,
            printed,
            answered,
            secrets,
        } = exchange;
        let outcome = match outcome {
            Ok(Ok(reply)) => Ok(ExecReply::from(reply)),
            Ok(Err(error)) => {
                let reason = without_command(&error.to_string(), command);
                let message = format!("{}: `{command}`: {reason}", device.target);
                let partial = error.partial().unwrap_or_default().to_owned();
                let partial = without_secrets(partial, &secrets);
                Err((JobError::new(error.code(), message), reason, partial))
            }
            Err(stopped) => {
                let reason = stopped.message.clone();
                Err((stopped, reason, printed))
            }
        };
        let kept = match &outcome {
            Ok(reply) => StoredOutput {
                output: reply.output.clone(),
                error: reply.failure.clone(),
                exit_code: reply.exit_code,
                truncated: reply.truncated,
            },
            Err((_, reason, partial)) => StoredOutput {
                output: partial.clone(),
                error: Some(reason.clone()),
                ..StoredOutput::default()
            },
        };
        self.store(device, kind, command, began, kept).await?;
        self.record_answers(device, answered).await?;
        outcome.map_err(|(error, ..)| error)
    }

    async fn store(
        &self,
        device: &Device,
        kind: CommandKind,
        command: &str,
        began: ExchangeStart,
        mut kept: StoredOutput,
    ) -> Result<()> {
        self.count_result(&mut kept);
        let failure = kept.error.clone();
        let (job_id, attempt) = (self.job.id, self.claim.attempt);
        let (target, command_text) = (device.target.to_string(), command.to_owned());
        let duration = began.clock.elapsed();
        let result = move |id| CommandResult {
            id,
            job_id,
            attempt,
            target,
            kind,
            command: command_text,
            output: kept.output,
            error: kept.error,
            exit_code: kept.exit_code,
            truncated: kept.truncated,
            executed_at: began.at,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            in_flight: began.note,
        };
        // An answer may have changed the device like a command.
        let waits = began.note.is_some() || kind == CommandKind::Answer;
        self.results.write(waits, result).await?;
        if let Some(failure) = failure {
            let message = format!("{}: `{command}`: {failure}", device.target);
            self.note(LogLevel::Warn, message).await;
        }
        Ok(())
    }

    /// Rejects commands before they are sent if their results would exceed the limit.
    fn may_leave_results(&self, commands: usize) -> Result<()> {
        let results = self.result_count.load(Ordering::Relaxed) as usize;
        let most = self.allowance.results as usize;
        if results + commands > most {
            return Err(JobError::new(
                ErrorCode::LIMIT,
                format!(
                    "too many results: at most {} per attempt and {} per job are allowed, and this \
                     attempt has stored {results} of {most}; the command was not sent",
                    limits::RESULTS,
                    u64::from(limits::RESULTS) * limits::FULL_ATTEMPTS,
                ),
            ));
        }
        Ok(())
    }

    /// Counts a result before it is stored. Drops an output that exceeds the job's total and marks
    /// the result as truncated: the command was executed, and its record must not be lost.
    fn count_result(&self, kept: &mut StoredOutput) {
        self.result_count.fetch_add(1, Ordering::Relaxed);
        let bytes = kept.output.len() as u64;
        let before = self.output_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.allowance.output_bytes {
            self.output_bytes.fetch_sub(bytes, Ordering::Relaxed);
            kept.output.clear();
            kept.truncated = true;
        }
    }
}

impl Sessions {
    fn add(&self, place: Destination<'_>, session: PooledSession) -> Device {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let held = Arc::new(SessionState {
            prompt: parking_lot::Mutex::new(session.prompt().to_owned()),
            session: Mutex::new(Some(session)),
            unconfirmed: AtomicBool::new(false),
        });
        let device = Device {
            target: place.target.into(),
            platform: place.platform.into(),
            kind: place.kind,
            address: place.address,
            id,
            held,
        };
        self.open.lock().insert(id, device.clone());
        device
    }

    fn count(&self) -> usize {
        self.open.lock().len()
    }

    fn count_to(&self, address: &str) -> usize {
        let open = self.open.lock();
        let to_address = open.values().filter(|device| &*device.address == address);
        to_address.count()
    }

    fn forget(&self, id: u64) {
        self.open.lock().remove(&id);
    }

    fn take_all(&self) -> Vec<Device> {
        let mut open = self.open.lock();
        open.drain().map(|(_, device)| device).collect()
    }
}

impl From<Reply> for ExecReply {
    fn from(reply: Reply) -> Self {
        Self {
            command: reply.command,
            output: reply.output,
            exit_code: reply.exit_code,
            failure: reply.failure,
            elapsed: reply.elapsed,
            truncated: reply.truncated,
        }
    }
}

/// The stored part of an exchange.
#[derive(Default)]
struct StoredOutput {
    output: String,
    error: Option<String>,
    exit_code: Option<i32>,
    truncated: bool,
}

/// One exchange with a device, and its outcome: a reply, an error, or a stopped job.
struct Exchange {
    began: ExchangeStart,
    outcome: Result<std::result::Result<Reply, SshError>>,
    /// Output that had arrived when the job was stopped.
    printed: String,
    /// The questions that were answered during the exchange.
    answered: Vec<Answered>,
    /// Questions with secret answers, which are masked in the output.
    secrets: Vec<Question>,
}

impl Exchange {
    fn new(began: ExchangeStart, outcome: Result<std::result::Result<Reply, SshError>>) -> Self {
        Self {
            began,
            outcome,
            printed: String::new(),
            answered: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// Masks secret answers in the output.
    fn hiding(mut self, questions: &[Question]) -> Self {
        let hide = |text: &mut String| *text = without_secrets(std::mem::take(text), questions);
        if let Ok(Ok(reply)) = &mut self.outcome {
            hide(&mut reply.output);
            if let Some(failure) = &mut reply.failure {
                hide(failure);
            }
        }
        hide(&mut self.printed);
        self.secrets = questions.to_vec();
        self
    }

    fn answered(self, answered: Vec<Answered>) -> Self {
        Self { answered, ..self }
    }

    fn watched(
        began: ExchangeStart,
        outcome: Result<std::result::Result<Reply, SshError>>,
        live: &Live,
    ) -> Self {
        let printed = outcome.as_ref().err().map(|_| live.printed());
        Self {
            printed: printed.unwrap_or_default(),
            ..Self::new(began, outcome)
        }
    }
}

/// The start of an exchange: wall clock for people, monotonic clock for measuring.
struct ExchangeStart {
    at: DateTime<Utc>,
    clock: std::time::Instant,
    /// The write intent, if the exchange may change the device.
    note: Option<Uuid>,
}

impl ExchangeStart {
    fn now() -> Self {
        Self {
            at: now(),
            clock: std::time::Instant::now(),
            note: None,
        }
    }

    fn noted(note: Uuid) -> Self {
        Self {
            note: Some(note),
            ..Self::now()
        }
    }
}

fn closed(device: &Device) -> JobError {
    JobError::new(
        ErrorCode::INVALID,
        format!("the session to {} is closed; open a new one", device.target),
    )
}

/// Removes the command from the session library's message, which the caller names already.
fn without_command(message: &str, command: &str) -> String {
    let doing = format!("{command:?}: ");
    message.strip_prefix(&doing).unwrap_or(message).to_owned()
}

/// Converts an error of the session library: same code, with the device's name.
fn ssh_failed(target: &str, doing: &str, error: &SshError) -> JobError {
    JobError::new(error.code(), format!("{target}: {doing}: {error}"))
}
