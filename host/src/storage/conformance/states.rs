//! A scenario of random events: whatever happens, in whatever order, a job makes no invalid transition.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;
use uuid::Uuid;

use super::{Scratch, add, at, new_job, stored};
use crate::model::{BatchOptions, JobError, JobStatus, NewJob, Share, Target};
use crate::storage::{Claim, Outcome};

/// Number of random sequences of events.
const CASES: usize = 24;

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
        Ending::Retry => Outcome::Retry(error, at(1)),
        Ending::RunAgain => Outcome::RunAgain(error),
    }
}

/// Adds a plain job, and a batch of three, one at a time, of which one may fail.
async fn start(storage: &Scratch) -> Vec<Uuid> {
    let ids: Vec<_> = (0..5).map(|_| Uuid::now_v7()).collect();
    let plain = NewJob {
        id: ids[0],
        ..new_job()
    };
    add(storage, plain).await;
    let target = |id: &Uuid| Target {
        connection_id: Uuid::now_v7(),
        name: id.to_string(),
    };
    let batch = NewJob {
        id: ids[1],
        held: true,
        targets: ids[2..].iter().map(target).collect(),
        batch: Some(BatchOptions {
            concurrency: Some(Share::Count(1)),
            max_failures: Some(Share::Count(1)),
            ..BatchOptions::default()
        }),
        ..new_job()
    };
    storage.add_job(&batch, &ids[2..], None).await.unwrap();
    ids
}

async fn happens(storage: &Scratch, ids: &[Uuid], event: &Event) {
    match event {
        Event::Claim(number) => {
            storage
                .claim_job(ids[*number], "w", None, at(1))
                .await
                .unwrap();
        }
        Event::Finish(number, ending, late) => {
            let job = stored(storage, ids[*number]).await;
            let claim = Claim {
                job_id: job.id,
                attempt: job.attempt.saturating_sub(*late),
                worker_id: "w".to_owned(),
            };
            let written = storage
                .finish_job(&claim, outcome(*ending), at(1))
                .await
                .unwrap();
            let holds = *late == 0 && job.status == JobStatus::Running && job.batch.is_none();
            assert_eq!(written, holds, "{job:?} {ending:?} {late}");
        }
        Event::Cancel(number) => {
            storage.cancel_job(ids[*number], at(1)).await.unwrap();
        }
        Event::AdvanceBatch => {
            storage.advance_batch(ids[1], at(1)).await.unwrap();
        }
    }
}

async fn statuses(storage: &Scratch, ids: &[Uuid]) -> HashMap<Uuid, (JobStatus, u32)> {
    let mut all = HashMap::new();
    for id in ids {
        let job = stored(storage, *id).await;
        assert_eq!(job.completed_at.is_some(), job.status.is_final(), "{job:?}");
        all.insert(*id, (job.status, job.attempt));
    }
    all
}

async fn play(storage: &Scratch, events: &[Event]) {
    let ids = start(storage).await;
    let mut before = statuses(storage, &ids).await;
    for event in events {
        happens(storage, &ids, event).await;
        let after = statuses(storage, &ids).await;
        for id in &ids {
            let ((old, attempt), (new, next)) = (before[id], after[id]);
            assert!(
                old == new || old.may_become(new),
                "{old} became {new} by {event:?} in {events:?}"
            );
            assert!(
                next >= attempt,
                "{event:?} lowered an attempt in {events:?}"
            );
        }
        let running = ids[2..]
            .iter()
            .filter(|id| after[id].0 == JobStatus::Running);
        assert!(running.count() <= 1, "one at a time: {events:?}");
        let children_ended = ids[2..].iter().all(|id| after[id].0.is_final());
        assert!(
            !after[&ids[1]].0.is_final() || children_ended,
            "a batch ends last: {events:?}"
        );
        before = after;
    }
    // All jobs reach their end.
    for _ in 0..40 {
        storage.advance_batch(ids[1], at(1)).await.unwrap();
        for number in [0, 2, 3, 4] {
            happens(storage, &ids, &Event::Claim(number)).await;
            happens(storage, &ids, &Event::Finish(number, Ending::Completed, 0)).await;
        }
    }
    storage.advance_batch(ids[1], at(1)).await.unwrap();
    let ended = statuses(storage, &ids).await;
    assert!(
        ended.values().all(|(status, _)| status.is_final()),
        "{ended:?} after {events:?}"
    );
}

pub(crate) async fn no_sequence_of_events_leads_to_an_invalid_transition(storage: &mut Scratch) {
    let events = proptest::collection::vec(event(), 1..24);
    let mut random = TestRunner::default();
    for _ in 0..CASES {
        let events = events.new_tree(&mut random).unwrap().current();
        play(storage, &events).await;
    }
}
