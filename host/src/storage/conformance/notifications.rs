//! Scenarios of notifications: ended jobs, the outbox, and the jobs to compare with.

use serde_json::json;
use uuid::Uuid;

use super::{Scratch, add, at, claim_at, complete, error, fail, finish, new_job, stored, target};
use crate::model::{
    BatchOptions, JobStatus, NewJob, Notification, NotificationContent, NotificationEvent,
    NotificationState, Target,
};
use crate::storage::{Delivery, Outcome};

async fn enable(storage: &Scratch) {
    storage.note_ended_jobs(true).await.unwrap();
}

async fn ended(storage: &Scratch) -> Vec<Uuid> {
    storage.ended_jobs(100).await.unwrap()
}

/// Adds a job and completes it at this time.
async fn completed(storage: &Scratch, seconds: i64) -> Uuid {
    let id = add(storage, new_job()).await;
    complete(storage, id, at(seconds - 1), at(seconds)).await;
    id
}

fn message(channel: &str, job_id: Uuid) -> Notification {
    let content = NotificationContent {
        subject: "subject".to_owned(),
        text: "text é".to_owned(),
        body: "{}".to_owned(),
    };
    let event = NotificationEvent::Failed;
    Notification::new(Uuid::now_v7(), channel, event, job_id, content, at(100))
}

/// Adds a message about a new job to the outbox; returns the message.
async fn add_message(storage: &Scratch, channel: &str) -> Notification {
    enable(storage).await;
    let job = completed(storage, 10).await;
    let message = message(channel, job);
    let given_up = storage.notify(job, vec![message.clone()], at(100)).await;
    assert_eq!(given_up.unwrap(), 0);
    message
}

async fn due(storage: &Scratch, channel: &str, seconds: i64) -> Option<Uuid> {
    let due = storage.due_notification(channel, at(seconds)).await;
    due.unwrap().map(|message| message.id)
}

