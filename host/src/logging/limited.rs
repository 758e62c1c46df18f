//! Log rate limiting: repeated errors must neither fill a disk nor hide other lines.
//!
//! Per minute, 3 identical warnings or errors are written, 600 from one place in the source, and 30,000
//! lines of jobs. A report then says how many more there were.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::{self, Write as _};
use std::hash::Hasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use netssh_core::visible::one_line;
use parking_lot::Mutex;
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogFormat;
use crate::json::escape_hidden;

/// Length of a counting window.
const WINDOW: Duration = Duration::from_secs(60);
/// Maximum number of identical lines per window, including their spans.
const MAX_SAME: u64 = 3;
/// Maximum number of warnings and errors per window from one place in the source.
const MAX_OF_PLACE: u64 = 600;
/// Maximum number of lines per window logged by jobs.
const MAX_OF_JOBS: u64 = 30_000;
/// Maximum number of lines and places counted at once.
const CAPACITY: usize = 4_096;
/// Maximum length of a message quoted in a report, in bytes.
const QUOTED: usize = 300;

/// Target of lines logged by jobs.
pub(crate) const JOB_TARGET: &str = "job";

/// A formatter that applies the limits and delegates to `F`.
pub(super) struct Limited<F> {
    inner: F,
    repeats: Repeats,
}

/// Counts of the current windows, shared with the guard, which reports the remainder at the end.
#[derive(Clone, Debug)]
pub(super) struct Repeats {
    format: LogFormat,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    windows: HashMap<u64, Window>,
    next_end: Option<Instant>,
}

#[derive(Debug)]
struct Window {
    begun: Instant,
    lines: u64,
    max: u64,
    level: Level,
    target: String,
    message: String,
}

impl<F> Limited<F> {
    pub(super) fn new(inner: F, repeats: Repeats) -> Self {
        Self { inner, repeats }
    }
}

impl<S, N, F> FormatEvent<S, N> for Limited<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = Instant::now();
        let admitted = {
            let mut counts = self.repeats.counts.lock();
            for report in counts.take_ended(now) {
                writer.write_str(&notice(self.repeats.format, &report))?;
            }
            counts.admit(context, event, now)
        };
        if admitted {
            self.inner.format_event(context, writer, event)
        } else {
            Ok(())
        }
    }
}

impl Repeats {
    pub(super) fn new(format: LogFormat) -> Self {
        Self {
            format,
            counts: Arc::default(),
        }
    }

    /// Returns reports of all suppressed lines that are not reported yet.
    pub(super) fn rest(&self) -> String {
        let mut counts = self.counts.lock();
        let reports: Vec<_> = counts
            .windows
            .drain()
            .filter_map(|(_, w)| w.report())
            .collect();
        reports
            .iter()
            .map(|report| notice(self.format, report))
            .collect()
    }
}

impl Counts {
    /// Returns whether an event may be written.
    fn admit<S, N>(
        &mut self,
        context: &FmtContext<'_, S, N>,
        event: &Event<'_>,
        now: Instant,
    ) -> bool
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        N: for<'writer> FormatFields<'writer> + 'static,
    {
        let metadata = event.metadata();
        let about = (*metadata.level(), metadata.target());
        if metadata.target() == JOB_TARGET {
            return self.count(0, MAX_OF_JOBS, now, about, || {
                "lines of jobs; `scheduler job logs ID` shows the log of a job".to_owned()
            });
        }
        if *metadata.level() > Level::WARN {
            return true;
        }
        let mut line = Line::of(metadata);
        let place = line.hasher.finish();
        event.record(&mut line);
        if let Some(span) = context.lookup_current() {
            for span in span.scope() {
                if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                    line.hasher.write(fields.as_bytes());
                }
            }
        }
        let same = line.hasher.finish();
        // Checks the place first: lines suppressed by it do not count as identical ones.
        self.count(place, MAX_OF_PLACE, now, about, || {
            format!("lines from the same place, such as: {}", line.message)
        }) && self.count(same, MAX_SAME, now, about, || line.message.clone())
    }

    /// Counts a line; returns whether it is within the limit of its window.
    fn count(
        &mut self,
        key: u64,
        max: u64,
        now: Instant,
        (level, target): (Level, &str),
        message: impl FnOnce() -> String,
    ) -> bool {
        if let Some(window) = self.windows.get_mut(&key) {
            window.lines += 1;
            return window.lines <= window.max;
        }
        // The program has a fixed number of call sites; only distinct lines need a bound.
        if max > MAX_SAME || self.windows.len() < CAPACITY {
            let window = Window {
                begun: now,
                lines: 1,
                max,
                level,
                target: target.to_owned(),
                message: message(),
            };
            self.windows.insert(key, window);
            self.next_end.get_or_insert(now + WINDOW);
        }
        true
    }

    /// Removes ended windows; returns reports of those that suppressed lines.
    fn take_ended(&mut self, now: Instant) -> Vec<Report> {
        if self.next_end.is_none_or(|end| now < end) {
            return Vec::new();
        }
        let ended = |_: &u64, window: &mut Window| now >= window.begun + WINDOW;
        let reports = self
            .windows
            .extract_if(ended)
            .filter_map(|(_, window)| window.report())
            .collect();
        let begun = self.windows.values().map(|window| window.begun).min();
        self.next_end = begun.map(|begun| begun + WINDOW);
        reports
    }
}

