//! A session log in a file.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Direction, SessionLog, SessionLogEntry};

/// A session log in a file of mode 0600: one line for each line sent (`>`) or received (`<`),
/// with its UTC time; control characters are written as escapes.
///
/// It appends, up to a size; then it says so in a last line and writes no more. A file that
/// cannot be written does not disturb the session: the first failure is logged, the rest of the
/// entries is dropped.
#[derive(Debug)]
pub struct SessionLogFile {
    path: PathBuf,
    limit: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// None when it is full or broken.
    file: Option<File>,
    size: u64,
}

impl SessionLogFile {
    /// Opens or creates the file. `limit` is its greatest size in bytes.
    ///
    /// # Errors
    /// Whatever opening a file can fail with.
    pub fn open(path: impl Into<PathBuf>, limit: u64) -> io::Result<Self> {
        let path = path.into();
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path,
            limit,
            state: Mutex::new(State {
                file: Some(file),
                size,
            }),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Room for the line that says that the file is full.
const FAREWELL: u64 = 128;

impl SessionLog for SessionLogFile {
    fn write(&self, entry: &SessionLogEntry) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut file) = state.file.as_ref() else {
            return;
        };
        let mut lines = render(entry);
        let size = state.size + lines.len() as u64;
        let full = size + FAREWELL > self.limit;
        if full {
            lines = format!(
                "{} - the log is full, {} bytes; nothing more is written\n",
                timestamp(entry.time),
                self.limit
            );
        }
        let written = file.write_all(lines.as_bytes());
        if let Err(error) = &written {
            tracing::warn!(%error, path = %self.path.display(), "the session log cannot be written");
        }
        if full || written.is_err() {
            state.file = None;
        }
        state.size = size;
    }
}

fn render(entry: &SessionLogEntry) -> String {
    let direction = match entry.direction {
        Direction::Sent => '>',
        Direction::Received => '<',
    };
    let time = timestamp(entry.time);
    let mut lines = String::new();
    for line in entry.text.split_inclusive('\n') {
        let _ = write!(lines, "{time} {direction} ");
        let (line, end) = match line.strip_suffix('\n') {
            Some(line) => (line, "\\n"),
            None => (line, ""),
        };
        for character in line.chars() {
            match character {
                '\\' => lines.push_str("\\\\"),
                '\t' => lines.push_str("\\t"),
                '\r' => lines.push_str("\\r"),
                control if control.is_control() => {
                    let _ = write!(lines, "\\u{{{:x}}}", u32::from(control));
                }
                other => lines.push(other),
            }
        }
        lines.push_str(end);
        lines.push('\n');
    }
    lines
}

/// `2026-01-31T12:00:00.000Z`
pub(crate) fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_millis()
    )
}

/// The date of a day since 1970, by counting in years that begin in March: then the leap day is
/// the last day of the year.
fn date(days: u64) -> (u64, u64, u64) {
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn entry(direction: Direction, text: &str) -> SessionLogEntry {
        SessionLogEntry {
            time: UNIX_EPOCH + Duration::from_millis(1_709_208_000_007),
            direction,
            text: text.into(),
        }
    }

    #[test]
    fn lines_with_time_and_direction() {
        assert_eq!(
            render(&entry(Direction::Received, "a\tb\r\n\x1b[0mr1# ")),
            "2024-02-29T12:00:00.007Z < a\\tb\\r\\n\n2024-02-29T12:00:00.007Z < \\u{1b}[0mr1# \n"
        );
    }

    #[test]
    fn dates() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_819, (2027, 1, 1)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), expected);
        }
    }

    #[test]
    fn a_full_log_says_so_and_keeps_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session.log");
        let log = SessionLogFile::open(&path, 1000).unwrap();
        for _ in 0..100 {
            log.write(&entry(Direction::Sent, "show version\n"));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() <= 1000);
        assert!(text.lines().last().unwrap().contains("the log is full"));
        assert_eq!(text.matches("the log is full").count(), 1);
    }
}
