//! Scenarios of retention.

use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use super::{Scratch, add, at, claim_at, complete, fail, finish, new_job, target};
use crate::model::{BatchOptions, JobStatus, LoadedVersion, NewJob, PluginFiles, PluginKind};
use crate::storage::{Outcome, StorageUse};

/// Adds a job that completes or fails at this time.
async fn ended(storage: &Scratch, job: NewJob, seconds: i64, status: JobStatus) -> Uuid {
    let job = NewJob {
        created_at: at(seconds - 2),
        ..job
    };
    let id = add(storage, job).await;
    match status {
        JobStatus::Failed => fail(storage, id, at(seconds - 1), at(seconds)).await,
        _ => complete(storage, id, at(seconds - 1), at(seconds)).await,
    }
    id
}

async fn completed(storage: &Scratch, seconds: i64) -> Uuid {
    ended(storage, new_job(), seconds, JobStatus::Completed).await
}

/// Sweeps until nothing more is removed; returns how many jobs were.
async fn sweep(
    storage: &Scratch,
    before: Option<DateTime<Utc>>,
    failed_before: Option<DateTime<Utc>>,
) -> u64 {
    let mut total = 0;
    loop {
        let (mut after, mut deleted) = ((DateTime::UNIX_EPOCH, Uuid::nil()), 0);
        loop {
            let swept = storage.sweep_jobs(after, before, failed_before).await;
            let swept = swept.unwrap();
            deleted += swept.deleted;
            match swept.next {
                Some(next) => {
                    assert!(next > after, "the position advances");
                    after = next;
                }
                None => break,
            }
        }
        if deleted == 0 {
            return total;
        }
        total += deleted;
    }
}

async fn exist(storage: &Scratch, ids: &[Uuid]) -> Vec<bool> {
    let mut exist = Vec::new();
    for id in ids {
        exist.push(storage.job(*id).await.unwrap().is_some());
    }
    exist
}

pub(crate) async fn old_jobs_are_removed_and_others_kept(storage: &mut Scratch) {
    let old = completed(storage, 10).await;
    let old_failed = ended(storage, new_job(), 10, JobStatus::Failed).await;
    let failed = ended(storage, new_job(), 50, JobStatus::Failed).await;
    let young = completed(storage, 100).await;
    let waiting = add(storage, new_job()).await;
    let running = add(storage, new_job()).await;
    claim_at(storage, running, at(1)).await;
    let cancelled = add(storage, new_job()).await;
    storage.cancel_job(cancelled, at(10)).await.unwrap();
    let all = [old, old_failed, failed, young, waiting, running, cancelled];

    assert_eq!(sweep(storage, None, None).await, 0);
    assert_eq!(exist(storage, &all).await, [true; 7]);
    assert_eq!(sweep(storage, Some(at(100)), Some(at(20))).await, 3);
    let kept = [false, false, true, true, true, true, false];
    assert_eq!(exist(storage, &all).await, kept);
    assert_eq!(
        sweep(storage, None, Some(at(200))).await,
        1,
        "the failed one"
    );
    assert_eq!(
        sweep(storage, Some(at(200)), None).await,
        1,
        "the young one"
    );
    let kept = [false, false, false, false, true, true, false];
    assert_eq!(exist(storage, &all).await, kept);
}

pub(crate) async fn children_are_kept_as_long_as_their_parent(storage: &mut Scratch) {
    let batch = NewJob {
        batch: Some(BatchOptions::default()),
        targets: vec![target("r1"), target("r2")],
        held: true,
        ..new_job()
    };
    let children = [Uuid::now_v7(), Uuid::now_v7()];
    storage.add_job(&batch, &children, None).await.unwrap();
    storage.advance_batch(batch.id, at(1)).await.unwrap();
    complete(storage, children[0], at(2), at(3)).await;
    let all = [batch.id, children[0], children[1]];
    // The batch has not ended.
    assert_eq!(sweep(storage, Some(at(900)), Some(at(900))).await, 0);
    fail(storage, children[1], at(2), at(400)).await;
    storage.advance_batch(batch.id, at(500)).await.unwrap();
    // One child is old, and the failed batch decides by its own time and status.
    assert_eq!(sweep(storage, Some(at(900)), Some(at(450))).await, 0);
    assert_eq!(exist(storage, &all).await, [true; 3]);
    assert_eq!(sweep(storage, None, Some(at(501))).await, 3);
    assert_eq!(exist(storage, &all).await, [false; 3]);
}

pub(crate) async fn a_sweep_continues_from_its_position(storage: &mut Scratch) {
    let first = completed(storage, 10).await;
    let second = completed(storage, 20).await;
    let swept = storage
        .sweep_jobs((at(10), first), Some(at(90)), None)
        .await;
    let swept = swept.unwrap();
    assert_eq!((swept.deleted, swept.next), (1, Some((at(20), second))));
    assert_eq!(exist(storage, &[first, second]).await, [true, false]);
    let swept = storage
        .sweep_jobs((at(20), second), Some(at(90)), None)
        .await;
    let swept = swept.unwrap();
    assert_eq!((swept.deleted, swept.next), (0, None));
}