/// Returns the only notification.
async fn only(storage: &Scratch) -> Notification {
    let mut all = storage.notifications(None, None, 10).await.unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

pub(crate) async fn ends_are_recorded_while_notifications_are_enabled(storage: &mut Scratch) {
    completed(storage, 10).await;
    assert!(
        ended(storage).await.is_empty(),
        "they are disabled at first"
    );
    enable(storage).await;
    let first = completed(storage, 20).await;
    let second = add(storage, new_job()).await;
    fail(storage, second, at(21), at(22)).await;
    let third = add(storage, new_job()).await;
    storage.cancel_job(third, at(30)).await.unwrap();
    let fourth = add(storage, new_job()).await;
    let reason = error("paused");
    assert!(storage.skip_job(fourth, &reason, at(31)).await.unwrap());
    storage.reopen().await;
    assert_eq!(ended(storage).await, [first, second, third, fourth]);
    assert_eq!(storage.ended_jobs(2).await.unwrap(), [first, second]);
    storage.delete_job(second).await.unwrap();
    assert_eq!(ended(storage).await, [first, third, fourth]);
    storage.note_ended_jobs(false).await.unwrap();
    assert!(ended(storage).await.is_empty());
    completed(storage, 40).await;
    assert!(ended(storage).await.is_empty());
}

pub(crate) async fn the_ends_of_children_are_not_recorded(storage: &mut Scratch) {
    enable(storage).await;
    let batch = NewJob {
        batch: Some(BatchOptions::default()),
        targets: vec![target("r1")],
        held: true,
        ..new_job()
    };
    let child = Uuid::now_v7();
    storage.add_job(&batch, &[child], None).await.unwrap();
    storage.advance_batch(batch.id, at(1)).await.unwrap();
    complete(storage, child, at(2), at(3)).await;
    assert!(ended(storage).await.is_empty());
    storage.advance_batch(batch.id, at(4)).await.unwrap();
    assert_eq!(ended(storage).await, [batch.id]);
}

pub(crate) async fn a_job_that_runs_again_has_not_ended(storage: &mut Scratch) {
    enable(storage).await;
    let id = add(storage, new_job()).await;
    let first = claim_at(storage, id, at(1)).await;
    finish(storage, &first, Outcome::Retry(error("lost"), at(3)), at(2)).await;
    let second = claim_at(storage, id, at(3)).await;
    finish(storage, &second, Outcome::RunAgain(error("crash")), at(4)).await;
    assert!(ended(storage).await.is_empty());
    complete(storage, id, at(5), at(6)).await;
    assert_eq!(ended(storage).await, [id]);
}

pub(crate) async fn an_ended_job_is_notified_about_once(storage: &mut Scratch) {
    enable(storage).await;
    let job = completed(storage, 10).await;
    let messages = vec![message("chat", job), message("mail", job)];
    let notified = storage.notify(job, messages, at(100)).await;
    assert_eq!(notified.unwrap(), 0);
    assert!(ended(storage).await.is_empty());
    // A second relay, or the same one after a crash.
    let again = storage.notify(job, vec![message("chat", job)], at(101));
    assert_eq!(again.await.unwrap(), 0);
    let all = storage.notifications(None, None, 10).await.unwrap();
    assert_eq!(all.len(), 2);
    // No rule applies to this job.
    let other = completed(storage, 20).await;
    storage.notify(other, Vec::new(), at(102)).await.unwrap();
    assert!(ended(storage).await.is_empty());
    assert_eq!(
        storage.notifications(None, None, 10).await.unwrap().len(),
        2
    );
}

pub(crate) async fn a_message_waits_for_its_time(storage: &mut Scratch) {
    let message = add_message(storage, "chat").await;
    assert_eq!(due(storage, "chat", 99).await, None);
    storage.reopen().await;
    let found = storage.due_notification("chat", at(100)).await.unwrap();
    // Debug shows all fields.
    assert_eq!(format!("{:?}", found.unwrap()), format!("{message:?}"));
    assert_eq!(due(storage, "mail", 100).await, None);
    let next = storage.next_notification_at("chat").await.unwrap();
    assert_eq!(next, Some(at(100)));
    assert_eq!(storage.next_notification_at("mail").await.unwrap(), None);
}

pub(crate) async fn a_sent_message_is_sent_once(storage: &mut Scratch) {
    let message = add_message(storage, "chat").await;
    let settle = async |delivery, seconds| {
        let settled = storage.settle_notification(message.id, delivery, at(seconds));
        settled.await.unwrap();
    };
    settle(Delivery::Sent, 101).await;
    assert_eq!(due(storage, "chat", 1_000).await, None);
    assert_eq!(storage.next_notification_at("chat").await.unwrap(), None);
    // A second sender learns the end of its attempt later.
    settle(Delivery::Later("timeout".to_owned(), at(110)), 105).await;
    settle(Delivery::GivenUp("rejected".to_owned()), 106).await;
    assert_eq!(due(storage, "chat", 1_000).await, None);
    let stored = only(storage).await;
    assert_eq!(
        (stored.state, stored.attempts),
        (NotificationState::Sent, 1)
    );
    assert_eq!(
        (stored.settled_at, stored.last_error),
        (Some(at(101)), None)
    );
    assert_eq!((&*stored.content.text, &*stored.content.body), ("", ""));
    assert_eq!(stored.content.subject, "subject");
}

pub(crate) async fn a_failed_message_is_retried_later(storage: &mut Scratch) {
    let message = add_message(storage, "chat").await;
    for (number, retry) in [(1, 200), (2, 400)] {
        let later = Delivery::Later(format!("error {number}"), at(retry));
        let settled = storage.settle_notification(message.id, later, at(150));
        settled.await.unwrap();
        assert_eq!(due(storage, "chat", retry - 1).await, None);
        assert_eq!(due(storage, "chat", retry).await, Some(message.id));
        let next = storage.next_notification_at("chat").await.unwrap();
        assert_eq!(next, Some(at(retry)));
        let stored = only(storage).await;
        assert_eq!(
            (stored.state, stored.attempts),
            (NotificationState::Waiting, number)
        );
        assert_eq!(stored.last_error, Some(format!("error {number}")));
        assert_eq!((&*stored.content.text, stored.settled_at), ("text é", None));
    }
    let sent = storage.settle_notification(message.id, Delivery::Sent, at(401));
    sent.await.unwrap();
    let stored = only(storage).await;
    assert_eq!(
        (stored.state, stored.attempts),
        (NotificationState::Sent, 3)
    );
    assert_eq!(stored.last_error.as_deref(), Some("error 2"));
}

pub(crate) async fn an_abandoned_message_keeps_no_text(storage: &mut Scratch) {
    let message = add_message(storage, "chat").await;
    let given_up = Delivery::GivenUp("rejected".to_owned());
    let settled = storage.settle_notification(message.id, given_up, at(101));
    settled.await.unwrap();
    let stored = only(storage).await;
    assert_eq!(
        (stored.state, stored.attempts),
        (NotificationState::GivenUp, 1)
    );
    assert_eq!(stored.last_error.as_deref(), Some("rejected"));
    assert_eq!(stored.settled_at, Some(at(101)));
    assert_eq!((&*stored.content.text, &*stored.content.body), ("", ""));
    assert_eq!(due(storage, "chat", 1_000).await, None);
}

pub(crate) async fn messages_to_a_channel_are_sent_in_order(storage: &mut Scratch) {
    let mut messages = Vec::new();
    for _ in 0..3 {
        messages.push(add_message(storage, "chat").await.id);
    }
    // One that is retried does not delay the others.
    let later = Delivery::Later("timeout".to_owned(), at(500));
    let settled = storage.settle_notification(messages[0], later, at(101));
    settled.await.unwrap();
    for id in &messages[1..] {
        assert_eq!(due(storage, "chat", 200).await, Some(*id));
        let sent = storage.settle_notification(*id, Delivery::Sent, at(201));
        sent.await.unwrap();
    }
    assert_eq!(due(storage, "chat", 499).await, None);
    assert_eq!(due(storage, "chat", 500).await, Some(messages[0]));
}

pub(crate) async fn an_unreadable_message_is_dropped(storage: &mut Scratch) {
    let first = add_message(storage, "chat").await;
    let second = add_message(storage, "chat").await;
    let other = add_message(storage, "mail").await;
    let dropped = storage.give_up_due_notification("chat", "unreadable", at(101));
    dropped.await.unwrap();
    assert_eq!(due(storage, "chat", 101).await, Some(second.id));
    assert_eq!(due(storage, "mail", 101).await, Some(other.id));
    let given_up = Some(NotificationState::GivenUp);
    let dropped = storage.notifications(given_up, None, 10).await.unwrap();
    assert_eq!(
        dropped.iter().map(|it| it.id).collect::<Vec<_>>(),
        [first.id]
    );
    assert_eq!(dropped[0].last_error.as_deref(), Some("unreadable"));
}

pub(crate) async fn messages_to_other_channels_are_abandoned(storage: &mut Scratch) {
    let sent = add_message(storage, "old").await;
    let settled = storage.settle_notification(sent.id, Delivery::Sent, at(101));
    settled.await.unwrap();
    let waiting = add_message(storage, "old").await;
    let kept = add_message(storage, "chat").await;
    let channels = ["chat".to_owned(), "mail".to_owned()];
    let abandoned = storage.abandon_other_channels(&channels, at(102)).await;
    assert_eq!(abandoned.unwrap(), 1);
    let states = storage.notifications(None, None, 10).await.unwrap();
    let states: Vec<_> = states.iter().map(|it| (it.id, it.state)).collect();
    let expected = [
        (kept.id, NotificationState::Waiting),
        (waiting.id, NotificationState::GivenUp),
        (sent.id, NotificationState::Sent),
    ];
    assert_eq!(states, expected);
}

pub(crate) async fn notifications_are_listed_newest_first_in_pages(storage: &mut Scratch) {
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(add_message(storage, "chat").await.id);
    }
    let settled = storage.settle_notification(ids[1], Delivery::Sent, at(101));
    settled.await.unwrap();
    ids.reverse();
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = storage.notifications(None, after, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        found.extend(page.iter().map(|it| it.id));
    }
    assert_eq!(found, ids);
    let waiting = Some(NotificationState::Waiting);
    let waiting = storage.notifications(waiting, Some(ids[0]), 10).await;
    let waiting: Vec<_> = waiting.unwrap().iter().map(|it| it.id).collect();
    assert_eq!(waiting, [ids[1], ids[3]]);
}

