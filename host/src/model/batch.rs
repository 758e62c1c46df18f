//! Batch jobs: one child job per target, started according to rollout options.
//!
//! This module is pure: [`BatchOptions::next`] returns the next step for given counts.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use super::JobStatus;

/// Maximum number of targets of a batch.
pub const MAX_TARGETS: usize = 10_000;

/// Rollout options of a batch. An absent option sets no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchOptions {
    /// Maximum number of child jobs at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub concurrency: Option<Share>,
    /// Size of a group of targets; each group starts when the previous one has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub batch_size: Option<Share>,
    /// Number of targets that run first; the others start only if all of these succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub canary: Option<Share>,
    /// Maximum number of failed targets; if more fail, the remaining ones are not started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub max_failures: Option<Share>,
}

/// A number of targets or a percentage of them: `5` or `"25%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Count(u32),
    /// A percentage, 0 to 100.
    Percent(u8),
}

impl Share {
    /// Returns the number of targets out of `total`; a percentage is rounded down.
    #[must_use]
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Count(count) => u64::from(count),
            Self::Percent(percent) => total * u64::from(percent) / 100,
        }
    }

    /// Parses a number or a percentage.
    ///
    /// # Errors
    /// A message that says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "expected a number, or a percentage such as 25%".to_owned();
        match text.strip_suffix('%') {
            Some(percent) => percent
                .parse()
                .ok()
                .filter(|percent| *percent <= 100)
                .map(Self::Percent)
                .ok_or_else(wrong),
            None => text.parse().map(Self::Count).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Percent(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let text = match &value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Counts of a batch's child jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchCounts {
    pub total: u64,
    /// Not started yet.
    pub held: u64,
    /// Started and waiting for a worker slot, their device or their next attempt.
    pub waiting: u64,
    pub running: u64,
    pub completed: u64,
    pub failed: u64,
    /// Cancelled individually, or with the batch after they were started.
    pub cancelled: u64,
    /// Never started: the batch ended first.
    pub not_started: u64,
}

impl BatchCounts {
    fn started(&self) -> u64 {
        self.total - self.held - self.not_started
    }

    fn unfinished(&self) -> u64 {
        self.waiting + self.running
    }

    /// Describes the outcome in words.
    #[must_use]
    pub fn summary(&self) -> String {
        let parts = [
            (self.completed, "completed"),
            (self.failed, "failed"),
            (self.cancelled, "cancelled"),
            (self.not_started, "not started"),
        ];
        let said: Vec<_> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        format!("of {} targets: {}", self.total, said.join(", "))
    }
}

/// The next step of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchStep {
    /// Wait for child jobs to end.
    Wait,
    /// Start this many child jobs, in the order of the targets.
    Start(u64),
    /// Start no more child jobs, for this reason.
    StopStarting(String),
    /// End the batch: all child jobs have ended.
    End(JobStatus),
}

impl BatchOptions {
    #[must_use]
    pub fn next(&self, counts: &BatchCounts, cancel_requested: bool) -> BatchStep {
        if counts.held == 0 {
            return match counts.unfinished() {
                0 => BatchStep::End(end_of(counts, cancel_requested)),
                _ => BatchStep::Wait,
            };
        }
        if let Some(reason) = self.reason_to_stop(counts, cancel_requested) {
            return BatchStep::StopStarting(reason);
        }
        let share = |share: Option<Share>| share.map(|share| share.of(counts.total));
        let (started, unfinished) = (counts.started(), counts.unfinished());
        let canary = share(self.canary).unwrap_or_default().min(counts.total);
        // The first group ends with the canaries, further ones after `batch_size` targets each.
        let group_end = match share(self.batch_size).map(|size| size.max(1)) {
            _ if started < canary => canary,
            None => counts.total,
            Some(size) => {
                let within = started - canary;
                let at_a_border = within.is_multiple_of(size);
                if at_a_border && unfinished > 0 {
                    return BatchStep::Wait;
                }
                canary + (within / size + 1) * size
            }
        };
        if started >= canary && started > 0 && counts.completed < canary {
            return BatchStep::Wait;
        }
        let room = share(self.concurrency).map_or(u64::MAX, |most| {
            // A percentage of a few targets may round down to 0.
            most.max(1).saturating_sub(unfinished)
        });
        match counts.held.min(group_end - started).min(room) {
            0 => BatchStep::Wait,
            count => BatchStep::Start(count),
        }
    }

    fn reason_to_stop(&self, counts: &BatchCounts, cancel_requested: bool) -> Option<String> {
        if cancel_requested {
            return Some("the batch was cancelled".to_owned());
        }
        let canary = self.canary.map_or(0, |canary| canary.of(counts.total));
        if counts.started() <= canary && counts.failed + counts.cancelled > 0 {
            return Some(match canary {
                1 => "the canary failed".to_owned(),
                _ => format!("one of {canary} canaries failed"),
            });
        }
        let most = self.max_failures?.of(counts.total);
        (counts.failed > most).then(|| format!("{} failed, max_failures is {most}", counts.failed))
    }
}

