//! Capability `log`: lines in the job's own log, and in the server's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{JobContext, Result, limits};
use crate::model::{JobLog, LogLevel};
use crate::storage::Storage;

/// Lines that may wait to be written; a job that logs faster than the database writes waits here.
const WAITING: usize = 1_024;
/// Lines written at once.
const BATCH: usize = 256;

impl JobContext {
    /// Adds a line to the job's log. Lines are written in the order of the calls, soon after them.
    ///
    /// # Errors
    /// When the job is to stop. A line too many is dropped without an error, and the log says so.
    pub async fn log(&self, level: LogLevel, message: &str, context: Option<Value>) -> Result<()> {
        let mut message = message.to_owned();
        limits::cut(&mut message, limits::LOG_MESSAGE_BYTES);
        let context =
            context.filter(|context| limits::json_len(context) <= limits::LOG_CONTEXT_BYTES);
        self.unless_stopped(async {
            self.log.write(level, message, context).await;
            Ok(())
        })
        .await
    }

    /// A line of the host's own about the job; goes through even when the job is to stop.
    pub async fn note(&self, level: LogLevel, message: String) {
        let mut message = message;
        limits::cut(&mut message, limits::LOG_MESSAGE_BYTES);
        self.log.write(level, message, None).await;
    }
}

/// Writes a job's lines in batches, in order, off the job's own path.
pub(super) struct LogWriter {
    job_id: Uuid,
    lines: AtomicU32,
    sender: Mutex<Option<mpsc::Sender<JobLog>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl LogWriter {
    pub(super) fn start(storage: Arc<dyn Storage>, job_id: Uuid) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self {
            job_id,
            lines: AtomicU32::new(0),
            sender: Mutex::new(Some(sender)),
            task: Mutex::new(Some(tokio::spawn(write_lines(storage, receiver)))),
        }
    }

    async fn write(&self, level: LogLevel, message: String, context: Option<Value>) {
        let written = self.lines.fetch_add(1, Ordering::Relaxed);
        if written > limits::LOG_LINES {
            return;
        }
        let (level, message, context) = if written == limits::LOG_LINES {
            let message = format!(
                "this attempt has logged {} lines; what follows is not kept",
                limits::LOG_LINES
            );
            (LogLevel::Warn, message, None)
        } else {
            (level, message, context)
        };
        // The line in the server's log carries the job's id through the span the job runs in.
        match level {
            LogLevel::Debug => tracing::debug!(target: "job", "{message}"),
            LogLevel::Info => tracing::info!(target: "job", "{message}"),
            LogLevel::Warn => tracing::warn!(target: "job", "{message}"),
            LogLevel::Error => tracing::error!(target: "job", "{message}"),
        }
        let line = JobLog {
            context,
            ..JobLog::of(self.job_id, level, message)
        };
        let sender = self.sender.lock().await.clone();
        if let Some(sender) = sender {
            let _ = sender.send(line).await;
        }
    }

    /// Writes what waits; lines that come later are dropped.
    pub(super) async fn flush(&self) {
        self.sender.lock().await.take();
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await;
        }
    }
}

async fn write_lines(storage: Arc<dyn Storage>, mut waiting: mpsc::Receiver<JobLog>) {
    let mut lines = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut lines, BATCH).await > 0 {
        if let Err(error) = storage.add_logs(std::mem::take(&mut lines)).await {
            // They stand in the server's log all the same.
            tracing::error!(%error, "lines of a job's log were not stored");
        }
    }
}
