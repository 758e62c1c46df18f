//! The log file: always under its configured name, put aside when a day or an hour has ended, or
//! when it has grown to an eighth of what all log files may have.
//!
//! Not `tracing_appender::rolling`, because its files get the mode of the umask (device names and
//! commands stand in a log, so these are 0600), the current one has a name that changes, and its
//! pruning takes every file that begins with the log's name for a log file.
//!
//! A line that cannot be written is counted, and the first one that can be is preceded by a line
//! that says how many are missing. A file that was moved or deleted is made again.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use tracing::Level;

use super::limited::{Report, notice};
use crate::config::{LogFormat, LogRotation, LoggingConfig};

/// How often the file is looked for under its name.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Part of the size of all files that one file may have.
const FILES_AT_FULL_SIZE: u64 = 8;

#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    format: LogFormat,
    /// None until the next line when it could not be opened.
    file: Option<File>,
    size: u64,
    /// Bytes of all files together; 0 for no limit.
    max_bytes: u64,
    schedule: Option<Schedule>,
    /// The day or hour whose lines the file holds, as [`Schedule::period`] writes it.
    period: String,
    probed: Instant,
    missing: Option<Missing>,
}

/// Lines that could not be written.
#[derive(Debug)]
struct Missing {
    lines: u64,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    reason: String,
}

#[derive(Clone, Copy, Debug)]
struct Schedule {
    /// How a period is written; sorts as time does.
    format: &'static str,
    /// How many periods are kept besides the current one.
    kept: usize,
}

const DAILY: Schedule = Schedule {
    format: "%Y-%m-%d",
    kept: 14,
};

const HOURLY: Schedule = Schedule {
    format: "%Y-%m-%d-%H",
    kept: 72,
};

/// Names files that were rotated for their size alone.
const BY_SIZE: Schedule = Schedule {
    format: "%Y-%m-%d",
    kept: usize::MAX,
};

impl RotatingFile {
    pub(super) fn open(path: &Path, config: &LoggingConfig) -> io::Result<Self> {
        Self::open_at(path, config, Utc::now())
    }

    fn open_at(path: &Path, config: &LoggingConfig, now: DateTime<Utc>) -> io::Result<Self> {
        let file = open_private(path)?;
        let schedule = match config.rotation {
            LogRotation::Daily => Some(DAILY),
            LogRotation::Hourly => Some(HOURLY),
            LogRotation::Never => None,
        };
        // A file that an earlier run left behind holds the lines of the time it was last written.
        let metadata = file.metadata()?;
        let begun = if metadata.len() == 0 {
            now
        } else {
            metadata.modified().map_or(now, DateTime::from)
        };
        let mut opened = Self {
            path: path.to_owned(),
            format: config.format,
            file: Some(file),
            size: metadata.len(),
            max_bytes: config.max_mb << 20,
            period: schedule.map_or_else(String::new, |schedule| schedule.period(begun)),
            schedule,
            probed: Instant::now(),
            missing: None,
        };
        opened.rotate_if_due(now);
        Ok(opened)
    }

    fn rotate_if_due(&mut self, now: DateTime<Utc>) {
        let Some(schedule) = self.schedule else {
            return;
        };
        let period = schedule.period(now);
        // Only forwards: a clock that is set back should not put a file aside twice.
        if period <= self.period {
            return;
        }
        let ended = std::mem::replace(&mut self.period, period);
        if let Err(error) = self.rotate(schedule, &ended) {
            // Nowhere to log this to but stderr. The old file stays in use until the next period.
            eprintln!("logging: failed to rotate {}: {error}", self.path.display());
        }
    }

    /// Rotates a file to which a line would add more than one file may have.
    fn rotate_if_large(&mut self, line: usize, now: DateTime<Utc>) -> io::Result<()> {
        let max = self.max_bytes / FILES_AT_FULL_SIZE;
        if max == 0 || self.size == 0 || self.size + line as u64 <= max {
            return Ok(());
        }
        let schedule = self.schedule.unwrap_or(BY_SIZE);
        self.rotate(schedule, &schedule.period(now))
    }

