//! Scenarios of batches.

use serde_json::json;
use uuid::Uuid;

use super::{
    Scratch, at, claim_at, complete, error, fail, finish, new_job, status, stored, target,
};
use crate::model::{BatchCounts, BatchOptions, ErrorCode, JobFilter, JobStatus, NewJob, Share};
use crate::storage::{CancelOutcome, Outcome};

/// Adds a batch with new targets. Returns its id and the ids of its children.
async fn add_batch(storage: &Scratch, options: BatchOptions, targets: usize) -> (Uuid, Vec<Uuid>) {
    let names = (0..targets).map(|number| format!("r{number}"));
    let batch = NewJob {
        batch: Some(options),
        targets: names.map(|name| target(&name)).collect(),
        held: true,
        ..new_job()
    };
    let children: Vec<_> = (0..targets).map(|_| Uuid::now_v7()).collect();
    storage.add_job(&batch, &children, None).await.unwrap();
    (batch.id, children)
}

fn one_at_a_time() -> BatchOptions {
    BatchOptions {
        concurrency: Some(Share::Count(1)),
        ..BatchOptions::default()
    }
}

/// Advances a batch; returns the child jobs that it starts.
async fn advance(storage: &Scratch, id: Uuid, seconds: i64) -> Vec<Uuid> {
    let advanced = storage.advance_batch(id, at(seconds)).await.unwrap();
    advanced.started.iter().map(|job| job.id).collect()
}

pub(crate) async fn a_batch_is_added_with_its_children(storage: &mut Scratch) {
    let names = ["r1", "r2", "r3"];
    let batch = NewJob {
        batch: Some(one_at_a_time()),
        targets: names.iter().map(|name| target(name)).collect(),
        params: json!({ "a": 1 }),
        priority: 5,
        held: true,
        max_retries: 2,
        ..new_job()
    };
    let children: Vec<_> = names.iter().map(|_| Uuid::now_v7()).collect();
    storage.add_job(&batch, &children, None).await.unwrap();
    for (id, target) in children.iter().zip(&batch.targets) {
        let child = stored(storage, *id).await;
        assert_eq!(child.parent_id, Some(batch.id));
        assert_eq!(child.targets, std::slice::from_ref(target));
        assert_eq!((child.status, child.held), (JobStatus::Pending, true));
        assert_eq!(child.params, batch.params);
        assert_eq!((child.priority, child.max_retries), (5, 2));
        assert_eq!((child.batch, child.depth), (None, 1));
    }
    assert_eq!(storage.count_children(batch.id).await.unwrap(), 3);
    let of_r2 = JobFilter {
        target: Some("r2".to_owned()),
        parent: Some(batch.id),
        limit: 10,
        ..JobFilter::default()
    };
    let listed = storage.jobs(&of_r2).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].job.id, children[1]);
    // One of its children exists already, so nothing is added.
    let other = NewJob {
        id: Uuid::now_v7(),
        ..batch
    };
    let ids = [Uuid::now_v7(), children[1], Uuid::now_v7()];
    let rejected = storage.add_job(&other, &ids, None).await;
    assert!(rejected.is_err(), "{rejected:?}");
    for id in [other.id, ids[0], ids[2]] {
        assert!(storage.job(id).await.unwrap().is_none());
    }
}

pub(crate) async fn a_batch_starts_its_children_in_the_order_of_their_targets(
    storage: &mut Scratch,
) {
    let (id, children) = add_batch(storage, BatchOptions::default(), 5).await;
    for child in &children {
        let early = storage.claim_job(*child, "w", None, at(1)).await.unwrap();
        assert!(early.is_none(), "it is held");
    }
    assert_eq!(storage.unfinished_batches().await.unwrap(), [id]);
    let advanced = storage.advance_batch(id, at(2)).await.unwrap();
    let started: Vec<_> = advanced.started.iter().map(|job| job.id).collect();
    assert_eq!(started, children);
    assert!(advanced.started.iter().all(|job| job.ready_at == at(2)));
    assert!(advanced.ended.is_none() && advanced.stopped.is_none());
    assert!(advance(storage, id, 3).await.is_empty());
}

