//! Logging: to stderr, and to a file if configured, as text or JSON.
//!
//! Jobs run inside the span `job{job_id=…}`, and so do all lines written on their behalf. The text
//! format shows the span; the JSON format adds its fields to the top level of each line.
//!
//! Text from devices, plugins and clients cannot forge a line (`text_fields`). Repeated lines are
//! counted instead of written (`limited`).

mod batches;
mod json_lines;
mod limited;
mod rotating_file;
mod text_fields;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::panic::PanicHookInfo;

use anyhow::Context as _;
use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::fmt::{format, layer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{LogFormat, LoggingConfig};
use batches::Batches;
use json_lines::JsonLines;
pub(crate) use limited::JOB_TARGET;
use limited::{Limited, Repeats};
use rotating_file::RotatingFile;
use text_fields::TextFields;

/// Libraries with verbose debug output. A directive that names one takes precedence.
const NOISY: [(&str, &str); 8] = [
    ("russh", "warn"),
    ("sqlx", "warn"),
    ("apalis", "warn"),
    ("hyper", "warn"),
    ("h2", "warn"),
    ("reqwest", "warn"),
    ("rustls", "warn"),
    // The connection's error includes the same information about a certificate.
    ("rustls_platform_verifier", "off"),
];

/// Maximum number of lines that wait for a writer. Memory for all of them is allocated at the start.
const MAX_PENDING: usize = 16_384;

/// Keeps logging enabled; dropping it writes the remaining lines.
#[must_use = "logging ends when the guard is dropped"]
#[derive(Debug)]
pub struct LoggingGuard {
    writers: Vec<LogWriter>,
}

#[derive(Debug)]
struct LogWriter {
    name: &'static str,
    writer: NonBlocking,
    lost: ErrorCounter,
    repeats: Repeats,
    guard: WorkerGuard,
}

/// Installs the process-wide logger. Must be called once, by a binary.
pub fn init(config: &LoggingConfig) -> anyhow::Result<LoggingGuard> {
    let filter = filter(config, std::env::var_os("RUST_LOG"))?;
    let mut guard = LoggingGuard {
        writers: Vec::new(),
    };

    let ansi = io::stderr().is_terminal();
    let (stderr, repeats) = guard.writer("stderr", config.format, BufWriter::new(io::stderr()));
    let console = lines(config.format, stderr, repeats, ansi);

    let file = match &config.file {
        Some(path) => {
            let file = RotatingFile::open(path, config).with_context(|| {
                format!(
                    "failed to open the log file {} (logging.file)",
                    path.display()
                )
            })?;
            let (file, repeats) = guard.writer("file", config.format, file);
            Some(lines(config.format, file, repeats, false))
        }
        None => None,
    };

    tracing_subscriber::registry()
        .with(console)
        .with(file)
        .with(filter)
        .try_init()
        .context("logging is already initialized")?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(guard)
}

/// Logs a panic on one line like other events, because its message may quote untrusted text.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("without a message");
    let place = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    tracing::error!(
        place,
        backtrace = backtrace.map(tracing::field::display),
        "panic: {message}"
    );
}

/// Returns an error with its causes, which `Display` omits.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

impl LoggingGuard {
    /// Creates a writer with its own thread, so that a full disk, a slow pipe or a stopped terminal
    /// does not block an async worker thread. It is lossy (the default) for the same reason: beyond
    /// [`MAX_PENDING`] pending lines, further ones are dropped, counted and reported, because otherwise jobs
    /// would wait for the log.
    fn writer<W: io::Write + Send + 'static>(
        &mut self,
        name: &'static str,
        format: LogFormat,
        to: W,
    ) -> (NonBlocking, Repeats) {
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(MAX_PENDING)
            .thread_name(&format!("log-{name}"))
            .finish(Batches(to));
        let repeats = Repeats::new(format);
        self.writers.push(LogWriter {
            name,
            writer: writer.clone(),
            lost: writer.error_counter(),
            repeats: repeats.clone(),
            guard,
        });
        (writer, repeats)
    }
}

