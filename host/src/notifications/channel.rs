//! A notification channel and its status.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::email::Email;
use super::webhook::{Slack, Webhook};
use crate::config::{ChannelConfig, NotificationsConfig};
use crate::model::{Notification, now};
use crate::storage::Delivery;

/// A configured channel.
pub(super) struct Channel {
    pub(super) name: String,
    /// Notified when a message was added to the outbox.
    pub(super) news: Notify,
    transport: Transport,
    last_error: Mutex<Option<String>>,
    /// End of the current backoff.
    rests_until: Mutex<Option<DateTime<Utc>>>,
}

enum Transport {
    Webhook(Webhook),
    Slack(Slack),
    Email(Box<Email>),
}

/// The status of a channel.
#[derive(Clone, Debug)]
pub struct ChannelStatus {
    pub name: String,
    pub kind: &'static str,
    /// Why the last message was not sent; `None` if it was.
    pub last_error: Option<String>,
}

/// Why a message was not sent.
#[derive(Debug)]
pub(super) struct SendError {
    /// The error, without secrets.
    pub(super) error: String,
    /// Whether the channel as a whole fails, so that other messages would fail too.
    pub(super) of_channel: bool,
    /// Whether a retry may succeed.
    pub(super) again: bool,
    /// Minimum delay that the receiver asked for (`Retry-After`).
    pub(super) after: Option<Duration>,
    /// Whether the response timed out; the message may have been delivered.
    pub(super) unanswered: bool,
}

impl SendError {
    pub(super) fn unusable(error: String) -> Self {
        Self {
            error,
            of_channel: true,
            again: true,
            after: None,
            unanswered: false,
        }
    }

    pub(super) fn no_answer() -> Self {
        Self {
            unanswered: true,
            ..Self::unusable("timeout".to_owned())
        }
    }

    pub(super) fn refused(error: String) -> Self {
        Self {
            error,
            of_channel: false,
            again: false,
            after: None,
            unanswered: false,
        }
    }
}

impl Channel {
    pub(super) fn build(
        name: &str,
        channel: &ChannelConfig,
        config: &NotificationsConfig,
    ) -> anyhow::Result<Self> {
        let key = format!("notifications.channels.{name}");
        let transport = match channel {
            ChannelConfig::Webhook { url, secret_file } => {
                Transport::Webhook(Webhook::build(&key, url.expose(), secret_file)?)
            }
            ChannelConfig::Slack { url, url_file } => {
                let url = url.as_ref().map(crate::config::SecretUrl::expose);
                Transport::Slack(Slack::build(&key, url, url_file.as_deref())?)
            }
            ChannelConfig::Email { to } => {
                Transport::Email(Box::new(Email::build(&key, to, config)?))
            }
        };
        Ok(Self {
            name: name.to_owned(),
            news: Notify::new(),
            transport,
            last_error: Mutex::new(None),
            rests_until: Mutex::new(None),
        })
    }

    /// Backs off: sends nothing for this long.
    pub(super) async fn rest(&self, pause: Duration) {
        let until = TimeDelta::from_std(pause).ok().map(|pause| now() + pause);
        self.set_rest(until);
        tokio::time::sleep(pause).await;
        self.set_rest(None);
    }

    pub(super) fn rests_until(&self) -> Option<DateTime<Utc>> {
        *self.rests_until.lock()
    }

    fn set_rest(&self, until: Option<DateTime<Utc>>) {
        *self.rests_until.lock() = until;
    }

    /// Sends a message once, with a timeout.
    pub(super) async fn send(
        &self,
        message: &Notification,
        within: Duration,
    ) -> Result<(), SendError> {
        let sending = async {
            match &self.transport {
                Transport::Webhook(webhook) => webhook.send(message).await,
                Transport::Slack(slack) => slack.send(message).await,
                Transport::Email(email) => email.send(message).await,
            }
        };
        match tokio::time::timeout(within, sending).await {
            Ok(sent) => sent,
            Err(_) => Err(SendError::no_answer()),
        }
    }

    /// Returns the timeout of a message sent in the background.
    pub(super) fn patience(&self) -> Duration {
        match &self.transport {
            Transport::Webhook(_) | Transport::Slack(_) => Duration::from_secs(30),
            // A mail server may take minutes to accept a message (RFC 5321, 4.5.3.2.6); a client that
            // times out earlier sends it again and again.
            Transport::Email(_) => Duration::from_secs(600),
        }
    }

    /// Records the result of a message, and logs when the channel fails, when it recovers, and when a
    /// message is dropped.
    pub(super) fn note(&self, message: &Notification, delivery: &Delivery) {
        let channel = self.name.as_str();
        let (id, job_id) = (message.id, message.job_id);
        let error = match delivery {
            Delivery::Sent => None,
            Delivery::Later(error, _) | Delivery::GivenUp(error) => Some(error.clone()),
        };
        let mut last_error = self.last_error.lock();
        match (delivery, last_error.is_some()) {
            (Delivery::Sent, false) => tracing::debug!(%id, %job_id, channel, "notification sent"),
            (Delivery::Sent, true) => {
                tracing::info!(%id, %job_id, channel, "notification channel recovered");
            }
            (Delivery::Later(error, _), false) => {
                tracing::warn!(%id, %job_id, channel, error, "failed to send a notification; retrying");
            }
            (Delivery::Later(error, _), true) => {
                tracing::debug!(%id, %job_id, channel, error, "failed to send a notification again; \
                     retrying");
            }
            (Delivery::GivenUp(error), _) => {
                tracing::error!(%id, %job_id, channel, error, "failed to send a notification; no more \
                     retries");
            }
        }
        *last_error = error;
    }

    /// Records the result of a test message without logging it.
    pub(super) fn tried(&self, error: Option<String>) {
        let mut last_error = self.last_error.lock();
        *last_error = error;
    }

    pub(super) fn status(&self) -> ChannelStatus {
        let last_error = self.last_error.lock();
        ChannelStatus {
            name: self.name.clone(),
            kind: match self.transport {
                Transport::Webhook(_) => "webhook",
                Transport::Slack(_) => "slack",
                Transport::Email(_) => "email",
            },
            last_error: last_error.clone(),
        }
    }
}
