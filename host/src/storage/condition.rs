//! Health of the database: the first fault stops new work.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use super::{Result, StorageError};

/// The health of the database, shared by all its readers and writers. A fault stays until the process
/// ends: only a restart opens other files.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    fault: OnceLock<Fault>,
    failed: CancellationToken,
}

/// Why no further write may be acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// SQLite found a corrupt page.
    #[error(
        "the database is damaged ({0}): stop the server, run `scheduler db check`, and restore a \
         backup with `scheduler db restore FILE`"
    )]
    Damaged(String),
    /// A file of the database is not the file that this process has open.
    #[error(
        "the database file {file} {change} while the server was running, so further writes would be \
         lost: stop the server, put the file back or restore a backup with `scheduler db restore \
         FILE`, and start the server again"
    )]
    Moved { file: String, change: &'static str },
}

impl Condition {
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        self.shared.fault.get()
    }

    /// Rejects what must not be acknowledged while the database has a fault.
    ///
    /// # Errors
    /// [`StorageError::Unusable`] with the fault.
    pub fn check(&self) -> Result<()> {
        match self.fault() {
            None => Ok(()),
            Some(fault) => Err(StorageError::Unusable(fault.clone())),
        }
    }

    /// Waits until a fault is found.
    pub async fn failed(&self) {
        self.shared.failed.cancelled().await;
    }

    /// Records a fault. Only the first one is kept and logged.
    pub(super) fn fail(&self, fault: Fault) {
        if self.shared.fault.set(fault).is_ok()
            && let Some(fault) = self.fault()
        {
            tracing::error!(reason = %fault, "the database is unusable; no jobs are started or \
                 accepted");
            self.shared.failed.cancel();
        }
    }

    /// Records the fault that an error indicates, if any.
    pub(super) fn note(&self, error: &StorageError) {
        if let StorageError::Unusable(fault) = error {
            self.fail(fault.clone());
        }
    }
}
