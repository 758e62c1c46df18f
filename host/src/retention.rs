//! Retention: removes old jobs with their results and logs, in small steps that do not block other
//! writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::config::RetentionConfig;
use crate::connections::MAX_DEVICES;
use crate::model::now;
use crate::storage::{DeviceLoginStore, RetentionStore, Size, StorageError};

/// Interval between sweeps.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3_600);
/// Pause between two steps, for other users of the database.
const PAUSE: Duration = Duration::from_millis(20);
/// Interval at which the size of the database is compared with its limit.
const MEASURE_INTERVAL: Duration = Duration::from_secs(60);
/// Percentage of the size limit to shrink to, so that the limit is not reached again at once.
const KEEP_PERCENT: u64 = 90;
/// Maximum number of jobs removed at once to shrink the database.
const MAX_STEP: u32 = 32;
/// Maximum number of vacuum steps; the next sweep continues.
const VACUUMS: u32 = 1_000;

/// Removes old jobs for as long as it is polled: at the start, then every hour.
pub async fn run(
    storage: Arc<dyn RetentionStore>,
    logins: Arc<dyn DeviceLoginStore>,
    config: RetentionConfig,
) {
    loop {
        match sweep(&*storage, &config).await {
            Ok(0) => {}
            Ok(jobs) => tracing::info!(jobs, "removed old jobs"),
            Err(error) => tracing::error!(%error, "failed to remove old jobs"),
        }
        if let Err(error) = logins.sweep_device_logins(now(), MAX_DEVICES).await {
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

/// Removes the oldest ended jobs while what jobs left in the database exceeds `retention.max_mb`;
/// returns how many. The storage of plugins does not count, because no removed job would free it.
///
/// # Errors
/// If the database is unavailable.
async fn shrink(
    storage: &dyn RetentionStore,
    config: &RetentionConfig,
) -> Result<u64, StorageError> {
    let most = config.max_mb << 20;
    let size = storage.size().await?;
    if most == 0 || size.bytes.saturating_sub(size.free) <= most {
        return Ok(0);
    }
    let of_plugins = storage.size_of_plugins().await?;
    let of_jobs = |size: Size| {
        let content = size.bytes.saturating_sub(size.free);
        content.saturating_sub(of_plugins)
    };
    let content = of_jobs(size);
    if content <= most {
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
        let now = of_jobs(storage.size().await?);
        // Removes several jobs at once only while each is small compared with the excess.
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

async fn give_space_back(storage: &dyn RetentionStore) -> Result<(), StorageError> {
    for _ in 0..VACUUMS {
        if !storage.vacuum().await? {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Removes all jobs beyond the configured age and number once; returns how many.
///
/// # Errors
/// If the database is unavailable.
pub async fn sweep(
    storage: &dyn RetentionStore,
    config: &RetentionConfig,
) -> Result<u64, StorageError> {
    let now = now();
    let before = |days: u32| (days > 0).then(|| now - TimeDelta::days(days.into()));
    let (ended, failed) = (before(config.days), before(config.failed_days));
    let mut deleted = 0;
    // A parent is kept while it has child jobs, so several rounds may be needed.
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

async fn delete_beyond(storage: &dyn RetentionStore, most: u32) -> Result<u64, StorageError> {
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
    storage: &dyn RetentionStore,
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
