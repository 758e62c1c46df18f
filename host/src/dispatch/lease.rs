//! Leases on what a running job occupies.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
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
    end: LeaseEnd,
}

/// What has become of a job when its lease is dropped.
#[derive(Clone, Copy, Debug, Default)]
pub enum LeaseEnd {
    /// Nothing is known: a panic ended the task before the job was started. It is enqueued again after
    /// a delay.
    #[default]
    Undecided,
    /// The job could not be admitted or claimed. It is enqueued again after a delay.
    Failed,
    /// The job does not wait anymore, or cannot be read.
    NotWaiting,
    /// The job waits for a limit.
    Limited,
    /// The job waits until a pause ends or a plugin is compiled. It may have been released while it was
    /// still in the queue.
    Withheld(Waiter),
    /// The job has ended.
    Ended { parent: Option<Uuid> },
    /// The attempt has ended, and another one is scheduled.
    Rescheduled { parent: Option<Uuid> },
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
            end: LeaseEnd::default(),
        }
    }

    /// Returns the stop signal of the job.
    #[must_use]
    pub fn stop(&self) -> &Arc<Stop> {
        &self.stop
    }

    /// Returns the worker slot of the job.
    #[must_use]
    pub fn slot(&self) -> Arc<dyn Slot> {
        Arc::clone(&self.slot) as _
    }

    /// Sets what has become of the job, for when the lease is dropped.
    pub fn set_end(&mut self, end: LeaseEnd) {
        self.end = end;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (id, end) = (self.id, self.end);
        if matches!(end, LeaseEnd::Undecided) {
            tracing::error!(job_id = %id, "internal error while starting a job; retrying");
        }
        let inner = &self.dispatch.inner;
        inner.running.remove(id);
        let unblocked = inner.limits.release(id);
        if let LeaseEnd::Ended { parent } | LeaseEnd::Rescheduled { parent } = end {
            self.dispatch.publish(JobEnded { id, parent });
        }
        // Without a runtime the process ends, and the next start fills the queue.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (dispatch, slot) = (self.dispatch.clone(), Arc::clone(&self.slot));
        let requeue = async move {
            dispatch.requeue(id, end, unblocked).await;
            drop(slot);
        };
        inner.tasks.spawn_on(requeue.in_current_span(), &runtime);
    }
}

impl Dispatch {
    /// Removes a job from the queue after its lease, and enqueues what it unblocked.
    async fn requeue(&self, id: Uuid, end: LeaseEnd, mut unblocked: Vec<Waiter>) {
        let inner = &*self.inner;
        if let Err(error) = inner.queue.remove(id).await {
            tracing::warn!(job_id = %id, %error, "failed to remove a job that has run from the queue");
        }
        // Only now: a job that was unblocked while it was still in the queue is not enqueued.
        match end {
            LeaseEnd::Limited => unblocked.extend(inner.limits.ready(id)),
            LeaseEnd::Withheld(waiter) if !inner.is_withheld(id) => unblocked.push(waiter),
            _ => {}
        }
        self.push(&unblocked).await;
        match end {
            LeaseEnd::Rescheduled { .. } => inner.feeder.wake(),
            LeaseEnd::Undecided | LeaseEnd::Failed => {
                // The caller holds the slot meanwhile, so that a failing database is not asked for one
                // job after the other.
                tokio::time::sleep(RETRY_DELAY).await;
                inner.feeder.request_sweep();
            }
            _ => {}
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
        *self.permit.lock() = permit;
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
