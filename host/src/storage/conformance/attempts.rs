//! Scenarios of attempts: claims, the fence, and the ends of attempts.

use futures::future::join_all;
use serde_json::json;
use uuid::Uuid;

use super::{
    Scratch, add, at, claim_at, complete, error, finish, new_job, result_of, running, status,
    stored,
};
use crate::model::{CommandKind, ErrorCode, InFlight, JobStatus, NewJob, OnInterrupt, Progress};
use crate::storage::{Claim, Outcome, Runs};

fn progress(done: u64) -> Progress {
    Progress {
        done,
        total: Some(10),
        message: Some("halfway".to_owned()),
    }
}

fn intent() -> InFlight {
    InFlight {
        id: Uuid::now_v7(),
        target: "device".to_owned(),
        kind: CommandKind::Configure,
        command: "reload".to_owned(),
        began_at: at(2),
    }
}

/// Tests that no write of a claim is accepted, and that the attempt and the job are unchanged.
async fn writes_nothing(storage: &Scratch, claim: &Claim) {
    let before = stored(storage, claim.job_id).await;
    let attempts = storage.attempts(claim.job_id).await.unwrap();
    let results = storage.results(claim.job_id).await.unwrap().len();
    let result = storage.add_result(claim, result_of(claim, "late")).await;
    assert!(result.is_err(), "a result");
    let sent = storage.begin_command(claim, &intent()).await;
    assert!(sent.is_err(), "a write intent");
    let set = storage.set_progress(claim, &progress(9)).await;
    assert!(set.is_err(), "progress");
    let outcomes = [
        Outcome::Completed(json!("late")),
        Outcome::Failed(error("late")),
        Outcome::Cancelled(error("late")),
        Outcome::Retry(error("late"), at(90)),
        Outcome::RunAgain(error("late")),
    ];
    for outcome in outcomes {
        let ended = storage.finish_job(claim, outcome.clone(), at(9)).await;
        assert!(!ended.unwrap(), "{outcome:?}");
    }
    let after = stored(storage, claim.job_id).await;
    assert_eq!(after.status, before.status);
    assert_eq!(after.attempt, before.attempt);
    assert_eq!(after.worker_id, before.worker_id);
    assert_eq!(after.result, before.result);
    assert_eq!(after.error, before.error);
    assert_eq!(after.progress, before.progress);
    assert_eq!(after.ready_at, before.ready_at);
    assert_eq!(after.retry_count, before.retry_count);
    let stored = storage.results(claim.job_id).await.unwrap();
    assert_eq!(stored.len(), results);
    let intents = storage.commands_in_flight(claim.job_id).await.unwrap();
    assert!(intents.is_empty(), "{intents:?}");
    let now = storage.attempts(claim.job_id).await.unwrap();
    let ends = |all: &[crate::model::Attempt]| {
        let ends = all.iter().map(|attempt| (attempt.status, attempt.ended_at));
        ends.collect::<Vec<_>>()
    };
    assert_eq!(ends(&now), ends(&attempts));
}

pub(crate) async fn a_job_is_claimed_once(storage: &mut Scratch) {
    let id = add(storage, new_job()).await;
    let job = storage.claim_job(id, "w", None, at(1)).await.unwrap();
    let job = job.unwrap();
    assert_eq!((job.id, job.status), (id, JobStatus::Running));
    assert_eq!((job.attempt, job.started_at), (1, Some(at(1))));
    assert_eq!(job.worker_id.as_deref(), Some("w"));
    for worker in ["w", "another"] {
        let again = storage.claim_job(id, worker, None, at(2)).await.unwrap();
        assert!(again.is_none(), "{again:?}");
    }
    assert_eq!(stored(storage, id).await.worker_id.as_deref(), Some("w"));
    assert_eq!(storage.attempts(id).await.unwrap().len(), 1);
    let unknown = storage.claim_job(Uuid::now_v7(), "w", None, at(1)).await;
    assert!(unknown.unwrap().is_none());
}