/// Adds a job, and ends it as failed or completed.
async fn ended_job(storage: &Scratch, job: NewJob, ended: i64, status: JobStatus) -> Uuid {
    let job = NewJob {
        created_at: at(ended - 2),
        ..job
    };
    let id = add(storage, job).await;
    match status {
        JobStatus::Failed => fail(storage, id, at(ended - 1), at(ended)).await,
        _ => complete(storage, id, at(ended - 1), at(ended)).await,
    }
    id
}

async fn outcome_before(storage: &Scratch, id: Uuid) -> Option<JobStatus> {
    let job = stored(storage, id).await;
    storage.outcome_before(&job).await.unwrap()
}

pub(crate) async fn the_previous_outcome_is_that_of_the_same_plugin_and_targets(
    storage: &mut Scratch,
) {
    let (r1, r2) = (target("r1"), target("r2"));
    let of = |plugin: &str, targets: &[&Target]| NewJob {
        plugin: plugin.to_owned(),
        targets: targets.iter().map(|it| (*it).clone()).collect(),
        ..new_job()
    };
    let first = ended_job(storage, of("a", &[&r1]), 10, JobStatus::Failed).await;
    // None of these is comparable with the next one.
    ended_job(storage, of("a", &[&r2]), 20, JobStatus::Completed).await;
    ended_job(storage, of("b", &[&r1]), 30, JobStatus::Completed).await;
    ended_job(storage, of("a", &[&r1, &r2]), 40, JobStatus::Completed).await;
    let cancelled = add(storage, of("a", &[&r1])).await;
    storage.cancel_job(cancelled, at(50)).await.unwrap();
    let child = NewJob {
        parent_id: Some(first),
        ..of("a", &[&r1])
    };
    ended_job(storage, child, 55, JobStatus::Completed).await;
    let second = ended_job(storage, of("a", &[&r1]), 60, JobStatus::Completed).await;
    let third = ended_job(storage, of("a", &[&r1]), 70, JobStatus::Failed).await;
    assert_eq!(outcome_before(storage, first).await, None);
    assert_eq!(
        outcome_before(storage, second).await,
        Some(JobStatus::Failed)
    );
    assert_eq!(
        outcome_before(storage, third).await,
        Some(JobStatus::Completed)
    );

    let first = ended_job(storage, of("c", &[]), 10, JobStatus::Failed).await;
    ended_job(storage, of("c", &[&r1]), 20, JobStatus::Completed).await;
    let second = ended_job(storage, of("c", &[]), 30, JobStatus::Completed).await;
    assert_eq!(outcome_before(storage, first).await, None);
    assert_eq!(
        outcome_before(storage, second).await,
        Some(JobStatus::Failed)
    );
    let waiting = add(storage, of("c", &[])).await;
    assert_eq!(outcome_before(storage, waiting).await, None);
}

