//! Scenarios of schedules.

use futures::future::join_all;
use serde_json::json;
use uuid::Uuid;

use super::{Scratch, add, at, complete, new_job};
use crate::model::{BatchOptions, ListedJob, Misfire, NewJob, Overlap, Schedule, Share, Tick};
use crate::storage::{AddScheduleOutcome, Page, StorageError};

fn schedule(name: &str) -> Schedule {
    Schedule {
        id: Uuid::now_v7(),
        name: name.to_owned(),
        plugin: "p".to_owned(),
        params: None,
        targets: Vec::new(),
        cron_expression: "* * * * *".to_owned(),
        timezone: "UTC".to_owned(),
        enabled: true,
        misfire: Misfire::Skip,
        overlap: Overlap::Skip,
        starts_at: None,
        ends_at: None,
        jitter_seconds: 0,
        priority: None,
        max_retries: None,
        timeout_seconds: None,
        description: None,
        batch: None,
        next_run_at: None,
        last_run_at: None,
        last_job_id: None,
        last_outcome: None,
        created_at: at(0),
        updated_at: at(0),
        owner: None,
    }
}

fn full(name: &str) -> Schedule {
    Schedule {
        params: Some(json!({ "number": 1.50, "text": "é" })),
        targets: vec!["r1".to_owned(), "tag:core".to_owned()],
        timezone: "Europe/Berlin".to_owned(),
        enabled: false,
        misfire: Misfire::RunOnce,
        overlap: Overlap::Queue,
        starts_at: Some(at(1)),
        ends_at: Some(at(2)),
        jitter_seconds: 3,
        priority: Some(-4),
        max_retries: Some(5),
        timeout_seconds: Some(6),
        description: Some("described".to_owned()),
        batch: Some(BatchOptions {
            canary: Some(Share::Count(1)),
            ..BatchOptions::default()
        }),
        next_run_at: Some(at(7)),
        created_at: at(8),
        updated_at: at(9),
        owner: Some("anna".to_owned()),
        ..schedule(name)
    }
}

/// Adds a schedule with this next time; returns it.
async fn add_due(storage: &Scratch, name: &str, seconds: i64) -> Schedule {
    let schedule = Schedule {
        next_run_at: Some(at(seconds)),
        ..schedule(name)
    };
    add_schedule(storage, &schedule).await;
    schedule
}

async fn add_schedule(storage: &Scratch, schedule: &Schedule) {
    let added = storage.add_schedule(schedule, None).await.unwrap();
    assert!(matches!(added, AddScheduleOutcome::Added), "{added:?}");
}

async fn stored(storage: &Scratch, id: Uuid) -> Schedule {
    storage.schedule(id).await.unwrap().unwrap()
}

fn tick(schedule: &Schedule, seconds: i64) -> Tick {
    Tick {
        schedule_id: schedule.id,
        at: at(seconds),
    }
}

/// Fires a tick, and advances its schedule.
async fn fire(storage: &Scratch, tick: &Tick, next: i64) -> bool {
    storage.fire_tick(tick, Some(at(next)), None).await.unwrap()
}

async fn due_ticks(storage: &Scratch) -> Vec<(Uuid, i64)> {
    let ticks = storage.due_ticks().await.unwrap();
    let ticks = ticks.iter().map(|tick| {
        let seconds = (tick.at - at(0)).num_seconds();
        (tick.schedule_id, seconds)
    });
    ticks.collect()
}

pub(crate) async fn a_schedule_is_stored_with_all_its_fields(storage: &mut Scratch) {
    let (plain, full) = (schedule("plain"), full("full"));
    add_schedule(storage, &plain).await;
    add_schedule(storage, &full).await;
    storage.reopen().await;
    for schedule in [&plain, &full] {
        // Debug shows all fields.
        let text = format!("{schedule:?}");
        let found = stored(storage, schedule.id).await;
        assert_eq!(format!("{found:?}"), text);
        let named = storage.schedule_named(&schedule.name).await.unwrap();
        assert_eq!(format!("{:?}", named.unwrap()), text);
    }
    let changed = Schedule {
        id: full.id,
        created_at: full.created_at,
        ..schedule("renamed")
    };
    assert!(storage.update_schedule(&changed).await.unwrap());
    let found = stored(storage, full.id).await;
    assert_eq!(format!("{found:?}"), format!("{changed:?}"));
    assert!(storage.schedule_named("full").await.unwrap().is_none());
    assert_eq!(storage.count_schedules().await.unwrap(), 2);
    let unknown = schedule("unknown");
    assert!(!storage.update_schedule(&unknown).await.unwrap());
    assert!(storage.schedule(unknown.id).await.unwrap().is_none());
}

