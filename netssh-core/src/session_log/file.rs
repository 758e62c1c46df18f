//! A session log in a file.

use std::fmt::Write as _;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Direction, SessionLog, SessionLogEntry};
use crate::visible::is_hidden;

/// A session log in a file of mode 0600: one line for each line sent (`>`) or received (`<`), with
/// its UTC time. Control characters and other invisible characters are escaped.
///
/// The log appends up to a size limit. Then it starts a new file ([`Self::keeping`]), or writes a
/// last line that reports the limit and stops. A failed write does not disturb the session. Each
/// entry retries, and the first successful write begins with a line that reports how many bytes are
/// missing, from when to when, and why. The log detects by inode that the file was moved, deleted
/// or truncated, so that tools may rotate it.
#[derive(Debug)]
pub struct SessionLogFile {
    path: PathBuf,
    limit: u64,
    older: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// `None` before the next entry if the file could not be opened or was released.
    open: Option<Open>,
    gap: Option<Gap>,
    /// The failure was already logged.
    failing: bool,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Number of bytes up to the end of the last complete entry.
    size: u64,
    /// The file ends in the middle of a line.
    broken_line: bool,
    /// The file's last line reports that it is full.
    full: bool,
    /// When the first and the last entry were written.
    first: SystemTime,
    last: SystemTime,
}

/// A range of missing entries.
#[derive(Debug)]
struct Gap {
    bytes: u64,
    from: SystemTime,
    to: SystemTime,
    reason: String,
}

impl Gap {
    /// Maximum length of the collected reasons, in bytes.
    const REASONS: usize = 200;

    fn merge(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        if !self.reason.contains(&other.reason) && self.reason.len() < Self::REASONS {
            self.reason.push_str("; ");
            self.reason.push_str(&other.reason);
        }
    }

    fn line(&self) -> String {
        let reason = &self.reason[..self.reason.floor_char_boundary(Self::REASONS)];
        format!(
            "{} - [… {} bytes missing from {} to {}: {reason}]\n",
            timestamp(SystemTime::now()),
            self.bytes,
            timestamp(self.from),
            timestamp(self.to),
        )
    }
}

impl SessionLogFile {
    /// Opens or creates the file. `limit` is its maximum size in bytes.
    ///
    /// # Errors
    /// The error of opening the file.
    pub fn open(path: impl Into<PathBuf>, limit: u64) -> io::Result<Self> {
        let log = Self::new(path, limit);
        log.state().open = Some(open_private(&log.path)?);
        Ok(log)
    }

