//! Stores what devices answered, one result after the other.
//!
//! What a command answered that may have changed a device is stored before the job hears of it, and
//! all results before such a command are stored before it is sent. What only reads is stored while
//! the job goes on, one result at a time; the job does not end before it is.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{Result, storage_failed};
use crate::model::{CommandResult, JobError};
use crate::storage::{Claim, Storage, StorageError};

/// Stores the results of one attempt.
pub(super) struct ResultWriter {
    storage: Arc<dyn Storage>,
    claim: Claim,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The result that is being stored.
    last: Option<JoinHandle<std::result::Result<(), StorageError>>>,
    /// Why one could not be: an attempt of which a result is missing has failed.
    failed: Option<JobError>,
}

impl ResultWriter {
    pub(super) fn new(storage: Arc<dyn Storage>, claim: Claim) -> Self {
        Self {
            storage,
            claim,
            state: Mutex::default(),
        }
    }

    /// Stores a result once those before it are stored, under an id that is greater than theirs.
    /// Returns when it is stored itself only if its command was noted before it was sent.
    ///
    /// # Errors
    /// When this one, or the one before it, could not be stored.
    pub(super) async fn write(&self, mut result: CommandResult) -> Result<()> {
        let mut state = self.state.lock().await;
        let earlier = state.settle().await;
        let noted = result.in_flight.is_some();
        result.id = Uuid::now_v7();
        let (storage, claim) = (Arc::clone(&self.storage), self.claim.clone());
        let storing = async move { storage.add_result(&claim, result).await };
        state.last = Some(tokio::spawn(storing));
        if noted {
            state.settle().await?;
        }
        earlier
    }

    /// Waits until all results are stored.
    ///
    /// # Errors
    /// When one of them could not be.
    pub(super) async fn flush(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        state.settle().await?;
        state.failed.clone().map_or(Ok(()), Err)
    }
}

impl State {
    async fn settle(&mut self) -> Result<()> {
        let Some(storing) = &mut self.last else {
            return Ok(());
        };
        // Taken away only when it has ended: who waits here may be cancelled meanwhile.
        let stored = storing.await;
        self.last = None;
        let stored = stored.map_err(|error| StorageError::Unavailable(error.to_string()));
        stored.flatten().map_err(|error| {
            let failed = storage_failed(&error);
            self.failed.get_or_insert(failed).clone()
        })
    }
}