impl Window {
    fn report(self) -> Option<Report> {
        let more = self.lines.saturating_sub(self.max);
        (more > 0).then(|| Report {
            level: self.level,
            target: self.target,
            message: format!(
                "rate limit of the log: dropped {more} lines like this within a minute: \
                              {}",
                self.message
            ),
        })
    }
}

/// A log line about suppressed or missing lines.
pub(super) struct Report {
    pub(super) level: Level,
    pub(super) target: String,
    pub(super) message: String,
}

/// Formats a line that does not come from an event.
pub(super) fn notice(format: LogFormat, report: &Report) -> String {
    let time = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    let Report {
        level,
        target,
        message,
    } = report;
    match format {
        LogFormat::Text => format!("{time} {level:>5} {target}: {}\n", one_line(message)),
        LogFormat::Json => {
            let line = json!({
                "timestamp": time, "level": level.as_str(), "module": target, "message": message,
            });
            format!("{}\n", escape_hidden(&line.to_string()))
        }
    }
}

/// Hash of an event's place and fields, and the beginning of its text.
struct Line {
    hasher: DefaultHasher,
    message: String,
}

impl Line {
    fn of(metadata: &'static Metadata<'static>) -> Self {
        let mut hasher = DefaultHasher::new();
        std::hash::Hash::hash(&metadata.callsite(), &mut hasher);
        Self {
            hasher,
            message: String::new(),
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let begun = self.message.len();
        if begun > 0 {
            self.message.push(' ');
        }
        if field.name() != "message" {
            self.message.push_str(field.name());
            self.message.push('=');
        }
        let _ = write!(self.message, "{value:?}");
        self.hasher.write(&self.message.as_bytes()[begun..]);
        crate::text::cut(&mut self.message, QUOTED);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::tests::Captured;
    use super::super::{JsonLines, TextFields};
    use super::*;

    fn written(format: LogFormat, act: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let repeats = Repeats::new(format);
        let rest = repeats.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone());
        match format {
            LogFormat::Text => {
                let events = Limited::new(tracing_subscriber::fmt::format(), repeats);
                let layer = layer.event_format(events).fmt_fields(TextFields::<false>);
                let subscriber = tracing_subscriber::registry().with(layer.with_ansi(false));
                tracing::subscriber::with_default(subscriber, act);
            }
            LogFormat::Json => {
                let fields = tracing_subscriber::fmt::format::JsonFields::new();
                let layer = layer.event_format(Limited::new(JsonLines, repeats));
                let subscriber = tracing_subscriber::registry().with(layer.fmt_fields(fields));
                tracing::subscriber::with_default(subscriber, act);
            }
        }
        captured.text() + rest.rest().as_str()
    }

    #[test]
    fn a_warning_that_repeats_is_counted_instead_of_written() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let log = written(format, || {
                for number in 0..100 {
                    let error = io::Error::other("no space");
                    tracing::error!(%error, "the end\nof a job is not recorded");
                    tracing::info!(number, "something else");
                }
            });
            assert_eq!(log.matches("something else").count(), 100);
            assert_eq!(log.matches("is not recorded").count(), 3 + 1, "{log}");
            let last = log.lines().last().unwrap();
            assert!(last.contains("dropped 97 lines like this"), "{last}");
            assert!(last.contains("no space"), "{last}");
        }
    }

    #[test]
    fn warnings_about_different_things_are_all_written() {
        let log = written(LogFormat::Text, || {
            for number in 0..50 {
                let _job = tracing::info_span!("job", job_id = number).entered();
                tracing::warn!("the job failed");
            }
            for number in 0..50 {
                tracing::warn!(number, "a device is not reached");
            }
        });
        assert_eq!(log.lines().count(), 100, "{log}");
    }

    #[test]
    fn one_place_in_the_source_has_a_limit_and_so_have_jobs() {
        let log = written(LogFormat::Text, || {
            for number in 0..MAX_OF_PLACE + 7 {
                tracing::warn!(number, "a storm");
            }
            for number in 0..MAX_OF_JOBS + 5 {
                tracing::info!(target: JOB_TARGET, number, "chatter");
            }
        });
        assert!(log.contains("dropped 7 lines like this"));
        assert!(log.contains("dropped 5 lines like this within a minute: lines of jobs"));
        assert_eq!(log.matches("chatter").count() as u64, MAX_OF_JOBS);
    }

    #[test]
    fn a_window_ends_after_a_minute() {
        let mut counts = Counts::default();
        let now = Instant::now();
        let count = |counts: &mut Counts, at| {
            counts.count(1, 2, at, (Level::WARN, "any"), || "text".to_owned())
        };
        assert_eq!(
            [0, 1, 2].map(|_| count(&mut counts, now)),
            [true, true, false]
        );
        assert!(counts.take_ended(now + WINDOW / 2).is_empty());
        assert_eq!(counts.take_ended(now + WINDOW).len(), 1);
        assert!(count(&mut counts, now + WINDOW));
        assert!(
            counts.take_ended(now + WINDOW * 2).is_empty(),
            "none was left out"
        );
        assert!(counts.windows.is_empty());
    }
}