fn end_of(counts: &BatchCounts, cancel_requested: bool) -> JobStatus {
    if counts.completed == counts.total {
        JobStatus::Completed
    } else if cancel_requested || counts.completed + counts.failed == 0 {
        // Includes batches with all child jobs cancelled individually.
        JobStatus::Cancelled
    } else {
        JobStatus::Failed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(
        concurrency: u32,
        batch_size: &str,
        canary: u32,
        max_failures: &str,
    ) -> BatchOptions {
        let share = |text: &str| (!text.is_empty()).then(|| Share::parse(text).unwrap());
        BatchOptions {
            concurrency: (concurrency > 0).then_some(Share::Count(concurrency)),
            batch_size: share(batch_size),
            canary: (canary > 0).then_some(Share::Count(canary)),
            max_failures: share(max_failures),
        }
    }

    /// Simulates a batch in which child jobs end one after the other; `fails` decides by their number.
    /// Returns the steps and the final counts.
    fn played(
        options: BatchOptions,
        total: u64,
        fails: impl Fn(u64) -> bool,
    ) -> (Vec<BatchStep>, BatchCounts) {
        let mut counts = BatchCounts {
            total,
            held: total,
            ..BatchCounts::default()
        };
        let (mut steps, mut ended) = (Vec::new(), 0);
        loop {
            let step = options.next(&counts, false);
            match &step {
                BatchStep::Wait => {
                    assert!(
                        counts.waiting > 0,
                        "waits for nothing: {counts:?} {steps:?}"
                    );
                    counts.waiting -= 1;
                    if fails(ended) {
                        counts.failed += 1;
                    } else {
                        counts.completed += 1;
                    }
                    ended += 1;
                    continue;
                }
                BatchStep::Start(count) => {
                    counts.held -= count;
                    counts.waiting += count;
                    if let Some(most) = options.concurrency {
                        assert!(counts.waiting <= most.of(total).max(1));
                    }
                }
                BatchStep::StopStarting(_) => {
                    counts.not_started = counts.held;
                    counts.held = 0;
                }
                BatchStep::End(_) => {
                    steps.push(step);
                    return (steps, counts);
                }
            }
            steps.push(step);
        }
    }

    #[test]
    fn without_options_all_start_at_once() {
        let (steps, _) = played(BatchOptions::default(), 5, |_| false);
        let end = BatchStep::End(JobStatus::Completed);
        assert_eq!(steps, [BatchStep::Start(5), end]);
    }

    #[test]
    fn the_canary_goes_first_then_groups() {
        let (steps, _) = played(options(0, "50%", 1, ""), 4, |_| false);
        let starts = [1, 2, 1].map(BatchStep::Start).to_vec();
        assert_eq!(steps[..3], starts);
    }

    #[test]
    fn a_failed_canary_stops_the_rest() {
        let (_, counts) = played(options(0, "", 2, ""), 10, |number| number == 0);
        assert_eq!((counts.failed, counts.completed), (1, 1));
        assert_eq!(counts.not_started, 8);
    }

    #[test]
    fn too_many_failures_stop_the_rest() {
        let (steps, counts) = played(options(1, "", 0, "1"), 10, |_| true);
        assert_eq!((counts.failed, counts.not_started), (2, 8));
        let told = BatchStep::StopStarting("2 failed, max_failures is 1".to_owned());
        assert!(steps.contains(&told), "{steps:?}");
        let (_, counts) = played(options(1, "", 0, "20%"), 10, |_| true);
        assert_eq!(counts.failed, 3);
    }

    #[test]
    fn a_share_is_a_number_or_a_percentage() {
        for (text, share) in [("5", Share::Count(5)), ("\"25%\"", Share::Percent(25))] {
            assert_eq!(serde_json::from_str::<Share>(text).unwrap(), share);
            assert_eq!(serde_json::to_string(&share).unwrap(), text);
        }
        for wrong in ["-1", "1.5", "\"101%\"", "\"x\"", "null", "[]", "{}"] {
            assert!(serde_json::from_str::<Share>(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        /// With any options, a batch ends and every target is accounted for.
        #[test]
        fn every_batch_ends(
            total in 1_u64..40, concurrency in 0_u32..10, size in 0_u32..10, canary in 0_u32..10,
            most in 0_u32..60, failing in proptest::collection::hash_set(0_u64..40, 0..10),
        ) {
            let most = if most > 40 { String::new() } else { most.to_string() };
            let size = if size == 0 { String::new() } else { size.to_string() };
            let (_, counts) = played(options(concurrency, &size, canary, &most), total, |number| failing.contains(&number));
            prop_assert_eq!(counts.total, counts.completed + counts.failed + counts.not_started);
        }
    }
}