    /// Returns a log that opens or creates its file with its first entry.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, limit: u64) -> Self {
        Self {
            path: path.into(),
            limit,
            older: 0,
            state: Mutex::default(),
        }
    }

    /// Rotates the file when it is full: the full file is renamed to `PATH.1`, the previous one to
    /// `PATH.2`, up to `older` files.
    #[must_use]
    pub fn keeping(mut self, older: usize) -> Self {
        self.older = older;
        self
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records a gap, which the log reports in its next line.
    pub fn add_missing(&self, bytes: u64, from: SystemTime, to: SystemTime, reason: &str) {
        let reason = reason.to_owned();
        self.state().add_gap(Gap {
            bytes,
            from,
            to,
            reason,
        });
    }

    /// Attempts to write the line that reports the gap. Returns whether no gap is left to report.
    pub fn report_missing(&self) -> bool {
        let mut state = self.state();
        if state.gap.is_some() {
            state.append(self, "", SystemTime::now());
        }
        state.gap.is_none()
    }

    /// Returns whether the log has no unreported gap.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state().gap.is_none()
    }

    /// Closes the file until the next entry.
    pub fn release(&self) {
        self.state().open = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rotate(&self) -> io::Result<()> {
        let aged = |age: usize| {
            let mut path = self.path.as_os_str().to_owned();
            path.push(format!(".{age}"));
            PathBuf::from(path)
        };
        for age in (1..self.older).rev() {
            match fs::rename(aged(age), aged(age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, aged(1))
    }
}

/// Space reserved for the last two lines of a full file: the gap before its end, if there is one
/// ([`Gap::REASONS`] bounds it), and the line that reports that the file is full.
const FAREWELL: u64 = 512;

impl SessionLog for SessionLogFile {
    fn write(&self, entry: &SessionLogEntry) {
        let lines = render(entry);
        self.state().append(self, &lines, entry.time);
    }
}

impl Drop for SessionLogFile {
    fn drop(&mut self) {
        self.report_missing();
    }
}

impl State {
    fn append(&mut self, log: &SessionLogFile, lines: &str, time: SystemTime) {
        self.notice_changes(&log.path);
        match self.attempt(log, lines, time) {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!(path = %log.path.display(), "session log recovered");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, path = %log.path.display(), "failed to write the session \
                         log; retrying with each entry");
                }
                if !lines.is_empty() {
                    let text = error.to_string();
                    let reason = text.split(" (os error").next().unwrap_or(&text);
                    self.add_missing(lines.len() as u64, time, reason);
                }
            }
        }
    }

    fn attempt(&mut self, log: &SessionLogFile, lines: &str, time: SystemTime) -> io::Result<()> {
        let gap = self.gap.as_ref().map_or_else(String::new, Gap::line);
        let length = (gap.len() + lines.len()) as u64;
        let mut open = match self.open.take() {
            Some(open) => open,
            None => open_private(&log.path)?,
        };
        let over = open.size + length + FAREWELL > log.limit;
        if over && log.older > 0 && open.size > 0 {
            log.rotate()?;
            open = open_private(&log.path)?;
        }
        let open = self.open.insert(open);
        if open.full {
            // The last line covers entries that went missing after it.
            self.gap = None;
            return Ok(());
        }
        let text = if over && log.older == 0 {
            open.full = true;
            format!(
                "{gap}{} - the log is full ({} bytes); further entries are dropped\n",
                timestamp(time),
                log.limit
            )
        } else {
            gap + lines
        };
        let written = open.append(&text);
        if written.is_ok() {
            self.gap = None;
            if open.size == text.len() as u64 {
                open.first = time;
            }
            open.last = time;
        } else {
            open.full = false;
        }
        written
    }

    /// Detects that the file was moved, deleted, replaced or truncated.
    fn notice_changes(&mut self, path: &Path) {
        let Some(open) = &mut self.open else {
            return;
        };
        let gap = |bytes, reason: &str| Gap {
            bytes,
            from: open.first,
            to: open.last,
            reason: reason.to_owned(),
        };
        let Ok(opened) = open.file.metadata() else {
            self.open = None;
            return;
        };
        let gap = match fs::metadata(path) {
            Ok(found) if is_same(&found, &opened) => {
                if !found.is_file() || found.len() >= open.size {
                    return;
                }
                let gap = gap(open.size - found.len(), "the file was truncated");
                open.size = found.len();
                open.full = false;
                Some(gap)
            }
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                // If the file cannot be examined now, that is not evidence of a change.
                return;
            }
            _ => {
                let deleted = is_deleted(&opened) && open.size > 0;
                let gap = deleted.then(|| gap(open.size, "the file was deleted"));
                self.open = None;
                gap
            }
        };
        if let Some(gap) = gap {
            self.add_gap(gap);
        }
    }

    fn add_missing(&mut self, bytes: u64, time: SystemTime, reason: &str) {
        self.add_gap(Gap {
            bytes,
            from: time,
            to: time,
            reason: reason.to_owned(),
        });
    }

    fn add_gap(&mut self, gap: Gap) {
        match &mut self.gap {
            Some(pending) => pending.merge(&gap),
            None => self.gap = Some(gap),
        }
    }
}

impl Open {
    /// Appends the whole text, or none of it if the partial write can be undone.
    fn append(&mut self, text: &str) -> io::Result<()> {
        let mut text = text.to_owned();
        if self.broken_line {
            text.insert(0, '\n');
        }
        let written = self.file.write_all(text.as_bytes());
        if written.is_ok() {
            self.size += text.len() as u64;
            self.broken_line = false;
            return written;
        }
        // On a full disk, the beginning of the text may have been written.
        let length = self.file.metadata().map_or(self.size, |file| file.len());
        if length > self.size && self.file.set_len(self.size).is_err() {
            self.size = length;
            self.broken_line = true;
        }
        written
    }
}

