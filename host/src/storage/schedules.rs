//! Schedules and their occurrences.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Page, Result};
use crate::model::{ListedSchedule, Schedule, Tick};

/// The result of adding a schedule.
#[derive(Clone, Debug)]
pub enum AddScheduleOutcome {
    Added,
    /// The idempotency key exists with the same request: this is the first schedule.
    Same(Box<Schedule>),
    KeyReused,
}

/// Schedules and their occurrences.
#[async_trait]
pub trait ScheduleStore: Send + Sync + 'static {
    /// `idempotency` is (key, digest of the request).
    async fn add_schedule(
        &self,
        schedule: &Schedule,
        idempotency: Option<&(String, String)>,
    ) -> Result<AddScheduleOutcome>;
    /// Updates a schedule except for the state that its runs write; returns `false` if it does not
    /// exist.
    async fn update_schedule(&self, schedule: &Schedule) -> Result<bool>;
    /// Returns `false` if the schedule does not exist.
    async fn delete_schedule(&self, id: Uuid) -> Result<bool>;
    async fn schedule(&self, id: Uuid) -> Result<Option<Schedule>>;
    async fn schedule_named(&self, name: &str) -> Result<Option<Schedule>>;
    /// Returns the schedule with an idempotency key, and the digest of its request.
    async fn schedule_with_key(&self, key: &str) -> Result<Option<(Schedule, String)>>;
    /// Returns a page of the schedules ordered by name, starting after a name, without large fields,
    /// and whether more follow.
    async fn schedules_page(&self, after: &str, page: Page) -> Result<(Vec<ListedSchedule>, bool)>;
    async fn count_schedules(&self) -> Result<u64>;
    /// Returns the schedules that are due.
    async fn due_schedules(&self, now: DateTime<Utc>) -> Result<Vec<Schedule>>;
    /// Returns the next time of any schedule after `after`.
    async fn next_schedule_at(&self, after: DateTime<Utc>) -> Result<Option<DateTime<Utc>>>;
    /// Returns the schedules with a next time after `time`.
    async fn schedules_after(&self, time: DateTime<Utc>) -> Result<Vec<Schedule>>;
    /// Changes the next time of a schedule from `from` to `to`.
    async fn move_schedule(&self, id: Uuid, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<()>;
    /// Records an occurrence and advances its schedule to `next`, in one transaction. The occurrence is
    /// due, unless `left_out` says why it is skipped. Returns `false` if this was done before or the
    /// schedule has changed.
    async fn fire_tick(
        &self,
        tick: &Tick,
        next: Option<DateTime<Utc>>,
        left_out: Option<String>,
    ) -> Result<bool>;
    /// Returns occurrences without a submitted job, earliest first.
    async fn due_ticks(&self) -> Result<Vec<Tick>>;
    /// Records the result of an occurrence or of a manual trigger.
    async fn settle_tick(&self, tick: &Tick, job_id: Option<Uuid>, outcome: &str) -> Result<()>;
    /// Returns whether a job of the schedule has not ended.
    async fn schedule_is_busy(&self, id: Uuid) -> Result<bool>;
}
