//! Requests that last, such as requests: how many there may be at once, and how all of them end
//! with the server.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Requests of one kind that last.
#[derive(Debug)]
pub struct LongRequests {
    free: Arc<Semaphore>,
    open: TaskTracker,
    closing: CancellationToken,
}

/// One of their places, given back when dropped.
#[derive(Debug)]
pub struct Place {
    closing: CancellationToken,
    _permit: OwnedSemaphorePermit,
    _token: TaskTrackerToken,
}

impl LongRequests {
    /// As many as `most` at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(most)),
            open: TaskTracker::new(),
            closing: CancellationToken::new(),
        }
    }

    /// A place for one more, if there is one.
    #[must_use]
    pub fn enter(&self) -> Option<Place> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Place {
            closing: self.closing.clone(),
            _permit: permit,
            _token: self.open.token(),
        })
    }

    /// Has all of them end, and waits until they have.
    pub async fn close(&self) {
        self.closing.cancel();
        self.open.close();
        self.open.wait().await;
    }
}

impl Place {
    /// Waits until the request has to end.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_counted_and_given_back() {
        let requests = LongRequests::new(3);
        let mut places: Vec<_> = (0..3).map(|_| requests.enter().unwrap()).collect();
        assert!(requests.enter().is_none());
        places.pop();
        assert!(requests.enter().is_some());
    }

    #[tokio::test]
    async fn closing_waits_for_who_is_in() {
        let requests = LongRequests::new(3);
        let place = requests.enter().unwrap();
        let inside = async move { place.closing().await };
        tokio::join!(requests.close(), inside);
    }
}
