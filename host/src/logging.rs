//! Log lines: to stderr always, to a file where one is configured, as text or as JSON.
//!
//! A job runs inside the span `job{job_id=…}`, and so do all lines written on its behalf: the text
//! format shows the span, the JSON format lifts its fields to the top level of every line.

mod json_lines;
mod rotating_file;

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{LogFormat, LoggingConfig};
use json_lines::JsonLines;
use rotating_file::RotatingFile;

/// Libraries whose debug lines drown ours; a directive that names one overrules this.
const NOISY: [(&str, &str); 8] = [
    ("russh", "warn"),
    ("sqlx", "warn"),
    ("apalis", "warn"),
    ("hyper", "warn"),
    ("h2", "warn"),
    ("reqwest", "warn"),
    ("rustls", "warn"),
    // What it says of a certificate is the error of the connection, too.
    ("rustls_platform_verifier", "off"),
];

/// Keeps the log going; what is still unwritten is written when it is dropped.
#[must_use = "logging ends when the guard is dropped"]
#[derive(Debug)]
pub struct LoggingGuard {
    writers: Vec<(&'static str, ErrorCounter, WorkerGuard)>,
}

/// Installs the process's log. To be called once, by a binary.
pub fn init(config: &LoggingConfig) -> anyhow::Result<LoggingGuard> {
    let filter = filter(config, std::env::var_os("RUST_LOG"))?;
    let mut guard = LoggingGuard {
        writers: Vec::new(),
    };

    let ansi = io::stderr().is_terminal();
    let stderr = guard.writer("stderr", io::stderr());
    let console = lines(config.format, stderr, ansi);

    let file = match &config.file {
        Some(path) => {
            let file = RotatingFile::open(path, config.rotation).with_context(|| {
                format!("logging.file: cannot open the log file {}", path.display())
            })?;
            Some(lines(config.format, guard.writer("file", file), false))
        }
        None => None,
    };

    tracing_subscriber::registry()
        .with(console)
        .with(file)
        .with(filter)
        .try_init()
        .context("logging was already set up in this process")?;
    Ok(guard)
}

impl LoggingGuard {
    /// A writer with a thread of its own, so that a full disk, a slow pipe or a stopped terminal
    /// holds up no async worker thread. Lossy (its default) for the same reason: past 128,000
    /// waiting lines, lines are dropped, counted and reported; the other choice would be to make
    /// every job wait for the log.
    fn writer<W: io::Write + Send + 'static>(&mut self, name: &'static str, to: W) -> NonBlocking {
        let (writer, guard) = NonBlockingBuilder::default()
            .thread_name(&format!("log-{name}"))
            .finish(to);
        self.writers.push((name, writer.error_counter(), guard));
        writer
    }
}

impl Drop for LoggingGuard {
    fn drop(&mut self) {
        for (name, counter, guard) in self.writers.drain(..) {
            drop(guard);
            let lost = counter.dropped_lines();
            if lost > 0 {
                eprintln!("logging: {lost} lines could not be written to the {name} in time");
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
                .map_err(|_| anyhow::anyhow!("RUST_LOG is not valid UTF-8"))?;
            (value, "RUST_LOG")
        }
        None => (config.level.clone(), "logging.level"),
    };
    let directives = quieted(&directives);
    EnvFilter::builder()
        .parse(&directives)
        .with_context(|| format!("{source}: {directives:?} is not a valid log filter"))
}

/// The directives, with those for the [`NOISY`] libraries that they do not name themselves.
fn quieted(directives: &str) -> String {
    let named = |library: &str| {
        directives.split(',').any(|directive| {
            let target = directive.split(['=', '[']).next().unwrap_or_default();
            target.split("::").next().unwrap_or_default().trim() == library
        })
    };
    // Where even warnings are unwanted, "library=warn" would make it louder.
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
    ansi: bool,
) -> Box<dyn Layer<S> + Send + Sync + 'static>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    match (format, ansi) {
        (LogFormat::Json, _) => layer()
            .event_format(JsonLines)
            .fmt_fields(JsonFields::new())
            .with_ansi(false)
            .with_writer(writer)
            .boxed(),
        (LogFormat::Text, true) => layer().with_ansi(true).with_writer(writer).boxed(),
        (LogFormat::Text, false) => layer()
            .with_ansi(false)
            .fmt_fields(PlainFields(DefaultFields::new()))
            .with_writer(writer)
            .boxed(),
    }
}

/// [`DefaultFields`] under another name. A span's formatted fields are kept by the formatter's
/// type, so that a file would otherwise get the colours meant for the terminal.
struct PlainFields(DefaultFields);

impl<'writer> FormatFields<'writer> for PlainFields {
    fn format_fields<R: RecordFields>(
        &self,
        writer: Writer<'writer>,
        fields: R,
    ) -> std::fmt::Result {
        self.0.format_fields(writer, fields)
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_text_file_gets_the_spans_and_no_colours() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("text.log");
        let file = RotatingFile::open(&path, crate::config::LogRotation::Never).unwrap();
        let mut guard = LoggingGuard {
            writers: Vec::new(),
        };
        let terminal = guard.writer("stderr", io::sink());
        let writer = guard.writer("file", file);
        let subscriber = tracing_subscriber::registry()
            .with(lines(LogFormat::Text, terminal, true))
            .with(lines(LogFormat::Text, writer, false));
        tracing::subscriber::with_default(subscriber, || {
            let _job = tracing::info_span!("job", job_id = "019881c0").entered();
            tracing::info!(duration_ms = 41, "the job has completed");
        });
        drop(guard);

        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(text.contains("INFO job{job_id=\"019881c0\"}: "), "{text}");
        assert!(
            text.ends_with("the job has completed duration_ms=41\n"),
            "{text}"
        );
    }
}
