//! Wire types of schedules.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::model::{BatchOptions, ListedSchedule, Misfire, Overlap, Schedule, Timing, now};

/// Number of upcoming runs shown.
pub const NEXT_RUNS: usize = 5;

/// A schedule to be stored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRequest {
    /// Letters, digits, `-`, `_` and `.`.
    #[schema(example = "nightly-backup")]
    pub name: String,
    #[schema(example = "backup-config")]
    pub plugin: String,
    /// The parameters, validated against the plugin's schema now and at each run.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub params: Option<Value>,
    /// The targets, as for a job; expressions are resolved at each run.
    #[serde(default)]
    pub targets: Vec<String>,
    /// A cron expression: `minute hour day month weekday`, optionally with seconds in front.
    #[schema(example = "30 2 * * 1-5")]
    pub cron_expression: String,
    /// Time zone as an IANA name; UTC if absent.
    #[serde(default)]
    #[schema(example = "Europe/Berlin")]
    pub timezone: Option<String>,
    /// Whether the schedule is enabled. If absent: true for a new schedule, unchanged for a replaced
    /// one.
    #[serde(default)]
    pub enabled: Option<bool>,
    #[serde(default)]
    pub misfire: Misfire,
    #[serde(default)]
    pub overlap: Overlap,
    /// No run before this time.
    #[serde(default)]
    pub starts_at: Option<DateTime<Utc>>,
    /// No run after this time.
    #[serde(default)]
    pub ends_at: Option<DateTime<Utc>>,
    /// Maximum random delay of each job, seconds; at most a day.
    #[serde(default)]
    pub jitter_seconds: u32,
    #[serde(default)]
    pub priority: Option<i32>,
    #[serde(default)]
    pub max_retries: Option<u32>,
    #[serde(default)]
    pub timeout_seconds: Option<u32>,
    #[serde(default)]
    pub description: Option<String>,
    /// Rollout options for several targets.
    #[serde(default)]
    pub batch: Option<BatchOptions>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ScheduleResponse {
    pub id: Uuid,
    pub name: String,
    pub plugin: String,
    /// The parameters; in a list, null if they are longer than 1 KiB.
    #[schema(value_type = Option<Object>)]
    pub params: Option<Value>,
    /// Length of the parameters as JSON, bytes; in a list only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params_bytes: Option<u64>,
    /// The targets; in a list, the first 20.
    pub targets: Vec<String>,
    /// Number of targets; in a list only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_count: Option<u64>,
    pub cron_expression: String,
    /// The cron expression in English.
    pub words: Option<String>,
    pub timezone: String,
    pub enabled: bool,
    pub misfire: Misfire,
    pub overlap: Overlap,
    pub starts_at: Option<DateTime<Utc>>,
    pub ends_at: Option<DateTime<Utc>>,
    pub jitter_seconds: u32,
    pub priority: Option<i32>,
    pub max_retries: Option<u32>,
    pub timeout_seconds: Option<u32>,
    pub description: Option<String>,
    pub batch: Option<BatchOptions>,
    /// The next run; null if the schedule is disabled or has ended.
    pub next_run_at: Option<DateTime<Utc>>,
    /// The next runs, at most five.
    pub next_runs: Vec<DateTime<Utc>>,
    pub last_run_at: Option<DateTime<Utc>>,
    pub last_job_id: Option<Uuid>,
    /// `submitted`, `triggered`, `skipped: …`, `refused: …`
    pub last_outcome: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The user of the last change, for whom its jobs are submitted. Null if authentication was off.
    #[serde(default)]
    pub owner: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ScheduleList {
    /// The schedules, by name.
    pub schedules: Vec<ScheduleResponse>,
    /// For the next page: `?cursor=`; null on the last.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// A cron expression to be previewed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewSchedule {
    #[schema(example = "30 2 * * 1-5")]
    pub cron_expression: String,
    /// Time zone as an IANA name; UTC if absent.
    #[serde(default)]
    pub timezone: Option<String>,
    /// Number of runs, 1 to 100; 5 if absent.
    #[serde(default)]
    pub count: Option<usize>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SchedulePreview {
    pub words: String,
    pub timezone: String,
    pub next_runs: Vec<DateTime<Utc>>,
}

impl ScheduleRequest {
    /// Builds a new schedule, or the replacement of `old`.
    pub(crate) fn over(self, old: Option<Schedule>) -> Schedule {
        let was_enabled = old.as_ref().is_none_or(|old| old.enabled);
        Schedule {
            id: old.as_ref().map_or_else(Uuid::now_v7, |old| old.id),
            name: self.name,
            plugin: self.plugin,
            params: self.params,
            targets: self.targets,
            cron_expression: self.cron_expression,
            timezone: self.timezone.unwrap_or_else(|| "UTC".to_owned()),
            enabled: self.enabled.unwrap_or(was_enabled),
            misfire: self.misfire,
            overlap: self.overlap,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            jitter_seconds: self.jitter_seconds,
            priority: self.priority,
            max_retries: self.max_retries,
            timeout_seconds: self.timeout_seconds,
            description: self.description,
            batch: self.batch,
            next_run_at: None,
            last_run_at: old.as_ref().and_then(|old| old.last_run_at),
            last_job_id: old.as_ref().and_then(|old| old.last_job_id),
            created_at: old.as_ref().map_or_else(now, |old| old.created_at),
            last_outcome: old.and_then(|old| old.last_outcome),
            updated_at: now(),
            owner: None,
        }
    }
}

impl From<ListedSchedule> for ScheduleResponse {
    fn from(listed: ListedSchedule) -> Self {
        Self {
            params_bytes: listed.params_bytes,
            target_count: Some(listed.target_count),
            ..Self::from(listed.schedule)
        }
    }
}

impl From<Schedule> for ScheduleResponse {
    fn from(schedule: Schedule) -> Self {
        let timing = Timing::parse(&schedule.cron_expression, &schedule.timezone);
        Self {
            next_runs: schedule.next_runs(now(), NEXT_RUNS).unwrap_or_default(),
            words: timing.ok().map(|timing| timing.words()),
            id: schedule.id,
            name: schedule.name,
            plugin: schedule.plugin,
            params: schedule.params,
            params_bytes: None,
            targets: schedule.targets,
            target_count: None,
            cron_expression: schedule.cron_expression,
            timezone: schedule.timezone,
            enabled: schedule.enabled,
            misfire: schedule.misfire,
            overlap: schedule.overlap,
            starts_at: schedule.starts_at,
            ends_at: schedule.ends_at,
            jitter_seconds: schedule.jitter_seconds,
            priority: schedule.priority,
            max_retries: schedule.max_retries,
            timeout_seconds: schedule.timeout_seconds,
            description: schedule.description,
            batch: schedule.batch,
            next_run_at: schedule.next_run_at,
            last_run_at: schedule.last_run_at,
            last_job_id: schedule.last_job_id,
            last_outcome: schedule.last_outcome,
            created_at: schedule.created_at,
            updated_at: schedule.updated_at,
            owner: schedule.owner,
        }
    }
}