pub(crate) async fn of_simultaneous_claims_one_succeeds(storage: &mut Scratch) {
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(add(storage, new_job()).await);
    }
    let workers = ["a", "b", "c"];
    let claims = ids
        .iter()
        .flat_map(|id| workers.map(|worker| (*id, worker)));
    let claims: Vec<_> = claims.collect();
    let claimed = claims
        .iter()
        .map(|(id, worker)| storage.claim_job(*id, worker, None, at(1)));
    let claimed = join_all(claimed).await;
    let mut winners = Vec::new();
    for ((id, worker), job) in claims.iter().zip(claimed) {
        if let Some(job) = job.unwrap() {
            assert_eq!(job.id, *id, "the job of another claim");
            assert_eq!(job.worker_id.as_deref(), Some(*worker));
            winners.push(*id);
        }
    }
    assert_eq!(winners, ids);
    for id in ids {
        assert_eq!(stored(storage, id).await.attempt, 1);
    }
}

pub(crate) async fn a_job_that_is_not_due_or_held_is_not_claimed(storage: &mut Scratch) {
    let later = NewJob {
        scheduled_for: Some(at(60)),
        ..new_job()
    };
    let later = add(storage, later).await;
    let held = NewJob {
        held: true,
        ..new_job()
    };
    let held = add(storage, held).await;
    for id in [later, held] {
        let claimed = storage.claim_job(id, "w", None, at(59)).await.unwrap();
        assert!(claimed.is_none(), "{claimed:?}");
    }
    claim_at(storage, later, at(60)).await;
}

pub(crate) async fn a_claim_records_the_version_of_the_plugin(storage: &mut Scratch) {
    let id = add(storage, new_job()).await;
    let runs = Runs {
        digest: "first".to_owned(),
        on_interrupt: OnInterrupt::Retry,
    };
    let job = storage.claim_job(id, "w", Some(&runs), at(1)).await;
    let job = job.unwrap().unwrap();
    assert_eq!(job.plugin_digest.as_deref(), Some("first"));
    assert_eq!(job.on_interrupt, OnInterrupt::Retry);
    let claim = Claim {
        job_id: id,
        attempt: 1,
        worker_id: "w".to_owned(),
    };
    finish(storage, &claim, Outcome::RunAgain(error("crash")), at(2)).await;
    // Without a version, the attempt has the one that the job began with.
    let job = storage.claim_job(id, "w", None, at(3)).await;
    let job = job.unwrap().unwrap();
    assert_eq!(job.plugin_digest.as_deref(), Some("first"));
    assert_eq!(job.on_interrupt, OnInterrupt::Retry);
    let attempts = storage.attempts(id).await.unwrap();
    let digests = attempts.iter().map(|it| it.plugin_digest.as_deref());
    assert_eq!(digests.collect::<Vec<_>>(), [Some("first"), Some("first")]);
}

pub(crate) async fn a_stale_attempt_writes_nothing(storage: &mut Scratch) {
    let stale = running(storage).await;
    let again = Outcome::RunAgain(error("the process ended"));
    finish(storage, &stale, again, at(2)).await;
    writes_nothing(storage, &stale).await;
    let current = claim_at(storage, stale.job_id, at(3)).await;
    assert_eq!((stale.attempt, current.attempt), (1, 2));
    storage.set_progress(&current, &progress(3)).await.unwrap();
    writes_nothing(storage, &stale).await;
    finish(storage, &current, Outcome::Completed(json!(2)), at(4)).await;
    writes_nothing(storage, &stale).await;
    let job = stored(storage, stale.job_id).await;
    assert_eq!(
        (job.status, job.result),
        (JobStatus::Completed, Some(json!(2)))
    );
}

pub(crate) async fn another_worker_writes_nothing(storage: &mut Scratch) {
    let claim = running(storage).await;
    let other = Claim {
        worker_id: "another".to_owned(),
        ..claim.clone()
    };
    writes_nothing(storage, &other).await;
    let future = Claim {
        attempt: claim.attempt + 1,
        ..claim.clone()
    };
    writes_nothing(storage, &future).await;
    finish(storage, &claim, Outcome::Completed(json!(1)), at(2)).await;
}

