//! Ended jobs to notify about, the comparable jobs before them, and the outbox.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Result;
use crate::model::{Job, JobError, JobStatus, Notification, NotificationState};

/// A failed child job.
#[derive(Clone, Debug)]
pub struct FailedChild {
    pub job_id: Uuid,
    pub target: String,
    pub error: Option<JobError>,
}

/// The result of an attempt to send a message.
#[derive(Clone, Debug)]
pub enum Delivery {
    Sent,
    /// To be sent again at the given time because of this error.
    Later(String, DateTime<Utc>),
    /// Not to be retried because of this error.
    GivenUp(String),
}

/// Ended jobs to notify about, and the outbox.
#[async_trait]
pub trait NotificationStore: Send + Sync + 'static {
    /// Sets whether ends of jobs are recorded for notifications. Disabling removes existing records.
    async fn note_ended_jobs(&self, note: bool) -> Result<()>;
    /// Returns ended jobs that the outbox has not processed yet, in the order in which they ended.
    async fn ended_jobs(&self, limit: u32) -> Result<Vec<Uuid>>;
    /// Adds the messages about an ended job to the outbox and removes the record of its end, in one
    /// transaction. If too many messages wait for a channel, drops the oldest; returns how many.
    async fn notify(
        &self,
        job_id: Uuid,
        messages: Vec<Notification>,
        now: DateTime<Utc>,
    ) -> Result<u64>;
    /// Returns the outcome of the previous comparable job: the last one of the same schedule, or else
    /// of the same plugin and targets, that completed or failed.
    async fn outcome_before(&self, job: &Job) -> Result<Option<JobStatus>>;
    /// Returns the durations of earlier completed jobs of the same plugin, newest first, in
    /// milliseconds.
    async fn durations_before(&self, job: &Job, limit: u32) -> Result<Vec<i64>>;
    /// Returns failed child jobs in the order of the targets, at most `limit`.
    async fn failed_children(&self, id: Uuid, limit: u32) -> Result<Vec<FailedChild>>;
    /// Returns the first message that may be sent to a channel now.
    async fn due_notification(
        &self,
        channel: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Notification>>;
    /// Drops that message because it cannot be read.
    async fn give_up_due_notification(
        &self,
        channel: &str,
        error: &str,
        now: DateTime<Utc>,
    ) -> Result<()>;
    /// Returns when the next message to a channel may be sent.
    async fn next_notification_at(&self, channel: &str) -> Result<Option<DateTime<Utc>>>;
    /// Records an attempt to send a message, and removes the oldest settled messages.
    async fn settle_notification(
        &self,
        id: Uuid,
        delivery: Delivery,
        now: DateTime<Utc>,
    ) -> Result<()>;
    /// Drops messages that wait for channels other than these; returns how many.
    async fn abandon_other_channels(&self, channels: &[String], now: DateTime<Utc>) -> Result<u64>;
    /// Lists notifications, newest first, starting after one of them.
    async fn notifications(
        &self,
        state: Option<NotificationState>,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Notification>>;
}
