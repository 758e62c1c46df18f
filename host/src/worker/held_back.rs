//! Jobs that a pause holds back: out of the queue, until it is over.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use super::Next;
use crate::pauses::{HeldBack, PauseVersion};

#[derive(Clone, Default)]
pub struct HeldBackJobs {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    jobs: Mutex<HashMap<Uuid, (i32, HeldBack)>>,
    /// One more is held back, whose pause may have begun just now.
    news: Notify,
}

impl HeldBackJobs {
    pub(super) fn hold(&self, job: Next, held: HeldBack) {
        self.lock().insert(job.id, (job.priority, held));
        self.shared.news.notify_one();
    }

    /// Ready when one more is held back.
    pub(super) async fn news(&self) {
        self.shared.news.notified().await;
    }

    /// Why a job is held back, if it is.
    #[must_use]
    pub fn why(&self, job: Uuid) -> Option<HeldBack> {
        self.lock().get(&job).map(|(_, held)| held.clone())
    }

    #[must_use]
    pub(super) fn contains(&self, job: Uuid) -> bool {
        self.lock().contains_key(&job)
    }

    /// A job that is gone is not held back any more.
    pub fn forget(&self, job: Uuid) {
        self.lock().remove(&job);
    }

    /// Takes those that are not to be held back any longer.
    pub(super) fn take_unless(&self, in_force: &HashSet<PauseVersion>) -> Vec<Next> {
        let mut jobs = self.lock();
        let freed = jobs.extract_if(|_, (_, held)| !in_force.contains(&held.version));
        freed
            .map(|(id, (priority, _))| Next { id, priority })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, (i32, HeldBack)>> {
        self.shared
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
