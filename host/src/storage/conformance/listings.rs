//! Scenarios of lists and counts of jobs.

use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;

use super::{Scratch, add, at, claim_at, complete, error, fail, finish, new_job, target};
use crate::model::{JobFilter, JobStatus, ListedJob, NewJob, StatusCounts};
use crate::storage::Outcome;

/// Returns a filter for a page of at most ten jobs.
fn any() -> JobFilter {
    JobFilter {
        limit: 10,
        ..JobFilter::default()
    }
}

async fn ids(storage: &Scratch, filter: &JobFilter) -> Vec<Uuid> {
    let jobs = storage.jobs(filter).await.unwrap();
    jobs.iter().map(|listed| listed.job.id).collect()
}

/// Reads all pages of a list.
async fn paged(storage: &Scratch, filter: JobFilter) -> Vec<Uuid> {
    let mut filter = filter;
    let mut found = Vec::new();
    loop {
        let page = storage.jobs(&filter).await.unwrap();
        assert!(page.len() <= filter.limit as usize);
        let Some(last) = page.last() else {
            return found;
        };
        filter.after = Some((last.job.created_at, last.job.id));
        found.extend(page.iter().map(|listed| listed.job.id));
    }
}

async fn created(storage: &Scratch, seconds: i64) -> Uuid {
    let job = NewJob {
        created_at: at(seconds),
        ..new_job()
    };
    add(storage, job).await
}

pub(crate) async fn jobs_are_listed_newest_first_in_pages(storage: &mut Scratch) {
    let mut added = Vec::new();
    for seconds in [30, 10, 20, 50, 40] {
        added.push((seconds, created(storage, seconds).await));
    }
    added.sort();
    let newest_first: Vec<_> = added.iter().rev().map(|(_, id)| *id).collect();
    assert_eq!(ids(storage, &any()).await, newest_first);
    let two = JobFilter { limit: 2, ..any() };
    assert_eq!(ids(storage, &two).await, newest_first[..2]);
    assert_eq!(paged(storage, two).await, newest_first);
}

pub(crate) async fn jobs_created_at_the_same_time_are_paged_by_id(storage: &mut Scratch) {
    let mut added = Vec::new();
    for _ in 0..5 {
        let job = NewJob {
            targets: vec![target("r1")],
            ..new_job()
        };
        added.push(add(storage, job).await);
    }
    added.sort();
    added.reverse();
    let one = JobFilter { limit: 1, ..any() };
    assert_eq!(paged(storage, one.clone()).await, added);
    let of_target = JobFilter {
        target: Some("r1".to_owned()),
        ..one
    };
    assert_eq!(paged(storage, of_target).await, added);
}

pub(crate) async fn each_filter_selects_its_jobs(storage: &mut Scratch) {
    let plain = created(storage, 10).await;
    let backup = NewJob {
        plugin: "backup".to_owned(),
        targets: vec![target("r1"), target("r2")],
        created_at: at(20),
        ..new_job()
    };
    let backup = add(storage, backup).await;
    let child = NewJob {
        parent_id: Some(backup),
        targets: vec![target("r2")],
        created_at: at(30),
        ..new_job()
    };
    let child = add(storage, child).await;
    fail(storage, plain, at(31), at(32)).await;
    let filters = [
        (
            JobFilter {
                status: Some(JobStatus::Failed),
                ..any()
            },
            vec![plain],
        ),
        (
            JobFilter {
                status: Some(JobStatus::Pending),
                ..any()
            },
            vec![child, backup],
        ),
        (
            JobFilter {
                plugin: Some("backup".to_owned()),
                ..any()
            },
            vec![backup],
        ),
        (
            JobFilter {
                target: Some("r1".to_owned()),
                ..any()
            },
            vec![backup],
        ),
        (
            JobFilter {
                target: Some("r2".to_owned()),
                ..any()
            },
            vec![child, backup],
        ),
        (
            JobFilter {
                target: Some("r".to_owned()),
                ..any()
            },
            vec![],
        ),
        (
            JobFilter {
                parent: Some(backup),
                ..any()
            },
            vec![child],
        ),
        (
            JobFilter {
                parent: Some(child),
                ..any()
            },
            vec![],
        ),
        (
            JobFilter {
                created_after: Some(at(10)),
                ..any()
            },
            vec![child, backup],
        ),
        (
            JobFilter {
                created_before: Some(at(30)),
                ..any()
            },
            vec![backup, plain],
        ),
    ];
    for (filter, expected) in filters {
        assert_eq!(ids(storage, &filter).await, expected, "{filter:?}");
    }
}

pub(crate) async fn filters_are_combined(storage: &mut Scratch) {
    let parent = created(storage, 0).await;
    let mut children = Vec::new();
    for (seconds, name, plugin) in [
        (1, "r1", "a"),
        (2, "r2", "a"),
        (3, "r1", "b"),
        (4, "r1", "a"),
    ] {
        let child = NewJob {
            plugin: plugin.to_owned(),
            parent_id: Some(parent),
            targets: vec![target(name)],
            created_at: at(seconds),
            ..new_job()
        };
        children.push(add(storage, child).await);
    }
    let of_r1 = JobFilter {
        target: Some("r1".to_owned()),
        plugin: Some("a".to_owned()),
        ..any()
    };
    let among_children = JobFilter {
        parent: Some(parent),
        ..of_r1.clone()
    };
    for filter in [&of_r1, &among_children] {
        assert_eq!(ids(storage, filter).await, [children[3], children[0]]);
        let between = JobFilter {
            created_after: Some(at(0)),
            created_before: Some(at(4)),
            status: Some(JobStatus::Pending),
            ..filter.clone()
        };
        assert_eq!(ids(storage, &between).await, [children[0]]);
    }
}

