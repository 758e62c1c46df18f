//! Jobs whose plugin is being compiled: kept out of the queue until it is.

use std::collections::HashMap;

use parking_lot::Mutex;
use uuid::Uuid;

use super::Waiter;

/// The jobs of this process that wait until their plugin is compiled.
#[derive(Default)]
pub(super) struct CompilingJobs(Mutex<HashMap<Uuid, (Waiter, String)>>);

impl CompilingJobs {
    /// Adds a job; returns whether it is new.
    pub(super) fn add(&self, job: Waiter, plugin: &str) -> bool {
        let entry = (job, plugin.to_owned());
        self.0.lock().insert(job.id, entry).is_none()
    }

    pub(super) fn ids(&self) -> Vec<Uuid> {
        self.0.lock().keys().copied().collect()
    }

    pub(super) fn contains(&self, job: Uuid) -> bool {
        self.0.lock().contains_key(&job)
    }

    pub(super) fn remove(&self, job: Uuid) {
        self.0.lock().remove(&job);
    }

    /// Removes and returns the jobs of plugins that are no longer being compiled, oldest first.
    pub(super) fn release_unless(&self, is_compiling: impl Fn(&str) -> bool) -> Vec<Waiter> {
        let mut jobs = self.0.lock();
        let released = jobs.extract_if(|_, (_, plugin)| !is_compiling(plugin));
        let mut released: Vec<_> = released.map(|(_, (waiter, _))| waiter).collect();
        released.sort_unstable_by_key(|waiter| waiter.id);
        released
    }
}