    fn rotate(&mut self, schedule: Schedule, period: &str) -> io::Result<()> {
        // Where another process with the same log file has rotated already, the file is new.
        if self.is_in_place() {
            fs::rename(&self.path, self.aside(schedule, period)?)?;
        }
        self.reopen()?;
        self.prune(schedule)
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = open_private(&self.path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Opens the file again when another program has moved or deleted it.
    fn reopen_if_moved(&mut self) {
        if self.file.is_some() && self.probed.elapsed() < PROBE_INTERVAL {
            return;
        }
        self.probed = Instant::now();
        if !self.is_in_place() {
            self.file = None;
        }
    }

    fn is_in_place(&self) -> bool {
        let opened = self.file.as_ref().map(File::metadata);
        match (opened, fs::metadata(&self.path)) {
            (Some(Ok(opened)), Ok(found)) => is_same(&opened, &found),
            _ => false,
        }
    }

    fn prune(&self, schedule: Schedule) -> io::Result<()> {
        let mut aside = self.files_aside(schedule)?;
        let periods: BTreeSet<_> = aside.iter().map(|(period, _)| period.clone()).collect();
        let ended = periods.iter().rev().nth(schedule.kept).cloned();
        let mut sizes = Vec::new();
        aside.sort();
        for (period, number) in &aside {
            let path = self.numbered(period, *number);
            if ended.as_ref().is_some_and(|ended| period <= ended) {
                fs::remove_file(path)?;
            } else {
                sizes.push((fs::metadata(&path)?.len(), path));
            }
        }
        if self.max_bytes == 0 {
            return Ok(());
        }
        // The current file may become an eighth.
        let allowed = self.max_bytes - self.max_bytes / FILES_AT_FULL_SIZE;
        let mut total: u64 = sizes.iter().map(|(size, _)| size).sum();
        for (size, path) in sizes {
            if total <= allowed {
                break;
            }
            fs::remove_file(path)?;
            total -= size;
        }
        Ok(())
    }

    /// The files that were put aside: their periods and numbers.
    fn files_aside(&self, schedule: Schedule) -> io::Result<Vec<(String, u32)>> {
        let directory = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let prefix = format!("{}.", file_name(&self.path));
        let aside = fs::read_dir(directory)?.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let suffix = name.strip_prefix(&prefix)?;
            let (period, number) = match suffix.split_once('.') {
                Some((period, number)) => (period, number.parse().ok().filter(|n| *n > 0)?),
                None => (suffix, 0),
            };
            schedule
                .is_period(period)
                .then(|| (period.to_owned(), number))
        });
        Ok(aside.collect())
    }

    /// The name under which the file is put aside next: `NAME.PERIOD`, then `NAME.PERIOD.1` …
    fn aside(&self, schedule: Schedule, period: &str) -> io::Result<PathBuf> {
        let aside = self.files_aside(schedule)?;
        let last = aside.iter().filter(|(of, _)| of == period).map(|(_, n)| *n);
        Ok(self.numbered(period, last.max().map_or(0, |last| last + 1)))
    }

    fn numbered(&self, period: &str, number: u32) -> PathBuf {
        let name = file_name(&self.path);
        self.path.with_file_name(match number {
            0 => format!("{name}.{period}"),
            _ => format!("{name}.{period}.{number}"),
        })
    }

    fn append(&mut self, line: &[u8], now: DateTime<Utc>) -> io::Result<()> {
        self.rotate_if_due(now);
        self.reopen_if_moved();
        self.rotate_if_large(line.len(), now)?;
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut text = self
            .missing
            .as_ref()
            .map_or_else(Vec::new, |missing| missing.line(self.format).into_bytes());
        text.extend_from_slice(line);
        if let Err(error) = file.write_all(&text) {
            // A full disk takes the beginning of a line; what another process has appended stays.
            let _ = file.set_len(self.size);
            return Err(error);
        }
        self.size += text.len() as u64;
        self.missing = None;
        Ok(())
    }
}

impl Write for RotatingFile {
    /// Never fails: the caller has nothing to do about it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = Utc::now();
        if let Err(error) = self.append(bytes, now) {
            let missing = self.missing.get_or_insert_with(|| Missing {
                lines: 0,
                from: now,
                to: now,
                reason: error.to_string(),
            });
            missing.lines += 1;
            missing.to = now;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.flush(),
            None => Ok(()),
        }
    }
}

impl Missing {
    fn line(&self, format: LogFormat) -> String {
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        let report = Report {
            level: Level::WARN,
            target: module_path!().to_owned(),
            message: format!(
                "{} lines missing from {} to {}: {}",
                self.lines,
                time(self.from),
                time(self.to),
                self.reason
            ),
        };
        notice(format, &report)
    }
}

impl Schedule {
    fn period(self, time: DateTime<Utc>) -> String {
        time.format(self.format).to_string()
    }

    fn is_period(self, text: &str) -> bool {
        // chrono parses no date without minutes as a time, hence the appended ones.
        let full = match self.format {
            "%Y-%m-%d" => format!("{text}-00-00"),
            _ => format!("{text}-00"),
        };
        NaiveDateTime::parse_from_str(&full, "%Y-%m-%d-%H-%M")
            .is_ok_and(|time| self.period(time.and_utc()) == text)
    }
}

