//! Jobs with a plugin that is being compiled: kept out of the queue until it is.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::Next;

/// Jobs that wait until their plugin is compiled.
#[derive(Default)]
pub(super) struct UncompiledJobs(Mutex<HashMap<Uuid, (Next, String)>>);

impl UncompiledJobs {
    /// Adds a job; returns whether it is new.
    pub(super) fn hold(&self, job: Next, plugin: &str) -> bool {
        let held = (job, plugin.to_owned());
        self.lock().insert(job.id, held).is_none()
    }

    pub(super) fn contains(&self, job: Uuid) -> bool {
        self.lock().contains_key(&job)
    }

    pub(super) fn forget(&self, job: Uuid) {
        self.lock().remove(&job);
    }

    /// Removes and returns the jobs of plugins that are no longer being compiled, oldest first.
    pub(super) fn take_unless(&self, is_compiling: impl Fn(&str) -> bool) -> Vec<Next> {
        let mut jobs = self.lock();
        let freed = jobs.extract_if(|_, (_, plugin)| !is_compiling(plugin));
        let mut freed: Vec<_> = freed.map(|(_, (next, _))| next).collect();
        freed.sort_unstable_by_key(|next| next.id);
        freed
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, (Next, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
