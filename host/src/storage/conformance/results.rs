//! Scenarios of results and write intents.

use serde_json::json;
use uuid::Uuid;

use super::{Scratch, add, at, claim_at, error, finish, new_job, result_of, running, stored};
use crate::model::{
    CommandKind, CommandResult, InFlight, JobLog, JobStatus, LogLevel, NewJob, OnInterrupt,
};
use crate::storage::{Claim, JobUse, Outcome, Page};

fn intent(command: &str) -> InFlight {
    InFlight {
        id: Uuid::now_v7(),
        target: "device".to_owned(),
        kind: CommandKind::Configure,
        command: command.to_owned(),
        began_at: at(3),
    }
}

/// Stores the results of some commands; returns their ids.
async fn add_results(storage: &Scratch, claim: &Claim, commands: &[&str]) -> Vec<Uuid> {
    let mut ids = Vec::new();
    for command in commands {
        let result = result_of(claim, command);
        ids.push(result.id);
        storage.add_result(claim, result).await.unwrap();
    }
    ids
}

async fn commands(storage: &Scratch, job_id: Uuid) -> Vec<(String, bool)> {
    let results = storage.results(job_id).await.unwrap();
    let commands = results.into_iter();
    commands
        .map(|result| (result.command, result.error.is_some()))
        .collect()
}

pub(crate) async fn results_are_paged_in_order(storage: &mut Scratch) {
    let claim = running(storage).await;
    let other = running(storage).await;
    let full = CommandResult {
        target: "r2".to_owned(),
        kind: CommandKind::Download,
        output: "é\r\n\u{1F600}".to_owned(),
        error: Some("refused".to_owned()),
        exit_code: Some(-1),
        truncated: true,
        executed_at: at(7),
        duration_ms: 12_345,
        ..result_of(&claim, "show version")
    };
    storage.add_result(&claim, full.clone()).await.unwrap();
    let mut ids = vec![full.id];
    ids.extend(add_results(storage, &claim, &["a", "b", "c", "d"]).await);
    add_results(storage, &other, &["of another job"]).await;

    let (mut after, mut found) = (Uuid::nil(), Vec::new());
    loop {
        let page = storage.results_after(claim.job_id, after, 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = last.id;
        found.extend(page);
    }
    assert_eq!(found.iter().map(|it| it.id).collect::<Vec<_>>(), ids);
    let first = &found[0];
    assert_eq!((first.job_id, first.attempt), (claim.job_id, 1));
    assert_eq!((&first.target, first.kind), (&full.target, full.kind));
    assert_eq!(first.command, full.command);
    assert_eq!((&first.output, &first.error), (&full.output, &full.error));
    assert_eq!((first.exit_code, first.truncated), (Some(-1), true));
    assert_eq!((first.executed_at, first.duration_ms), (at(7), 12_345));
    let all = storage.results(claim.job_id).await.unwrap();
    assert_eq!(all.iter().map(|it| it.id).collect::<Vec<_>>(), ids);

    let last = async |after| storage.last_result(claim.job_id, after).await.unwrap();
    assert_eq!(last(Uuid::nil()).await, Some(ids[4]));
    assert_eq!(last(ids[3]).await, Some(ids[4]));
    assert_eq!(last(ids[4]).await, None);
}

pub(crate) async fn a_page_of_results_is_measured_before_it_is_read(storage: &mut Scratch) {
    let claim = running(storage).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        let result = CommandResult {
            command: "é".to_owned(),
            output: "x".repeat(95),
            error: Some("err".to_owned()),
            ..result_of(&claim, "")
        };
        ids.push(result.id);
        storage.add_result(&claim, result).await.unwrap();
    }
    let measure = async |after, limit, bytes| {
        let page = Page { limit, bytes };
        let measured = storage.measure_results(claim.job_id, after, page).await;
        let measured = measured.unwrap();
        (measured.count, measured.bytes, measured.more)
    };
    assert_eq!(measure(Uuid::nil(), 10, 1_000).await, (4, 400, false));
    assert_eq!(measure(Uuid::nil(), 2, 1_000).await, (2, 200, true));
    assert_eq!(measure(Uuid::nil(), 4, 1_000).await, (4, 400, false));
    assert_eq!(measure(Uuid::nil(), 10, 300).await, (3, 300, true));
    assert_eq!(
        measure(Uuid::nil(), 10, 1).await,
        (1, 100, true),
        "one always fits"
    );
    assert_eq!(measure(ids[2], 10, 1).await, (1, 100, false));
    assert_eq!(measure(ids[3], 10, 1).await, (0, 0, false));
}