/// Opens or creates the file with mode 0600, and its directory with mode 0700.
fn open_private(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent().filter(|parent| *parent != Path::new("")) {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(directory)?;
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    // A file that is open can be neither renamed nor deleted.
    true
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(rotation: LogRotation) -> LoggingConfig {
        LoggingConfig {
            rotation,
            ..LoggingConfig::default()
        }
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_day_that_has_ended_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logs/s.log");
        let mut log =
            RotatingFile::open_at(&path, &with(LogRotation::Daily), at("2026-07-30T23:59:59Z"))
                .unwrap();
        log.append(b"before\n", at("2026-07-30T23:59:59Z")).unwrap();
        log.rotate_if_due(at("2026-07-30T23:59:59Z"));
        log.append(b"after\n", at("2026-07-31T00:00:00Z")).unwrap();
        log.rotate_if_due(at("2026-07-30T12:00:00Z"));

        let logs = directory.path().join("logs");
        assert_eq!(names(&logs), ["s.log", "s.log.2026-07-30"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
        let aside = fs::read_to_string(logs.join("s.log.2026-07-30")).unwrap();
        assert_eq!(aside, "before\n");
    }

    #[test]
    fn a_file_left_by_an_earlier_day_is_put_aside_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.log");
        fs::write(&path, "old\n").unwrap();
        let long_ago = at("2020-02-29T13:30:00Z");
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(long_ago.into())
            .unwrap();

        RotatingFile::open_at(
            &path,
            &with(LogRotation::Hourly),
            at("2026-07-30T10:00:00Z"),
        )
        .unwrap();

        assert_eq!(names(directory.path()), ["s.log", "s.log.2020-02-29-13"]);
    }

    #[test]
    fn old_files_are_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.log");
        for day in 1..=20 {
            fs::write(directory.path().join(format!("s.log.2026-07-{day:02}")), "").unwrap();
        }
        let others = [
            "s.log.notes",
            "s.log.2026-07-1",
            "s.log.2026-06-31",
            "s.log.gz",
        ];
        for name in others {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let mut log =
            RotatingFile::open_at(&path, &with(LogRotation::Daily), at("2026-07-21T12:00:00Z"))
                .unwrap();
        log.rotate_if_due(at("2026-07-22T12:00:00Z"));

        let left = names(directory.path());
        assert!(others.iter().all(|name| left.contains(&(*name).to_owned())));
        assert!(!left.contains(&"s.log.2026-07-07".to_owned()));
        assert!(left.contains(&"s.log.2026-07-08".to_owned()));
        assert_eq!(left.len(), others.len() + 14 + 1);
    }

    #[test]
    fn without_rotation_the_file_is_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.log");
        fs::write(&path, "old\n").unwrap();
        let mut log =
            RotatingFile::open_at(&path, &with(LogRotation::Never), at("2099-01-01T00:00:00Z"))
                .unwrap();
        log.write_all(b"new\n").unwrap();

        assert_eq!(names(directory.path()), ["s.log"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\nnew\n");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.log");
        RotatingFile::open(&path, &with(LogRotation::Daily)).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        assert!(RotatingFile::open(directory.path(), &with(LogRotation::Daily)).is_err());
        fs::write(directory.path().join("file"), "").unwrap();
        let beneath_a_file = directory.path().join("file/s.log");
        assert!(RotatingFile::open(&beneath_a_file, &with(LogRotation::Daily)).is_err());
    }

    #[test]
    fn all_files_together_keep_their_size() {
        for rotation in [LogRotation::Never, LogRotation::Daily] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("s.log");
            let config = LoggingConfig {
                max_mb: 1,
                ..with(rotation)
            };
            let now = at("2026-07-30T10:00:00Z");
            let mut log = RotatingFile::open_at(&path, &config, now).unwrap();
            let total = || {
                let files = fs::read_dir(directory.path()).unwrap();
                files
                    .map(|file| file.unwrap().metadata().unwrap().len())
                    .sum::<u64>()
            };
            for number in 0..3000 {
                let line = format!("{number:08} {}\n", "x".repeat(1000));
                log.append(line.as_bytes(), now).unwrap();
                assert!(total() <= 1 << 20, "{number}");
            }
            let names = names(directory.path());
            assert_eq!(names.len(), 8, "{names:?}");
            assert!(
                names
                    .iter()
                    .all(|name| name == "s.log" || name.starts_with("s.log.2026-07-30.")),
                "{names:?}"
            );
            assert!(fs::read_to_string(&path).unwrap().contains("00002999"));
            // The lines that are left are the last ones, without a hole.
            assert!(total() > 7 << 17);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn lines_that_a_full_disk_took_are_counted() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("s.log");
            std::os::unix::fs::symlink("/dev/full", &path).unwrap();
            let config = LoggingConfig {
                format,
                ..with(LogRotation::Never)
            };
            let mut log = RotatingFile::open(&path, &config).unwrap();
            for _ in 0..5 {
                log.write_all(b"lost\n").unwrap();
            }
            fs::remove_file(&path).unwrap();
            log.probed = Instant::now().checked_sub(PROBE_INTERVAL).unwrap();
            log.write_all(b"kept\n").unwrap();
            log.write_all(b"kept\n").unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(lines[1..], ["kept", "kept"], "{text}");
            assert!(lines[0].contains("5 lines missing from "), "{text}");
            assert!(lines[0].contains("No space left on device"), "{text}");
            if format == LogFormat::Json {
                serde_json::from_str::<serde_json::Value>(lines[0]).unwrap();
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_another_program_has_moved_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logs/s.log");
        let mut log = RotatingFile::open(&path, &with(LogRotation::Never)).unwrap();
        log.write_all(b"before\n").unwrap();
        fs::rename(path.parent().unwrap(), directory.path().join("moved")).unwrap();
        log.probed = Instant::now().checked_sub(PROBE_INTERVAL).unwrap();
        log.write_all(b"after\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
        let moved = directory.path().join("moved/s.log");
        assert_eq!(fs::read_to_string(moved).unwrap(), "before\n");
    }
}
