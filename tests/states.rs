//! Tests that a job never makes an invalid transition, for random events in any order.

use std::collections::HashMap;
use std::time::Duration;

use host::model::{BatchOptions, JobError, JobStatus, NewJob, Share, Target, now};
use host::storage::sqlite::SqliteStorage;
use host::storage::{Claim, Outcome, Storage};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use crate::harness::new_job;

/// An event; jobs by number: 0 is a plain job, 1 a batch, 2 to 4 its child jobs.
#[derive(Clone, Debug)]
enum Event {
    Claim(usize),
    /// By the current attempt, or by an earlier one.
    Finish(usize, Ending, u32),
    Cancel(usize),
    AdvanceBatch,
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Completed,
    Failed,
    Cancelled,
    Retry,
    RunAgain,
}

fn event() -> impl Strategy<Value = Event> {
    let ending = prop_oneof![
        Just(Ending::Completed),
        Just(Ending::Failed),
        Just(Ending::Cancelled),
        Just(Ending::Retry),
        Just(Ending::RunAgain),
    ];
    prop_oneof![
        4 => (0..5_usize).prop_map(Event::Claim),
        4 => (0..5_usize, ending, 0..2_u32).prop_map(|(job, ending, late)| Event::Finish(job, ending, late)),
        1 => (0..5_usize).prop_map(Event::Cancel),
        2 => Just(Event::AdvanceBatch),
    ]
}

fn outcome(ending: Ending) -> Outcome {
    let error = JobError::new("timeout", "it was late");
    match ending {
        Ending::Completed => Outcome::Completed(json!(1)),
        Ending::Failed => Outcome::Failed(error),
        Ending::Cancelled => Outcome::Cancelled(error),
        Ending::Retry => Outcome::Retry(error, now()),
        Ending::RunAgain => Outcome::RunAgain(error),
    }
}

/// Adds a plain job, and a batch of three, one at a time, of which one may fail.
async fn start(storage: &SqliteStorage) -> Vec<Uuid> {
    let ids: Vec<_> = (0..5).map(|_| Uuid::now_v7()).collect();
    storage.add_job(&new_job(ids[0]), &[], None).await.unwrap();
    let target = |id: &Uuid| Target {
        connection_id: Uuid::now_v7(),
        name: id.to_string(),
    };
    let batch = NewJob {
        held: true,
        targets: ids[2..].iter().map(target).collect(),
        batch: Some(BatchOptions {
            concurrency: Some(Share::Count(1)),
            max_failures: Some(Share::Count(1)),
            ..BatchOptions::default()
        }),
        ..new_job(ids[1])
    };
    storage.add_job(&batch, &ids[2..], None).await.unwrap();
    ids
}

async fn happens(storage: &SqliteStorage, ids: &[Uuid], event: &Event) {
    match event {
        Event::Claim(number) => {
            storage
                .claim_job(ids[*number], "w", None, now())
                .await
                .unwrap();
        }
        Event::Finish(number, ending, late) => {
            let job = storage.job(ids[*number]).await.unwrap().unwrap();
            let claim = Claim {
                job_id: job.id,
                attempt: job.attempt.saturating_sub(*late),
                worker_id: "w".to_owned(),
            };
            let written = storage
                .finish_job(&claim, outcome(*ending), now())
                .await
                .unwrap();
            let holds = *late == 0 && job.status == JobStatus::Running && job.batch.is_none();
            assert_eq!(written, holds, "{job:?} {ending:?} {late}");
        }
        Event::Cancel(number) => {
            storage.cancel_job(ids[*number], now()).await.unwrap();
        }
        Event::AdvanceBatch => {
            storage.advance_batch(ids[1], now()).await.unwrap();
        }
    }
}

async fn statuses(storage: &SqliteStorage, ids: &[Uuid]) -> HashMap<Uuid, (JobStatus, u32)> {
    let mut all = HashMap::new();
    for id in ids {
        let job = storage.job(*id).await.unwrap().unwrap();
        assert_eq!(job.completed_at.is_some(), job.status.is_final(), "{job:?}");
        all.insert(*id, (job.status, job.attempt));
    }
    all
}

async fn play(events: Vec<Event>) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().join("jobs.db").display());
    let storage = SqliteStorage::open(&url, 1, Duration::ZERO).await.unwrap();
    let ids = start(&storage).await;
    let mut before = statuses(&storage, &ids).await;
    for event in &events {
        happens(&storage, &ids, event).await;
        let after = statuses(&storage, &ids).await;
        for id in &ids {
            let ((old, attempt), (new, next)) = (before[id], after[id]);
            assert!(
                old == new || old.may_become(new),
                "{old} became {new} by {event:?}"
            );
            assert!(next >= attempt, "an attempt went back by {event:?}");
        }
        let running = ids[2..]
            .iter()
            .filter(|id| after[id].0 == JobStatus::Running);
        assert!(running.count() <= 1, "one at a time: {event:?}");
        let children_ended = ids[2..].iter().all(|id| after[id].0.is_final());
        assert!(
            !after[&ids[1]].0.is_final() || children_ended,
            "a batch ends last"
        );
        before = after;
    }
    // All jobs reach their end.
    for _ in 0..40 {
        storage.advance_batch(ids[1], now()).await.unwrap();
        for number in [0, 2, 3, 4] {
            happens(&storage, &ids, &Event::Claim(number)).await;
            happens(&storage, &ids, &Event::Finish(number, Ending::Completed, 0)).await;
        }
    }
    storage.advance_batch(ids[1], now()).await.unwrap();
    let ended = statuses(&storage, &ids).await;
    assert!(
        ended.values().all(|(status, _)| status.is_final()),
        "{ended:?}"
    );
    storage.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_sequence_of_events_leads_to_an_illegal_transition(events in proptest::collection::vec(event(), 1..24)) {
        crate::harness::run(play(events));
    }
}
