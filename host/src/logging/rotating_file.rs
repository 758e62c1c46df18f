//! The log file: always under its configured name, put aside when a day or an hour has ended.
//!
//! Not `tracing_appender::rolling`, because its files get the mode of the umask (device names and
//! commands stand in a log, so these are 0600), the current one has a name that changes, and its
//! pruning takes every file that begins with the log's name for a log file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDateTime, Utc};

use crate::config::LogRotation;

#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    file: File,
    schedule: Option<Schedule>,
    /// The day or hour whose lines the file holds, as [`Schedule::period`] writes it.
    period: String,
}

#[derive(Clone, Copy, Debug)]
struct Schedule {
    /// How a period is written; sorts as time does.
    format: &'static str,
    /// How many files are kept besides the current one.
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

impl RotatingFile {
    pub(super) fn open(path: &Path, rotation: LogRotation) -> io::Result<Self> {
        Self::open_at(path, rotation, Utc::now())
    }

    fn open_at(path: &Path, rotation: LogRotation, now: DateTime<Utc>) -> io::Result<Self> {
        if let Some(directory) = path.parent().filter(|parent| *parent != Path::new("")) {
            fs::create_dir_all(directory)?;
        }
        let file = open_private(path)?;
        let schedule = match rotation {
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
            file,
            period: schedule.map_or_else(String::new, |schedule| schedule.period(begun)),
            schedule,
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
        if let Err(error) = self.rotate(schedule) {
            // Nowhere to log this to but stderr. The old file stays in use until the next period.
            eprintln!("logging: cannot rotate {}: {error}", self.path.display());
        }
        self.period = period;
    }

    fn rotate(&mut self, schedule: Schedule) -> io::Result<()> {
        let aside = self.aside(&self.period);
        // Where it exists, another process with the same log file has rotated already.
        if !aside.exists() {
            fs::rename(&self.path, &aside)?;
        }
        self.file = open_private(&self.path)?;
        self.prune(schedule)
    }

    fn prune(&self, schedule: Schedule) -> io::Result<()> {
        let directory = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let prefix = format!("{}.", file_name(&self.path));
        let mut periods: Vec<String> = fs::read_dir(directory)?
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let period = name.strip_prefix(&prefix)?;
                schedule.is_period(period).then(|| period.to_owned())
            })
            .collect();
        periods.sort();
        let superfluous = periods.len().saturating_sub(schedule.kept);
        for period in &periods[..superfluous] {
            fs::remove_file(self.aside(period))?;
        }
        Ok(())
    }

    fn aside(&self, period: &str) -> PathBuf {
        self.path
            .with_file_name(format!("{}.{period}", file_name(&self.path)))
    }
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rotate_if_due(Utc::now());
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
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

fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
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
            RotatingFile::open_at(&path, LogRotation::Daily, at("2026-07-30T23:59:59Z")).unwrap();
        log.file.write_all(b"before\n").unwrap();
        log.rotate_if_due(at("2026-07-30T23:59:59Z"));
        log.rotate_if_due(at("2026-07-31T00:00:00Z"));
        log.file.write_all(b"after\n").unwrap();
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

        RotatingFile::open_at(&path, LogRotation::Hourly, at("2026-07-30T10:00:00Z")).unwrap();

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
            RotatingFile::open_at(&path, LogRotation::Daily, at("2026-07-21T12:00:00Z")).unwrap();
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
            RotatingFile::open_at(&path, LogRotation::Never, at("2099-01-01T00:00:00Z")).unwrap();
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
        RotatingFile::open(&path, LogRotation::Daily).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        assert!(RotatingFile::open(directory.path(), LogRotation::Daily).is_err());
        fs::write(directory.path().join("file"), "").unwrap();
        let beneath_a_file = directory.path().join("file/s.log");
        assert!(RotatingFile::open(&beneath_a_file, LogRotation::Daily).is_err());
    }
}
