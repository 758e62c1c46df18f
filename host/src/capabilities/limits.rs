//! The bounds of what one job may take, in one place.

use std::io;

use serde_json::Value;

use crate::json::memory_of;
use crate::storage::{JobUse, StorageUse};

/// Sessions that one job may hold open at once.
pub const SESSIONS: usize = 32;
/// Commands whose results one attempt may leave.
pub const RESULTS: u32 = 20_000;
/// Output that one attempt may leave in results, bytes.
pub const OUTPUT_BYTES: u64 = 256 * 1024 * 1024;
/// Log lines of one attempt, and their bytes; one more line says that the rest is missing.
pub const LOG_LINES: u32 = 20_000;
pub const LOG_BYTES: u64 = 16 * 1024 * 1024;
/// Attempts at one job whose results and log lines are kept in full; those after them share what is
/// left of that.
pub const FULL_ATTEMPTS: u64 = 4;
/// Lines of the host's own about a job, such as its errors, that are kept beyond the limit.
pub const LOG_NOTES: u32 = 1_000;
/// Log lines of one attempt that the server's log has, too, and their bytes.
pub const SERVER_LOG_LINES: u32 = 1_000;
pub const SERVER_LOG_BYTES: u64 = 256 * 1024;
/// One log line, bytes; the rest is cut.
pub const LOG_MESSAGE_BYTES: usize = 16 * 1024;
/// A log line's context as JSON, bytes; a larger one is left out.
pub const LOG_CONTEXT_BYTES: usize = 16 * 1024;
/// One key of a plugin's store, bytes.
pub const STORAGE_KEY_BYTES: usize = 512;
/// One value of a plugin's store as JSON, bytes.
pub const STORAGE_VALUE_BYTES: usize = 32 * 1024 * 1024;
/// Everything that one plugin keeps.
pub const STORAGE: StorageUse = StorageUse {
    keys: 20_000,
    bytes: 512 * 1024 * 1024,
};
/// Keys that one listing returns.
pub const STORAGE_LISTING: u32 = 5_000;
/// Child jobs that one job may submit.
pub const CHILDREN: u64 = 1_000;
/// How deep jobs may submit jobs that submit jobs.
pub const DEPTH: u32 = 5;
/// Jobs that may wait for child jobs at once, on one server. Each keeps a thread.
pub const WAITING: usize = 512;
/// A job's result as JSON, bytes.
pub const RESULT_BYTES: usize = 32 * 1024 * 1024;
/// Nesting of a value on its way to JSON: a result, a stored value, the parameters of a child job.
pub const JSON_DEPTH: usize = 64;
/// The parameters of a child job as JSON, bytes.
pub const PARAMS_BYTES: usize = 32 * 1024 * 1024;
/// A text given to `diff`, bytes.
pub const DIFF_BYTES: usize = 8 * 1024 * 1024;
/// A file that a job downloads, bytes.
pub const FILE_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Questions that one interactive command may be given answers to.
pub const QUESTIONS: usize = 16;
/// The pattern of a question, bytes; below, the size of the compiled pattern.
pub const QUESTION_BYTES: usize = 512;
pub const QUESTION_COMPILED_BYTES: usize = 64 * 1024;
/// The comment of a commit, bytes.
pub const COMMENT_BYTES: usize = 512;
/// A command, or a line of configuration, bytes.
pub const COMMAND_BYTES: usize = 64 * 1024;

/// What one attempt may store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub results: u32,
    pub output_bytes: u64,
    pub log_lines: u32,
    pub log_bytes: u64,
}

impl Allowance {
    /// Returns what an attempt may store after earlier attempts at the same job.
    #[must_use]
    pub fn after(earlier: JobUse) -> Self {
        let left = |of_attempt: u64, used: u64| {
            of_attempt.min((of_attempt * FULL_ATTEMPTS).saturating_sub(used))
        };
        let lines = |of_attempt: u32, used| {
            u32::try_from(left(of_attempt.into(), used)).unwrap_or(of_attempt)
        };
        Self {
            results: lines(RESULTS, earlier.results),
            output_bytes: left(OUTPUT_BYTES, earlier.output_bytes),
            log_lines: lines(LOG_LINES, earlier.log_lines),
            log_bytes: left(LOG_BYTES, earlier.log_bytes),
        }
    }
}

/// Returns the length of a value as JSON, without building the text.
#[must_use]
pub fn json_len(value: &Value) -> usize {
    struct Length(usize);
    impl io::Write for Length {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut length = Length(0);
    // Cannot fail: the writer never fails, and every value is valid JSON.
    let _ = serde_json::to_writer(&mut length, value);
    length.0
}

/// Checks that the values of a JSON text take no more than `most` bytes of memory, before it is parsed.
///
/// # Errors
/// Says what is too large, for a message that begins with where.
pub fn check_values(json: &str, most: usize) -> Result<(), String> {
    memory_of(json, most).map(drop).map_err(|_| {
        format!(
            "the JSON ({} bytes) is too large: its values may take at most {} MiB of memory \
             (plugins.memory_mb)",
            json.len(),
            most >> 20
        )
    })
}

/// Cuts a text to at most `bytes`, at a character's border, and marks the place.
pub fn cut(text: &mut String, bytes: usize) {
    const MARK: &str = " … [cut]";
    if text.len() <= bytes {
        return;
    }
    let mut end = bytes.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(MARK);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_json_is_that_of_its_text() {
        let value = serde_json::json!({"a": [1, 2.5, null, "ü\n\u{1}"], "b": {}});
        assert_eq!(json_len(&value), value.to_string().len());
    }

    #[test]
    fn attempts_share_what_one_job_may_store() {
        let all = Allowance::after(JobUse::default());
        assert_eq!((all.results, all.log_bytes), (RESULTS, LOG_BYTES));
        let some = JobUse {
            results: u64::from(RESULTS) * 3 + 1,
            output_bytes: OUTPUT_BYTES * 9,
            ..JobUse::default()
        };
        let left = Allowance::after(some);
        assert_eq!((left.results, left.output_bytes), (RESULTS - 1, 0));
        assert_eq!((left.log_lines, left.log_bytes), (LOG_LINES, LOG_BYTES));
    }

    #[test]
    fn cuts_at_a_characters_border() {
        let mut text = "ä".repeat(100);
        cut(&mut text, 51);
        assert!(text.len() <= 51);
        assert!(text.ends_with("[cut]"));

        let mut short = "short".to_owned();
        cut(&mut short, 51);
        assert_eq!(short, "short");
    }
}