pub(crate) async fn results_of_all_attempts_are_kept(storage: &mut Scratch) {
    let first = running(storage).await;
    add_results(storage, &first, &["first"]).await;
    finish(storage, &first, Outcome::RunAgain(error("crash")), at(3)).await;
    let second = claim_at(storage, first.job_id, at(4)).await;
    add_results(storage, &second, &["second"]).await;
    let results = storage.results(first.job_id).await.unwrap();
    let attempts = results.iter().map(|it| (it.attempt, &*it.command));
    let attempts: Vec<_> = attempts.collect();
    assert_eq!(attempts, [(1, "first"), (2, "second")]);
}

pub(crate) async fn a_result_removes_its_intent(storage: &mut Scratch) {
    let claim = running(storage).await;
    let (answered, open) = (intent("answered"), intent("open"));
    for command in [&answered, &open] {
        storage.begin_command(&claim, command).await.unwrap();
    }
    let result = CommandResult {
        in_flight: Some(answered.id),
        ..result_of(&claim, "answered")
    };
    storage.add_result(&claim, result).await.unwrap();
    let left = storage.commands_in_flight(claim.job_id).await.unwrap();
    let [left] = &left[..] else {
        panic!("{left:?}")
    };
    assert_eq!((left.id, &*left.command), (open.id, "open"));
    assert_eq!(
        (&*left.target, left.kind),
        ("device", CommandKind::Configure)
    );
    assert_eq!(left.began_at, at(3));
    let result = CommandResult {
        in_flight: Some(open.id),
        ..result_of(&claim, "open")
    };
    storage.add_result(&claim, result).await.unwrap();
    finish(storage, &claim, Outcome::Completed(json!(1)), at(4)).await;
    let expected = [("answered".to_owned(), false), ("open".to_owned(), false)];
    assert_eq!(commands(storage, claim.job_id).await, expected);
}

pub(crate) async fn an_intent_survives_a_restart(storage: &mut Scratch) {
    let claim = running(storage).await;
    let command = intent("reload");
    storage.begin_command(&claim, &command).await.unwrap();
    storage.reopen().await;
    let left = storage.commands_in_flight(claim.job_id).await.unwrap();
    assert_eq!(
        left.iter().map(|it| it.id).collect::<Vec<_>>(),
        [command.id]
    );
}

pub(crate) async fn an_attempt_that_ends_with_an_intent_gets_a_result_for_it(
    storage: &mut Scratch,
) {
    let outcomes = [
        (Outcome::Completed(json!(1)), JobStatus::Completed),
        (Outcome::Failed(error("interrupted")), JobStatus::Failed),
        (Outcome::Cancelled(error("stopped")), JobStatus::Cancelled),
    ];
    for (outcome, status) in outcomes {
        let claim = running(storage).await;
        let [before] = add_results(storage, &claim, &["before"]).await[..] else {
            panic!("one result")
        };
        let command = intent("reload");
        storage.begin_command(&claim, &command).await.unwrap();
        finish(storage, &claim, outcome, at(4)).await;
        assert_eq!(stored(storage, claim.job_id).await.status, status);
        let left = storage.commands_in_flight(claim.job_id).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
        let results = storage.results_after(claim.job_id, before, 10).await;
        let results = results.unwrap();
        let [result] = &results[..] else {
            panic!("after all earlier ones: {results:?}")
        };
        assert_eq!((&*result.command, &*result.output), ("reload", ""));
        assert_eq!(
            (&*result.target, result.kind),
            ("device", CommandKind::Configure)
        );
        assert_eq!((result.attempt, result.executed_at), (1, at(3)));
        let error = result.error.as_deref().unwrap();
        assert!(error.contains("no response was recorded"), "{error}");
    }
}

