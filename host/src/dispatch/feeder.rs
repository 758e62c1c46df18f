//! The feeder: enqueues jobs when they become ready, and jobs that were committed but never enqueued.
//!
//! Only jobs that may run now are in the queue. Start times are therefore exact to the millisecond,
//! although Apalis' own schedule has a resolution of seconds, and cancelling a waiting job only changes
//! the database.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{Dispatch, Inner, PAGE, Waiter};
use crate::model::now;
use crate::storage::Storage;

/// Interval at which recently ready jobs are polled, in case an event was lost.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// How far back that poll reaches.
const POLLED: TimeDelta = TimeDelta::seconds(30);
/// Interval of the sweep over all waiting jobs, which repairs any difference between the queue and the
/// database.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The signals to the feeder.
#[derive(Default)]
pub(super) struct Feeder {
    wake: Notify,
    sweep: AtomicBool,
    check: AtomicBool,
}

impl Feeder {
    /// Wakes the feeder for a job that becomes ready later.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Requests a sweep over all waiting jobs, because some may be missing in the queue.
    pub(super) fn request_sweep(&self) {
        self.sweep.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Requests a check of the parked jobs, because some may not wait anymore.
    pub(super) fn request_check(&self) {
        self.check.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

impl Dispatch {
    /// Enqueues ready jobs for as long as it is polled. Paused jobs and those whose plugin is being
    /// compiled are enqueued when that ends; jobs that wait for a limit when it is released, and by
    /// each sweep.
    pub(super) async fn feed(&self) {
        let inner = &*self.inner;
        let mut sweep_at = Instant::now();
        loop {
            let now = now();
            let is_due = Instant::now() >= sweep_at;
            let feeder = &inner.feeder;
            let enqueued = if feeder.sweep.swap(false, Ordering::AcqRel) || is_due {
                if is_due && let Err(error) = inner.queue.age().await {
                    tracing::warn!(error = %format!("{error:#}"), "failed to age queue priorities; retrying");
                }
                sweep_at = Instant::now() + SWEEP_INTERVAL;
                feeder.check.store(false, Ordering::Release);
                self.sweep(now).await
            } else if feeder.check.swap(false, Ordering::AcqRel) {
                self.withdraw_parked(now).await
            } else {
                let parked = |id| inner.is_withheld(id) || inner.limits.is_waiting(id);
                self.enqueue_ready(now - POLLED, now, parked).await
            };
            let pause = match enqueued {
                Ok(()) => until_next(&*inner.storage, now).await,
                Err(error) => {
                    tracing::error!(error = %format!("{error:#}"), "failed to enqueue due jobs; retrying");
                    feeder.sweep.store(true, Ordering::Release);
                    POLL_INTERVAL
                }
            };
            let _ = tokio::time::timeout(pause, feeder.wake.notified()).await;
        }
    }

    async fn sweep(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let inner = &*self.inner;
        inner.queue.requeue_orphans(&inner.running.ids()).await?;
        self.withdraw_parked(now).await?;
        let withheld = |id| inner.is_withheld(id);
        self.enqueue_ready(DateTime::UNIX_EPOCH, now, withheld)
            .await
    }

    /// Withdraws parked jobs that do not wait anymore: they were cancelled or deleted with their batch.
    async fn withdraw_parked(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let mut stale = self.inner.parked();
        let mut after = (DateTime::UNIX_EPOCH, Uuid::nil());
        while !stale.is_empty() {
            let ready = self.inner.storage.ready_jobs(after, now, PAGE as u32);
            let ready = ready.await?;
            let Some(last) = ready.last() else {
                break;
            };
            after = (last.ready_at, last.id);
            for job in &ready {
                stale.remove(&job.id);
            }
        }
        for id in stale {
            self.unpark(id).await;
        }
        Ok(())
    }

    async fn enqueue_ready(
        &self,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
        parked: impl Fn(Uuid) -> bool,
    ) -> anyhow::Result<()> {
        let mut after = (since, Uuid::nil());
        loop {
            let ready = self.inner.storage.ready_jobs(after, now, PAGE as u32);
            let ready = ready.await?;
            let Some(last) = ready.last() else {
                return Ok(());
            };
            after = (last.ready_at, last.id);
            let ready = ready.iter().filter(|job| !parked(job.id));
            let jobs: Vec<_> = ready.map(Waiter::from).collect();
            self.inner.queue.push(&jobs).await?;
        }
    }
}

impl Inner {
    /// Returns whether a pause or the compilation of its plugin withholds a job.
    pub(super) fn is_withheld(&self, id: Uuid) -> bool {
        self.paused.contains(id) || self.compiling.contains(id)
    }

    fn parked(&self) -> HashSet<Uuid> {
        let parked = [
            self.paused.ids(),
            self.compiling.ids(),
            self.limits.waiting(),
        ];
        parked.into_iter().flatten().collect()
    }
}

/// Returns the time until the next job becomes ready, at most [`POLL_INTERVAL`].
async fn until_next(storage: &dyn Storage, polled_at: DateTime<Utc>) -> Duration {
    match storage.next_ready_at(polled_at).await {
        // Zero if the time has passed in the meantime.
        Ok(Some(next)) => (next - now())
            .to_std()
            .unwrap_or_default()
            .min(POLL_INTERVAL),
        Ok(None) | Err(_) => POLL_INTERVAL,
    }
}
