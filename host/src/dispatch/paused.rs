//! Paused jobs: kept out of the queue until their pause ends.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use super::Waiter;
use crate::pauses::{ActivePause, PauseVersion};

/// The paused jobs of this process.
#[derive(Default)]
pub(super) struct PausedJobs {
    state: Mutex<State>,
    /// Notified when a job is added, as its pause may end before all others.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Priority and pause of each job.
    jobs: HashMap<Uuid, (i32, PauseVersion)>,
    /// When the first of the pauses ends.
    next_end: Option<DateTime<Utc>>,
}

impl PausedJobs {
    pub(super) fn add(&self, job: Waiter, pause: &ActivePause) {
        let mut state = self.state.lock();
        state.jobs.insert(job.id, (job.priority, pause.version));
        state.next_end = state.next_end.into_iter().chain(pause.until).min();
        drop(state);
        self.changed.notify_one();
    }

    /// Waits until a job is added.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns the pause of a job, if it is paused.
    pub(super) fn pause_of(&self, job: Uuid) -> Option<PauseVersion> {
        self.state
            .lock()
            .jobs
            .get(&job)
            .map(|(_, version)| *version)
    }

    /// Returns the number of jobs that a pause withholds.
    pub(super) fn count(&self, pause: PauseVersion) -> u64 {
        let state = self.state.lock();
        let paused = state.jobs.values().filter(|(_, version)| *version == pause);
        paused.count() as u64
    }

    pub(super) fn ids(&self) -> Vec<Uuid> {
        self.state.lock().jobs.keys().copied().collect()
    }

    pub(super) fn contains(&self, job: Uuid) -> bool {
        self.state.lock().jobs.contains_key(&job)
    }

    pub(super) fn remove(&self, job: Uuid) {
        self.state.lock().jobs.remove(&job);
    }

    /// Returns when the first pause ends.
    pub(super) fn next_end(&self) -> Option<DateTime<Utc>> {
        self.state.lock().next_end
    }

    /// Removes and returns the jobs with a pause that is no longer in force, oldest first. `until` is
    /// when the first of the pauses in force ends.
    pub(super) fn release_expired(
        &self,
        in_force: &HashSet<PauseVersion>,
        until: Option<DateTime<Utc>>,
    ) -> Vec<Waiter> {
        let mut state = self.state.lock();
        let released = state
            .jobs
            .extract_if(|_, (_, version)| !in_force.contains(version));
        let mut released: Vec<_> = released
            .map(|(id, (priority, _))| Waiter { id, priority })
            .collect();
        released.sort_unstable_by_key(|waiter| waiter.id);
        state.next_end = until.filter(|_| !state.jobs.is_empty());
        released
    }
}
