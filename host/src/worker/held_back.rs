//! Paused jobs: kept out of the queue until their pause ends.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use uuid::Uuid;

use super::Next;
use crate::pauses::{HeldBack, PauseVersion};

/// The paused jobs of this process.
#[derive(Clone, Default)]
pub struct HeldBackJobs {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified when a job is added, as its pause may end before all others.
    news: Notify,
}

#[derive(Default)]
struct State {
    /// Priority and pause of each job.
    jobs: HashMap<Uuid, (i32, PauseVersion)>,
    /// When the first of the pauses ends.
    next_end: Option<DateTime<Utc>>,
}

impl HeldBackJobs {
    pub(super) fn hold(&self, job: Next, held: &HeldBack) {
        let mut state = self.lock();
        state.jobs.insert(job.id, (job.priority, held.version));
        state.next_end = state.next_end.into_iter().chain(held.until).min();
        drop(state);
        self.shared.news.notify_one();
    }

    /// Waits until a job is added.
    pub(super) async fn news(&self) {
        self.shared.news.notified().await;
    }

    /// Returns the pause of a job, if it is paused.
    #[must_use]
    pub fn by(&self, job: Uuid) -> Option<PauseVersion> {
        self.lock().jobs.get(&job).map(|(_, version)| *version)
    }

    /// Returns the number of jobs that a pause covers.
    #[must_use]
    pub fn count(&self, pause: PauseVersion) -> u64 {
        let state = self.lock();
        let held = state.jobs.values().filter(|(_, version)| *version == pause);
        held.count() as u64
    }

    pub(super) fn contains(&self, job: Uuid) -> bool {
        self.lock().jobs.contains_key(&job)
    }

    /// Removes a job that was cancelled, deleted or released.
    pub fn forget(&self, job: Uuid) {
        self.lock().jobs.remove(&job);
    }

    /// Returns when the first pause ends.
    pub(super) fn next_end(&self) -> Option<DateTime<Utc>> {
        self.lock().next_end
    }

    /// Removes and returns the jobs with a pause that is no longer in force, oldest first. `until` is
    /// when the first of the pauses in force ends.
    pub(super) fn take_unless(
        &self,
        in_force: &HashSet<PauseVersion>,
        until: Option<DateTime<Utc>>,
    ) -> Vec<Next> {
        let mut state = self.lock();
        let freed = state
            .jobs
            .extract_if(|_, (_, version)| !in_force.contains(version));
        let mut freed: Vec<_> = freed
            .map(|(id, (priority, _))| Next { id, priority })
            .collect();
        freed.sort_unstable_by_key(|next| next.id);
        state.next_end = until.filter(|_| !state.jobs.is_empty());
        freed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.shared.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}