pub(crate) async fn an_ended_attempt_writes_nothing(storage: &mut Scratch) {
    let outcomes = [
        Outcome::Completed(json!(1)),
        Outcome::Failed(error("failed")),
        Outcome::Cancelled(error("cancelled")),
        Outcome::Retry(error("lost"), at(60)),
    ];
    for outcome in outcomes {
        let claim = running(storage).await;
        finish(storage, &claim, outcome, at(2)).await;
        writes_nothing(storage, &claim).await;
    }
}

pub(crate) async fn an_attempt_ends_once(storage: &mut Scratch) {
    let claim = running(storage).await;
    let ends = (0..10).map(|number| {
        let outcome = Outcome::Completed(json!(number));
        storage.finish_job(&claim, outcome, at(2))
    });
    let ended = join_all(ends).await;
    let written: Vec<_> = (0..10)
        .filter(|number| *ended[*number].as_ref().unwrap())
        .collect();
    let [number] = written[..] else {
        panic!("{written:?}")
    };
    let job = stored(storage, claim.job_id).await;
    assert_eq!(job.result, Some(json!(number)));
}

pub(crate) async fn each_outcome_leads_to_its_status(storage: &mut Scratch) {
    let cases = [
        (Outcome::Completed(json!({ "a": 1 })), JobStatus::Completed),
        (Outcome::Failed(error("failed")), JobStatus::Failed),
        (Outcome::Cancelled(error("stopped")), JobStatus::Cancelled),
        (Outcome::Retry(error("lost"), at(60)), JobStatus::Retrying),
        (Outcome::RunAgain(error("crash")), JobStatus::Pending),
    ];
    for (outcome, expected) in cases {
        let claim = running(storage).await;
        finish(storage, &claim, outcome.clone(), at(5)).await;
        let job = stored(storage, claim.job_id).await;
        assert_eq!(job.status, expected);
        assert_eq!(job.completed_at, expected.is_final().then(|| at(5)));
        assert_eq!(job.retry_count, u32::from(expected == JobStatus::Retrying));
        let ready_at = match &outcome {
            Outcome::Retry(_, time) => *time,
            Outcome::RunAgain(_) => at(5),
            _ => at(0),
        };
        assert_eq!(job.ready_at, ready_at);
        match outcome {
            Outcome::Completed(value) => {
                assert_eq!((job.result, job.error), (Some(value), None));
            }
            Outcome::Failed(error)
            | Outcome::Cancelled(error)
            | Outcome::Retry(error, _)
            | Outcome::RunAgain(error) => {
                assert_eq!((job.result, job.error), (None, Some(error)));
            }
        }
        let [attempt] = &storage.attempts(claim.job_id).await.unwrap()[..] else {
            panic!("one attempt")
        };
        assert_eq!((attempt.status, attempt.ended_at), (expected, Some(at(5))));
        let waits = matches!(expected, JobStatus::Retrying | JobStatus::Pending);
        assert_eq!(attempt.next_at, waits.then_some(ready_at));
    }
}

pub(crate) async fn a_retry_waits_for_its_time(storage: &mut Scratch) {
    let claim = running(storage).await;
    let retry = Outcome::Retry(error("lost"), at(60));
    finish(storage, &claim, retry, at(2)).await;
    let early = storage.claim_job(claim.job_id, "w", None, at(59)).await;
    assert!(early.unwrap().is_none());
    let second = claim_at(storage, claim.job_id, at(60)).await;
    assert_eq!(second.attempt, 2);
    let job = stored(storage, claim.job_id).await;
    assert_eq!(job.started_at, Some(at(60)));
    assert!(job.error.is_none() && job.progress.is_none());
}

