//! Schedules: their times, and the handling of missed and overlapping times.
//!
//! Changes of the clock follow a rule of this module, as croner handles them only for expressions with
//! a single time. An expression for certain hours runs once for a skipped time, at the end of the gap,
//! and once for a repeated time, at its first occurrence. An expression for every hour runs whenever
//! the clock shows a matching time.

mod words;

use std::str::FromStr;

use chrono::{DateTime, LocalResult, NaiveDateTime, SubsecRound, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use self::words::Fields;
use super::BatchOptions;

/// An occurrence that is later than this was missed: the machine was suspended, or its clock was
/// changed.
const LATEST: TimeDelta = TimeDelta::seconds(30);
/// Upper bound for the gap of a time zone change, in minutes.
const MAX_GAP_MINUTES: i64 = 2 * 24 * 60;
/// Maximum number of candidate times examined for the next run: more than the seconds of the longest
/// overlap, one day.
const MAX_TIMES: usize = 90_000;
const MAX_EXPRESSION: usize = 255;

/// The policy for runs that were missed while the server was down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Misfire {
    /// Missed runs are skipped.
    #[default]
    Skip,
    /// One job runs immediately for all missed runs.
    RunOnce,
}

impl Misfire {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::RunOnce => "run_once",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Skip, Self::RunOnce]
            .into_iter()
            .find(|misfire| misfire.as_str() == text)
    }
}

/// The policy for a run that is due before the previous job has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The run is skipped.
    #[default]
    Skip,
    /// The job is submitted when the previous one has ended; at most one waits.
    Queue,
    /// Both jobs run.
    Allow,
}

impl Overlap {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Queue => "queue",
            Self::Allow => "allow",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Skip, Self::Queue, Self::Allow]
            .into_iter()
            .find(|overlap| overlap.as_str() == text)
    }
}

/// A schedule as listings show it, without its large fields.
#[derive(Clone, Debug)]
pub struct ListedSchedule {
    /// The schedule without parameters longer than
    /// [`ListedJob::PARAMS_BYTES`](super::ListedJob::PARAMS_BYTES), and with at most
    /// [`ListedJob::TARGETS`](super::ListedJob::TARGETS) targets.
    pub schedule: Schedule,
    /// Length of the parameters as JSON, in bytes.
    pub params_bytes: Option<u64>,
    pub target_count: u64,
}

/// A schedule as stored.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub id: Uuid,
    pub name: String,
    pub plugin: String,
    pub params: Option<Value>,
    /// Names and expressions as submitted; resolved for each job.
    pub targets: Vec<String>,
    pub cron_expression: String,
    /// IANA name of the time zone.
    pub timezone: String,
    pub enabled: bool,
    pub misfire: Misfire,
    pub overlap: Overlap,
    pub starts_at: Option<DateTime<Utc>>,
    pub ends_at: Option<DateTime<Utc>>,
    /// Maximum random delay of a job, in seconds.
    pub jitter_seconds: u32,
    pub priority: Option<i32>,
    pub max_retries: Option<u32>,
    pub timeout_seconds: Option<u32>,
    pub description: Option<String>,
    /// Rollout options of its jobs.
    pub batch: Option<BatchOptions>,
    pub next_run_at: Option<DateTime<Utc>>,
    pub last_run_at: Option<DateTime<Utc>>,
    pub last_job_id: Option<Uuid>,
    pub last_outcome: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The name of the user of the last change, for whom its jobs are submitted; `None` if authentication
    /// was off.
    pub owner: Option<String>,
}

impl Schedule {
    /// Returns the next run after a time; `None` if the schedule is disabled or over.
    ///
    /// # Errors
    /// If the expression or the time zone is invalid.
    pub fn next_after(&self, time: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, TimingError> {
        Ok(self.next_runs(time, 1)?.pop())
    }

    /// Returns the next runs after a time, at most `count`.
    ///
    /// # Errors
    /// If the expression or the time zone is invalid.
    pub fn next_runs(
        &self,
        time: DateTime<Utc>,
        count: usize,
    ) -> Result<Vec<DateTime<Utc>>, TimingError> {
        let timing = Timing::parse(&self.cron_expression, &self.timezone)?;
        if !self.enabled {
            return Ok(Vec::new());
        }
        // Includes a run at `starts_at` itself.
        let start = self.starts_at.map(|start| start - TimeDelta::seconds(1));
        let mut runs = timing.next_runs(start.map_or(time, |start| start.max(time)), count);
        runs.retain(|run| self.ends_at.is_none_or(|end| *run <= end));
        Ok(runs)
    }
}

/// An occurrence of a schedule.
#[derive(Clone, Debug)]
pub struct Tick {
    pub schedule_id: Uuid,
    pub at: DateTime<Utc>,
}

/// An invalid expression or time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct TimingError {
    /// `cron_expression` or `timezone`.
    pub field: &'static str,
    pub message: String,
}

