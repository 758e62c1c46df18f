//! Wire types of notifications. The message text is left out; the job itself has more detail.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::HealthStatus;
use crate::model::{Notification, NotificationEvent, NotificationState};

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NotificationList {
    /// Notifications, newest first.
    pub notifications: Vec<NotificationResponse>,
    /// For the next page: `?cursor=`; null on the last.
    pub next_cursor: Option<String>,
}

/// A message to one channel about one job.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NotificationResponse {
    /// The id, sent to the receiver as `X-Scheduler-Delivery`.
    pub id: Uuid,
    pub channel: String,
    pub event: NotificationEvent,
    pub job_id: Uuid,
    #[schema(example = "backup-config failed on core-1: timeout")]
    pub subject: String,
    pub state: NotificationState,
    /// Number of attempts to send the notification.
    pub attempts: u32,
    /// The error of the last failed attempt.
    pub last_error: Option<String>,
    /// The time of the next attempt of a waiting notification.
    pub next_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    /// When the notification was sent or abandoned.
    pub settled_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestNotification {
    /// The channel's name.
    #[schema(example = "ops")]
    pub channel: String,
}

/// The outcome of sending a test message.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NotificationTest {
    pub ok: bool,
    pub duration_ms: u64,
    pub error: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct NotificationHealth {
    pub status: HealthStatus,
    pub channels: Vec<ChannelHealth>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ChannelHealth {
    pub name: String,
    /// `webhook`, `slack` or `email`.
    pub kind: String,
    pub status: HealthStatus,
    /// The error of the last message; null if it was sent.
    pub last_error: Option<String>,
}

impl From<Notification> for NotificationResponse {
    fn from(notification: Notification) -> Self {
        let waits = notification.state == NotificationState::Waiting;
        Self {
            id: notification.id,
            channel: notification.channel,
            event: notification.event,
            job_id: notification.job_id,
            subject: notification.content.subject,
            state: notification.state,
            attempts: notification.attempts,
            last_error: notification.last_error,
            next_at: waits.then_some(notification.next_at),
            created_at: notification.created_at,
            settled_at: notification.settled_at,
        }
    }
}
