//! Jobs whose plugin is being compiled: kept out of the queue until it is.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::Waiter;

/// The jobs of this process that wait until their plugin is compiled.
#[derive(Default)]
pub(super) struct CompilingJobs(Mutex<HashMap<Uuid, (Waiter, String)>>);

impl CompilingJobs {
    /// Adds a job; returns whether it is new.
    pub(super) fn add(&self, job: Waiter, plugin: &str) -> bool {
        let entry = (job, plugin.to_owned());
        self.lock().insert(job.id, entry).is_none()
    }

    pub(super) fn ids(&self) -> Vec<Uuid> {
        self.lock().keys().copied().collect()
    }

    pub(super) fn contains(&self, job: Uuid) -> bool {
        self.lock().contains_key(&job)
    }

    pub(super) fn remove(&self, job: Uuid) {
        self.lock().remove(&job);
    }

    /// Removes and returns the jobs of plugins that are no longer being compiled, oldest first.
    pub(super) fn release_unless(&self, is_compiling: impl Fn(&str) -> bool) -> Vec<Waiter> {
        let mut jobs = self.lock();
        let released = jobs.extract_if(|_, (_, plugin)| !is_compiling(plugin));
        let mut released: Vec<_> = released.map(|(_, (waiter, _))| waiter).collect();
        released.sort_unstable_by_key(|waiter| waiter.id);
        released
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, (Waiter, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
