//! A memory budget that all large responses share.
//!
//! Memory is reserved before a response is read from the database, and released when its body has been
//! sent or the client has disconnected. The write timeout of the connection closes it when the client
//! stops reading, so such a client cannot keep its share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory of all large responses together, in KiB.
const TOTAL_KIB: u32 = 64 << 10;
/// How long a response waits for its share.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Memory per byte of text that is escaped: a control character takes six bytes as JSON, plus the byte
/// of the text itself.
const ESCAPED: u64 = 7;

/// The memory budget of all large responses.
#[derive(Debug)]
pub struct ResponseBudget {
    kib: Arc<Semaphore>,
}

/// A share of the budget, released on drop.
#[derive(Debug)]
pub(crate) struct Share {
    _permit: OwnedSemaphorePermit,
}

/// The error for a budget that stays exhausted for too long.
#[derive(Debug, thiserror::Error)]
#[error("the server is busy with other large responses; retry later")]
pub(crate) struct BudgetExhausted;

impl Default for ResponseBudget {
    fn default() -> Self {
        Self {
            kib: Arc::new(Semaphore::new(TOTAL_KIB as usize)),
        }
    }
}

impl ResponseBudget {
    /// Reserves memory for a response with JSON text of this length, in bytes.
    ///
    /// # Errors
    /// If the budget stays exhausted for too long.
    pub(crate) async fn reserve(&self, bytes: u64) -> Result<Share, BudgetExhausted> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(TOTAL_KIB);
        // A response larger than the whole budget takes all of it.
        let reserved = Arc::clone(&self.kib).acquire_many_owned(kib.min(TOTAL_KIB));
        match tokio::time::timeout(RESERVE_TIMEOUT, reserved).await {
            Ok(Ok(permit)) => Ok(Share { _permit: permit }),
            _ => Err(BudgetExhausted),
        }
    }

    /// Reserves memory for a response with text of this length that has to be escaped, in bytes.
    ///
    /// # Errors
    /// Like [`Self::reserve`].
    pub(crate) async fn reserve_escaped(&self, bytes: u64) -> Result<Share, BudgetExhausted> {
        self.reserve(bytes.saturating_mul(ESCAPED)).await
    }
}
