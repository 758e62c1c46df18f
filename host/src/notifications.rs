//! People are told of ended jobs: by webhook, by mail, in a chat.
//!
//! Two steps, each of which may be cut off anywhere. The transaction that ends a job notes that it
//! has ended. A task looks at each such job, and in one transaction puts what is to be said of it
//! into the outbox and removes the note. Then each channel sends what the outbox holds for it, in
//! order, by a task of its own, so that one which does not answer holds up no other. A message that
//! was sent when the process died is sent again, under the same id.
//!
//! `rules` says who wants to know, `message` what is said, `channel` how it gets there.

mod channel;
mod email;
mod message;
mod rules;
mod secret_file;
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use reqwest::Url;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::NotificationsConfig;
use crate::model::{Connection, Job, JobStatus, Notification, NotificationEvent, now};
use crate::storage::{Delivery, Result, Storage, StorageError};
pub use channel::ChannelStatus;
use channel::{Channel, NotSent};
use message::Facts;
use rules::Rule;

/// Ended jobs are looked for so often, should news of one have been lost.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// The outbox is looked at so often: the clock may have been set.
const OUTBOX_POLL_INTERVAL: Duration = Duration::from_secs(30);
/// Before it is tried again when the database was not available.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Ended jobs looked at in one go.
const PAGE: u32 = 100;
/// The longest that a channel waits before it is tried again, unless it asks for more.
const MAX_PAUSE: Duration = Duration::from_secs(900);
/// Of a message that tries a channel: less than a client of the API waits for its answer.
const TEST_TIMEOUT: Duration = Duration::from_secs(12);
/// A message that gets no answer so often is itself to blame, and holds up no other.
const MAX_UNANSWERED: u32 = 3;
/// For what is being sent when the server stops.
const GRACE: Duration = Duration::from_secs(3);
/// Runs that say how long a job usually takes.
const MIN_RUNS: usize = 5;
const MAX_RUNS: u32 = 50;
/// Failed devices that a message names.
const MAX_DEVICES: u32 = 100;
/// Targets that are looked up one by one; of more, all connections are read.
const FEW_TARGETS: usize = 20;

pub struct Notifications {
    storage: Arc<dyn Storage>,
    /// News of ended jobs.
    ended: broadcast::Sender<Uuid>,
    rules: Vec<Rule>,
    channels: Vec<Channel>,
    board_url: Option<Url>,
    slow_percent: i64,
    slow_ms: i64,
    retry: Duration,
    give_up: TimeDelta,
}

/// What came of trying a channel.
#[derive(Debug)]
pub struct Tried {
    pub duration: Duration,
    /// Why nothing was sent.
    pub error: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("channel `{name}` not found; {}", there_are(.known))]
pub struct NoSuchChannel {
    name: String,
    known: Vec<String>,
}

impl Notifications {
    /// Reads the secrets that the channels need.
    ///
    /// # Errors
    /// When a secret cannot be read, with the key that names its file.
    pub fn build(
        config: &NotificationsConfig,
        storage: Arc<dyn Storage>,
        ended: broadcast::Sender<Uuid>,
    ) -> anyhow::Result<Self> {
        let channels = config
            .channels
            .iter()
            .map(|(name, channel)| Channel::build(name, channel, config))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let rules = config
            .rules
            .iter()
            .map(Rule::build)
            .collect::<anyhow::Result<Vec<_>>>()?;
        let board_url = config.board_url.as_deref().map(Url::parse).transpose()?;
        Ok(Self {
            storage,
            ended,
            rules,
            channels,
            board_url,
            slow_percent: config.slow_percent.into(),
            slow_ms: i64::from(config.slow_seconds) * 1_000,
            retry: Duration::from_secs(config.retry_seconds.into()),
            give_up: TimeDelta::hours(config.give_up_hours.into()),
        })
    }

