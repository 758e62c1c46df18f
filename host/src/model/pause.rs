//! Pauses: they keep jobs from running, permanently or in windows of time.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Connection, TargetExpression, Timing, TimingError, matches_pattern};

/// Maximum length of a window, in minutes: one week.
pub const MAX_WINDOW: u32 = 7 * 24 * 60;
/// Maximum number of simultaneously open windows that are examined.
const MAX_OPEN: usize = 64;

/// The effect of a pause on due jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PauseAction {
    /// The job runs after the pause.
    #[default]
    Wait,
    /// The job is cancelled.
    Skip,
}

impl PauseAction {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Skip => "skip",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Wait, Self::Skip]
            .into_iter()
            .find(|action| action.as_str() == text)
    }
}

/// A pause as stored. Absent fields do not restrict it: a pause without any covers every job until it
/// is removed.
#[derive(Clone, Debug)]
pub struct Pause {
    pub id: Uuid,
    pub name: String,
    pub reason: Option<String>,
    /// Patterns of plugin names, with `*` for any text; empty: all plugins.
    pub plugins: Vec<String>,
    /// Expression that selects jobs by their targets; `None`: all jobs, including those without
    /// targets.
    pub targets: Option<String>,
    pub action: PauseAction,
    pub starts_at: Option<DateTime<Utc>>,
    pub ends_at: Option<DateTime<Utc>>,
    pub windows: Option<Windows>,
    /// When a window was ended early: windows that had begun by then are over.
    pub ended_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Recurring windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Windows {
    /// The start of each window as a cron expression: `minute hour day month weekday`.
    #[schema(example = "0 8 * * 1-5")]
    pub cron_expression: String,
    /// Time zone as an IANA name; UTC if absent.
    #[serde(default = "utc")]
    #[schema(example = "Europe/Berlin")]
    pub timezone: String,
    /// Length of a window in minutes, up to a week.
    pub minutes: u32,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// A pause that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// End of the pause or of its current window; `None` until the pause is removed.
    pub until: Option<DateTime<Utc>>,
}

/// An invalid field of a pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PauseError {
    pub field: &'static str,
    pub message: String,
}

impl From<TimingError> for PauseError {
    fn from(error: TimingError) -> Self {
        Self {
            field: match error.field {
                "timezone" => "windows/timezone",
                _ => "windows/cron_expression",
            },
            message: error.message,
        }
    }
}

/// A pause with its expressions parsed.
pub struct PauseRule {
    pub pause: Pause,
    targets: Option<TargetExpression>,
    windows: Option<(Timing, TimeDelta)>,
}

impl PauseRule {
    /// Parses the expressions of a pause.
    ///
    /// # Errors
    /// The first invalid expression.
    pub fn new(pause: Pause) -> Result<Self, PauseError> {
        let targets = pause.targets.as_deref().map(TargetExpression::parse);
        let targets = targets.transpose().map_err(|message| PauseError {
            field: "targets",
            message,
        })?;
        let windows = match &pause.windows {
            None => None,
            Some(windows) => {
                let timing = Timing::parse(&windows.cron_expression, &windows.timezone)?;
                Some((timing, TimeDelta::minutes(windows.minutes.into())))
            }
        };
        Ok(Self {
            pause,
            targets,
            windows,
        })
    }

