//! Wire types of notifications. The message text is left out; the job itself has more detail.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::HealthStatus;
use crate::model::{Notification, NotificationEvent, NotificationState};
use crate::notifications::Tried;

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NotificationList {
    /// The newest first.
    pub notifications: Vec<NotificationAnswer>,
    /// For the next page: `?cursor=`; null on the last.
    pub next_cursor: Option<String>,
}

/// A message to one channel about one job.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NotificationAnswer {
    /// The receiver sees it as `X-Scheduler-Delivery`.
    pub id: Uuid,
    pub channel: String,
    pub event: NotificationEvent,
    pub job_id: Uuid,
    #[schema(example = "backup-config failed on core-1: timeout")]
    pub subject: String,
    pub state: NotificationState,
    /// How often it was sent, or tried to be.
    pub attempts: u32,
    /// Why the last attempt that failed did.
    pub last_error: Option<String>,
    /// While it waits: when it is sent.
    pub next_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    /// When it was sent or given up.
    pub settled_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestNotification {
    /// The channel's name.
    #[schema(example = "ops")]
    pub channel: String,
}

/// What came of sending a message that says nothing.
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
    /// Why the last message was not sent; null if it was.
    pub last_error: Option<String>,
}

impl From<Notification> for NotificationAnswer {
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

impl From<Tried> for NotificationTest {
    fn from(tried: Tried) -> Self {
        Self {
            ok: tried.error.is_none(),
            duration_ms: u64::try_from(tried.duration.as_millis()).unwrap_or(u64::MAX),
            error: tried.error,
        }
    }
}
