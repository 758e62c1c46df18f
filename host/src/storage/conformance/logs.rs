//! Scenarios of log lines.

use serde_json::json;
use uuid::Uuid;

use super::{Scratch, add, at, new_job};
use crate::model::{JobLog, LogLevel};
use crate::storage::Page;

/// Adds a job with some log lines; returns its id, and those of the lines.
async fn job_with(storage: &Scratch, lines: &[(LogLevel, &str)]) -> (Uuid, Vec<i64>) {
    let id = add(storage, new_job()).await;
    let other = add(storage, new_job()).await;
    for (level, message) in lines {
        let line = JobLog::of(id, *level, (*message).to_owned());
        let beside = JobLog::of(other, *level, "of another job".to_owned());
        storage.add_logs(vec![line, beside]).await.unwrap();
    }
    let stored = storage.logs(id, 0, None, 1_000).await.unwrap();
    (id, stored.iter().map(|line| line.id).collect())
}

fn messages(lines: &[JobLog]) -> Vec<&str> {
    lines.iter().map(|line| &*line.message).collect()
}

const LINES: [(LogLevel, &str); 5] = [
    (LogLevel::Info, "a"),
    (LogLevel::Debug, "b"),
    (LogLevel::Error, "c"),
    (LogLevel::Warn, "d"),
    (LogLevel::Info, "e"),
];

