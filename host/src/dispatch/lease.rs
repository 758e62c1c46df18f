//! Leases on what a running job occupies.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::{OwnedRwLockReadGuard, OwnedSemaphorePermit, Semaphore};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{Dispatch, JobEnded, RETRY_DELAY, Waiter};
use crate::capabilities::{Slot, Stop};
use crate::model::Job;

/// A job that may start.
pub struct Admitted {
    pub lease: Lease,
    /// The job as it waited, without its parameters.
    pub job: Box<Job>,
    /// Keeps the pauses from changing until the job is claimed.
    pub rules: OwnedRwLockReadGuard<()>,
}

/// A lease on what a job occupies: its worker slot, its limits and its entry among the running jobs.
///
/// Dropping it releases everything, removes the job from the queue, and enqueues the jobs that waited
/// for it.
pub struct Lease {
    dispatch: Dispatch,
    id: Uuid,
    stop: Arc<Stop>,
    slot: Arc<WorkerSlot>,
    after: After,
}

/// What follows the release of a lease.
#[derive(Clone, Copy, Debug, Default)]
struct After {
    /// The job, or an attempt at it, has ended.
    ended: Option<JobEnded>,
    /// A parked job that may have been unblocked while it was still in the queue.
    parked: Option<Waiter>,
    /// Another attempt is scheduled.
    retried: bool,
    /// The job could not be admitted or claimed.
    failed: bool,
}

impl Lease {
    pub(super) fn new(
        dispatch: Dispatch,
        id: Uuid,
        stop: Arc<Stop>,
        slots: Arc<Semaphore>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            dispatch,
            id,
            stop,
            slot: Arc::new(WorkerSlot::new(slots, permit)),
            after: After::default(),
        }
    }

    /// The stop signal of the job.
    #[must_use]
    pub fn stop(&self) -> &Arc<Stop> {
        &self.stop
    }

    /// The worker slot of the job.
    #[must_use]
    pub fn slot(&self) -> Arc<dyn Slot> {
        Arc::clone(&self.slot) as _
    }

    /// Notes that the job, or an attempt at it, ends with the lease.
    pub fn ends(&mut self, parent: Option<Uuid>) {
        let id = self.id;
        self.after.ended = Some(JobEnded { id, parent });
    }

    /// Notes that another attempt is scheduled.
    pub fn reschedules(&mut self) {
        self.after.retried = true;
    }

    /// Notes that the job could not be claimed: it is enqueued again after a delay.
    pub fn retries(&mut self) {
        self.after.failed = true;
    }

    pub(super) fn parks(&mut self, waiter: Waiter) {
        self.after.parked = Some(waiter);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (dispatch, id, slot) = (self.dispatch.clone(), self.id, Arc::clone(&self.slot));
        let after = self.after;
        // Without a runtime the process ends, and the next start ends the job.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let tasks = dispatch.inner.tasks.clone();
        let release = async move {
            dispatch.release(id, after).await;
            if after.failed {
                // Out of the queue by now: the sweep enqueues it again. The slot is held meanwhile, so
                // that a failing database is not asked for one job after the other.
                tokio::time::sleep(RETRY_DELAY).await;
                dispatch.inner.feeder.request_sweep();
            }
            drop(slot);
        };
        tasks.spawn_on(release.in_current_span(), &runtime);
    }
}

impl Dispatch {
    async fn release(&self, id: Uuid, after: After) {
        let inner = &*self.inner;
        inner.running.remove(id);
        let mut unblocked = Vec::new();
        if !inner.limits.is_waiting(id) {
            unblocked = inner.limits.release(id);
        }
        after
            .ended
            .into_iter()
            .for_each(|ended| self.publish(ended));
        if let Err(error) = inner.queue.remove(id).await {
            tracing::warn!(job_id = %id, %error, "failed to remove a job that has run from the queue");
        }
        // Only now: a job that was unblocked while it was still in the queue is not enqueued. One that
        // could not be admitted is left to the sweep.
        if !after.failed {
            unblocked.extend(inner.limits.ready(id));
            unblocked.extend(
                after
                    .parked
                    .filter(|_| !inner.paused.contains(id) && !inner.compiling.contains(id)),
            );
        }
        self.push(&unblocked).await;
        if after.retried {
            inner.feeder.wake();
        }
    }
}

/// The worker slot of a running job.
struct WorkerSlot {
    slots: Arc<Semaphore>,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

impl WorkerSlot {
    fn new(slots: Arc<Semaphore>, permit: OwnedSemaphorePermit) -> Self {
        Self {
            slots,
            permit: Mutex::new(Some(permit)),
        }
    }

    fn set(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }
}

#[async_trait]
impl Slot for WorkerSlot {
    fn release(&self) {
        self.set(None);
    }

    async fn take_again(&self) {
        // The semaphore is closed while the server drains, when no job starts anyway.
        if let Ok(permit) = Arc::clone(&self.slots).acquire_owned().await {
            self.set(Some(permit));
        }
    }
}