impl Drop for LoggingGuard {
    fn drop(&mut self) {
        for mut log in self.writers.drain(..) {
            let _ = log.writer.write_all(log.repeats.rest().as_bytes());
            drop(log.guard);
            let lost = log.lost.dropped_lines();
            if lost > 0 {
                let name = log.name;
                eprintln!("logging: {lost} lines for {name} were dropped, because it was too slow");
            }
        }
    }
}

fn filter(
    config: &LoggingConfig,
    rust_log: Option<std::ffi::OsString>,
) -> anyhow::Result<EnvFilter> {
    let (directives, source) = match rust_log.filter(|value| !value.is_empty()) {
        Some(value) => {
            let value = value
                .into_string()
                .map_err(|_| anyhow::anyhow!("invalid RUST_LOG: expected UTF-8"))?;
            (value, "RUST_LOG")
        }
        None => (config.level.clone(), "logging.level"),
    };
    let directives = quieted(&directives);
    EnvFilter::builder()
        .parse(&directives)
        .with_context(|| format!("invalid log filter {directives:?} ({source})"))
}

/// Adds directives for the [`NOISY`] libraries that the given ones do not name.
fn quieted(directives: &str) -> String {
    let named = |library: &str| {
        directives.split(',').any(|directive| {
            let target = directive.split(['=', '[']).next().unwrap_or_default();
            target.split("::").next().unwrap_or_default().trim() == library
        })
    };
    // With a level above warnings, "library=warn" would make the library louder.
    let verbose = directives.split(',').any(|directive| {
        ["info", "debug", "trace"]
            .iter()
            .any(|level| level.eq_ignore_ascii_case(directive.trim()))
    });
    let mut quieted = directives.to_owned();
    for (library, level) in NOISY {
        if verbose && !named(library) {
            quieted.push_str(&format!(",{library}={level}"));
        }
    }
    quieted
}

