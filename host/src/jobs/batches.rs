//! Progress of batches: a task advances a batch whenever one of its child jobs has ended.
//!
//! All decisions are made in the database, in one transaction. Polling finds a batch again if its event
//! was lost, for example in a crash.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use super::Jobs;
use crate::model::{JobLog, JobStatus, LogLevel, now};
use crate::storage::{BatchProgress, StorageError};

/// Interval at which all unfinished batches are polled, in case an event was lost.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Delay before a retry after a database error.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Events for batches that may have advanced.
#[derive(Clone, Default)]
pub struct Batches {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    batches: Mutex<HashSet<Uuid>>,
    /// Ended child jobs with a parent that still has to be looked up.
    children: Mutex<HashSet<Uuid>>,
    news: Notify,
}

impl Batches {
    /// Wakes the task for a job that may be a batch and may have advanced.
    pub fn look_at(&self, id: Uuid) {
        lock(&self.shared.batches).insert(id);
        self.shared.news.notify_one();
    }

    pub(super) fn look_at_parent_of(&self, child: Uuid) {
        lock(&self.shared.children).insert(child);
        self.shared.news.notify_one();
    }

    fn take(&self) -> (HashSet<Uuid>, HashSet<Uuid>) {
        let batches = std::mem::take(&mut *lock(&self.shared.batches));
        (batches, std::mem::take(&mut *lock(&self.shared.children)))
    }
}

impl Jobs {
    /// Advances batches for as long as it is polled.
    pub async fn advance_batches(&self) {
        loop {
            if let Err(error) = self.advance_all().await {
                tracing::error!(%error, "failed to advance batches; retrying");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                continue;
            }
            let all_at = tokio::time::Instant::now() + SWEEP_INTERVAL;
            while tokio::time::timeout_at(all_at, self.batches.shared.news.notified())
                .await
                .is_ok()
            {
                if let Err(error) = self.advance_news().await {
                    tracing::error!(%error, "failed to advance batches; retrying");
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                    break;
                }
            }
        }
    }

    async fn advance_all(&self) -> Result<(), StorageError> {
        for id in self.storage.unfinished_batches().await? {
            self.advance_batch(id).await?;
        }
        Ok(())
    }

    async fn advance_news(&self) -> Result<(), StorageError> {
        let (mut batches, children) = self.batches.take();
        for child in children {
            let job = self.storage.job(child).await?;
            batches.extend(job.and_then(|job| job.parent_id));
        }
        for id in batches {
            self.advance_batch(id).await?;
        }
        Ok(())
    }

    async fn advance_batch(&self, id: Uuid) -> Result<(), StorageError> {
        let progress = self.storage.advance_batch(id, now()).await?;
        let started: Vec<_> = progress
            .started
            .iter()
            .map(|job| (job.id, job.priority, job.ready_at))
            .collect();
        if !started.is_empty() {
            self.let_go(&started).await;
        }
        let lines = lines_of(id, &progress);
        if !lines.is_empty() {
            self.storage.add_logs(lines).await?;
        }
        if let Some((status, counts)) = progress.ended {
            tracing::info!(job_id = %id, %status, "batch ended: {}", counts.summary());
            let _ = self.ended.send(id);
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

fn lock(set: &Mutex<HashSet<Uuid>>) -> MutexGuard<'_, HashSet<Uuid>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}
