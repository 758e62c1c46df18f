//! Stores the results of commands in order.
//!
//! The result of a command that may change a device is stored before the call returns, and all earlier
//! results are stored before such a command is sent. Results of read-only commands are stored in the
//! background, one at a time; the job does not end before they are.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tracing::Instrument;
use uuid::Uuid;

use super::{Result, storage_failed};
use crate::model::{CommandResult, ErrorCode, JobError};
use crate::storage::{Claim, ResultStore};

/// Stores the results of one attempt.
pub(super) struct ResultWriter {
    storage: Arc<dyn ResultStore>,
    claim: Claim,
    last: Mutex<Option<Stored>>,
}

/// Completes when a result and all before it are stored, or with an error if one of them could not be.
type Stored = Shared<BoxFuture<'static, Result<()>>>;

impl ResultWriter {
    pub(super) fn new(storage: Arc<dyn ResultStore>, claim: Claim) -> Self {
        Self {
            storage,
            claim,
            last: Mutex::default(),
        }
    }

    /// Stores a result after all earlier ones, with an id greater than theirs. Waits for the earlier
    /// ones, and also for this one if a write intent was `noted` for its command. Dropping the call does
    /// not cancel the storing.
    ///
    /// # Errors
    /// If an awaited result, or one before it, could not be stored.
    pub(super) async fn write(
        &self,
        noted: bool,
        result: impl FnOnce(Uuid) -> CommandResult + Send + 'static,
    ) -> Result<()> {
        let (before, this) = self.begin(result);
        if noted { this.await } else { all(before).await }
    }

    fn begin(
        &self,
        result: impl FnOnce(Uuid) -> CommandResult + Send + 'static,
    ) -> (Option<Stored>, Stored) {
        let (storage, claim) = (Arc::clone(&self.storage), self.claim.clone());
        let mut last = self.last.lock();
        let before = last.clone();
        let earlier = before.clone();
        let storing = async move {
            let earlier = all(earlier).await;
            let stored = storage.add_result(&claim, result(Uuid::now_v7())).await;
            earlier.and(stored.map_err(|error| storage_failed(&error)))
        };
        let storing = tokio::spawn(storing.in_current_span());
        let ended = async move {
            storing.await.unwrap_or_else(|error| {
                tracing::error!(%error, "failed to store a result");
                let message = "the host failed to store a result; see the server's log";
                Err(JobError::new(ErrorCode::INTERNAL, message))
            })
        };
        let this = ended.boxed().shared();
        *last = Some(this.clone());
        (before, this)
    }

    /// Waits until all results are stored.
    ///
    /// # Errors
    /// If one of them could not be stored.
    pub(super) async fn flush(&self) -> Result<()> {
        let last = self.last.lock().clone();
        all(last).await
    }
}

async fn all(last: Option<Stored>) -> Result<()> {
    match last {
        Some(stored) => stored.await,
        None => Ok(()),
    }
}