pub(crate) async fn jobs_with_the_same_request_are_marked(storage: &mut Scratch) {
    let r1 = target("r1");
    let like = |params: serde_json::Value, seconds| NewJob {
        params,
        targets: vec![r1.clone()],
        created_at: at(seconds),
        ..new_job()
    };
    let first = add(storage, like(json!({ "a": 1 }), 1)).await;
    let same = add(storage, like(json!({ "a": 1 }), 2)).await;
    let other = add(storage, like(json!({ "a": 2 }), 3)).await;
    let filter = JobFilter {
        same_as: Some(first),
        ..any()
    };
    let listed = storage.jobs(&filter).await.unwrap();
    let marked: Vec<_> = listed.iter().map(|it| (it.job.id, it.is_same)).collect();
    assert_eq!(marked, [(other, false), (same, true), (first, true)]);
}

pub(crate) async fn a_listing_leaves_out_large_fields(storage: &mut Scratch) {
    let text = "x".repeat(ListedJob::PARAMS_BYTES as usize);
    let names = (0..100).map(|number| format!("router-{number:>080}"));
    let large = NewJob {
        params: json!({ "text": text }),
        targets: names.map(|name| target(&name)).collect(),
        ..new_job()
    };
    let id = add(storage, large.clone()).await;
    let claim = claim_at(storage, id, at(1)).await;
    let result = json!({ "text": "y".repeat(5_000) });
    finish(storage, &claim, Outcome::Completed(result.clone()), at(2)).await;
    let failed = add(storage, new_job()).await;
    let claim = claim_at(storage, failed, at(1)).await;
    let long = "z".repeat(2 * ListedJob::ERROR_CHARS as usize);
    finish(storage, &claim, Outcome::Failed(error(&long)), at(2)).await;

    let page = storage.jobs(&any()).await.unwrap();
    let found = page.iter().find(|listed| listed.job.id == id).unwrap();
    let single = storage.listed_job(id).await.unwrap().unwrap();
    for listed in [found, &single] {
        assert!(!listed.shows_params());
        assert_eq!(listed.job.params, serde_json::Value::Null);
        assert_eq!(listed.params_bytes, large.params.to_string().len() as u64);
        assert_eq!(listed.result_bytes, Some(result.to_string().len() as u64));
        assert_eq!(listed.target_count, 100);
        assert_eq!(
            listed.job.targets,
            large.targets[..ListedJob::TARGETS as usize]
        );
    }
    let texts = storage.job_texts(id).await.unwrap().unwrap();
    assert_eq!(texts.params, large.params.to_string());
    assert_eq!(texts.result, Some(result.to_string()));
    assert_eq!(texts.targets, large.targets);
    let listed = storage.listed_job(failed).await.unwrap().unwrap();
    let message = &listed.job.error.as_ref().unwrap().message;
    assert_eq!(message.len(), ListedJob::ERROR_CHARS as usize);
    assert!(listed.shows_params() && listed.job.params == json!({}));
    let texts = storage.job_texts(failed).await.unwrap().unwrap();
    assert_eq!(texts.error_message, Some(long));
    let unknown = Uuid::now_v7();
    assert!(storage.listed_job(unknown).await.unwrap().is_none());
    assert!(storage.job_texts(unknown).await.unwrap().is_none());
}

pub(crate) async fn jobs_are_counted_by_status(storage: &mut Scratch) {
    let mut jobs = Vec::new();
    for _ in 0..7 {
        jobs.push(created(storage, 0).await);
    }
    complete(storage, jobs[0], at(1), at(2)).await;
    complete(storage, jobs[1], at(1), at(2)).await;
    fail(storage, jobs[2], at(1), at(2)).await;
    storage.cancel_job(jobs[3], at(1)).await.unwrap();
    claim_at(storage, jobs[4], at(1)).await;
    let claim = claim_at(storage, jobs[5], at(1)).await;
    let retry = Outcome::Retry(error("lost"), at(60));
    finish(storage, &claim, retry, at(2)).await;
    let mut expected = StatusCounts {
        pending: 1,
        running: 1,
        completed: 2,
        failed: 1,
        cancelled: 1,
        retrying: 1,
    };
    assert_eq!(storage.count_jobs(None).await.unwrap(), expected);
    storage.delete_job(jobs[0]).await.unwrap();
    expected.completed = 1;
    assert_eq!(storage.count_jobs(None).await.unwrap(), expected);
}

pub(crate) async fn jobs_are_counted_from_a_time_on(storage: &mut Scratch) {
    let minutes = [0, 10, 20, 59, 61, 90, 180];
    for minute in minutes {
        created(storage, minute * 60).await;
    }
    for after in [-1, 0, 5, 10, 59, 60, 61, 120, 180, 500] {
        let later = minutes.iter().filter(|minute| **minute > after);
        let time = at(0) + TimeDelta::minutes(after);
        let counts = storage.count_jobs(Some(time)).await.unwrap();
        assert_eq!(counts.pending, later.count() as u64, "after minute {after}");
    }
}
