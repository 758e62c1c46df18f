//! The dispatcher: enqueues jobs when they become ready, and jobs that were committed but never
//! enqueued.
//!
//! Only jobs that may run now are in the queue. Start times are therefore exact to the millisecond,
//! although Apalis' own schedule has a resolution of seconds, and cancelling a waiting job only changes
//! the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::model::now;
use crate::queue::Queue;
use crate::storage::Storage;
use crate::worker::{HeldBackJobs, Running, Turns};

/// Interval at which recently ready jobs are polled, in case an event was lost.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// How far back that poll reaches.
const LATEST: TimeDelta = TimeDelta::seconds(30);
/// Interval of the sweep over all waiting jobs, which repairs any difference between the queue and the
/// database.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Jobs read and enqueued at once.
const PAGE: u32 = 2_000;

/// A handle to the dispatcher.
#[derive(Clone, Default)]
pub struct Dispatcher {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    news: Notify,
    all: AtomicBool,
}

impl Dispatcher {
    /// Wakes the dispatcher for a job with a start time.
    pub fn look(&self) {
        self.shared.news.notify_one();
    }

    /// Requests a sweep over all waiting jobs, because some may be missing in the queue.
    pub fn look_at_all(&self) {
        self.shared.all.store(true, Ordering::Release);
        self.shared.news.notify_one();
    }

    /// Enqueues ready jobs for as long as it is polled.
    pub(super) async fn run(
        self,
        storage: Arc<dyn Storage>,
        queue: Queue,
        running: Running,
        turns: Turns,
        held_back: HeldBackJobs,
    ) {
        let mut all_at = Instant::now();
        loop {
            let now = now();
            let asked = self.shared.all.swap(false, Ordering::AcqRel);
            let pushed = if asked || Instant::now() >= all_at {
                if Instant::now() >= all_at
                    && let Err(error) = queue.age().await
                {
                    tracing::warn!(error = %format!("{error:#}"), "failed to age queue priorities; \
                         retrying");
                }
                all_at = Instant::now() + SWEEP_INTERVAL;
                push_all(&*storage, &queue, &running, &held_back, now).await
            } else {
                // Paused jobs and jobs waiting for a limit are enqueued once they are unblocked.
                let waits = |id| turns.waits(id) || held_back.contains(id);
                push_ready(&*storage, &queue, now - LATEST, now, waits).await
            };
            let pause = match pushed {
                Ok(()) => pause(&*storage, now).await,
                Err(error) => {
                    tracing::error!(error = %format!("{error:#}"), "failed to enqueue due jobs; \
                         retrying");
                    self.shared.all.store(true, Ordering::Release);
                    POLL_INTERVAL
                }
            };
            let _ = tokio::time::timeout(pause, self.shared.news.notified()).await;
        }
    }
}

/// Returns the time until the next job becomes ready, at most [`LOOK_EVERY`].
async fn pause(storage: &dyn Storage, looked_at: DateTime<Utc>) -> Duration {
    match storage.next_ready_at(looked_at).await {
        // Zero if the time has passed in the meantime.
        Ok(Some(next)) => (next - now())
            .to_std()
            .unwrap_or_default()
            .min(POLL_INTERVAL),
        Ok(None) | Err(_) => POLL_INTERVAL,
    }
}

async fn push_all(
    storage: &dyn Storage,
    queue: &Queue,
    running: &Running,
    held_back: &HeldBackJobs,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    queue.put_back(&running.ids()).await?;
    let held_back = |id| held_back.contains(id);
    push_ready(storage, queue, DateTime::UNIX_EPOCH, now, held_back).await
}

async fn push_ready(
    storage: &dyn Storage,
    queue: &Queue,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
    waits: impl Fn(Uuid) -> bool,
) -> anyhow::Result<()> {
    let mut after = (since, Uuid::nil());
    loop {
        let ready = storage.ready_jobs(after, now, PAGE).await?;
        let Some(last) = ready.last() else {
            return Ok(());
        };
        after = (last.ready_at, last.id);
        let ready = ready.iter().filter(|job| !waits(job.id));
        let jobs: Vec<_> = ready.map(|job| (job.id, job.priority)).collect();
        queue.push(&jobs).await?;
    }
}