pub(crate) async fn a_batch_with_a_limit_starts_as_many_children_as_may_run(storage: &mut Scratch) {
    let options = BatchOptions {
        concurrency: Some(Share::Count(2)),
        ..BatchOptions::default()
    };
    let (id, children) = add_batch(storage, options, 4).await;
    assert_eq!(advance(storage, id, 1).await, children[..2]);
    let first = claim_at(storage, children[0], at(2)).await;
    assert_eq!(storage.running_children(id).await.unwrap(), [children[0]]);
    assert!(advance(storage, id, 3).await.is_empty());
    finish(storage, &first, Outcome::Completed(json!(1)), at(4)).await;
    assert_eq!(advance(storage, id, 5).await, children[2..3]);
    // A child that waits for its next attempt counts as started.
    let second = claim_at(storage, children[1], at(6)).await;
    let retry = Outcome::Retry(error("lost"), at(60));
    finish(storage, &second, retry, at(7)).await;
    assert!(advance(storage, id, 8).await.is_empty());
}

pub(crate) async fn a_batch_stops_after_failures(storage: &mut Scratch) {
    let options = BatchOptions {
        max_failures: Some(Share::Count(1)),
        ..one_at_a_time()
    };
    let (id, children) = add_batch(storage, options, 5).await;
    for child in &children[..2] {
        assert_eq!(advance(storage, id, 1).await, [*child]);
        fail(storage, *child, at(2), at(3)).await;
    }
    let advanced = storage.advance_batch(id, at(4)).await.unwrap();
    assert!(advanced.started.is_empty());
    assert!(advanced.stopped.is_some());
    let (ended, counts) = advanced.ended.unwrap();
    assert_eq!(ended, JobStatus::Failed);
    let expected = BatchCounts {
        total: 5,
        failed: 2,
        not_started: 3,
        ..BatchCounts::default()
    };
    assert_eq!(counts, expected);
    for child in &children[2..] {
        let child = stored(storage, *child).await;
        assert_eq!(child.status, JobStatus::Cancelled);
        assert_eq!(child.error.unwrap().code.0, ErrorCode::NOT_STARTED);
        assert_eq!(child.completed_at, Some(at(4)));
    }
    let batch = stored(storage, id).await;
    assert_eq!(batch.error.unwrap().code.0, ErrorCode::BATCH);
    let result = json!({ "failed": ["r0", "r1"], "not_started": ["r2", "r3", "r4"] });
    assert_eq!(batch.result, Some(result));
}

pub(crate) async fn a_batch_runs_with_its_first_child_and_ends_with_its_last(
    storage: &mut Scratch,
) {
    let (id, children) = add_batch(storage, BatchOptions::default(), 2).await;
    advance(storage, id, 1).await;
    assert_eq!(status(storage, id).await, JobStatus::Pending);
    let claim = claim_at(storage, children[0], at(2)).await;
    let batch = stored(storage, id).await;
    assert_eq!(
        (batch.status, batch.started_at),
        (JobStatus::Running, Some(at(2)))
    );
    assert!(
        storage
            .running_jobs()
            .await
            .unwrap()
            .iter()
            .all(|job| job.id != id)
    );
    let second = claim_at(storage, children[1], at(3)).await;
    assert_eq!(stored(storage, id).await.started_at, Some(at(2)));
    finish(storage, &claim, Outcome::Completed(json!(1)), at(4)).await;
    let advanced = storage.advance_batch(id, at(5)).await.unwrap();
    assert!(advanced.ended.is_none());
    finish(storage, &second, Outcome::Completed(json!(1)), at(6)).await;
    let advanced = storage.advance_batch(id, at(7)).await.unwrap();
    assert_eq!(advanced.ended.unwrap().0, JobStatus::Completed);
    let batch = stored(storage, id).await;
    assert_eq!(
        (batch.status, batch.completed_at),
        (JobStatus::Completed, Some(at(7)))
    );
    assert_eq!(batch.error, None);
    assert_eq!(batch.result, Some(json!({ "completed": ["r0", "r1"] })));
    assert!(storage.unfinished_batches().await.unwrap().is_empty());
    let claimed = storage.claim_job(id, "w", None, at(8)).await.unwrap();
    assert!(claimed.is_none(), "a batch is not run itself");
}

