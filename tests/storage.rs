//! Tests the group commit of SQLite: concurrent writes share a transaction, and each gets its own result.

use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use host::model::{
    CommandKind, CommandResult, InFlight, JobError, JobLog, JobStatus, LogLevel, now,
};
use host::storage::sqlite::SqliteStorage;
use host::storage::{Claim, Outcome, Storage};
use serde_json::json;
use sqlx::{Connection, SqliteConnection};
use uuid::Uuid;

use crate::harness::{new_job, run};

/// More jobs than one query handles, and not a multiple of that number.
const JOBS: usize = 53;

struct Scratch {
    storage: Box<dyn Storage>,
    ids: Vec<Uuid>,
    url: String,
    _directory: tempfile::TempDir,
}

impl Scratch {
    async fn with_jobs() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("jobs.db").display());
        let storage = SqliteStorage::open(&url, 4, Duration::ZERO).await.unwrap();
        let storage: Box<dyn Storage> = Box::new(storage);
        let ids: Vec<_> = (0..JOBS).map(|_| Uuid::now_v7()).collect();
        for id in &ids {
            storage.add_job(&new_job(*id), &[], None).await.unwrap();
        }
        Self {
            storage,
            ids,
            url,
            _directory: directory,
        }
    }

    /// Runs all of `work` in one transaction: starts it while another process locks the database.
    async fn at_once<T>(&self, work: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
        let mut other = SqliteConnection::connect(&self.url).await.unwrap();
        let begun = sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await;
        begun.unwrap();
        // The first write, alone in its transaction, blocks on the lock.
        let first = self.storage.set_meta("first", b"1");
        let let_go = async {
            let ended = sqlx::query("ROLLBACK").execute(&mut other).await;
            ended.unwrap();
        };
        // Without the cooperative budget, which would release the lock before all of the work has
        // started.
        let all = tokio::task::unconstrained(join_all(work));
        let (first, done, ()) = tokio::join!(biased; first, all, let_go);
        first.unwrap();
        done
    }

    async fn claim_all(&self) -> Vec<Claim> {
        let claims = self.ids.iter().map(|id| self.claim(*id));
        let claims = self
            .at_once(claims)
            .await
            .into_iter()
            .collect::<Option<_>>();
        claims.unwrap()
    }

    async fn claim(&self, id: Uuid) -> Option<Claim> {
        let claimed = self.storage.claim_job(id, "w", None, now()).await.unwrap();
        claimed.map(|job| {
            assert_eq!(job.id, id, "another job's answer");
            Claim {
                job_id: id,
                attempt: job.attempt,
                worker_id: "w".to_owned(),
            }
        })
    }
}

fn result_of(claim: &Claim, command: &str) -> CommandResult {
    CommandResult {
        id: Uuid::now_v7(),
        job_id: claim.job_id,
        attempt: claim.attempt,
        target: "device".to_owned(),
        kind: CommandKind::Exec,
        command: command.to_owned(),
        output: format!("what {command} prints, with a $1 and a ?2"),
        error: None,
        exit_code: None,
        truncated: false,
        executed_at: now(),
        duration_ms: 1,
        in_flight: None,
    }
}

#[test]
fn each_gets_its_own_answer() {
    run(async {
        let scratch = Scratch::with_jobs().await;
        let unknown = Uuid::now_v7();
        let asked: Vec<_> = scratch
            .ids
            .iter()
            .chain([&unknown, &scratch.ids[0]])
            .collect();
        let claims = asked.iter().map(|id| scratch.claim(**id));
        let claims = scratch.at_once(claims).await;
        let of_the_first = [&claims[0], &claims[JOBS + 1]];
        assert_eq!(
            of_the_first.iter().filter(|claim| claim.is_some()).count(),
            1,
            "one of two claims of a job holds"
        );
        assert!(claims[JOBS].is_none(), "there is no such job");
        let claims: Vec<_> = claims.into_iter().flatten().collect();
        assert_eq!(claims.len(), JOBS);

        let results = claims.iter().map(|claim| {
            let result = result_of(claim, &format!("show {}", claim.job_id));
            scratch.storage.add_result(claim, result)
        });
        scratch
            .at_once(results)
            .await
            .into_iter()
            .for_each(Result::unwrap);
        let ends = claims.iter().enumerate().map(|(number, claim)| {
            let outcome = match number % 3 {
                0 => Outcome::Failed(JobError::new("network", format!("failed {number}"))),
                _ => Outcome::Completed(json!({ "number": number })),
            };
            scratch.storage.finish_job(claim, outcome, now())
        });
        for ended in scratch.at_once(ends).await {
            assert!(ended.unwrap());
        }
        for (number, claim) in claims.iter().enumerate() {
            let job = scratch.storage.job(claim.job_id).await.unwrap().unwrap();
            match number % 3 {
                0 => {
                    assert_eq!(job.status, JobStatus::Failed);
                    assert_eq!(job.error.unwrap().message, format!("failed {number}"));
                }
                _ => {
                    assert_eq!(job.status, JobStatus::Completed);
                    assert_eq!(job.result.unwrap()["number"], number);
                }
            }
            let results = scratch.storage.results(claim.job_id).await.unwrap();
            let [result] = results.as_slice() else {
                panic!("{results:?}");
            };
            assert_eq!(result.command, format!("show {}", claim.job_id));
            assert!(result.output.ends_with("with a $1 and a ?2"));
            let attempts = scratch.storage.attempts(claim.job_id).await.unwrap();
            assert_eq!(attempts.len(), 1);
            assert_eq!(attempts[0].status, job.status);
        }
    });
}

