//! Old jobs go, with their results and logs: in small steps, so that nobody waits behind them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::config::RetentionConfig;
use crate::connections::MAX_DEVICES;
use crate::model::now;
use crate::storage::{Storage, StorageError};

/// How often old jobs are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3_600);
/// Between two steps: leaves the database to others.
const PAUSE: Duration = Duration::from_millis(20);
/// How often the size of the database is compared with its limit.
const MEASURE_INTERVAL: Duration = Duration::from_secs(60);
/// Part of the limit that is kept when it was reached, in percent, so that it is not reached at once
/// again.
const KEEP_PERCENT: u64 = 90;
/// Jobs that are removed at once, at most, because the database is too large.
const MAX_STEP: u32 = 32;
/// Steps of giving space back, after which the rest waits for the next time.
const VACUUMS: u32 = 1_000;

/// Removes old jobs for as long as it is polled; once at the start, then every hour.
pub async fn run(storage: Arc<dyn Storage>, config: RetentionConfig) {
    loop {
        match sweep(&*storage, &config).await {
            Ok(0) => {}
            Ok(jobs) => tracing::info!(jobs, "removed old jobs"),
            Err(error) => tracing::error!(%error, "failed to remove old jobs"),
        }
        if let Err(error) = storage.sweep_device_logins(now(), MAX_DEVICES).await {
            tracing::error!(%error, "failed to delete expired login records");
        }
        let swept = Instant::now();
        while swept.elapsed() < SWEEP_INTERVAL {
            tokio::time::sleep(MEASURE_INTERVAL).await;
            match shrink(&*storage, &config).await {
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "failed to remove jobs beyond retention.max_mb");
                }
            }
        }
    }
}

/// Removes the oldest ended jobs while the database's content is larger than it may be; returns how
/// many.
///
/// # Errors
/// When the database is not available.
async fn shrink(storage: &dyn Storage, config: &RetentionConfig) -> Result<u64, StorageError> {
    let most = config.max_mb << 20;
    let size = storage.size().await?;
    let content = size.bytes.saturating_sub(size.free);
    if most == 0 || content <= most {
        return Ok(0);
    }
    let enough = most / 100 * KEEP_PERCENT;
    let mut deleted = 0;
    let (mut left, mut at_once) = (content, 1);
    while left > enough {
        match storage.delete_oldest_jobs(at_once).await? {
            0 => break,
            jobs => deleted += jobs,
        }
        let size = storage.size().await?;
        let now = size.bytes.saturating_sub(size.free);
        // Jobs may be of any size: several at once only while they are small against what is to go.
        let freed = left.saturating_sub(now);
        let is_little = freed.saturating_mul(MAX_STEP.into()) < now.saturating_sub(enough);
        at_once = if is_little {
            MAX_STEP.min(at_once * 2)
        } else {
            1
        };
        left = now;
        tokio::time::sleep(PAUSE).await;
    }
    if deleted > 0 {
        tracing::warn!(
            jobs = deleted,
            bytes = content,
            max_mb = config.max_mb,
            "removed the oldest ended jobs: the jobs in the database took more than retention.max_mb"
        );
        give_space_back(storage).await?;
    }
    Ok(deleted)
}

async fn give_space_back(storage: &dyn Storage) -> Result<(), StorageError> {
    for _ in 0..VACUUMS {
        if !storage.vacuum().await? {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Removes what is older than it may be, once; says how many jobs.
///
/// # Errors
/// When the database is not available.
pub async fn sweep(storage: &dyn Storage, config: &RetentionConfig) -> Result<u64, StorageError> {
    let now = now();
    let before = |days: u32| (days > 0).then(|| now - TimeDelta::days(days.into()));
    let (ended, failed) = (before(config.days), before(config.failed_days));
    let mut deleted = 0;
    // A parent stays while it has child jobs, so it may take another round.
    while ended.is_some() || failed.is_some() {
        match sweep_once(storage, ended, failed).await? {
            0 => break,
            jobs => deleted += jobs,
        }
    }
    if config.jobs_per_plugin > 0 {
        deleted += delete_beyond(storage, config.jobs_per_plugin).await?;
    }
    if deleted > 0 {
        give_space_back(storage).await?;
    }
    Ok(deleted + shrink(storage, config).await?)
}

async fn delete_beyond(storage: &dyn Storage, most: u32) -> Result<u64, StorageError> {
    let mut deleted = 0;
    loop {
        match storage.delete_jobs_beyond(most).await? {
            0 => return Ok(deleted),
            jobs => deleted += jobs,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn sweep_once(
    storage: &dyn Storage,
    ended: Option<DateTime<Utc>>,
    failed: Option<DateTime<Utc>>,
) -> Result<u64, StorageError> {
    let mut after = (DateTime::<Utc>::UNIX_EPOCH, Uuid::nil());
    let mut deleted = 0;
    loop {
        let swept = storage.sweep_jobs(after, ended, failed).await?;
        deleted += swept.deleted;
        match swept.next {
            Some(next) => after = next,
            None => return Ok(deleted),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