pub(crate) async fn the_previous_outcome_of_a_scheduled_job_is_that_of_its_schedule(
    storage: &mut Scratch,
) {
    let schedule = Uuid::now_v7();
    let of_schedule = |name: &str| NewJob {
        schedule: Some((schedule, "* * * * *".to_owned())),
        targets: vec![target(name)],
        ..new_job()
    };
    ended_job(storage, of_schedule("r1"), 10, JobStatus::Failed).await;
    ended_job(storage, new_job(), 20, JobStatus::Completed).await;
    let other = NewJob {
        plugin: "another".to_owned(),
        ..of_schedule("r1")
    };
    ended_job(storage, other, 30, JobStatus::Completed).await;
    // Its target expression finds another device now.
    let second = ended_job(storage, of_schedule("r2"), 40, JobStatus::Completed).await;
    assert_eq!(
        outcome_before(storage, second).await,
        Some(JobStatus::Failed)
    );
}

pub(crate) async fn durations_are_those_of_earlier_completed_jobs(storage: &mut Scratch) {
    for (begun, ended) in [(10, 11), (20, 25), (30, 33)] {
        let id = add(storage, new_job()).await;
        complete(storage, id, at(begun), at(ended)).await;
    }
    ended_job(storage, new_job(), 40, JobStatus::Failed).await;
    let other = NewJob {
        plugin: "another".to_owned(),
        ..new_job()
    };
    ended_job(storage, other, 50, JobStatus::Completed).await;
    let parent = add(storage, new_job()).await;
    let child = NewJob {
        parent_id: Some(parent),
        ..new_job()
    };
    ended_job(storage, child, 60, JobStatus::Completed).await;
    let last = ended_job(storage, new_job(), 70, JobStatus::Completed).await;
    ended_job(storage, new_job(), 80, JobStatus::Completed).await;
    let job = stored(storage, last).await;
    let durations = async |limit| storage.durations_before(&job, limit).await.unwrap();
    assert_eq!(durations(10).await, [3_000, 5_000, 1_000]);
    assert_eq!(durations(2).await, [3_000, 5_000]);
    let waiting = stored(storage, parent).await;
    let none = storage.durations_before(&waiting, 10).await.unwrap();
    assert!(none.is_empty());
}

pub(crate) async fn failed_children_are_listed_in_order(storage: &mut Scratch) {
    let names = ["r1", "r2", "r3", "r4"];
    let batch = NewJob {
        batch: Some(BatchOptions::default()),
        targets: names.iter().map(|name| target(name)).collect(),
        held: true,
        ..new_job()
    };
    let children: Vec<_> = names.iter().map(|_| Uuid::now_v7()).collect();
    storage.add_job(&batch, &children, None).await.unwrap();
    storage.advance_batch(batch.id, at(1)).await.unwrap();
    for number in [3, 0, 2] {
        let claim = claim_at(storage, children[number], at(2)).await;
        let failed = Outcome::Failed(error(&format!("error {number}")));
        finish(storage, &claim, failed, at(3)).await;
    }
    let claim = claim_at(storage, children[1], at(2)).await;
    finish(storage, &claim, Outcome::Completed(json!(1)), at(3)).await;
    let failed = async |limit| {
        let failed = storage.failed_children(batch.id, limit).await.unwrap();
        let failed = failed.into_iter();
        failed
            .map(|it| (it.job_id, it.target, it.error.unwrap().message))
            .collect::<Vec<_>>()
    };
    let expected = [0, 2, 3].map(|number: usize| {
        let message = format!("error {number}");
        (children[number], names[number].to_owned(), message)
    });
    assert_eq!(failed(10).await, expected);
    assert_eq!(failed(2).await, expected[..2]);
}