pub(crate) async fn log_lines_are_paged_in_order(storage: &mut Scratch) {
    let id = add(storage, new_job()).await;
    let first = JobLog {
        timestamp: at(5),
        context: Some(json!({ "n": 1.50 })),
        ..JobLog::of(id, LogLevel::Warn, "é\n\u{1F600}".to_owned())
    };
    let others = ["b", "c", "d", "e"];
    let others = others.map(|text| JobLog::of(id, LogLevel::Info, text.to_owned()));
    let all = [vec![first.clone()], others.to_vec()].concat();
    storage.add_logs(all).await.unwrap();
    let (mut after, mut found) = (0, Vec::new());
    loop {
        let page = storage.logs(id, after, None, 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = last.id;
        found.extend(page);
    }
    assert_eq!(messages(&found), [&*first.message, "b", "c", "d", "e"]);
    assert!(found.is_sorted_by(|one, next| one.id < next.id));
    assert_eq!((found[0].job_id, found[0].level), (id, LogLevel::Warn));
    assert_eq!(found[0].timestamp, first.timestamp);
    let context = |line: &JobLog| line.context.as_ref().map(ToString::to_string);
    assert_eq!(context(&found[0]), context(&first));
    assert_eq!(found[1].context, None);
}

pub(crate) async fn log_lines_are_paged_backwards(storage: &mut Scratch) {
    let (id, ids) = job_with(storage, &LINES).await;
    let before = async |before, limit| {
        let lines = storage.logs_before(id, before, None, limit).await.unwrap();
        lines
            .into_iter()
            .map(|line| line.message)
            .collect::<String>()
    };
    assert_eq!(before(i64::MAX, 2).await, "de");
    assert_eq!(before(ids[3], 2).await, "bc");
    assert_eq!(before(ids[1], 2).await, "a");
    assert_eq!(before(ids[0], 2).await, "");
}

pub(crate) async fn log_lines_are_filtered_by_level(storage: &mut Scratch) {
    let (id, ids) = job_with(storage, &LINES).await;
    for (least, expected) in [
        (LogLevel::Debug, vec!["a", "b", "c", "d", "e"]),
        (LogLevel::Info, vec!["a", "c", "d", "e"]),
        (LogLevel::Warn, vec!["c", "d"]),
        (LogLevel::Error, vec!["c"]),
    ] {
        let lines = storage.logs(id, 0, Some(least), 10).await.unwrap();
        assert_eq!(messages(&lines), expected, "{least:?}");
        let lines = storage.logs_before(id, i64::MAX, Some(least), 10).await;
        assert_eq!(messages(&lines.unwrap()), expected, "{least:?}");
    }
    let warnings = Some(LogLevel::Warn);
    let page = storage.logs(id, ids[2], warnings, 1).await.unwrap();
    assert_eq!(messages(&page), ["d"]);
    let page = storage.logs_before(id, ids[3], warnings, 1).await.unwrap();
    assert_eq!(messages(&page), ["c"]);
}

pub(crate) async fn pages_of_log_lines_are_measured_before_they_are_read(storage: &mut Scratch) {
    let text = "x".repeat(10);
    let lines = LINES.map(|(level, _)| (level, &*text));
    let (id, ids) = job_with(storage, &lines).await;
    let page = |limit, bytes| Page { limit, bytes };
    let after = async |after, least, page| {
        let measured = storage.measure_logs(id, after, least, page).await.unwrap();
        (measured.count, measured.bytes, measured.more)
    };
    assert_eq!(after(0, None, page(10, 1_000)).await, (5, 50, false));
    assert_eq!(after(0, None, page(3, 1_000)).await, (3, 30, true));
    assert_eq!(after(0, None, page(10, 20)).await, (2, 20, true));
    assert_eq!(after(0, None, page(10, 1)).await, (1, 10, true));
    assert_eq!(after(ids[4], None, page(10, 1)).await, (0, 0, false));
    let warnings = Some(LogLevel::Warn);
    assert_eq!(after(0, warnings, page(10, 1_000)).await, (2, 20, false));
    let before = async |before, least, page| {
        let measured = storage.measure_logs_before(id, before, least, page).await;
        let measured = measured.unwrap();
        (measured.count, measured.bytes, measured.more)
    };
    assert_eq!(
        before(i64::MAX, None, page(10, 1_000)).await,
        (5, 50, false)
    );
    assert_eq!(before(ids[2], None, page(10, 1_000)).await, (2, 20, false));
    assert_eq!(before(ids[4], None, page(2, 1_000)).await, (2, 20, true));
    assert_eq!(before(ids[4], None, page(10, 1)).await, (1, 10, true));
    assert_eq!(before(ids[3], warnings, page(10, 1)).await, (1, 10, false));
    // The context counts, too.
    let context = json!({ "a": 1 });
    let line = JobLog {
        context: Some(context.clone()),
        ..JobLog::of(id, LogLevel::Error, "é".to_owned())
    };
    storage.add_logs(vec![line]).await.unwrap();
    let bytes = 2 + context.to_string().len() as u64;
    assert_eq!(
        after(ids[4], None, page(10, 1_000)).await,
        (1, bytes, false)
    );
}

pub(crate) async fn one_rejected_log_line_does_not_affect_others(storage: &mut Scratch) {
    let id = add(storage, new_job()).await;
    let unknown = Uuid::now_v7();
    let of = |id, text: &str| JobLog::of(id, LogLevel::Info, text.to_owned());
    let lines = vec![of(id, "before"), of(unknown, "of no job"), of(id, "after")];
    let added = storage.add_logs(lines).await;
    assert!(added.is_err(), "{added:?}");
    let lines = storage.logs(id, 0, None, 10).await.unwrap();
    assert_eq!(messages(&lines), ["before", "after"]);
    assert!(storage.logs(unknown, 0, None, 10).await.unwrap().is_empty());
}

pub(crate) async fn the_last_log_line_is_found(storage: &mut Scratch) {
    let (id, ids) = job_with(storage, &LINES).await;
    let last = async |after| storage.last_log(id, after).await.unwrap();
    assert_eq!(last(0).await, Some(ids[4]));
    assert_eq!(last(ids[3]).await, Some(ids[4]));
    assert_eq!(last(ids[4]).await, None);
    assert_eq!(storage.last_log(Uuid::now_v7(), 0).await.unwrap(), None);
}