/// A cron expression in a time zone.
pub struct Timing {
    expression: String,
    cron: Cron,
    zone: Tz,
    every_hour: bool,
}

impl Timing {
    /// Parses an expression and a time zone.
    ///
    /// # Errors
    /// If one of them is invalid.
    pub fn parse(expression: &str, timezone: &str) -> Result<Self, TimingError> {
        let wrong = |field, message| TimingError { field, message };
        let zone = Tz::from_str(timezone).map_err(|_| {
            let shown: String = timezone.chars().take(64).collect();
            let message = format!(
                "invalid time zone `{shown}`: expected an IANA name such as Europe/Berlin or \
                         UTC"
            );
            wrong("timezone", message)
        })?;
        if expression.len() > MAX_EXPRESSION {
            let message = format!("expected at most {MAX_EXPRESSION} bytes");
            return Err(wrong("cron_expression", message));
        }
        let expression = expand(expression);
        if let Some(Err(message)) = Fields::of(expression).map(|fields| fields.check_steps()) {
            return Err(wrong("cron_expression", message));
        }
        let cron = Cron::from_str(expression).map_err(|error| {
            let error = error.to_string();
            let message = format!(
                "{}; expected `minute hour day month weekday` (0-59, 0-23, 1-31, 1-12, 0-7), such as \
                 `30 2 * * 1-5`, optionally with seconds in front",
                error.trim_end_matches('.')
            );
            wrong("cron_expression", message)
        })?;
        let every_hour = (0..24).all(|hour| cron.pattern.hour_match(hour).unwrap_or(false));
        Ok(Self {
            expression: expression.to_owned(),
            cron,
            zone,
            every_hour,
        })
    }

    /// Returns the first run after a time, if there is one.
    #[must_use]
    pub fn next_after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let time = time.trunc_subsecs(0);
        let local = time.with_timezone(&self.zone);
        if self.every_hour {
            let next = self.cron.find_next_occurrence(&local, false).ok()?;
            return Some(next.with_timezone(&Utc));
        }
        // Searches in local time, which is treated as having no changes here, and then converts each
        // time. A later local time never converts to an earlier one in UTC.
        let mut face = local.naive_local().and_utc();
        for _ in 0..MAX_TIMES {
            face = self.cron.find_next_occurrence(&face, false).ok()?;
            let moment = moment_of(face.naive_utc(), self.zone)?;
            if moment > time {
                return Some(moment);
            }
        }
        None
    }

    #[must_use]
    pub fn next_runs(&self, time: DateTime<Utc>, count: usize) -> Vec<DateTime<Utc>> {
        let runs = std::iter::successors(self.next_after(time), |run| self.next_after(*run));
        runs.take(count).collect()
    }

    /// Describes the expression in English.
    #[must_use]
    pub fn words(&self) -> String {
        let fields = Fields::of(&self.expression);
        fields.map_or_else(|| self.cron.describe(), |fields| fields.words(&self.cron))
    }
}

/// Expands a nickname such as `@daily`.
fn expand(expression: &str) -> &str {
    let name = expression.trim().to_ascii_lowercase();
    match name.as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => expression,
    }
}

/// Returns the time at which a clock shows `face`: the first of two, or the end of the gap.
fn moment_of(face: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    let minute = face - TimeDelta::seconds(face.and_utc().timestamp().rem_euclid(60));
    let later = (1..=MAX_GAP_MINUTES).map(|minutes| minute + TimeDelta::minutes(minutes));
    std::iter::once(face)
        .chain(later)
        .find_map(|face| match zone.from_local_datetime(&face) {
            LocalResult::Single(moment) | LocalResult::Ambiguous(moment, _) => {
                Some(moment.with_timezone(&Utc))
            }
            LocalResult::None => None,
        })
}

/// The action for an occurrence that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Run, and continue with the next occurrence.
    Run,
    /// Run once for all missed occurrences, and continue from now.
    RunLate,
    /// Skip a missed occurrence.
    Missed,
}

/// Decides about an occurrence at `now`, on a server that was started at `started`.
#[must_use]
pub fn due(
    misfire: Misfire,
    tick: DateTime<Utc>,
    now: DateTime<Utc>,
    started: DateTime<Utc>,
) -> Due {
    let missed = tick < started || now - tick > LATEST;
    match (missed, misfire) {
        (false, _) => Due::Run,
        (true, Misfire::RunOnce) => Due::RunLate,
        (true, Misfire::Skip) => Due::Missed,
    }
}

/// The decision on the next job of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlapDecision {
    Now,
    /// After the previous job has ended.
    Wait,
    Skip,
}