fn open_private(path: &Path) -> io::Result<Open> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut opened = options.open(path);
    if let (Err(error), Some(directory)) = (&opened, path.parent())
        && error.kind() == io::ErrorKind::NotFound
    {
        create_private_directory(directory)?;
        opened = options.open(path);
    }
    let mut file = opened?;
    let metadata = file.metadata()?;
    let size = if metadata.is_file() {
        metadata.len()
    } else {
        0
    };
    let mut end = [b'\n'];
    if size > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut end)?;
    }
    let now = SystemTime::now();
    Ok(Open {
        file,
        size,
        broken_line: end != [b'\n'],
        full: false,
        first: metadata.created().unwrap_or(now),
        last: metadata.modified().unwrap_or(now),
    })
}

fn create_private_directory(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    // An open file can be neither renamed nor deleted.
    true
}

#[cfg(unix)]
fn is_deleted(file: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(file) == 0
}

#[cfg(not(unix))]
fn is_deleted(_: &Metadata) -> bool {
    false
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
                hidden if is_hidden(hidden) => {
                    let _ = write!(lines, "\\u{{{:x}}}", u32::from(hidden));
                }
                other => lines.push(other),
            }
        }
        lines.push_str(end);
        lines.push('\n');
    }
    lines
}

/// Formats a time as `2026-01-31T12:00:00.000Z`.
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

