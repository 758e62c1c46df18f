//! Scenarios of submitted jobs.

use futures::future::join_all;
use serde_json::json;
use uuid::Uuid;

use super::{
    Scratch, add, at, claim_at, complete, error, finish, new_job, result_of, running, status,
    stored, target,
};
use crate::model::{
    BatchOptions, Bound, ErrorCode, JobLog, JobStatus, LogLevel, Needs, NewJob, OnInterrupt, Share,
    test_connection,
};
use crate::storage::{AddOutcome, CancelOutcome, DeleteOutcome, Outcome};

pub(crate) async fn a_job_is_stored_with_all_its_fields(storage: &mut Scratch) {
    let first = add(storage, new_job()).await;
    let new = NewJob {
        params: json!({ "text": "é\u{1F600}", "number": 1.50, "none": null }),
        targets: vec![target("r1"), target("r2")],
        priority: -3,
        description: Some("described".to_owned()),
        parent_id: Some(first),
        depth: 1,
        scheduled_for: Some(at(60)),
        timeout_seconds: Some(90),
        max_retries: 7,
        on_interrupt: OnInterrupt::Retry,
        batch: Some(BatchOptions {
            canary: Some(Share::Count(1)),
            max_failures: Some(Share::Percent(10)),
            ..BatchOptions::default()
        }),
        held: true,
        rerun_of: Some(first),
        schedule: Some((Uuid::now_v7(), "0 0 * * *".to_owned())),
        bounds: vec![Bound {
            plugin: "parent".to_owned(),
            needs: Needs::default(),
        }],
        submitted_by: Some("anna".to_owned()),
        ..new_job()
    };
    add(storage, new.clone()).await;
    let job = stored(storage, new.id).await;
    assert_eq!(job.plugin, new.plugin);
    assert_eq!(job.params.to_string(), new.params.to_string());
    assert_eq!(job.targets, new.targets);
    assert_eq!(job.status, JobStatus::Pending);
    assert_eq!(job.priority, new.priority);
    assert_eq!(job.description, new.description);
    assert_eq!((job.parent_id, job.depth), (new.parent_id, new.depth));
    assert_eq!(job.created_at, new.created_at);
    assert_eq!(job.scheduled_for, new.scheduled_for);
    assert_eq!(Some(job.ready_at), new.scheduled_for);
    assert_eq!(job.timeout_seconds, new.timeout_seconds);
    assert_eq!(job.max_retries, new.max_retries);
    assert_eq!(job.on_interrupt, new.on_interrupt);
    assert_eq!(job.batch, new.batch);
    assert_eq!(job.held, new.held);
    assert_eq!(job.rerun_of, new.rerun_of);
    assert_eq!(job.submitted_by, new.submitted_by);
    assert_eq!(job.schedule_id.zip(job.cron_expression), new.schedule);
    assert_eq!(job.bounds, new.bounds);
    assert_eq!((job.attempt, job.retry_count), (0, 0));
    assert!(!job.cancel_requested && !job.dry_run);
    assert!(job.started_at.is_none() && job.completed_at.is_none());
    assert!(job.error.is_none() && job.result.is_none() && job.progress.is_none());
    assert_eq!(stored(storage, first).await.ready_at, at(0));
    assert!(storage.job(Uuid::now_v7()).await.unwrap().is_none());
    assert_eq!(storage.count_children(first).await.unwrap(), 1);
    assert_eq!(storage.count_children(new.id).await.unwrap(), 0);
}

pub(crate) async fn a_job_survives_a_restart(storage: &mut Scratch) {
    let new = NewJob {
        params: json!({ "text": "kept" }),
        ..new_job()
    };
    let id = add(storage, new.clone()).await;
    storage.reopen().await;
    let job = stored(storage, id).await;
    assert_eq!((job.status, job.params), (JobStatus::Pending, new.params));
}

fn with_key(key: &str, digest: &str) -> NewJob {
    NewJob {
        idempotency: Some((key.to_owned(), digest.to_owned())),
        ..new_job()
    }
}

pub(crate) async fn a_repeated_idempotency_key_returns_the_first_job(storage: &mut Scratch) {
    let first = add(storage, with_key("k", "d")).await;
    let repeated = with_key("k", "d");
    let outcome = storage.add_job(&repeated, &[], None).await.unwrap();
    match outcome {
        AddOutcome::Same(job) => assert_eq!(job.id, first),
        other => panic!("{other:?}"),
    }
    assert!(storage.job(repeated.id).await.unwrap().is_none());
    let (job, digest) = storage.job_with_key("k").await.unwrap().unwrap();
    assert_eq!((job.id, &*digest), (first, "d"));
    assert!(storage.job_with_key("other").await.unwrap().is_none());
}

