//! Notifications about ended jobs: by webhook, email or Slack.
//!
//! There are two steps (a transactional outbox), and a crash at any point is safe. First, the
//! transaction that ends a job records its end; for each such record, a task adds the messages to the
//! outbox and removes the record, in one transaction. Then each channel sends its messages in order, in
//! its own task, so that an unresponsive channel does not block the others. A message that was being
//! sent when the process died is sent again under the same id.
//!
//! `rules` selects jobs and channels, `message` composes the messages, `channel` sends them.

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

use crate::backoff::Backoff;
use crate::config::NotificationsConfig;
use crate::dispatch::JobEnded;
use crate::model::{Connection, Job, JobStatus, Notification, NotificationEvent, now};
use crate::storage::{Delivery, Result, Storage, StorageError};
pub use channel::ChannelStatus;
use channel::{Channel, SendError};
use message::Facts;
use rules::Rule;

/// Poll interval for ended jobs, in case an event was lost.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Poll interval for the outbox, in case the clock was changed.
const OUTBOX_POLL_INTERVAL: Duration = Duration::from_secs(30);
/// Delay before a retry after a database error.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Ended jobs processed at once.
const PAGE: u32 = 100;
/// Maximum backoff of a channel, unless the receiver asks for more.
const MAX_PAUSE: Duration = Duration::from_secs(900);
/// Timeout of a test message: less than a client of the API waits for its response.
const TEST_TIMEOUT: Duration = Duration::from_secs(12);
/// After this many attempts without a response, the fault is attributed to the message rather than to
/// the channel, so that it does not block other messages.
const MAX_UNANSWERED: u32 = 3;
/// Extra time for messages being sent at shutdown.
const GRACE: Duration = Duration::from_secs(3);
/// Minimum number of earlier runs needed to tell how long a job usually takes.
const MIN_RUNS: usize = 5;
const MAX_RUNS: u32 = 50;
/// Maximum number of failed devices named in a message.
const MAX_DEVICES: u32 = 100;
/// Up to this many targets are looked up individually; for more, all connections are read.
const FEW_TARGETS: usize = 20;

/// The notification rules and channels.
pub struct Notifications {
    storage: Arc<dyn Storage>,
    /// Events of ended jobs.
    ended: broadcast::Sender<JobEnded>,
    rules: Vec<Rule>,
    channels: Vec<Channel>,
    board_url: Option<Url>,
    slow_percent: i64,
    slow_ms: i64,
    backoff: Backoff,
    give_up: TimeDelta,
}

/// The result of a test message.
#[derive(Debug)]
pub struct TestOutcome {
    pub duration: Duration,
    /// Why the message was not sent.
    pub error: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("channel `{name}` not found; {}", there_are(.known))]
pub struct NoSuchChannel {
    name: String,
    known: Vec<String>,
}