/// Returns the date of a day since 1970. Counts in years that begin in March, so that the leap day
/// is the last day of the year.
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

    #[test]
    fn a_gap_before_the_end_of_a_full_log_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session.log");
        let limit = 2000;
        let log = SessionLogFile::open(&path, limit).unwrap();
        let line = entry(Direction::Sent, "show version\n");
        let length = render(&line).len() as u64;
        while text_of(&path).len() as u64 + length + FAREWELL <= limit {
            log.write(&line);
        }
        let reason = "disk é ".repeat(100);
        log.add_missing(u64::MAX, UNIX_EPOCH, SystemTime::now(), &reason);
        assert!(!log.is_complete());
        log.write(&line);

        let text = text_of(&path);
        let last: Vec<_> = text.lines().rev().take(2).collect();
        assert!(last[0].contains("the log is full"), "{text}");
        assert_eq!(gaps(&path).len(), 1);
        assert!(
            last[1].contains("18446744073709551615 bytes missing"),
            "{text}"
        );
        assert!(text.len() as u64 <= limit, "{}", text.len());
        assert!(log.is_complete());
        // The last line covers later gaps.
        log.add_missing(1, UNIX_EPOCH, UNIX_EPOCH, "too slow");
        assert!(log.report_missing());
        assert_eq!(text_of(&path), text);
    }

    fn text_of(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    /// Returns the reported gaps: `BYTES bytes missing from TIME to TIME: REASON`.
    fn gaps(path: &Path) -> Vec<String> {
        text_of(path)
            .lines()
            .filter_map(|line| line.split_once(" - [… ")?.1.strip_suffix(']'))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn bidirectional_controls_and_separators_are_escaped() {
        let rendered = render(&entry(Direction::Received, "a\u{202e}b\u{2028}c\u{85}d"));
        assert!(
            rendered.ends_with(" < a\\u{202e}b\\u{2028}c\\u{85}d\n"),
            "{rendered}"
        );
        assert_eq!(rendered.lines().count(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_log_recovers_from_a_full_disk_and_says_what_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session.log");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let log = SessionLogFile::open(&path, 1 << 20).unwrap();
        let lost = [
            entry(Direction::Sent, "show version\n"),
            SessionLogEntry {
                time: UNIX_EPOCH + Duration::from_millis(1_709_208_005_000),
                ..entry(Direction::Received, "Version 1\n")
            },
        ];
        lost.iter().for_each(|entry| log.write(entry));
        assert!(!log.report_missing());
        fs::remove_file(&path).unwrap();
        log.write(&entry(Direction::Received, "r1#"));

        let bytes: usize = lost.iter().map(|entry| render(entry).len()).sum();
        let expected = format!(
            "{bytes} bytes missing from 2024-02-29T12:00:00.007Z to 2024-02-29T12:00:05.000Z: No \
             space left on device"
        );
        assert_eq!(gaps(&path), [expected]);
        assert!(text_of(&path).ends_with(" < r1#\n"));
        log.write(&entry(Direction::Received, "more"));
        assert_eq!(gaps(&path).len(), 1, "it is said once");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_gap_is_reported_without_another_entry() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session.log");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let log = SessionLogFile::open(&path, 1 << 20).unwrap();
        log.write(&entry(Direction::Sent, "show version\n"));
        fs::remove_file(&path).unwrap();
        drop(log);
        assert_eq!(gaps(&path).len(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_log_that_was_moved_continues_in_a_new_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logs/session.log");
        let log = SessionLogFile::open(&path, 1 << 20).unwrap();
        log.write(&entry(Direction::Sent, "one\n"));
        let moved = directory.path().join("logs/session.log.old");
        fs::rename(&path, &moved).unwrap();
        log.write(&entry(Direction::Sent, "two\n"));
        assert!(text_of(&moved).contains("one") && !text_of(&moved).contains("two"));
        assert!(text_of(&path).contains("two"));
        assert_eq!(gaps(&path), Vec::<String>::new(), "nothing is missing");

        fs::rename(
            directory.path().join("logs"),
            directory.path().join("aside"),
        )
        .unwrap();
        log.write(&entry(Direction::Sent, "three\n"));
        assert!(
            text_of(&path).contains("three"),
            "even without its directory"
        );
        let mode = |path: &Path| {
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions())
        };
        assert_eq!(mode(&path) & 0o777, 0o600);
        assert_eq!(mode(path.parent().unwrap()) & 0o777, 0o700);
    }

    #[cfg(unix)]
    #[test]
    fn a_log_that_was_deleted_or_truncated_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session.log");
        let log = SessionLogFile::open(&path, 1 << 20).unwrap();
        log.write(&entry(Direction::Sent, "one\n"));
        let size = text_of(&path).len();
        fs::remove_file(&path).unwrap();
        log.write(&entry(Direction::Sent, "two\n"));
        let deleted = format!(
            "{size} bytes missing from 2024-02-29T12:00:00.007Z to 2024-02-29T12:00:00.007Z: the \
             file was deleted"
        );
        assert_eq!(gaps(&path), [deleted]);

        let size = text_of(&path).len();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(0)
            .unwrap();
        log.write(&entry(Direction::Sent, "three\n"));
        let gaps = gaps(&path);
        assert!(
            gaps[0].starts_with(&format!("{size} bytes missing")),
            "{gaps:?}"
        );
        assert!(gaps[0].ends_with("the file was truncated"), "{gaps:?}");
        assert!(text_of(&path).ends_with("> three\\n\n"));
    }

    #[test]
    fn a_line_that_a_crash_cut_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session.log");
        fs::write(&path, "2024-02-29T12:00:00.007Z > sho").unwrap();
        let log = SessionLogFile::open(&path, 1 << 20).unwrap();
        log.write(&entry(Direction::Sent, "exit\n"));
        let text = text_of(&path);
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn older_files_are_kept_up_to_their_number() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session.log");
        let log = SessionLogFile::open(&path, 1000).unwrap().keeping(2);
        for number in 0..200 {
            log.write(&entry(Direction::Sent, &format!("show {number}\n")));
        }
        let mut names: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["session.log", "session.log.1", "session.log.2"]);
        let whole = ["session.log.2", "session.log.1", "session.log"]
            .map(|name| text_of(&directory.path().join(name)));
        assert!(whole.iter().all(|text| text.len() <= 1000));
        let shown: Vec<_> = whole.concat().lines().map(str::to_owned).collect();
        let expected: Vec<_> = (200 - shown.len()..200)
            .map(|number| format!("2024-02-29T12:00:00.007Z > show {number}\\n"))
            .collect();
        assert_eq!(shown, expected);
    }
}
