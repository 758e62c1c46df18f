//! Notifications about ended jobs.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The reason for a notification. If several apply, the first one in this order is used.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum NotificationEvent {
    /// The job failed, and no retry follows.
    Failed,
    Cancelled,
    /// The job completed, and the previous one had failed.
    Recovered,
    /// The job completed, and took much longer than usual.
    Slow,
    Completed,
    /// A test message of a channel, without a job.
    Test,
}

impl NotificationEvent {
    /// Events that a rule may select.
    pub const OF_JOBS: [Self; 5] = [
        Self::Failed,
        Self::Cancelled,
        Self::Recovered,
        Self::Slow,
        Self::Completed,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Recovered => "recovered",
            Self::Slow => "slow",
            Self::Completed => "completed",
            Self::Test => "test",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut all = Self::OF_JOBS.into_iter().chain([Self::Test]);
        all.find(|event| event.as_str() == text)
    }
}

impl fmt::Display for NotificationEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotificationState {
    /// The notification is waiting for its first attempt or a retry.
    Waiting,
    Sent,
    /// The notification was abandoned: the receiver rejected it, or retries failed for too long.
    GivenUp,
}

impl NotificationState {
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Sent, Self::GivenUp];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::GivenUp => "given_up",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A message in the outbox, for one channel.
#[derive(Clone, Debug)]
pub struct Notification {
    pub id: Uuid,
    pub channel: String,
    pub event: NotificationEvent,
    pub job_id: Uuid,
    pub content: NotificationContent,
    pub state: NotificationState,
    pub attempts: u32,
    /// Earliest time of the next attempt, while the message waits.
    pub next_at: DateTime<Utc>,
    pub last_error: Option<String>,
    pub created_at: DateTime<Utc>,
    pub settled_at: Option<DateTime<Utc>>,
}

/// The content of a message in three forms; a channel uses those it supports.
#[derive(Clone, Debug)]
pub struct NotificationContent {
    /// A single line.
    pub subject: String,
    /// Text for people.
    pub text: String,
    /// JSON for programs.
    pub body: String,
}

impl Notification {
    /// Creates a message that is due at once.
    #[must_use]
    pub fn new(
        id: Uuid,
        channel: &str,
        event: NotificationEvent,
        job_id: Uuid,
        content: NotificationContent,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            id,
            channel: channel.to_owned(),
            event,
            job_id,
            content,
            state: NotificationState::Waiting,
            attempts: 0,
            next_at: now,
            last_error: None,
            created_at: now,
            settled_at: None,
        }
    }
}