    /// Tells the database whether ends of jobs are to be noted, and for which channels.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn begin(&self) -> Result<()> {
        self.storage.note_ended_jobs(!self.rules.is_empty()).await?;
        let names: Vec<_> = self
            .channels
            .iter()
            .map(|channel| channel.name.clone())
            .collect();
        let abandoned = self.storage.abandon_other_channels(&names, now()).await?;
        if abandoned > 0 {
            tracing::warn!(
                messages = abandoned,
                "dropped notifications for channels that are no longer configured"
            );
        }
        Ok(())
    }

    /// Runs until `shutdown` is ready, and what is being sent has been sent.
    pub async fn run(&self, shutdown: CancellationToken) {
        let deciding = async {
            if !self.rules.is_empty() {
                shutdown.run_until_cancelled(self.keep_deciding()).await;
            }
        };
        let delivering = self
            .channels
            .iter()
            .map(|channel| self.keep_delivering(channel, &shutdown));
        tokio::join!(deciding, join_all(delivering));
    }

    /// How the channels do, by name.
    #[must_use]
    pub fn status(&self) -> Vec<ChannelStatus> {
        self.channels.iter().map(Channel::status).collect()
    }

    /// When a message that waits is tried next: not while its channel rests.
    #[must_use]
    pub fn next_attempt(&self, waiting: &Notification) -> DateTime<Utc> {
        let mut channels = self.channels.iter();
        let channel = channels.find(|channel| channel.name == waiting.channel);
        let rests_until = channel.and_then(Channel::rests_until);
        waiting.next_at.max(rests_until.unwrap_or(waiting.next_at))
    }

    /// Sends a message to a channel, now and once.
    ///
    /// # Errors
    /// When there is no such channel. That it does not get through is an answer.
    pub async fn test(&self, channel: &str) -> std::result::Result<Tried, NoSuchChannel> {
        let found = self.channels.iter().find(|known| known.name == channel);
        let Some(channel) = found else {
            return Err(NoSuchChannel {
                name: channel.to_owned(),
                known: self.status().into_iter().map(|each| each.name).collect(),
            });
        };
        let message = message::test(&channel.name, self.board_url.as_ref());
        let begun = Instant::now();
        let sent = channel.send(&message, TEST_TIMEOUT).await;
        let error = sent.err().map(|not_sent| not_sent.error);
        channel.tried(error.clone());
        Ok(Tried {
            duration: begun.elapsed(),
            error,
        })
    }

    async fn keep_deciding(&self) {
        let mut ended = self.ended.subscribe();
        loop {
            let pause = match self.look_at_ended_jobs().await {
                Ok(()) => POLL_INTERVAL,
                Err(error) => {
                    tracing::error!(%error, "failed to create notifications of ended jobs; retrying");
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                    continue;
                }
            };
            // Too much news is news, too.
            let _ = tokio::time::timeout(pause, ended.recv()).await;
        }
    }

    async fn look_at_ended_jobs(&self) -> Result<()> {
        loop {
            let jobs = self.storage.ended_jobs(PAGE).await?;
            if jobs.is_empty() {
                return Ok(());
            }
            for id in jobs {
                let messages = match self.messages_of(id).await {
                    // It will not be readable later either, and others wait behind it.
                    Err(error @ StorageError::Corrupt(_)) => {
                        tracing::error!(job_id = %id, %error, "failed to create the notifications of a \
                             job; the job is skipped");
                        Vec::new()
                    }
                    other => other?,
                };
                self.put_into_outbox(id, messages).await?;
            }
        }
    }

    async fn put_into_outbox(&self, job_id: Uuid, messages: Vec<Notification>) -> Result<()> {
        let names: Vec<_> = messages.iter().map(|each| each.channel.clone()).collect();
        let given_up = self.storage.notify(job_id, messages, now()).await?;
        if given_up > 0 {
            tracing::error!(
                messages = given_up,
                "outbox full; dropping the oldest notifications"
            );
        }
        for channel in &self.channels {
            if names.contains(&channel.name) {
                channel.news.notify_one();
            }
        }
        Ok(())
    }

    /// What is to be said of an ended job: one message to each channel that wants to know.
    async fn messages_of(&self, id: Uuid) -> Result<Vec<Notification>> {
        let Some(job) = self.storage.job(id).await? else {
            return Ok(Vec::new());
        };
        let of_plugin: Vec<&Rule> = self.rules.iter().filter(|rule| rule.takes(&job)).collect();
        let wanted = |event| of_plugin.iter().any(|rule| rule.on.contains(&event));
        let mut usual_ms = None;
        let mut events = Vec::new();
        match job.status {
            JobStatus::Failed => events.push(NotificationEvent::Failed),
            JobStatus::Cancelled => events.push(NotificationEvent::Cancelled),
            JobStatus::Completed => {
                events.push(NotificationEvent::Completed);
                if wanted(NotificationEvent::Recovered)
                    && self.storage.outcome_before(&job).await? == Some(JobStatus::Failed)
                {
                    events.push(NotificationEvent::Recovered);
                }
                if wanted(NotificationEvent::Slow) {
                    usual_ms = self.usual_if_slow(&job).await?;
                    events.extend(usual_ms.map(|_| NotificationEvent::Slow));
                }
            }
            JobStatus::Pending | JobStatus::Running | JobStatus::Retrying => {}
        }
        let mut matching = Vec::new();
        let mut devices = None;
        for rule in of_plugin {
            let told: Vec<_> = events
                .iter()
                .copied()
                .filter(|event| rule.on.contains(event))
                .collect();
            if told.is_empty() {
                continue;
            }
            if rule.targets.is_some() && devices.is_none() {
                devices = Some(self.devices_of(&job).await?);
            }
            if rule.fits(devices.as_deref().unwrap_or_default()) {
                matching.push((rule, told));
            }
        }
        if matching.is_empty() {
            return Ok(Vec::new());
        }
        let mut by_channel: BTreeMap<&str, Vec<NotificationEvent>> = BTreeMap::new();
        for (rule, told) in &matching {
            for channel in &rule.channels {
                by_channel.entry(channel).or_default().extend(told);
            }
        }
        let facts = self.facts(job, usual_ms).await?;
        let messages = by_channel.into_iter().map(|(channel, mut events)| {
            events.sort_unstable();
            events.dedup();
            message::of(&facts, channel, &events)
        });
        Ok(messages.flatten().collect())
    }

    /// How long the plugin's jobs usually take, if this one took much longer.
    async fn usual_if_slow(&self, job: &Job) -> Result<Option<i64>> {
        let Some(took) = message::duration_of(job) else {
            return Ok(None);
        };
        let mut runs = self.storage.durations_before(job, MAX_RUNS).await?;
        if runs.len() < MIN_RUNS {
            return Ok(None);
        }
        runs.sort_unstable();
        let Some(usual) = runs.get(runs.len() / 2).copied() else {
            return Ok(None);
        };
        let is_slow = took.saturating_mul(100) > usual.saturating_mul(self.slow_percent)
            && took - usual >= self.slow_ms;
        Ok(is_slow.then_some(usual))
    }

    /// The devices that decide whether a rule is for a job: of a batch that has failed those that
    /// have, or else all.
    async fn devices_of(&self, job: &Job) -> Result<Vec<Connection>> {
        let failed = rules::failed_targets(job);
        let mut devices = Vec::new();
        if failed.len() <= FEW_TARGETS {
            for target in failed {
                devices.extend(self.storage.connection(target.connection_id).await?);
            }
            return Ok(devices);
        }
        let ids: std::collections::HashSet<_> =
            failed.iter().map(|target| target.connection_id).collect();
        let all = self.storage.connections().await?;
        devices.extend(all.into_iter().filter(|device| ids.contains(&device.id)));
        Ok(devices)
    }

    async fn facts(&self, job: Job, usual_ms: Option<i64>) -> Result<Facts> {
        let schedule = match job.schedule_id {
            Some(id) => self.storage.schedule(id).await?,
            None => None,
        };
        let (mut counts, mut failed) = (None, Vec::new());
        if job.batch.is_some() {
            let found = self.storage.batch_counts(&[job.id]).await?;
            counts = Some(found.get(&job.id).copied().unwrap_or_default());
            failed = self.storage.failed_children(job.id, MAX_DEVICES).await?;
        }
        Ok(Facts {
            link: self
                .board_url
                .as_ref()
                .map(|board| message::link(board, job.id)),
            schedule: schedule.map(|schedule| schedule.name),
            counts,
            failed,
            usual_ms,
            job,
        })
    }

    async fn keep_delivering(&self, channel: &Channel, shutdown: &CancellationToken) {
        let mut failures = 0;
        while !shutdown.is_cancelled() {
            let wait = match self.deliver(channel, &mut failures, shutdown).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(channel = channel.name, %error, "failed to read the outbox; \
                         retrying");
                    Wait::Pause(PAUSE_AFTER_FAILURE)
                }
            };
            let waiting = async {
                match wait {
                    Wait::No => {}
                    Wait::Pause(pause) => channel.rest(pause).await,
                    Wait::NewsOr(pause) => {
                        let _ = tokio::time::timeout(pause, channel.news.notified()).await;
                    }
                }
            };
            shutdown.run_until_cancelled(waiting).await;
        }
    }

    /// Sends the next message that is due, if there is one.
    async fn deliver(
        &self,
        channel: &Channel,
        failures: &mut u32,
        shutdown: &CancellationToken,
    ) -> Result<Wait> {
        let at = now();
        let due = match self.storage.due_notification(&channel.name, at).await {
            // It will not be readable later either, and others wait behind it.
            Err(error @ StorageError::Corrupt(_)) => {
                tracing::error!(channel = channel.name, %error, "dropping an unreadable notification");
                let error = error.to_string();
                let storage = &self.storage;
                storage
                    .give_up_due_notification(&channel.name, &error, at)
                    .await?;
                return Ok(Wait::No);
            }
            other => other?,
        };
        let Some(message) = due else {
            let next = self.storage.next_notification_at(&channel.name).await?;
            // One that has become due meanwhile is no time away.
            let until = |next: DateTime<Utc>| (next - now()).to_std().unwrap_or_default();
            let pause = next.map_or(OUTBOX_POLL_INTERVAL, until);
            return Ok(Wait::NewsOr(pause.min(OUTBOX_POLL_INTERVAL)));
        };
        let stopping = async {
            shutdown.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let sent = tokio::select! {
            sent = channel.send(&message, channel.patience()) => sent,
            // It is sent again after the next start.
            () = stopping => return Ok(Wait::No),
        };
        let (delivery, wait) = match sent {
            Ok(()) => {
                *failures = 0;
                (Delivery::Sent, Wait::No)
            }
            Err(not_sent) => self.after_failure(&message, not_sent, failures, now()),
        };
        channel.note(&message, &delivery);
        self.settle(message.id, delivery, shutdown).await;
        Ok(wait)
    }

    /// What becomes of a message that was not sent, and how long its channel rests.
    fn after_failure(
        &self,
        message: &Notification,
        not_sent: NotSent,
        failures: &mut u32,
        now: DateTime<Utc>,
    ) -> (Delivery, Wait) {
        let NotSent {
            error,
            of_channel,
            again,
            after,
            unanswered,
        } = not_sent;
        let of_channel = of_channel && !(unanswered && message.attempts + 1 >= MAX_UNANSWERED);
        // A channel that cannot be reached rests, so that its messages stay in order; one message
        // that it does not take holds up no other.
        let times = if of_channel {
            *failures = failures.saturating_add(1);
            (*failures).max(message.attempts.saturating_add(1))
        } else {
            *failures = 0;
            message.attempts.saturating_add(1)
        };
        let pause = pause_after(self.retry, times).max(after.unwrap_or_default());
        let wait = if of_channel {
            Wait::Pause(pause)
        } else {
            Wait::No
        };
        if !again {
            return (Delivery::GivenUp(error), wait);
        }
        // While the channel rests its messages do as well: the first of them stays the first, also
        // when the server is started again.
        let next = match of_channel {
            true => now,
            false => now + TimeDelta::from_std(pause).unwrap_or(TimeDelta::zero()),
        };
        if now - message.created_at > self.give_up {
            return (Delivery::GivenUp(error), wait);
        }
        (Delivery::Later(error, next), wait)
    }

    /// Notes what came of a message, however long the database takes: else it would be sent again.
    async fn settle(&self, id: Uuid, delivery: Delivery, shutdown: &CancellationToken) {
        loop {
            let noted = self
                .storage
                .settle_notification(id, delivery.clone(), now())
                .await;
            let Err(error) = noted else { return };
            tracing::error!(%id, %error, "failed to store the outcome of a notification; retrying");
            let pause = tokio::time::sleep(PAUSE_AFTER_FAILURE);
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }
}

/// What a channel does before it looks at the outbox again.
enum Wait {
    No,
    /// Whatever comes.
    Pause(Duration),
    /// Until there is something new, or for so long.
    NewsOr(Duration),
}

/// Twice as long after each failure, and up to half as long again at random, so that those who
/// wait for the same server do not all come back together.
fn pause_after(first: Duration, failures: u32) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let pause = doubled.min(MAX_PAUSE.max(first));
    // Without random numbers it comes back a little early.
    let random = getrandom::u32().unwrap_or_default();
    pause + pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}

fn there_are(known: &[String]) -> String {
    match known {
        [] => "no channel is configured ([notifications.channels.NAME])".to_owned(),
        known => format!("known: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let first = Duration::from_secs(10);
        for (failures, least, most) in [(1, 10, 15), (2, 20, 30), (3, 40, 60), (40, 900, 1_350)] {
            let pause = pause_after(first, failures);
            let bounds = Duration::from_secs(least)..=Duration::from_secs(most);
            assert!(bounds.contains(&pause), "{failures}: {pause:?}");
        }
        let long = Duration::from_secs(3_600);
        assert!(pause_after(long, 9) >= long);
    }
}
