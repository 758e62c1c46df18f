//! Jobs running in this process, and their stop signals.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use crate::capabilities::{Stop, StopReason};

/// The running jobs of this process.
#[derive(Default)]
pub(super) struct RunningJobs {
    jobs: Mutex<HashMap<Uuid, Arc<Stop>>>,
}

impl RunningJobs {
    /// Signals a job to stop; returns whether it runs in this process.
    pub(super) fn stop(&self, id: Uuid, reason: StopReason) -> bool {
        let jobs = self.jobs.lock();
        let stop = jobs.get(&id);
        if let Some(stop) = stop {
            stop.now(reason);
        }
        stop.is_some()
    }

    pub(super) fn stop_all(&self, reason: StopReason) {
        for stop in self.jobs.lock().values() {
            stop.now(reason);
        }
    }

    pub(super) fn ids(&self) -> Vec<Uuid> {
        self.jobs.lock().keys().copied().collect()
    }

    pub(super) fn count(&self) -> usize {
        self.jobs.lock().len()
    }

    /// Registers a job; `None` if it already runs in this process.
    pub(super) fn add(&self, id: Uuid) -> Option<Arc<Stop>> {
        match self.jobs.lock().entry(id) {
            Entry::Occupied(_) => None,
            Entry::Vacant(entry) => Some(Arc::clone(entry.insert(Arc::default()))),
        }
    }

    pub(super) fn remove(&self, id: Uuid) {
        self.jobs.lock().remove(&id);
    }
}