pub(crate) async fn a_cancelled_batch_ends_with_its_running_children(storage: &mut Scratch) {
    let options = BatchOptions {
        concurrency: Some(Share::Count(3)),
        ..BatchOptions::default()
    };
    let (id, children) = add_batch(storage, options, 5).await;
    advance(storage, id, 1).await;
    complete(storage, children[0], at(2), at(3)).await;
    let running = claim_at(storage, children[1], at(2)).await;
    let outcome = storage.cancel_job(id, at(4)).await.unwrap();
    assert_eq!(outcome, CancelOutcome::Requested);
    assert!(stored(storage, children[1]).await.cancel_requested);
    assert_eq!(status(storage, children[1]).await, JobStatus::Running);
    let waiting = stored(storage, children[2]).await;
    assert_eq!(waiting.status, JobStatus::Cancelled);
    assert_eq!(waiting.error.unwrap().code.0, ErrorCode::CANCELLED);
    let advanced = storage.advance_batch(id, at(5)).await.unwrap();
    assert!(advanced.started.is_empty() && advanced.ended.is_none());
    finish(
        storage,
        &running,
        Outcome::Cancelled(error("stopped")),
        at(6),
    )
    .await;
    let advanced = storage.advance_batch(id, at(7)).await.unwrap();
    let (ended, counts) = advanced.ended.unwrap();
    assert_eq!(ended, JobStatus::Cancelled);
    let expected = BatchCounts {
        total: 5,
        completed: 1,
        cancelled: 2,
        not_started: 2,
        ..BatchCounts::default()
    };
    assert_eq!(counts, expected);
    let batch = stored(storage, id).await;
    assert_eq!(batch.error.unwrap().code.0, ErrorCode::CANCELLED);
    let again = storage.cancel_job(id, at(8)).await.unwrap();
    assert_eq!(again, CancelOutcome::Finished);
}

pub(crate) async fn advancing_an_ended_batch_changes_nothing(storage: &mut Scratch) {
    let (id, children) = add_batch(storage, BatchOptions::default(), 1).await;
    advance(storage, id, 1).await;
    complete(storage, children[0], at(2), at(3)).await;
    storage.advance_batch(id, at(4)).await.unwrap();
    let plain = super::add(storage, new_job()).await;
    for job in [id, plain, Uuid::now_v7()] {
        let advanced = storage.advance_batch(job, at(9)).await.unwrap();
        assert!(advanced.started.is_empty() && advanced.ended.is_none());
    }
    assert_eq!(stored(storage, id).await.completed_at, Some(at(4)));
    assert_eq!(status(storage, plain).await, JobStatus::Pending);
}

pub(crate) async fn a_child_starts_at_its_scheduled_time(storage: &mut Scratch) {
    let batch = NewJob {
        batch: Some(BatchOptions::default()),
        targets: vec![target("r1")],
        held: true,
        scheduled_for: Some(at(60)),
        ..new_job()
    };
    let child = Uuid::now_v7();
    storage.add_job(&batch, &[child], None).await.unwrap();
    let advanced = storage.advance_batch(batch.id, at(1)).await.unwrap();
    assert_eq!(advanced.started[0].ready_at, at(60));
    let early = storage.claim_job(child, "w", None, at(59)).await.unwrap();
    assert!(early.is_none());
    claim_at(storage, child, at(60)).await;
}

pub(crate) async fn batches_are_counted_by_state(storage: &mut Scratch) {
    let options = BatchOptions {
        concurrency: Some(Share::Count(4)),
        ..BatchOptions::default()
    };
    let (first, children) = add_batch(storage, options, 6).await;
    let (second, _) = add_batch(storage, BatchOptions::default(), 2).await;
    advance(storage, first, 1).await;
    complete(storage, children[0], at(2), at(3)).await;
    fail(storage, children[1], at(2), at(3)).await;
    claim_at(storage, children[2], at(2)).await;
    let counts = storage.batch_counts(&[first, second]).await.unwrap();
    let expected = BatchCounts {
        total: 6,
        held: 2,
        waiting: 1,
        running: 1,
        completed: 1,
        failed: 1,
        ..BatchCounts::default()
    };
    assert_eq!(counts[&first], expected);
    assert_eq!((counts[&second].total, counts[&second].held), (2, 2));
    let one = storage.batch_counts(&[second]).await.unwrap();
    assert_eq!(one.len(), 1);
}
