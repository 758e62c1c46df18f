//! The feeder: enqueues jobs when they become ready, and jobs that were committed but never enqueued.
//!
//! Only jobs that may run now are in the queue. Start times are therefore exact to the millisecond,
//! although Apalis' own schedule has a resolution of seconds, and cancelling a waiting job only changes
//! the database.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;
use uuid::Uuid;

use super::queue::Queue;
use super::running::RunningJobs;
use super::{PAGE, Waiter};
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

    /// Enqueues ready jobs for as long as it is polled. `withheld` jobs are enqueued when their pause
    /// ends or their plugin is compiled; `limited` ones when a limit is released, and by each sweep.
    pub(super) async fn run(
        &self,
        storage: &dyn Storage,
        queue: &Queue,
        running: &RunningJobs,
        withheld: impl Fn(Uuid) -> bool,
        limited: impl Fn(Uuid) -> bool,
    ) {
        let mut sweep_at = Instant::now();
        loop {
            let now = now();
            let is_due = Instant::now() >= sweep_at;
            let enqueued = if self.sweep.swap(false, Ordering::AcqRel) || is_due {
                if is_due && let Err(error) = queue.age().await {
                    tracing::warn!(error = %format!("{error:#}"), "failed to age queue priorities; retrying");
                }
                sweep_at = Instant::now() + SWEEP_INTERVAL;
                sweep(storage, queue, running, now, &withheld).await
            } else {
                let parked = |id| withheld(id) || limited(id);
                enqueue_ready(storage, queue, now - POLLED, now, parked).await
            };
            let pause = match enqueued {
                Ok(()) => until_next(storage, now).await,
                Err(error) => {
                    tracing::error!(error = %format!("{error:#}"), "failed to enqueue due jobs; retrying");
                    self.sweep.store(true, Ordering::Release);
                    POLL_INTERVAL
                }
            };
            let _ = tokio::time::timeout(pause, self.wake.notified()).await;
        }
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

async fn sweep(
    storage: &dyn Storage,
    queue: &Queue,
    running: &RunningJobs,
    now: DateTime<Utc>,
    withheld: impl Fn(Uuid) -> bool,
) -> anyhow::Result<()> {
    queue.requeue_orphans(&running.ids()).await?;
    enqueue_ready(storage, queue, DateTime::UNIX_EPOCH, now, withheld).await
}

async fn enqueue_ready(
    storage: &dyn Storage,
    queue: &Queue,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
    parked: impl Fn(Uuid) -> bool,
) -> anyhow::Result<()> {
    let mut after = (since, Uuid::nil());
    loop {
        let ready = storage.ready_jobs(after, now, PAGE as u32).await?;
        let Some(last) = ready.last() else {
            return Ok(());
        };
        after = (last.ready_at, last.id);
        let ready = ready.iter().filter(|job| !parked(job.id));
        let jobs: Vec<_> = ready.map(Waiter::from).collect();
        queue.push(&jobs).await?;
    }
}
