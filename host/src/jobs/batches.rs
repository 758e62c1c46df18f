//! Progress of batches: a task advances a batch whenever one of its child jobs has ended.
//!
//! All decisions are made in the database, in one transaction. Polling finds a batch again if its event
//! was lost, for example in a crash.

use std::collections::HashSet;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use uuid::Uuid;

use super::Jobs;
use crate::dispatch::JobEnded;
use crate::model::{JobLog, JobStatus, LogLevel, now};
use crate::storage::{BatchProgress, StorageError};

/// Interval at which all unfinished batches are polled, in case an event was lost.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// Delay before a retry after a database error.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Batches that were submitted or cancelled, and have to be advanced.
#[derive(Default)]
pub(super) struct Notified {
    batches: Mutex<HashSet<Uuid>>,
    wake: Notify,
}

impl Notified {
    pub(super) fn add(&self, id: Uuid) {
        self.batches.lock().insert(id);
        self.wake.notify_one();
    }

    fn take(&self) -> HashSet<Uuid> {
        std::mem::take(&mut *self.batches.lock())
    }
}

impl Jobs {
    /// Advances batches for as long as it is polled.
    pub async fn advance_batches(&self) {
        let mut ended = self.deps.dispatch.subscribe();
        loop {
            if let Err(error) = self.advance_all().await {
                tracing::error!(%error, "failed to advance batches; retrying");
                tokio::time::sleep(RETRY_DELAY).await;
                continue;
            }
            let poll_at = tokio::time::Instant::now() + POLL_INTERVAL;
            while let Some(batches) = self.next_batches(&mut ended, poll_at).await {
                if let Err(error) = self.advance(batches).await {
                    tracing::error!(%error, "failed to advance batches; retrying");
                    tokio::time::sleep(RETRY_DELAY).await;
                    break;
                }
            }
        }
    }

    /// Waits for batches that may have advanced; `None` if all are to be polled.
    async fn next_batches(
        &self,
        ended: &mut Receiver<JobEnded>,
        poll_at: tokio::time::Instant,
    ) -> Option<HashSet<Uuid>> {
        let first = tokio::select! {
            () = tokio::time::sleep_until(poll_at) => return None,
            () = self.notified.wake.notified() => None,
            ended = ended.recv() => ended.ok()?.parent,
        };
        let mut batches = self.notified.take();
        batches.extend(first);
        // Jobs that ended together advance their batch once.
        loop {
            match ended.try_recv() {
                Ok(ended) => batches.extend(ended.parent),
                Err(TryRecvError::Lagged(_)) => {
                    // Ends arrive faster than batches advance: more may be polled together.
                    tokio::time::sleep(RETRY_DELAY).await;
                    return None;
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Some(batches),
            }
        }
    }

    async fn advance_all(&self) -> Result<(), StorageError> {
        let batches = self.deps.storage.unfinished_batches().await?;
        self.advance(batches).await
    }

    /// Advances each batch; an error of one does not keep the others waiting.
    async fn advance(&self, batches: impl IntoIterator<Item = Uuid>) -> Result<(), StorageError> {
        let mut advanced = Ok(());
        for id in batches {
            advanced = advanced.and(self.advance_batch(id).await);
        }
        advanced
    }

    async fn advance_batch(&self, id: Uuid) -> Result<(), StorageError> {
        let progress = self.deps.storage.advance_batch(id, now()).await?;
        self.deps.dispatch.enqueue(&progress.started).await;
        if let Some((status, counts)) = &progress.ended {
            tracing::info!(job_id = %id, %status, "batch ended: {}", counts.summary());
            self.deps.dispatch.publish(JobEnded { id, parent: None });
        }
        let lines = lines_of(id, &progress);
        if !lines.is_empty()
            && let Err(error) = self.deps.storage.add_logs(lines).await
        {
            // The step is committed, so a retry would not write them either.
            tracing::warn!(job_id = %id, %error, "failed to write to the log of a batch");
        }
        Ok(())
    }
}

/// Returns the lines for the batch's own log.
fn lines_of(id: Uuid, progress: &BatchProgress) -> Vec<JobLog> {
    let mut said = Vec::new();
    if !progress.started.is_empty() {
        let count = progress.started.len();
        said.push((LogLevel::Info, format!("{count} child jobs started")));
    }
    if let Some(reason) = &progress.stopped {
        let message = format!("no more child jobs are started: {reason}");
        said.push((LogLevel::Warn, message));
    }
    if let Some((status, counts)) = &progress.ended {
        let level = match status {
            JobStatus::Completed => LogLevel::Info,
            _ => LogLevel::Error,
        };
        said.push((level, counts.summary()));
    }
    said.into_iter()
        .map(|(level, message)| JobLog::of(id, level, message))
        .collect()
}