pub(crate) async fn the_name_of_a_schedule_is_unique(storage: &mut Scratch) {
    let (first, second) = (schedule("a"), schedule("b"));
    add_schedule(storage, &first).await;
    add_schedule(storage, &second).await;
    let key = ("k".to_owned(), "d".to_owned());
    for idempotency in [None, Some(&key)] {
        let added = storage.add_schedule(&schedule("a"), idempotency).await;
        assert!(matches!(added, Err(StorageError::Exists(_))), "{added:?}");
    }
    let renamed = Schedule {
        name: "a".to_owned(),
        ..second.clone()
    };
    let updated = storage.update_schedule(&renamed).await;
    assert!(
        matches!(updated, Err(StorageError::Exists(_))),
        "{updated:?}"
    );
    assert_eq!(stored(storage, second.id).await.name, "b");
}

pub(crate) async fn a_repeated_idempotency_key_returns_the_first_schedule(storage: &mut Scratch) {
    let first = schedule("a");
    let key = ("k".to_owned(), "d".to_owned());
    let added = storage.add_schedule(&first, Some(&key)).await.unwrap();
    assert!(matches!(added, AddScheduleOutcome::Added), "{added:?}");
    // The repeated request has the same name, too.
    match storage
        .add_schedule(&schedule("a"), Some(&key))
        .await
        .unwrap()
    {
        AddScheduleOutcome::Same(found) => assert_eq!(found.id, first.id),
        other => panic!("{other:?}"),
    }
    let other = ("k".to_owned(), "another digest".to_owned());
    let added = storage.add_schedule(&schedule("b"), Some(&other)).await;
    assert!(matches!(added.unwrap(), AddScheduleOutcome::KeyReused));
    let (found, digest) = storage.schedule_with_key("k").await.unwrap().unwrap();
    assert_eq!((found.id, &*digest), (first.id, "d"));
    assert!(storage.schedule_with_key("other").await.unwrap().is_none());
    assert_eq!(storage.count_schedules().await.unwrap(), 1);
}

pub(crate) async fn schedules_are_paged_by_name_without_large_fields(storage: &mut Scratch) {
    for name in ["c", "a", "b"] {
        add_schedule(storage, &full(name)).await;
    }
    let large = Schedule {
        params: Some(json!({ "text": "x".repeat(ListedJob::PARAMS_BYTES as usize) })),
        targets: (0..100).map(|number| format!("r{number:>080}")).collect(),
        ..schedule("d")
    };
    add_schedule(storage, &large).await;
    let page = Page {
        limit: 2,
        bytes: 1 << 20,
    };
    let (first, more) = storage.schedules_page("", page).await.unwrap();
    assert!(more);
    let (second, more) = storage.schedules_page("b", page).await.unwrap();
    assert!(!more);
    let listed = [first, second].concat();
    let names: Vec<_> = listed.iter().map(|it| &*it.schedule.name).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    let params = full("").params.unwrap();
    assert_eq!(listed[0].schedule.params, Some(params.clone()));
    assert_eq!(
        listed[0].params_bytes,
        Some(params.to_string().len() as u64)
    );
    assert_eq!(
        (listed[0].target_count, listed[0].schedule.targets.len()),
        (2, 2)
    );
    let size = large.params.unwrap().to_string().len() as u64;
    assert_eq!(listed[3].schedule.params, None);
    assert_eq!(
        (listed[3].params_bytes, listed[3].target_count),
        (Some(size), 100)
    );
    assert_eq!(
        listed[3].schedule.targets,
        large.targets[..ListedJob::TARGETS as usize]
    );
}

pub(crate) async fn due_schedules_are_found_in_order(storage: &mut Scratch) {
    for (name, seconds) in [("late", 30), ("early", 10), ("never", 90)] {
        add_due(storage, name, seconds).await;
    }
    add_schedule(storage, &schedule("without a time")).await;
    let due = async |seconds| {
        let due = storage.due_schedules(at(seconds)).await.unwrap();
        due.into_iter().map(|it| it.name).collect::<Vec<_>>()
    };
    assert!(due(9).await.is_empty());
    assert_eq!(due(10).await, ["early"]);
    assert_eq!(due(89).await, ["early", "late"]);
    let next = async |seconds| storage.next_schedule_at(at(seconds)).await.unwrap();
    assert_eq!(next(0).await, Some(at(10)));
    assert_eq!(next(10).await, Some(at(30)));
    assert_eq!(next(90).await, None);
    let after = storage.schedules_after(at(10)).await.unwrap();
    let mut names: Vec<_> = after.into_iter().map(|it| it.name).collect();
    names.sort();
    assert_eq!(names, ["late", "never"]);
}

