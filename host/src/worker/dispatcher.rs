//! Puts jobs into the queue when their time has come, and those that were committed but never
//! queued.
//!
//! The gate before the queue: only what may run now is in it. So a time is kept to the
//! millisecond, although Apalis' own schedule knows seconds, and a job that waits is cancelled in
//! the database alone.

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

/// Looks at the latest jobs at least this often, should news of one have been lost.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// How far back such a look goes.
const LATEST: TimeDelta = TimeDelta::seconds(30);
/// Goes through all that wait at least this often: the queue then holds what it should, whatever
/// happened to it.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Jobs read and pushed at once.
const PAGE: u32 = 2_000;

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
    /// There is a job with a time; make sure to be awake at it.
    pub fn look(&self) {
        self.shared.news.notify_one();
    }

    /// Something may be missing in the queue; go through all that wait.
    pub fn look_at_all(&self) {
        self.shared.all.store(true, Ordering::Release);
        self.shared.news.notify_one();
    }

    /// Runs for as long as it is polled.
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
                // Who waits for a turn, or is held back, is queued when that is over.
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

/// How long until the next job's time.
async fn pause(storage: &dyn Storage, looked_at: DateTime<Utc>) -> Duration {
    match storage.next_ready_at(looked_at).await {
        // A time that has passed since the look makes no pause at all.
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
