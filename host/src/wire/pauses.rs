//! Wire types of pauses.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::model::{Pause, PauseAction, PauseRule, Windows, now};
use crate::pauses::ActivePause;

use super::NEXT_RUNS;

/// A pause to be stored. Absent fields do not limit it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// Letters, digits, `-`, `_` and `.`.
    #[schema(example = "christmas-freeze")]
    pub name: String,
    /// The reason, shown with each paused job.
    #[serde(default)]
    pub reason: Option<String>,
    /// Names of plugins, `*` for any text; if empty, all plugins.
    #[serde(default)]
    pub plugins: Vec<String>,
    /// Only jobs with a target that matches this expression; if absent, all jobs, also those without
    /// targets.
    #[serde(default)]
    #[schema(example = "tag:core and not name:lab-*")]
    pub targets: Option<String>,
    #[serde(default)]
    pub action: PauseAction,
    /// The start of the pause; if absent, now.
    #[serde(default)]
    pub starts_at: Option<DateTime<Utc>>,
    /// The end of the pause; if absent, it lasts until it is removed.
    #[serde(default)]
    pub ends_at: Option<DateTime<Utc>>,
    /// Recurring windows of the pause; if absent, it is in force all the time.
    #[serde(default)]
    pub windows: Option<Windows>,
}

/// Converts the request into a new pause.
impl From<PauseRequest> for Pause {
    fn from(pause: PauseRequest) -> Self {
        let now = now();
        Self {
            id: Uuid::now_v7(),
            name: pause.name,
            reason: pause.reason,
            plugins: pause.plugins,
            targets: pause.targets,
            action: pause.action,
            starts_at: pause.starts_at,
            ends_at: pause.ends_at,
            windows: pause.windows,
            ended_at: None,
            created_at: now,
            updated_at: now,
        }
    }
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PauseResponse {
    pub id: Uuid,
    pub name: String,
    pub reason: Option<String>,
    pub plugins: Vec<String>,
    pub targets: Option<String>,
    pub action: PauseAction,
    pub starts_at: Option<DateTime<Utc>>,
    pub ends_at: Option<DateTime<Utc>>,
    pub windows: Option<Windows>,
    /// Whether the pause is in force now.
    pub in_force: bool,
    /// The end of the pause or its current window. Absent if it lasts until it is removed.
    pub until: Option<DateTime<Utc>>,
    /// Number of due jobs that the pause withholds now.
    #[serde(default)]
    pub held_jobs: u64,
    /// When the pause was ended early; windows that had started by then are over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// The next times at which the pause starts, at most five.
    pub next_starts: Vec<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PauseList {
    /// The pauses, by name.
    pub pauses: Vec<PauseResponse>,
    /// For the next page: `?cursor=`; null on the last.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// The pause that withholds a job.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct JobPause {
    /// The name of the pause.
    pub pause: String,
    pub reason: Option<String>,
    /// The end of the pause; absent if it lasts until it is removed.
    pub until: Option<DateTime<Utc>>,
}

impl From<&PauseRule> for PauseResponse {
    fn from(rule: &PauseRule) -> Self {
        let now = now();
        let in_force = rule.in_force(now);
        let next_starts = rule.next_starts(now, NEXT_RUNS);
        let pause = rule.pause.clone();
        Self {
            id: pause.id,
            name: pause.name,
            reason: pause.reason,
            plugins: pause.plugins,
            targets: pause.targets,
            action: pause.action,
            starts_at: pause.starts_at,
            ends_at: pause.ends_at,
            windows: pause.windows,
            in_force: in_force.is_some(),
            until: in_force.and_then(|found| found.until),
            held_jobs: 0,
            ended_at: pause.ended_at,
            next_starts,
            created_at: pause.created_at,
            updated_at: pause.updated_at,
        }
    }
}

impl From<ActivePause> for JobPause {
    fn from(held: ActivePause) -> Self {
        Self {
            pause: held.name,
            reason: held.reason,
            until: held.until,
        }
    }
}