pub(crate) async fn a_tick_fires_once(storage: &mut Scratch) {
    let schedule = add_due(storage, "a", 10).await;
    let tick = tick(&schedule, 10);
    assert!(fire(storage, &tick, 70).await);
    assert_eq!(stored(storage, schedule.id).await.next_run_at, Some(at(70)));
    assert!(!fire(storage, &tick, 70).await);
    assert!(!fire(storage, &tick, 130).await);
    assert_eq!(stored(storage, schedule.id).await.next_run_at, Some(at(70)));
    assert_eq!(due_ticks(storage).await, [(schedule.id, 10)]);
    storage.settle_tick(&tick, None, "submitted").await.unwrap();
    assert!(due_ticks(storage).await.is_empty());
    assert!(!fire(storage, &tick, 70).await);
    assert!(due_ticks(storage).await.is_empty());
    // The last tick of a schedule leaves it without a time.
    let last = Tick { at: at(70), ..tick };
    assert!(storage.fire_tick(&last, None, None).await.unwrap());
    assert_eq!(stored(storage, schedule.id).await.next_run_at, None);
}

pub(crate) async fn of_simultaneous_firings_one_succeeds(storage: &mut Scratch) {
    let schedule = add_due(storage, "a", 10).await;
    let tick = tick(&schedule, 10);
    let fired = join_all((0..10).map(|_| fire(storage, &tick, 70))).await;
    assert_eq!(fired.iter().filter(|fired| **fired).count(), 1);
    assert_eq!(due_ticks(storage).await.len(), 1);
}

pub(crate) async fn a_changed_schedule_does_not_fire_an_old_tick(storage: &mut Scratch) {
    let schedule = add_due(storage, "a", 10).await;
    let changed = Schedule {
        next_run_at: Some(at(40)),
        ..schedule.clone()
    };
    assert!(storage.update_schedule(&changed).await.unwrap());
    assert!(!fire(storage, &tick(&schedule, 10), 70).await);
    let after = stored(storage, schedule.id).await;
    assert_eq!(after.next_run_at, Some(at(40)));
    assert!(due_ticks(storage).await.is_empty());
}

pub(crate) async fn a_tick_that_fired_before_a_change_of_the_clock_does_not_fire_again(
    storage: &mut Scratch,
) {
    let schedule = add_due(storage, "a", 10).await;
    let tick = tick(&schedule, 10);
    assert!(fire(storage, &tick, 70).await);
    storage.settle_tick(&tick, None, "submitted").await.unwrap();
    // The clock was set back, and the schedule with it.
    let moved = storage.move_schedule(schedule.id, at(70), at(10));
    moved.await.unwrap();
    assert!(!fire(storage, &tick, 70).await);
    assert!(due_ticks(storage).await.is_empty());
    // It has advanced nevertheless, so that it does not stop.
    assert_eq!(stored(storage, schedule.id).await.next_run_at, Some(at(70)));
}

pub(crate) async fn a_skipped_tick_is_not_due(storage: &mut Scratch) {
    let schedule = add_due(storage, "a", 10).await;
    let tick = tick(&schedule, 10);
    let why = "skipped: the previous job is still running";
    let fired = storage.fire_tick(&tick, Some(at(70)), Some(why.to_owned()));
    assert!(fired.await.unwrap());
    assert!(due_ticks(storage).await.is_empty());
    let after = stored(storage, schedule.id).await;
    assert_eq!(after.last_outcome.as_deref(), Some(why));
    assert_eq!((after.next_run_at, after.last_run_at), (Some(at(70)), None));
}

pub(crate) async fn a_due_tick_survives_a_restart_until_it_is_settled(storage: &mut Scratch) {
    let schedule = add_due(storage, "a", 10).await;
    let (first, second) = (tick(&schedule, 10), tick(&schedule, 70));
    assert!(fire(storage, &first, 70).await);
    assert!(fire(storage, &second, 130).await);
    storage.reopen().await;
    assert_eq!(
        due_ticks(storage).await,
        [(schedule.id, 10), (schedule.id, 70)]
    );
    let job = Uuid::now_v7();
    storage
        .settle_tick(&first, Some(job), "submitted")
        .await
        .unwrap();
    assert_eq!(due_ticks(storage).await, [(schedule.id, 70)]);
    let after = stored(storage, schedule.id).await;
    assert_eq!(
        (after.last_run_at, after.last_job_id),
        (Some(at(10)), Some(job))
    );
    assert_eq!(after.last_outcome.as_deref(), Some("submitted"));
    // Without a job, the last run is still the first one.
    storage
        .settle_tick(&second, None, "rejected")
        .await
        .unwrap();
    assert!(due_ticks(storage).await.is_empty());
    let after = stored(storage, schedule.id).await;
    assert_eq!(
        (after.last_run_at, after.last_job_id),
        (Some(at(10)), Some(job))
    );
    assert_eq!(after.last_outcome.as_deref(), Some("rejected"));
}