pub(crate) async fn an_idempotency_key_with_another_request_is_rejected(storage: &mut Scratch) {
    add(storage, with_key("k", "d")).await;
    let other = with_key("k", "another digest");
    let outcome = storage.add_job(&other, &[], None).await.unwrap();
    assert!(matches!(outcome, AddOutcome::KeyReused), "{outcome:?}");
    assert!(storage.job(other.id).await.unwrap().is_none());
}

pub(crate) async fn of_simultaneous_requests_with_one_key_one_adds_a_job(storage: &mut Scratch) {
    let jobs: Vec<_> = (0..20).map(|_| with_key("k", "d")).collect();
    let added = join_all(jobs.iter().map(|job| storage.add_job(job, &[], None))).await;
    let (mut first, mut same) = (Vec::new(), Vec::new());
    for (job, outcome) in jobs.iter().zip(added) {
        match outcome.unwrap() {
            AddOutcome::Added => first.push(job.id),
            AddOutcome::Same(job) => same.push(job.id),
            AddOutcome::KeyReused => panic!("the request is the same"),
        }
    }
    let [first] = first[..] else {
        panic!("{first:?}")
    };
    assert_eq!(same, vec![first; jobs.len() - 1]);
}

pub(crate) async fn a_deleted_job_releases_its_idempotency_key(storage: &mut Scratch) {
    let first = add(storage, with_key("k", "d")).await;
    storage.delete_job(first).await.unwrap();
    assert!(storage.job_with_key("k").await.unwrap().is_none());
    add(storage, with_key("k", "another digest")).await;
}

pub(crate) async fn an_id_is_used_once(storage: &mut Scratch) {
    let job = new_job();
    add(storage, job.clone()).await;
    let again = NewJob {
        params: json!({ "second": true }),
        ..job.clone()
    };
    let neighbour = new_job();
    let (again, beside) = tokio::join!(
        storage.add_job(&again, &[], None),
        storage.add_job(&neighbour, &[], None)
    );
    assert!(again.is_err(), "{again:?}");
    assert!(matches!(beside.unwrap(), AddOutcome::Added));
    assert_eq!(stored(storage, job.id).await.params, json!({}));
}

pub(crate) async fn cancelling_a_pending_job_ends_it(storage: &mut Scratch) {
    let id = add(storage, new_job()).await;
    let outcome = storage.cancel_job(id, at(5)).await.unwrap();
    assert_eq!(outcome, CancelOutcome::Cancelled);
    let job = stored(storage, id).await;
    assert_eq!(job.status, JobStatus::Cancelled);
    assert_eq!(job.completed_at, Some(at(5)));
    assert!(job.cancel_requested);
    assert_eq!(job.error.unwrap().code.0, ErrorCode::CANCELLED);
    let claimed = storage.claim_job(id, "w", None, at(6)).await.unwrap();
    assert!(claimed.is_none());
}

pub(crate) async fn cancelling_a_retrying_job_ends_it(storage: &mut Scratch) {
    let claim = running(storage).await;
    let retry = Outcome::Retry(error("lost"), at(60));
    finish(storage, &claim, retry, at(2)).await;
    let outcome = storage.cancel_job(claim.job_id, at(5)).await.unwrap();
    assert_eq!(outcome, CancelOutcome::Cancelled);
    let job = stored(storage, claim.job_id).await;
    assert_eq!(job.status, JobStatus::Cancelled);
    assert_eq!(job.error.unwrap().code.0, ErrorCode::CANCELLED);
    let claimed = storage.claim_job(claim.job_id, "w", None, at(90)).await;
    assert!(claimed.unwrap().is_none());
}

pub(crate) async fn cancelling_a_running_job_requests_its_end(storage: &mut Scratch) {
    let claim = running(storage).await;
    let outcome = storage.cancel_job(claim.job_id, at(5)).await.unwrap();
    assert_eq!(outcome, CancelOutcome::Requested);
    let job = stored(storage, claim.job_id).await;
    assert_eq!(job.status, JobStatus::Running);
    assert!(job.cancel_requested && job.completed_at.is_none());
    let cancelled = Outcome::Cancelled(error("stopped"));
    finish(storage, &claim, cancelled, at(6)).await;
    assert_eq!(status(storage, claim.job_id).await, JobStatus::Cancelled);
}