    /// Returns the connections that the expression refers to by name.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.targets
            .as_ref()
            .map_or(Vec::new(), |each| each.names())
    }

    /// Returns whether the pause applies to a job of this plugin with these targets.
    #[must_use]
    pub fn covers(&self, plugin: &str, targets: &[Connection]) -> bool {
        let plugins = &self.pause.plugins;
        let names_it = |pattern: &String| matches_pattern(pattern, plugin);
        let reaches = |wanted: &TargetExpression| targets.iter().any(|each| wanted.matches(each));
        (plugins.is_empty() || plugins.iter().any(names_it))
            && self.targets.as_ref().is_none_or(reaches)
    }

    /// Returns whether the pause is in force at a time, and until when.
    #[must_use]
    pub fn in_force(&self, now: DateTime<Utc>) -> Option<InForce> {
        let Pause {
            starts_at, ends_at, ..
        } = self.pause;
        if starts_at.is_some_and(|start| now < start) || ends_at.is_some_and(|end| end <= now) {
            return None;
        }
        let Some((timing, length)) = &self.windows else {
            return Some(InForce { until: ends_at });
        };
        // Finds the windows that are open now: the last one to begin is the last to end.
        let after = self
            .pause
            .ended_at
            .map_or(now - *length, |ended| ended.max(now - *length));
        let open = std::iter::successors(timing.next_after(after), |time| timing.next_after(*time));
        let open = open.take(MAX_OPEN).take_while(|time| *time <= now);
        let until = open.last()? + *length;
        Some(InForce {
            until: Some(ends_at.map_or(until, |end| end.min(until))),
        })
    }

    /// Returns the next starts of windows, or the start of the pause itself.
    #[must_use]
    pub fn next_starts(&self, now: DateTime<Utc>, count: usize) -> Vec<DateTime<Utc>> {
        let Some((timing, _)) = &self.windows else {
            let start = self.pause.starts_at.filter(|start| *start > now);
            return start.into_iter().collect();
        };
        let begins = self.pause.starts_at.filter(|start| *start > now);
        let mut starts = timing.next_runs(begins.unwrap_or(now), count);
        // The start of the pause itself may be within a window.
        if let Some(begins) = begins.filter(|begins| self.in_force(*begins).is_some()) {
            starts.insert(0, begins);
            starts.truncate(count);
        }
        starts.retain(|start| self.pause.ends_at.is_none_or(|end| *start < end));
        starts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::now;

    fn pause() -> Pause {
        Pause {
            id: Uuid::now_v7(),
            name: "freeze".to_owned(),
            reason: None,
            plugins: Vec::new(),
            targets: None,
            action: PauseAction::Wait,
            starts_at: None,
            ends_at: None,
            windows: None,
            ended_at: None,
            created_at: now(),
            updated_at: now(),
        }
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn until(rule: &PauseRule, now: &str) -> Option<DateTime<Utc>> {
        rule.in_force(at(now)).and_then(|found| found.until)
    }

    #[test]
    fn without_a_time_it_holds_until_it_is_removed() {
        let rule = PauseRule::new(pause()).unwrap();
        assert_eq!(rule.in_force(now()), Some(InForce { until: None }));
        assert!(rule.covers("anything", &[]));
    }

    #[test]
    fn from_its_start_to_just_before_its_end() {
        let rule = PauseRule::new(Pause {
            starts_at: Some(at("2026-12-24T12:00:00Z")),
            ends_at: Some(at("2027-01-02T06:00:00Z")),
            ..pause()
        })
        .unwrap();
        assert_eq!(rule.in_force(at("2026-12-24T11:59:59Z")), None);
        let end = at("2027-01-02T06:00:00Z");
        assert_eq!(until(&rule, "2026-12-24T12:00:00Z"), Some(end));
        assert_eq!(rule.in_force(end), None);
    }

    #[test]
    fn windows_follow_the_clock_of_their_zone() {
        let rule = PauseRule::new(Pause {
            windows: Some(Windows {
                cron_expression: "0 8 * * 1-5".to_owned(),
                timezone: "Europe/Berlin".to_owned(),
                minutes: 600,
            }),
            ..pause()
        })
        .unwrap();
        // The Friday before and the Monday after the change to summer time.
        assert_eq!(rule.in_force(at("2026-03-27T06:59:59Z")), None);
        assert_eq!(
            until(&rule, "2026-03-27T07:00:00Z"),
            Some(at("2026-03-27T17:00:00Z"))
        );
        assert_eq!(rule.in_force(at("2026-03-27T17:00:00Z")), None);
        assert_eq!(rule.in_force(at("2026-03-28T10:00:00Z")), None, "Saturday");
        assert_eq!(
            until(&rule, "2026-03-30T06:00:00Z"),
            Some(at("2026-03-30T16:00:00Z"))
        );
        assert_eq!(
            rule.next_starts(at("2026-03-27T08:00:00Z"), 1),
            [at("2026-03-30T06:00:00Z")]
        );
    }

    #[test]
    fn the_last_of_several_open_windows_says_when_it_ends() {
        let rule = PauseRule::new(Pause {
            starts_at: Some(at("2026-03-27T08:30:30Z")),
            windows: Some(Windows {
                cron_expression: "* * * * *".to_owned(),
                timezone: "UTC".to_owned(),
                minutes: 5,
            }),
            ..pause()
        })
        .unwrap();
        assert_eq!(
            until(&rule, "2026-03-27T09:00:30Z"),
            Some(at("2026-03-27T09:05:00Z"))
        );
        assert_eq!(
            rule.next_starts(at("2026-03-27T08:00:00Z"), 2),
            [at("2026-03-27T08:30:30Z"), at("2026-03-27T08:31:00Z")]
        );
    }

    #[test]
    fn an_ended_window_leaves_the_next_ones() {
        let windows = |cron: &str, minutes| {
            Some(Windows {
                cron_expression: cron.to_owned(),
                timezone: "UTC".to_owned(),
                minutes,
            })
        };
        let ended = |windows, at| {
            PauseRule::new(Pause {
                windows,
                ended_at: Some(at),
                ..pause()
            })
            .unwrap()
        };
        let daily = ended(windows("0 8 * * *", 600), at("2026-03-27T10:00:00Z"));
        for (time, end) in [
            ("2026-03-27T10:00:00Z", None),
            ("2026-03-27T17:59:59Z", None),
            ("2026-03-28T08:00:00Z", Some(at("2026-03-28T18:00:00Z"))),
        ] {
            assert_eq!(until(&daily, time), end, "{time}");
        }
        assert_eq!(
            daily.next_starts(at("2026-03-27T10:00:00Z"), 1),
            [at("2026-03-28T08:00:00Z")]
        );
        // Overlapping windows: each counts by its own start, regardless of the number before it.
        let often = ended(windows("* * * * *", 600), at("2026-03-27T10:00:00Z"));
        assert_eq!(until(&often, "2026-03-27T10:00:59Z"), None);
        assert_eq!(
            until(&often, "2026-03-27T10:01:00Z"),
            Some(at("2026-03-27T20:01:00Z"))
        );
    }

    #[test]
    fn plugins_and_targets_narrow_it() {
        let rule = PauseRule::new(Pause {
            plugins: vec!["backup-*".to_owned()],
            targets: Some("tag:core".to_owned()),
            ..pause()
        })
        .unwrap();
        assert!(!rule.covers("backup-config", &[]), "it has no such target");
        assert!(!rule.covers("noop", &[]));
        let wrong = Pause {
            targets: Some("tag:core and".to_owned()),
            ..pause()
        };
        let error = PauseRule::new(wrong).err().unwrap();
        assert_eq!(error.field, "targets");
    }
}