#[test]
fn one_that_fails_takes_only_itself_back() {
    run(async {
        let scratch = Scratch::with_jobs().await;
        let nobody = Uuid::now_v7();
        let ids: Vec<_> = scratch
            .ids
            .iter()
            .chain([&nobody])
            .chain(&scratch.ids)
            .collect();
        // Claims are in the same transaction, and are not affected.
        let ours = &scratch;
        let work = ids.iter().map(|id| async move {
            let line = JobLog::of(**id, LogLevel::Info, format!("of {id}"));
            tokio::join!(ours.claim(**id), ours.storage.add_logs(vec![line]))
        });
        let done = scratch.at_once(work).await;
        let claimed = done.iter().filter(|(claim, _)| claim.is_some()).count();
        assert_eq!(claimed, JOBS);
        for (id, (_, written)) in ids.iter().zip(&done) {
            assert_eq!(written.is_ok(), **id != nobody, "{id}: {written:?}");
        }
        for id in &scratch.ids {
            let lines = scratch.storage.logs(*id, 0, None, 10).await.unwrap();
            let messages: Vec<_> = lines.iter().map(|line| &line.message).collect();
            assert_eq!(messages, [&format!("of {id}"), &format!("of {id}")]);
            let attempts = scratch.storage.attempts(*id).await.unwrap();
            assert_eq!(attempts.len(), 1);
        }
    });
}

/// Many times more lines wait than one transaction takes.
#[test]
fn what_is_alone_does_not_wait_for_all_that_is_done_together() {
    const LINES: usize = 3_000;
    run(async {
        let scratch = Scratch::with_jobs().await;
        let order = Mutex::new(Vec::new());
        let (ended, mut first) = tokio::sync::watch::channel(false);
        let end = |what| {
            order.lock().unwrap().push(what);
            ended.send_replace(true);
        };
        let lines = (0..LINES).map(|_| {
            let line = JobLog::of(scratch.ids[0], LogLevel::Info, "a line".to_owned());
            let written = scratch.storage.add_logs(vec![line]);
            written
                .map(|written| end(written.map(|()| "line").unwrap()))
                .boxed()
        });
        let alone = async {
            first.wait_for(|ended| *ended).await.unwrap();
            scratch.storage.set_meta("alone", b"1").await.unwrap();
            end("alone");
        };
        scratch.at_once(lines.chain([alone.boxed()])).await;
        let order = order.into_inner().unwrap();
        let place = order.iter().position(|what| *what == "alone").unwrap();
        assert!(place < LINES / 2, "after {place} lines");
    });
}

/// A stop may come while a write intent is being stored. The result removes it nevertheless.
#[test]
fn a_note_that_nobody_waits_for_goes_with_its_result() {
    run(async {
        let scratch = Scratch::with_jobs().await;
        let claims = scratch.claim_all().await;
        let claim = &claims[0];
        let command = note("reload");
        let result = CommandResult {
            in_flight: Some(command.id),
            ..result_of(claim, "reload")
        };
        let others = claims[1..].iter().map(|claim| {
            let result = result_of(claim, "show clock");
            scratch.storage.add_result(claim, result).boxed()
        });
        let stopped = async {
            let noting = scratch.storage.begin_command(claim, &command);
            assert!(noting.now_or_never().is_none(), "it waits for the database");
            scratch.storage.add_result(claim, result).await
        };
        let added = scratch.at_once(others.chain([stopped.boxed()])).await;
        added.into_iter().for_each(Result::unwrap);
        let outcome = Outcome::Completed(json!(1));
        assert!(
            scratch
                .storage
                .finish_job(claim, outcome, now())
                .await
                .unwrap()
        );
        let results = scratch.storage.results(claim.job_id).await.unwrap();
        assert_eq!(results.len(), 1, "{results:?}");
    });
}

fn note(command: &str) -> InFlight {
    InFlight {
        id: Uuid::now_v7(),
        target: "device".to_owned(),
        kind: CommandKind::Configure,
        command: command.to_owned(),
        began_at: now(),
    }
}

#[test]
fn what_was_sent_and_has_no_answer_stands_in_the_results() {
    run(async {
        let scratch = Scratch::with_jobs().await;
        let claims = scratch.claim_all().await;
        let (answered, lost) = (note("answered"), note("lost"));
        for command in [&answered, &lost] {
            scratch
                .storage
                .begin_command(&claims[0], command)
                .await
                .unwrap();
        }
        let result = CommandResult {
            in_flight: Some(answered.id),
            ..result_of(&claims[0], "answered")
        };
        scratch
            .storage
            .add_result(&claims[0], result)
            .await
            .unwrap();
        let ends = claims.iter().map(|claim| {
            let outcome = Outcome::Completed(json!(1));
            scratch.storage.finish_job(claim, outcome, now())
        });
        for ended in scratch.at_once(ends).await {
            assert!(ended.unwrap());
        }
        let results = scratch.storage.results(claims[0].job_id).await.unwrap();
        let commands: Vec<_> = results
            .iter()
            .map(|result| (&*result.command, result.error.is_some()))
            .collect();
        assert_eq!(commands, [("answered", false), ("lost", true)]);
        let left = scratch.storage.commands_in_flight(claims[0].job_id).await;
        assert!(left.unwrap().is_empty());

        let late = scratch
            .storage
            .begin_command(&claims[0], &note("late"))
            .await;
        assert!(late.is_err(), "its attempt has ended");
        let late = scratch
            .storage
            .add_result(&claims[0], result_of(&claims[0], "late"))
            .await;
        assert!(late.is_err(), "its attempt has ended");
    });
}