pub(crate) async fn the_newest_jobs_of_each_plugin_are_kept(storage: &mut Scratch) {
    let mut ids = Vec::new();
    for (plugin, seconds) in [("a", 10), ("b", 20), ("a", 30), ("a", 40), ("a", 50)] {
        let job = NewJob {
            plugin: plugin.to_owned(),
            ..new_job()
        };
        ids.push(ended(storage, job, seconds, JobStatus::Completed).await);
    }
    let waiting = NewJob {
        plugin: "a".to_owned(),
        ..new_job()
    };
    ids.push(add(storage, waiting).await);
    assert_eq!(storage.delete_jobs_beyond(4).await.unwrap(), 0);
    assert_eq!(storage.delete_jobs_beyond(2).await.unwrap(), 2);
    let kept = [false, true, false, true, true, true];
    assert_eq!(exist(storage, &ids).await, kept);
}

pub(crate) async fn the_oldest_jobs_are_removed_first(storage: &mut Scratch) {
    let mut ids = Vec::new();
    for seconds in [30, 10, 40, 20] {
        ids.push(completed(storage, seconds).await);
    }
    let child = NewJob {
        parent_id: Some(ids[1]),
        ..new_job()
    };
    ids.push(ended(storage, child, 90, JobStatus::Completed).await);
    ids.push(add(storage, new_job()).await);
    assert_eq!(
        storage.delete_oldest_jobs(2).await.unwrap(),
        3,
        "with the child"
    );
    let kept = [true, false, true, false, false, true];
    assert_eq!(exist(storage, &ids).await, kept);
    assert_eq!(storage.delete_oldest_jobs(9).await.unwrap(), 2);
    assert_eq!(storage.delete_oldest_jobs(9).await.unwrap(), 0);
    assert!(storage.job(ids[5]).await.unwrap().is_some(), "it waits");
}

pub(crate) async fn a_job_with_an_unfinished_child_is_kept(storage: &mut Scratch) {
    let parent = completed(storage, 10).await;
    let child = NewJob {
        parent_id: Some(parent),
        ..new_job()
    };
    let child = add(storage, child).await;
    assert_eq!(sweep(storage, Some(at(900)), None).await, 0);
    assert_eq!(storage.delete_oldest_jobs(9).await.unwrap(), 0);
    assert_eq!(storage.delete_jobs_beyond(0).await.unwrap(), 0);
    assert_eq!(exist(storage, &[parent, child]).await, [true, true]);
    complete(storage, child, at(20), at(21)).await;
    assert_eq!(storage.delete_oldest_jobs(9).await.unwrap(), 2);
}

pub(crate) async fn removed_jobs_free_space(storage: &mut Scratch) {
    let content = async || {
        let size = storage.size().await.unwrap();
        assert!(size.bytes >= size.free);
        size.bytes - size.free
    };
    let before = content().await;
    for seconds in [10, 20, 30] {
        let id = add(storage, new_job()).await;
        let claim = claim_at(storage, id, at(seconds)).await;
        let large = json!("x".repeat(1_000_000));
        finish(storage, &claim, Outcome::Completed(large), at(seconds)).await;
    }
    let full = content().await;
    assert!(full > before + 2_500_000, "{before} {full}");
    assert_eq!(storage.delete_oldest_jobs(9).await.unwrap(), 3);
    while storage.vacuum().await.unwrap() {}
    let after = storage.size().await.unwrap();
    assert!(after.bytes < before + 500_000, "{before} {after:?}");
}

pub(crate) async fn the_size_of_plugins_counts_values_and_files(storage: &mut Scratch) {
    assert_eq!(storage.size_of_plugins().await.unwrap(), 0);
    let limit = StorageUse {
        keys: 10,
        bytes: 1_000,
    };
    let value = json!("123");
    let set = storage.set_plugin_value("p", "é", &value, limit, at(1));
    set.await.unwrap().unwrap();
    assert_eq!(storage.size_of_plugins().await.unwrap(), 7);
    let version = LoadedVersion {
        plugin: "p".to_owned(),
        digest: "digest".to_owned(),
        kind: PluginKind::Rhai,
        files: PluginFiles {
            name: "p.rhai".to_owned(),
            main: vec![0; 100],
            modules: [("lib".to_owned(), vec![0; 20])].into(),
        },
    };
    storage.keep_versions(vec![version], at(1)).await.unwrap();
    assert_eq!(storage.size_of_plugins().await.unwrap(), 127);
    storage.delete_plugin_value("p", "é").await.unwrap();
    assert_eq!(storage.size_of_plugins().await.unwrap(), 120);
}