/// Decides by the overlap policy. `running`: a job of the schedule has not ended; `waiting`: another
/// occurrence is waiting.
#[must_use]
pub fn decide_overlap(overlap: Overlap, running: bool, waiting: bool) -> OverlapDecision {
    match overlap {
        Overlap::Allow => OverlapDecision::Now,
        Overlap::Skip if running || waiting => OverlapDecision::Skip,
        Overlap::Queue if waiting => OverlapDecision::Skip,
        Overlap::Queue if running => OverlapDecision::Wait,
        Overlap::Skip | Overlap::Queue => OverlapDecision::Now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let timing = Timing::parse(expression, zone).unwrap();
        let after: DateTime<Utc> = after.parse().unwrap();
        let zone = Tz::from_str(zone).unwrap();
        let runs = timing.next_runs(after, count);
        runs.into_iter()
            .map(|run| run.with_timezone(&zone).to_rfc3339())
            .collect()
    }

    #[test]
    fn a_skipped_time_runs_once_at_the_end_of_the_gap() {
        assert_eq!(
            runs("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
        );
        assert_eq!(
            runs(
                "0,30 2 * * *",
                "America/New_York",
                "2026-03-08T06:59:59Z",
                2
            ),
            ["2026-03-08T03:00:00-04:00", "2026-03-09T02:00:00-04:00"]
        );
        assert_eq!(
            runs(
                "15 2 * * *",
                "Australia/Lord_Howe",
                "2026-10-03T00:00:00Z",
                2
            ),
            ["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"]
        );
        // 02:30 is skipped and coincides with 03:00, so there is one job for both.
        assert_eq!(
            runs("0,30 2,3 * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", 2),
            ["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"]
        );
    }

    #[test]
    fn a_doubled_time_runs_once_at_its_first_occurrence() {
        assert_eq!(
            runs("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
        );
        assert_eq!(
            runs(
                "0,30 1 * * *",
                "America/New_York",
                "2026-11-01T04:00:00Z",
                3
            ),
            [
                "2026-11-01T01:00:00-04:00",
                "2026-11-01T01:30:00-04:00",
                "2026-11-02T01:00:00-05:00"
            ]
        );
        assert_eq!(
            runs(
                "45 1 * * *",
                "Australia/Lord_Howe",
                "2026-04-04T00:00:00Z",
                2
            ),
            ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"]
        );
        // Starts in the middle of the repeated hour.
        assert_eq!(
            runs("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1),
            ["2026-10-26T02:30:00+01:00"]
        );
    }

    #[test]
    fn what_runs_in_every_hour_follows_the_clock() {
        assert_eq!(
            runs("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3),
            [
                "2026-03-29T01:30:00+01:00",
                "2026-03-29T03:30:00+02:00",
                "2026-03-29T04:30:00+02:00"
            ]
        );
        assert_eq!(
            runs("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:10:00Z", 4),
            [
                "2026-10-25T02:30:00+02:00",
                "2026-10-25T02:00:00+01:00",
                "2026-10-25T02:30:00+01:00",
                "2026-10-25T03:00:00+01:00"
            ]
        );
        assert_eq!(
            runs(
                "*/15 * * * *",
                "Australia/Lord_Howe",
                "2026-04-04T14:40:00Z",
                4
            ),
            [
                "2026-04-05T01:45:00+11:00",
                "2026-04-05T01:30:00+10:30",
                "2026-04-05T01:45:00+10:30",
                "2026-04-05T02:00:00+10:30"
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_says_which_field() {
        let wrong = |cron, zone| Timing::parse(cron, zone).err().unwrap().field;
        assert_eq!(wrong("61 * * * *", "UTC"), "cron_expression");
        assert_eq!(wrong("", "UTC"), "cron_expression");
        assert_eq!(wrong("* * * * *", "Mars/Olympus"), "timezone");
        let never = Timing::parse("0 0 30 2 *", "UTC").unwrap();
        assert_eq!(never.next_after(Utc::now()), None);
    }

    #[test]
    fn missed_times_and_overlaps_are_decided_by_the_policy() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let (tick, started) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:05Z"));
        let now = at("2026-01-01T00:00:06Z");
        assert_eq!(due(Misfire::Skip, tick, now, started), Due::Missed);
        assert_eq!(due(Misfire::RunOnce, tick, now, started), Due::RunLate);
        assert_eq!(due(Misfire::Skip, tick, now, tick), Due::Run);
        assert_eq!(
            decide_overlap(Overlap::Skip, true, false),
            OverlapDecision::Skip
        );
        assert_eq!(
            decide_overlap(Overlap::Queue, true, false),
            OverlapDecision::Wait
        );
        assert_eq!(
            decide_overlap(Overlap::Queue, true, true),
            OverlapDecision::Skip
        );
        assert_eq!(
            decide_overlap(Overlap::Allow, true, true),
            OverlapDecision::Now
        );
    }
}
