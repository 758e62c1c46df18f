//! How many terminals may be open at once, and how all of them end with the server.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Terminals at once at most.
pub const MOST_TERMINALS: usize = 64;

/// The terminals that are open.
#[derive(Debug)]
pub struct Terminals {
    free: Arc<Semaphore>,
    open: TaskTracker,
    closing: CancellationToken,
}

/// One of [`MOST_TERMINALS`] places, given back when dropped.
#[derive(Debug)]
pub struct Place {
    closing: CancellationToken,
    _permit: OwnedSemaphorePermit,
    _token: TaskTrackerToken,
}

impl Terminals {
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

    /// Has all terminals end, and waits until they have.
    pub async fn close(&self) {
        self.closing.cancel();
        self.open.close();
        self.open.wait().await;
    }
}

impl Default for Terminals {
    fn default() -> Self {
        Self {
            free: Arc::new(Semaphore::new(MOST_TERMINALS)),
            open: TaskTracker::new(),
            closing: CancellationToken::new(),
        }
    }
}

impl Place {
    /// Waits until the terminal has to end.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_counted_and_given_back() {
        let terminals = Terminals::default();
        let mut places: Vec<_> = (0..MOST_TERMINALS)
            .map(|_| terminals.enter().unwrap())
            .collect();
        assert!(terminals.enter().is_none());
        places.pop();
        assert!(terminals.enter().is_some());
    }

    #[tokio::test]
    async fn closing_waits_for_who_is_in() {
        let terminals = Terminals::default();
        let place = terminals.enter().unwrap();
        let inside = async move { place.closing().await };
        tokio::join!(terminals.close(), inside);
    }
}
