//! Capability `progress`: how far a job is.
//!
//! Only the latest progress is stored, in the background, so that frequent reports slow down neither the
//! job nor the database.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{JobContext, Result, limits};
use crate::model::Progress;
use crate::storage::{AttemptStore, Claim};

impl JobContext {
    /// Reports how far the job is. Intermediate reports may be skipped; the latest is stored.
    ///
    /// # Errors
    /// If the job is stopped.
    pub async fn progress(&self, mut progress: Progress) -> Result<()> {
        if let Some(message) = &mut progress.message {
            crate::text::cut(message, limits::LOG_MESSAGE_BYTES);
        }
        self.unless_stopped(async {
            self.progress.tell(progress);
            Ok(())
        })
        .await
    }
}

/// Stores the latest progress of one attempt.
pub(super) struct ProgressWriter {
    storage: Arc<dyn AttemptStore>,
    claim: Claim,
    /// Started by the first report, because most jobs never report progress.
    writing: Mutex<Option<Writing>>,
}

struct Writing {
    latest: watch::Sender<Progress>,
    task: JoinHandle<()>,
}

impl ProgressWriter {
    pub(super) fn new(storage: Arc<dyn AttemptStore>, claim: Claim) -> Self {
        Self {
            storage,
            claim,
            writing: Mutex::default(),
        }
    }

    fn tell(&self, progress: Progress) {
        let mut writing = self.writing.lock();
        if let Some(writing) = &*writing {
            writing.latest.send_replace(progress);
            return;
        }
        let (latest, mut changes) = watch::channel(progress);
        changes.mark_changed();
        let task = tokio::spawn(write(
            Arc::clone(&self.storage),
            self.claim.clone(),
            changes,
        ));
        *writing = Some(Writing { latest, task });
    }

    /// Stores the latest progress.
    pub(super) async fn flush(&self) {
        let writing = self.writing.lock().take();
        if let Some(Writing { latest, task }) = writing {
            drop(latest);
            let _ = task.await;
        }
    }
}

async fn write(
    storage: Arc<dyn AttemptStore>,
    claim: Claim,
    mut changes: watch::Receiver<Progress>,
) {
    while changes.changed().await.is_ok() {
        let progress = changes.borrow_and_update().clone();
        if let Err(error) = storage.set_progress(&claim, &progress).await {
            tracing::warn!(%error, "failed to store a job's progress");
        }
    }
}