impl Notifications {
    /// Builds the channels and rules, and reads the secrets of the channels.
    ///
    /// # Errors
    /// If a secret cannot be read; the error names the configuration key of its file.
    pub fn build(
        config: &NotificationsConfig,
        storage: Arc<dyn Storage>,
        ended: broadcast::Sender<JobEnded>,
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
            backoff: backoff(config),
            give_up: TimeDelta::hours(config.give_up_hours.into()),
        })
    }

    /// Configures whether the database records ends of jobs, and drops messages for channels that no
    /// longer exist.
    ///
    /// # Errors
    /// If the database is unavailable.
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

    /// Runs until `shutdown` is cancelled and messages being sent are done.
    pub async fn run(&self, shutdown: CancellationToken) {
        let deciding = async {
            if !self.rules.is_empty() {
                shutdown.run_until_cancelled(self.create_messages()).await;
            }
        };
        let delivering = self
            .channels
            .iter()
            .map(|channel| self.keep_delivering(channel, &shutdown));
        tokio::join!(deciding, join_all(delivering));
    }

    /// Returns the status of the channels.
    #[must_use]
    pub fn status(&self) -> Vec<ChannelStatus> {
        self.channels.iter().map(Channel::status).collect()
    }

    /// Returns when a waiting message is tried next, including the backoff of its channel.
    #[must_use]
    pub fn next_attempt(&self, waiting: &Notification) -> DateTime<Utc> {
        let mut channels = self.channels.iter();
        let channel = channels.find(|channel| channel.name == waiting.channel);
        let rests_until = channel.and_then(Channel::rests_until);
        waiting.next_at.max(rests_until.unwrap_or(waiting.next_at))
    }

    /// Sends a test message to a channel, once.
    ///
    /// # Errors
    /// If the channel does not exist. A failure to send is part of the result.
    pub async fn test(&self, channel: &str) -> std::result::Result<TestOutcome, NoSuchChannel> {
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
        Ok(TestOutcome {
            duration: begun.elapsed(),
            error,
        })
    }

    async fn create_messages(&self) {
        let mut ended = self.ended.subscribe();
        loop {
            let pause = match self.process_ended_jobs().await {
                Ok(()) => POLL_INTERVAL,
                Err(error) => {
                    tracing::error!(%error, "failed to create notifications of ended jobs; retrying");
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                    continue;
                }
            };
            // A lagged receiver wakes the task as well.
            let _ = tokio::time::timeout(pause, ended.recv()).await;
        }
    }

    async fn process_ended_jobs(&self) -> Result<()> {
        loop {
            let jobs = self.storage.ended_jobs(PAGE).await?;
            if jobs.is_empty() {
                return Ok(());
            }
            for id in jobs {
                let messages = match self.messages_of(id).await {
                    // Drops the record: the job will not become readable, and others wait behind it.
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

    /// Returns the messages about an ended job, one for each interested channel.
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

    /// Returns the usual duration of the plugin's jobs if this one took much longer.
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

    /// Returns the devices that rules are matched against: the failed devices of a failed batch,
    /// otherwise all devices of the job.
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

    /// Sends the next due message, if there is one.
    async fn deliver(
        &self,
        channel: &Channel,
        failures: &mut u32,
        shutdown: &CancellationToken,
    ) -> Result<Wait> {
        let at = now();
        let due = match self.storage.due_notification(&channel.name, at).await {
            // Drops the message: it will not become readable, and others wait behind it.
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
            // Zero if a message has become due in the meantime.
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
            // The message is sent again after the next start.
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

    /// Returns the new state of a message that was not sent, and the backoff of its channel.
    fn after_failure(
        &self,
        message: &Notification,
        not_sent: SendError,
        failures: &mut u32,
        now: DateTime<Utc>,
    ) -> (Delivery, Wait) {
        let SendError {
            error,
            of_channel,
            again,
            after,
            unanswered,
        } = not_sent;
        let of_channel = of_channel && !(unanswered && message.attempts + 1 >= MAX_UNANSWERED);
        // An unreachable channel backs off as a whole, which keeps its messages in order; a message
        // that the channel rejects does not block others.
        let times = if of_channel {
            *failures = failures.saturating_add(1);
            (*failures).max(message.attempts.saturating_add(1))
        } else {
            *failures = 0;
            message.attempts.saturating_add(1)
        };
        let pause = self.backoff.delay(times).max(after.unwrap_or_default());
        let wait = if of_channel {
            Wait::Pause(pause)
        } else {
            Wait::No
        };
        if !again {
            return (Delivery::GivenUp(error), wait);
        }
        // While the channel backs off, the message stays due, so that it remains the first one, even
        // after a restart.
        let next = match of_channel {
            true => now,
            false => now + TimeDelta::from_std(pause).unwrap_or(TimeDelta::zero()),
        };
        if now - message.created_at > self.give_up {
            return (Delivery::GivenUp(error), wait);
        }
        (Delivery::Later(error, next), wait)
    }

    /// Records the result of a message; retries until the database is available, because the message
    /// would be sent again otherwise.
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

/// How long a channel waits before it reads the outbox again.
enum Wait {
    No,
    /// For this long, regardless of events.
    Pause(Duration),
    /// Until an event arrives, or at most this long.
    NewsOr(Duration),
}

fn backoff(config: &NotificationsConfig) -> Backoff {
    let first = Duration::from_secs(config.retry_seconds.into());
    Backoff::new(first, MAX_PAUSE.max(first))
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
    fn backoff_grows_up_to_a_quarter_of_an_hour_unless_configured_longer() {
        for (retry_seconds, failures, least) in [(10, 1, 10), (10, 40, 900), (3_600, 9, 3_600)] {
            let config = NotificationsConfig {
                retry_seconds,
                ..NotificationsConfig::default()
            };
            let least = Duration::from_secs(least);
            let delay = backoff(&config).delay(failures);
            assert!(delay >= least && delay <= least * 3 / 2, "{delay:?}");
        }
    }
}
