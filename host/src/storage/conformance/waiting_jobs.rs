//! Scenarios of jobs that wait for a worker.

use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use super::{Scratch, add, at, claim_at, complete, error, finish, new_job, status, stored, target};
use crate::model::{BatchOptions, JobStatus, NewJob, Target, test_connection};
use crate::storage::Outcome;

const BEGINNING: (DateTime<Utc>, Uuid) = (DateTime::UNIX_EPOCH, Uuid::nil());

async fn scheduled(storage: &Scratch, seconds: i64) -> Uuid {
    let job = NewJob {
        scheduled_for: Some(at(seconds)),
        ..new_job()
    };
    add(storage, job).await
}

async fn ready(storage: &Scratch, seconds: i64) -> Vec<Uuid> {
    let ready = storage.ready_jobs(BEGINNING, at(seconds), 100).await;
    ready.unwrap().iter().map(|job| job.id).collect()
}

pub(crate) async fn jobs_are_ready_in_the_order_of_their_times(storage: &mut Scratch) {
    let later = scheduled(storage, 30).await;
    let urgent = NewJob {
        priority: 7,
        created_at: at(10),
        ..new_job()
    };
    let now = add(storage, urgent).await;
    let much_later = scheduled(storage, 90).await;
    assert!(ready(storage, 9).await.is_empty());
    assert_eq!(ready(storage, 10).await, [now]);
    assert_eq!(ready(storage, 30).await, [now, later]);
    assert_eq!(ready(storage, 1_000).await, [now, later, much_later]);
    let first = &storage.ready_jobs(BEGINNING, at(10), 1).await.unwrap()[0];
    assert_eq!((first.priority, first.ready_at), (7, at(10)));
    let next = async |seconds| storage.next_ready_at(at(seconds)).await.unwrap();
    assert_eq!(next(0).await, Some(at(10)));
    assert_eq!(next(10).await, Some(at(30)));
    assert_eq!(next(89).await, Some(at(90)));
    assert_eq!(next(90).await, None);
}

pub(crate) async fn ready_jobs_are_paged_by_time_and_id(storage: &mut Scratch) {
    let mut added = Vec::new();
    for seconds in [0, 5, 5, 5, 9] {
        added.push((at(seconds), scheduled(storage, seconds).await));
    }
    added.sort();
    let (mut after, mut found) = (BEGINNING, Vec::new());
    loop {
        let page = storage.ready_jobs(after, at(10), 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = (last.ready_at, last.id);
        found.extend(page.iter().map(|job| (job.ready_at, job.id)));
    }
    assert_eq!(found, added);
}

pub(crate) async fn only_jobs_that_wait_are_ready(storage: &mut Scratch) {
    let held = NewJob {
        held: true,
        ..new_job()
    };
    let held = add(storage, held).await;
    let [pending, running, completed, cancelled, retrying] = {
        let mut ids = [Uuid::nil(); 5];
        for id in &mut ids {
            *id = add(storage, new_job()).await;
        }
        ids
    };
    claim_at(storage, running, at(1)).await;
    complete(storage, completed, at(1), at(2)).await;
    storage.cancel_job(cancelled, at(2)).await.unwrap();
    let claim = claim_at(storage, retrying, at(1)).await;
    let retry = Outcome::Retry(error("lost"), at(60));
    finish(storage, &claim, retry, at(2)).await;
    assert_eq!(ready(storage, 59).await, [pending]);
    assert_eq!(ready(storage, 60).await, [pending, retrying]);
    assert_eq!(storage.next_ready_at(at(2)).await.unwrap(), Some(at(60)));
    for id in [running, completed, cancelled, Uuid::now_v7()] {
        let waiting = storage.waiting_job(id).await.unwrap();
        assert!(waiting.is_none(), "{waiting:?}");
    }
    for id in [pending, retrying, held] {
        let waiting = storage.waiting_job(id).await.unwrap();
        assert_eq!(waiting.unwrap().job.id, id);
    }
}

pub(crate) async fn a_waiting_job_has_its_targets_and_ancestors(storage: &mut Scratch) {
    let router = test_connection("r1", "192.0.2.1", &[]);
    storage.add_connection(&router).await.unwrap();
    let top = add(storage, new_job()).await;
    let child = NewJob {
        plugin: "middle".to_owned(),
        parent_id: Some(top),
        ..new_job()
    };
    let child = add(storage, child).await;
    claim_at(storage, child, at(1)).await;
    let of_router = Target {
        connection_id: router.id,
        name: "r1".to_owned(),
    };
    let grandchild = NewJob {
        parent_id: Some(child),
        // The second connection does not exist.
        targets: vec![of_router, target("r2")],
        ..new_job()
    };
    let grandchild = add(storage, grandchild).await;

    let waiting = storage.waiting_job(grandchild).await.unwrap().unwrap();
    assert_eq!(waiting.job.id, grandchild);
    assert_eq!(waiting.job.targets.len(), 2);
    let [found] = &waiting.targets[..] else {
        panic!("{:?}", waiting.targets)
    };
    assert_eq!((found.id, &*found.host), (router.id, "192.0.2.1"));
    let parents = waiting.parents.iter();
    let parents: Vec<_> = parents
        .map(|parent| (parent.id, &*parent.plugin, parent.status))
        .collect();
    let expected = [
        (child, "middle", JobStatus::Running),
        (top, "p", JobStatus::Pending),
    ];
    assert_eq!(parents, expected);
}

pub(crate) async fn a_batch_is_not_an_ancestor_of_its_children(storage: &mut Scratch) {
    let batch = NewJob {
        batch: Some(BatchOptions::default()),
        targets: vec![target("r1")],
        held: true,
        ..new_job()
    };
    let child = Uuid::now_v7();
    storage.add_job(&batch, &[child], None).await.unwrap();
    let waiting = storage.waiting_job(child).await.unwrap().unwrap();
    assert_eq!(waiting.job.parent_id, Some(batch.id));
    assert!(waiting.parents.is_empty(), "{:?}", waiting.parents);
}

pub(crate) async fn a_due_job_is_skipped_with_a_reason(storage: &mut Scratch) {
    let reason = crate::model::JobError::new("skipped", "paused");
    let due = add(storage, new_job()).await;
    assert!(storage.skip_job(due, &reason, at(5)).await.unwrap());
    let job = stored(storage, due).await;
    assert_eq!(
        (job.status, job.completed_at),
        (JobStatus::Cancelled, Some(at(5)))
    );
    assert_eq!(job.error, Some(reason.clone()));
    assert!(!storage.skip_job(due, &reason, at(6)).await.unwrap());

    let later = scheduled(storage, 60).await;
    let held = NewJob {
        held: true,
        ..new_job()
    };
    let held = add(storage, held).await;
    let running = add(storage, new_job()).await;
    let claim = claim_at(storage, running, at(1)).await;
    for id in [later, held, running, Uuid::now_v7()] {
        assert!(!storage.skip_job(id, &reason, at(5)).await.unwrap());
    }
    assert_eq!(status(storage, later).await, JobStatus::Pending);
    finish(storage, &claim, Outcome::Completed(json!(1)), at(6)).await;
}