pub(crate) async fn cancelling_an_ended_or_unknown_job_changes_nothing(storage: &mut Scratch) {
    let id = add(storage, new_job()).await;
    complete(storage, id, at(1), at(2)).await;
    let outcome = storage.cancel_job(id, at(5)).await.unwrap();
    assert_eq!(outcome, CancelOutcome::Finished);
    let job = stored(storage, id).await;
    assert_eq!(
        (job.status, job.completed_at),
        (JobStatus::Completed, Some(at(2)))
    );
    assert!(!job.cancel_requested);
    let unknown = storage.cancel_job(Uuid::now_v7(), at(5)).await.unwrap();
    assert_eq!(unknown, CancelOutcome::NotFound);
}

pub(crate) async fn deleting_a_job_removes_all_its_records(storage: &mut Scratch) {
    let claim = running(storage).await;
    let id = claim.job_id;
    storage
        .add_result(&claim, result_of(&claim, "show clock"))
        .await
        .unwrap();
    let line = JobLog::of(id, LogLevel::Info, "a line".to_owned());
    storage.add_logs(vec![line]).await.unwrap();
    let child = NewJob {
        parent_id: Some(id),
        ..new_job()
    };
    let child = add(storage, child).await;
    finish(storage, &claim, Outcome::Completed(json!(1)), at(2)).await;

    let deleted = storage.delete_job(id).await.unwrap();
    assert_eq!(deleted, DeleteOutcome::Deleted);
    assert!(storage.job(id).await.unwrap().is_none());
    assert!(
        storage.job(child).await.unwrap().is_none(),
        "with its child"
    );
    assert!(storage.results(id).await.unwrap().is_empty());
    assert!(storage.logs(id, 0, None, 10).await.unwrap().is_empty());
    assert!(storage.attempts(id).await.unwrap().is_empty());
    let again = storage.delete_job(id).await.unwrap();
    assert_eq!(again, DeleteOutcome::NotFound);
}

pub(crate) async fn a_running_job_is_not_deleted(storage: &mut Scratch) {
    let claim = running(storage).await;
    let outcome = storage.delete_job(claim.job_id).await.unwrap();
    assert_eq!(outcome, DeleteOutcome::Running);
    assert_eq!(status(storage, claim.job_id).await, JobStatus::Running);
}

pub(crate) async fn a_job_with_a_running_descendant_is_not_deleted(storage: &mut Scratch) {
    let top = add(storage, new_job()).await;
    let below = async |parent: Uuid| {
        let child = NewJob {
            parent_id: Some(parent),
            ..new_job()
        };
        add(storage, child).await
    };
    let child = below(top).await;
    let grandchild = below(child).await;
    let claim = claim_at(storage, grandchild, at(1)).await;
    for id in [top, child] {
        let outcome = storage.delete_job(id).await.unwrap();
        assert_eq!(outcome, DeleteOutcome::Running);
    }
    finish(storage, &claim, Outcome::Completed(json!(1)), at(2)).await;
    let outcome = storage.delete_job(top).await.unwrap();
    assert_eq!(outcome, DeleteOutcome::Deleted);
}

pub(crate) async fn changes_of_jobs_are_published(storage: &mut Scratch) {
    let id = add(storage, new_job()).await;
    let mut changes = storage.changes();
    let mut changed = async |what: &str| {
        let published = changes.try_recv();
        assert_eq!(published.ok(), Some(id), "{what}");
        while changes.try_recv().is_ok() {}
    };
    let claim = claim_at(storage, id, at(1)).await;
    changed("a claim").await;
    let result = result_of(&claim, "show clock");
    storage.add_result(&claim, result).await.unwrap();
    changed("a result").await;
    let line = JobLog::of(id, LogLevel::Info, "a line".to_owned());
    storage.add_logs(vec![line]).await.unwrap();
    changed("a log line").await;
    storage.cancel_job(id, at(2)).await.unwrap();
    changed("a cancellation").await;
    let end = Outcome::Cancelled(error("stopped"));
    finish(storage, &claim, end, at(3)).await;
    changed("an end").await;
    storage.delete_job(id).await.unwrap();
    changed("a deletion").await;
}

pub(crate) async fn an_inline_connection_is_added_with_its_job_or_not_at_all(
    storage: &mut Scratch,
) {
    let job = new_job();
    let mut inline = test_connection("inline", "192.0.2.1", &[]);
    inline.owner_job_id = Some(job.id);
    storage.add_job(&job, &[], Some(&inline)).await.unwrap();
    assert!(storage.connection(inline.id).await.unwrap().is_some());

    // The id of the connection is taken, so neither is added.
    let other = new_job();
    let rejected = storage.add_job(&other, &[], Some(&inline)).await;
    assert!(rejected.is_err(), "{rejected:?}");
    assert!(storage.job(other.id).await.unwrap().is_none());

    storage.delete_job(job.id).await.unwrap();
    let left = storage.connection(inline.id).await.unwrap();
    assert!(left.is_none(), "it is removed with its job");
}
