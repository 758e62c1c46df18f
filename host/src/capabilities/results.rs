//! Stores what devices answered, one result after the other.
//!
//! What a command answered that may have changed a device is stored before the job hears of it, and
//! all results before such a command are stored before it is sent. What only reads is stored while
//! the job goes on, one result at a time; the job does not end before it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tracing::Instrument;
use uuid::Uuid;

use super::{Result, storage_failed};
use crate::model::{CommandResult, ErrorCode, JobError};
use crate::storage::{Claim, Storage};

/// Stores the results of one attempt.
pub(super) struct ResultWriter {
    storage: Arc<dyn Storage>,
    claim: Claim,
    last: Mutex<Option<Stored>>,
}

/// Ready when a result and all before it are stored; an error when one of them could not be.
type Stored = Shared<BoxFuture<'static, Result<()>>>;

impl ResultWriter {
    pub(super) fn new(storage: Arc<dyn Storage>, claim: Claim) -> Self {
        Self {
            storage,
            claim,
            last: Mutex::default(),
        }
    }

    /// Has a result stored after those before it, and makes it with an id that is greater than theirs.
    /// Waits for those, and, if it is `noted` that its command was sent, for itself. The result is
    /// stored even if this wait is cut off.
    ///
    /// # Errors
    /// When one that is waited for could not be stored, or any before it.
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
        let mut last = self.last();
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
    /// When one of them could not be.
    pub(super) async fn flush(&self) -> Result<()> {
        let last = self.last().clone();
        all(last).await
    }

    fn last(&self) -> MutexGuard<'_, Option<Stored>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn all(last: Option<Stored>) -> Result<()> {
    match last {
        Some(stored) => stored.await,
        None => Ok(()),
    }
}