fn lines<S>(
    format: LogFormat,
    writer: NonBlocking,
    repeats: Repeats,
    ansi: bool,
) -> Box<dyn Layer<S> + Send + Sync + 'static>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    match (format, ansi) {
        (LogFormat::Json, _) => layer()
            .event_format(Limited::new(JsonLines, repeats))
            .fmt_fields(JsonFields::new())
            .with_ansi(false)
            .with_writer(writer)
            .boxed(),
        (LogFormat::Text, true) => layer()
            .event_format(Limited::new(format::format(), repeats))
            .fmt_fields(TextFields::<true>)
            .with_ansi(true)
            .with_writer(writer)
            .boxed(),
        (LogFormat::Text, false) => layer()
            .event_format(Limited::new(format::format(), repeats))
            .fmt_fields(TextFields::<false>)
            .with_ansi(false)
            .with_writer(writer)
            .boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn noisy_libraries_are_quiet_unless_named() {
        assert_eq!(
            quieted("info"),
            "info,russh=warn,sqlx=warn,apalis=warn,hyper=warn,h2=warn,reqwest=warn,rustls=warn,rustls_platform_verifier=off"
        );
        let named = quieted("debug,russh::client=trace,sqlx=debug");
        assert!(!named.contains("russh=warn") && !named.contains("sqlx=warn"));
        assert!(named.contains("apalis=warn"));
        assert_eq!(quieted("error"), "error");
        assert_eq!(quieted("host=debug"), "host=debug");
    }

    #[test]
    fn rust_log_wins_over_the_configured_level() {
        let config = LoggingConfig {
            level: "error".to_owned(),
            ..LoggingConfig::default()
        };
        let with = |rust_log: Option<&str>| filter(&config, rust_log.map(Into::into));
        assert_eq!(with(None).unwrap().to_string(), "error");
        assert_eq!(with(Some("")).unwrap().to_string(), "error");
        assert!(with(Some("debug")).unwrap().to_string().contains("debug"));
        let error = with(Some("host=loud")).unwrap_err().to_string();
        assert!(error.contains("RUST_LOG"), "{error}");
    }

    /// A writer that captures its output.
    #[derive(Clone, Default)]
    pub(super) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub(super) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Logs to a terminal and to a file; returns the output of both.
    fn written(act: impl FnOnce()) -> (String, String) {
        let (terminal, file) = (Captured::default(), Captured::default());
        let mut guard = LoggingGuard {
            writers: Vec::new(),
        };
        let (to_terminal, repeats) = guard.writer("stderr", LogFormat::Text, terminal.clone());
        let console = lines(LogFormat::Text, to_terminal, repeats, true);
        let (to_file, repeats) = guard.writer("file", LogFormat::Text, file.clone());
        let subscriber = tracing_subscriber::registry().with(console).with(lines(
            LogFormat::Text,
            to_file,
            repeats,
            false,
        ));
        tracing::subscriber::with_default(subscriber, act);
        drop(guard);
        (terminal.text(), file.text())
    }

    #[test]
    fn a_text_file_gets_the_spans_and_no_colours() {
        let (terminal, file) = written(|| {
            let _job = tracing::info_span!("job", job_id = "019881c0").entered();
            tracing::info!(duration_ms = 41, "the job has completed");
        });
        assert!(terminal.contains('\u{1b}'), "{terminal:?}");
        assert!(!file.contains('\u{1b}'), "{file:?}");
        assert!(file.contains("INFO job{job_id=\"019881c0\"}: "), "{file}");
        assert!(
            file.ends_with("the job has completed duration_ms=41\n"),
            "{file}"
        );
    }

    #[test]
    fn nothing_that_is_logged_forges_a_line_or_reaches_the_terminal() {
        #[derive(Debug)]
        struct Raw(&'static str);
        impl std::fmt::Display for Raw {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.0)
            }
        }
        impl std::error::Error for Raw {}

        const FOREIGN: &str = "ok\n2026-12-01T00:00:00Z  INFO host: forged\r\u{1b}[2J\u{9b}2J\u{85}\
            \u{2028}\u{2029}\u{202e}\u{2066}\u{200e}\u{61c}\u{0}\u{7f}\t.";
        let (terminal, file) = written(|| {
            let span = tracing::info_span!("job", name = %FOREIGN, late = tracing::field::Empty);
            let _entered = span.enter();
            span.record("late", tracing::field::display(FOREIGN));
            tracing::info!("{FOREIGN}");
            tracing::info!(message = FOREIGN);
            tracing::info!(text = FOREIGN, display = %FOREIGN, debug = ?FOREIGN, raw = ?Raw(FOREIGN));
            let error: &(dyn std::error::Error + 'static) = &Raw(FOREIGN);
            tracing::error!(error, "failed");
            let chain = anyhow::Error::new(Raw(FOREIGN)).context(FOREIGN);
            tracing::error!(error = ?chain, shown = format!("{chain:#}"), "failed");
        });
        assert_eq!(file.lines().count(), 5, "{file}");
        for (line, of_terminal) in file.lines().zip(terminal.lines()) {
            let starts = line.chars().take(4).collect::<String>();
            assert!(starts.parse::<u16>().is_ok(), "{line}");
            assert!(!line.contains(netssh_core::visible::is_hidden), "{line:?}");
            assert!(line.contains("late=ok\\n2026"), "{line}");
            // Contains no escape sequences but those for its own colours.
            let mut rest = of_terminal;
            while let Some((_, after)) = rest.split_once('\u{1b}') {
                let (code, after) = after.split_once('m').unwrap();
                assert!(
                    code[1..].chars().all(|c| c.is_ascii_digit() || c == ';'),
                    "{of_terminal:?}"
                );
                rest = after;
            }
            let plain = of_terminal.replace('\u{1b}', "");
            assert!(
                !plain.contains(netssh_core::visible::is_hidden),
                "{plain:?}"
            );
        }
        assert_eq!(terminal.lines().count(), 5, "{terminal}");
    }
}