pub(crate) async fn a_cancellation_during_an_attempt_prevents_the_next_one(storage: &mut Scratch) {
    let again = [
        Outcome::Retry(error("lost"), at(60)),
        Outcome::RunAgain(error("crash")),
    ];
    for outcome in again {
        let claim = running(storage).await;
        storage.cancel_job(claim.job_id, at(2)).await.unwrap();
        finish(storage, &claim, outcome, at(3)).await;
        let job = stored(storage, claim.job_id).await;
        assert_eq!(job.status, JobStatus::Cancelled);
        assert_eq!(job.completed_at, Some(at(3)));
        assert_eq!(job.error.unwrap().code.0, ErrorCode::CANCELLED);
        let attempts = storage.attempts(claim.job_id).await.unwrap();
        assert_eq!(attempts[0].status, JobStatus::Cancelled);
        assert_eq!(attempts[0].next_at, None);
        let claimed = storage.claim_job(claim.job_id, "w", None, at(90)).await;
        assert!(claimed.unwrap().is_none());
    }
}

pub(crate) async fn a_completed_attempt_wins_over_a_cancellation(storage: &mut Scratch) {
    let claim = running(storage).await;
    storage.cancel_job(claim.job_id, at(2)).await.unwrap();
    finish(storage, &claim, Outcome::Completed(json!(1)), at(3)).await;
    assert_eq!(status(storage, claim.job_id).await, JobStatus::Completed);
}

pub(crate) async fn progress_is_of_the_current_attempt(storage: &mut Scratch) {
    let claim = running(storage).await;
    for done in [1, 2] {
        let set = storage.set_progress(&claim, &progress(done)).await;
        set.unwrap();
        let job = stored(storage, claim.job_id).await;
        assert_eq!(job.progress, Some(progress(done)));
    }
    finish(storage, &claim, Outcome::RunAgain(error("crash")), at(2)).await;
    claim_at(storage, claim.job_id, at(3)).await;
    assert_eq!(stored(storage, claim.job_id).await.progress, None);
}

pub(crate) async fn attempts_are_recorded_in_order(storage: &mut Scratch) {
    let id = add(storage, new_job()).await;
    for number in 1..=3 {
        let begun = at(number * 100);
        let claimed = storage.claim_job(id, "w", None, begun).await.unwrap();
        let claim = Claim {
            job_id: id,
            attempt: claimed.unwrap().attempt,
            worker_id: "w".to_owned(),
        };
        assert_eq!(i64::from(claim.attempt), number);
        let retry = Outcome::Retry(error(&format!("error {number}")), begun);
        finish(storage, &claim, retry, at(number * 100 + 1)).await;
    }
    complete(storage, id, at(400), at(401)).await;
    let attempts = storage.attempts(id).await.unwrap();
    let times: Vec<_> = attempts
        .iter()
        .map(|it| (it.attempt, it.started_at, it.ended_at))
        .collect();
    let expected: Vec<_> = (1..=4_u32)
        .map(|number| {
            let begun = i64::from(number) * 100;
            (number, at(begun), Some(at(begun + 1)))
        })
        .collect();
    assert_eq!(times, expected);
    assert_eq!(attempts[1].error.as_ref().unwrap().message, "error 2");
    assert_eq!(attempts[3].error, None);
    let job = stored(storage, id).await;
    assert_eq!((job.attempt, job.retry_count), (4, 3));
    assert!(storage.attempts(Uuid::now_v7()).await.unwrap().is_empty());
}

pub(crate) async fn running_jobs_are_found_after_a_restart(storage: &mut Scratch) {
    let first = running(storage).await;
    let ended = running(storage).await;
    finish(storage, &ended, Outcome::Completed(json!(1)), at(2)).await;
    add(storage, new_job()).await;
    storage.reopen().await;
    let running = storage.running_jobs().await.unwrap();
    let [job] = &running[..] else {
        panic!("{running:?}")
    };
    assert_eq!((job.id, job.attempt), (first.job_id, first.attempt));
    assert_eq!(job.worker_id, Some(first.worker_id));
}