/// What an attempt had sent when its process ended is known to the next attempt, whatever
/// `on_interrupt` made of the job.
pub(crate) async fn an_intent_of_a_job_that_runs_again_becomes_a_result(storage: &mut Scratch) {
    let job = NewJob {
        on_interrupt: OnInterrupt::Retry,
        ..new_job()
    };
    let id = add(storage, job).await;
    let first = claim_at(storage, id, at(1)).await;
    let command = intent("reload");
    storage.begin_command(&first, &command).await.unwrap();
    storage.reopen().await;

    let [interrupted] = &storage.running_jobs().await.unwrap()[..] else {
        panic!("one job was interrupted")
    };
    assert_eq!(interrupted.on_interrupt, OnInterrupt::Retry);
    finish(storage, &first, Outcome::RunAgain(error("crash")), at(5)).await;
    assert_eq!(commands(storage, id).await, [("reload".to_owned(), true)]);
    let second = claim_at(storage, id, at(6)).await;
    let left = storage.commands_in_flight(id).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    finish(storage, &second, Outcome::Completed(json!(1)), at(7)).await;
    assert_eq!(storage.results(id).await.unwrap().len(), 1);
}

pub(crate) async fn a_stale_end_leaves_the_intents_of_the_current_attempt(storage: &mut Scratch) {
    let stale = running(storage).await;
    finish(storage, &stale, Outcome::RunAgain(error("crash")), at(2)).await;
    let current = claim_at(storage, stale.job_id, at(3)).await;
    let command = intent("reload");
    storage.begin_command(&current, &command).await.unwrap();
    let ended = storage.finish_job(&stale, Outcome::Completed(json!(1)), at(4));
    assert!(!ended.await.unwrap());
    let left = storage.commands_in_flight(stale.job_id).await.unwrap();
    assert_eq!(left.len(), 1);
    assert!(storage.results(stale.job_id).await.unwrap().is_empty());
    // A result of the stale attempt does not remove it either.
    let result = CommandResult {
        in_flight: Some(command.id),
        ..result_of(&stale, "reload")
    };
    assert!(storage.add_result(&stale, result).await.is_err());
    let left = storage.commands_in_flight(stale.job_id).await.unwrap();
    assert_eq!(left.len(), 1);
}

pub(crate) async fn the_size_of_output_is_counted_by_target(storage: &mut Scratch) {
    let claim = running(storage).await;
    for (target, command, output) in [("r1", "ab", "12345"), ("r2", "é", "\u{1F600}")] {
        let result = CommandResult {
            target: target.to_owned(),
            output: output.to_owned(),
            ..result_of(&claim, command)
        };
        storage.add_result(&claim, result).await.unwrap();
    }
    let bytes = async |target| storage.output_bytes(claim.job_id, target).await.unwrap();
    assert_eq!(bytes(Some("r1")).await, 7);
    assert_eq!(bytes(Some("r2")).await, 6);
    assert_eq!(bytes(Some("r3")).await, 0);
    assert_eq!(bytes(None).await, 13);
}

pub(crate) async fn the_use_of_a_job_counts_all_attempts(storage: &mut Scratch) {
    let first = running(storage).await;
    let of_job = async || storage.job_use(first.job_id).await.unwrap();
    assert_eq!(of_job().await, JobUse::default());
    let result = CommandResult {
        output: "é".to_owned(),
        ..result_of(&first, "a")
    };
    storage.add_result(&first, result).await.unwrap();
    finish(storage, &first, Outcome::RunAgain(error("crash")), at(2)).await;
    let second = claim_at(storage, first.job_id, at(3)).await;
    let result = CommandResult {
        output: "123".to_owned(),
        ..result_of(&second, "b")
    };
    storage.add_result(&second, result).await.unwrap();
    let context = json!({ "a": 1 });
    let line = JobLog {
        context: Some(context.clone()),
        ..JobLog::of(first.job_id, LogLevel::Info, "é".to_owned())
    };
    let plain = JobLog::of(first.job_id, LogLevel::Info, "abc".to_owned());
    storage.add_logs(vec![line, plain]).await.unwrap();
    let expected = JobUse {
        results: 2,
        output_bytes: 5,
        log_lines: 2,
        log_bytes: 5 + context.to_string().len() as u64,
    };
    assert_eq!(of_job().await, expected);
}
