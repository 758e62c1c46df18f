//! Limits long-lived requests (terminals, event streams) and ends them at shutdown.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A limit on long-lived requests of one kind.
#[derive(Debug)]
pub struct StreamLimit {
    free: Arc<Semaphore>,
    open: TaskTracker,
    closing: CancellationToken,
}

/// A permit for one request, released on drop.
#[derive(Debug)]
pub struct StreamPermit {
    closing: CancellationToken,
    _permit: OwnedSemaphorePermit,
    _token: TaskTrackerToken,
}

impl StreamLimit {
    /// Creates a limit of `most` simultaneous requests.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(most)),
            open: TaskTracker::new(),
            closing: CancellationToken::new(),
        }
    }

    /// Acquires a permit; `None` if the limit is reached.
    #[must_use]
    pub fn try_acquire(&self) -> Option<StreamPermit> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(StreamPermit {
            closing: self.closing.clone(),
            _permit: permit,
            _token: self.open.token(),
        })
    }

    /// Asks all requests to end, and waits until they have.
    pub async fn close(&self) {
        self.closing.cancel();
        self.open.close();
        self.open.wait().await;
    }
}

impl StreamPermit {
    /// Waits until the request must end.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_counted_and_given_back() {
        let requests = StreamLimit::new(3);
        let mut permits: Vec<_> = (0..3).map(|_| requests.try_acquire().unwrap()).collect();
        assert!(requests.try_acquire().is_none());
        permits.pop();
        assert!(requests.try_acquire().is_some());
    }

    #[tokio::test]
    async fn closing_waits_for_who_is_in() {
        let requests = StreamLimit::new(3);
        let place = requests.try_acquire().unwrap();
        let inside = async move { place.closing().await };
        tokio::join!(requests.close(), inside);
    }
}
