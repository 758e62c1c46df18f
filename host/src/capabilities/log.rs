//! Capability `log`: lines in the job's log and in the server's log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use serde_json::Value;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::limits::Allowance;
use super::{JobContext, Result, limits};
use crate::logging::JOB_TARGET;
use crate::model::{JobLog, LogLevel};
use crate::storage::{JobUse, LogStore};

/// Capacity of the write queue. A job that logs faster than the database writes waits for space.
const WAITING: usize = 1_024;
/// Lines written to the database at once.
const BATCH: usize = 256;

impl JobContext {
    /// Adds a line to the job's log. Lines are written soon afterwards, in the order of the calls.
    ///
    /// # Errors
    /// If the job is stopped. A line beyond the limit is dropped without an error; the log notes that
    /// once.
    pub async fn log(&self, level: LogLevel, message: &str, context: Option<Value>) -> Result<()> {
        let mut message = message.to_owned();
        crate::text::cut(&mut message, limits::LOG_MESSAGE_BYTES);
        let context =
            context.filter(|context| crate::json::length(context) <= limits::LOG_CONTEXT_BYTES);
        self.unless_stopped(async {
            self.log.write(level, message, context).await;
            Ok(())
        })
        .await
    }

    /// Logs a line from the host about the job, even if the job is stopped or has reached its limit.
    pub async fn note(&self, level: LogLevel, message: String) {
        let mut message = message;
        crate::text::cut(&mut message, limits::LOG_MESSAGE_BYTES);
        self.log.note(level, message).await;
    }
}

/// Writes a job's lines in order and in batches, in the background.
pub(super) struct LogWriter {
    job_id: Uuid,
    allowance: Allowance,
    kept: Counted,
    notes: AtomicU32,
    in_server_log: Counted,
    sender: Mutex<Option<mpsc::Sender<JobLog>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// The lines accepted by a log so far.
#[derive(Default)]
struct Counted {
    lines: AtomicU32,
    bytes: AtomicU64,
    full: AtomicBool,
}

#[derive(PartialEq)]
enum Admitted {
    Yes,
    /// The first line beyond the limit.
    FirstOver,
    No,
}

impl Counted {
    fn admit(&self, bytes: usize, max_lines: u32, max_bytes: u64) -> Admitted {
        let bytes = bytes as u64;
        let lines = self.lines.load(Ordering::Relaxed);
        let before = self.bytes.load(Ordering::Relaxed);
        if lines < max_lines && before + bytes <= max_bytes && !self.full.load(Ordering::Relaxed) {
            self.lines.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            return Admitted::Yes;
        }
        match self.full.swap(true, Ordering::Relaxed) {
            false => Admitted::FirstOver,
            true => Admitted::No,
        }
    }
}

impl LogWriter {
    pub(super) fn start(storage: Arc<dyn LogStore>, job_id: Uuid) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self {
            job_id,
            allowance: Allowance::after(JobUse::default()),
            kept: Counted::default(),
            notes: AtomicU32::new(0),
            in_server_log: Counted::default(),
            sender: Mutex::new(Some(sender)),
            task: Mutex::new(Some(tokio::spawn(write_lines(storage, receiver)))),
        }
    }

    pub(super) fn allow(&mut self, allowance: Allowance) {
        self.allowance = allowance;
    }

    async fn write(&self, level: LogLevel, message: String, context: Option<Value>) {
        let bytes = message.len() + context.as_ref().map_or(0, crate::json::length);
        let (lines, most) = (self.allowance.log_lines, self.allowance.log_bytes);
        match self.kept.admit(bytes, lines, most) {
            Admitted::Yes => {
                self.log_in_server(level, &message);
                self.add(level, message, context).await;
            }
            Admitted::FirstOver => {
                let message = format!(
                    "log limit of this attempt reached ({lines} lines or {most} bytes); further lines \
                     are dropped"
                );
                self.log_in_server(LogLevel::Warn, &message);
                self.add(LogLevel::Warn, message, None).await;
            }
            Admitted::No => {}
        }
    }

    async fn note(&self, level: LogLevel, message: String) {
        if self.notes.fetch_add(1, Ordering::Relaxed) < limits::LOG_NOTES {
            log_as_job(level, &message);
            self.add(level, message, None).await;
        } else {
            self.write(level, message, None).await;
        }
    }

    async fn add(&self, level: LogLevel, message: String, context: Option<Value>) {
        let line = JobLog {
            context,
            ..JobLog::of(self.job_id, level, message)
        };
        let sender = self.sender.lock().await.clone();
        if let Some(sender) = sender {
            let _ = sender.send(line).await;
        }
    }

    /// Repeats a line in the server's log, up to a limit.
    fn log_in_server(&self, level: LogLevel, message: &str) {
        let (lines, bytes) = (limits::SERVER_LOG_LINES, limits::SERVER_LOG_BYTES);
        match self.in_server_log.admit(message.len(), lines, bytes) {
            Admitted::Yes => log_as_job(level, message),
            Admitted::FirstOver => {
                let id = self.job_id;
                tracing::info!(target: JOB_TARGET, "further lines of this job are only in the job's \
                     log; see `scheduler job logs {id}`");
            }
            Admitted::No => {}
        }
    }

    /// Writes the queued lines. Later lines are dropped.
    pub(super) async fn flush(&self) {
        self.sender.lock().await.take();
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await;
        }
    }
}

/// Writes a line of a job to the server's log. The span of the job adds its id.
fn log_as_job(level: LogLevel, message: &str) {
    match level {
        LogLevel::Debug => tracing::debug!(target: JOB_TARGET, "{message}"),
        LogLevel::Info => tracing::info!(target: JOB_TARGET, "{message}"),
        LogLevel::Warn => tracing::warn!(target: JOB_TARGET, "{message}"),
        LogLevel::Error => tracing::error!(target: JOB_TARGET, "{message}"),
    }
}

async fn write_lines(storage: Arc<dyn LogStore>, mut waiting: mpsc::Receiver<JobLog>) {
    let mut lines = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut lines, BATCH).await > 0 {
        if let Err(error) = storage.add_logs(std::mem::take(&mut lines)).await {
            tracing::error!(%error, "failed to store log lines of a job; the first lines of each job \
                                     are in the server's log");
        }
    }
}