pub(crate) async fn disabling_a_schedule_withdraws_its_due_ticks(storage: &mut Scratch) {
    let (schedule, other) = (
        add_due(storage, "a", 10).await,
        add_due(storage, "b", 10).await,
    );
    for schedule in [&schedule, &other] {
        assert!(fire(storage, &tick(schedule, 10), 70).await);
    }
    let renamed = Schedule {
        name: "renamed".to_owned(),
        ..schedule.clone()
    };
    assert!(storage.update_schedule(&renamed).await.unwrap());
    assert_eq!(due_ticks(storage).await.len(), 2);
    let disabled = Schedule {
        enabled: false,
        ..renamed
    };
    assert!(storage.update_schedule(&disabled).await.unwrap());
    assert_eq!(due_ticks(storage).await, [(other.id, 10)]);
}

/// A client that has read a schedule before a run replaces it after the run.
pub(crate) async fn an_update_keeps_what_runs_have_written(storage: &mut Scratch) {
    let schedule = add_due(storage, "a", 10).await;
    let tick = tick(&schedule, 10);
    assert!(fire(storage, &tick, 70).await);
    let job = Uuid::now_v7();
    storage
        .settle_tick(&tick, Some(job), "submitted")
        .await
        .unwrap();
    let stale = Schedule {
        description: Some("changed".to_owned()),
        ..schedule
    };
    assert!(storage.update_schedule(&stale).await.unwrap());
    let after = stored(storage, stale.id).await;
    assert_eq!(after.description.as_deref(), Some("changed"));
    assert_eq!(
        (after.last_run_at, after.last_job_id),
        (Some(at(10)), Some(job))
    );
    assert_eq!(after.last_outcome.as_deref(), Some("submitted"));
}

pub(crate) async fn a_schedule_moves_only_from_the_expected_time(storage: &mut Scratch) {
    let schedule = add_due(storage, "a", 60).await;
    let next = async || stored(storage, schedule.id).await.next_run_at;
    storage
        .move_schedule(schedule.id, at(50), at(10))
        .await
        .unwrap();
    assert_eq!(next().await, Some(at(60)));
    storage
        .move_schedule(schedule.id, at(60), at(10))
        .await
        .unwrap();
    assert_eq!(next().await, Some(at(10)));
}

pub(crate) async fn a_schedule_is_busy_until_its_job_ends(storage: &mut Scratch) {
    let (schedule, other) = (schedule("a"), schedule("b"));
    add_schedule(storage, &schedule).await;
    let is_busy = async |id| storage.schedule_is_busy(id).await.unwrap();
    assert!(!is_busy(schedule.id).await);
    let job = NewJob {
        schedule: Some((schedule.id, schedule.cron_expression.clone())),
        ..new_job()
    };
    let id = add(storage, job).await;
    assert!(is_busy(schedule.id).await, "it waits");
    assert!(!is_busy(other.id).await);
    storage.claim_job(id, "w", None, at(1)).await.unwrap();
    assert!(is_busy(schedule.id).await, "it runs");
    storage.cancel_job(id, at(2)).await.unwrap();
    assert!(is_busy(schedule.id).await, "it still runs");
    let claim = crate::storage::Claim {
        job_id: id,
        attempt: 1,
        worker_id: "w".to_owned(),
    };
    let cancelled = crate::storage::Outcome::Cancelled(super::error("stopped"));
    super::finish(storage, &claim, cancelled, at(3)).await;
    assert!(!is_busy(schedule.id).await);
    let next = NewJob {
        schedule: Some((schedule.id, schedule.cron_expression)),
        ..new_job()
    };
    let next = add(storage, next).await;
    complete(storage, next, at(4), at(5)).await;
    assert!(!is_busy(schedule.id).await);
}

pub(crate) async fn a_deleted_schedule_takes_its_ticks_along(storage: &mut Scratch) {
    let schedule = add_due(storage, "a", 10).await;
    assert!(fire(storage, &tick(&schedule, 10), 70).await);
    assert!(storage.delete_schedule(schedule.id).await.unwrap());
    assert!(due_ticks(storage).await.is_empty());
    assert!(!storage.delete_schedule(schedule.id).await.unwrap());
    assert!(storage.schedule(schedule.id).await.unwrap().is_none());
    assert!(!fire(storage, &tick(&schedule, 70), 130).await);
}
