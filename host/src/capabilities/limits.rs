//! Limits of the resources that one job may use.

use crate::json::memory_of;
use crate::storage::{JobUse, StorageUse};

/// Sessions that one job may have open at once.
pub const SESSIONS: usize = 32;
/// Command results that one attempt may store.
pub const RESULTS: u32 = 20_000;
/// Output that one attempt may store in results, in bytes.
pub const OUTPUT_BYTES: u64 = 256 * 1024 * 1024;
/// Log lines of one attempt, and their bytes. One extra line reports that the rest is missing.
pub const LOG_LINES: u32 = 20_000;
pub const LOG_BYTES: u64 = 16 * 1024 * 1024;
/// Attempts at one job that may store results and log lines in full. Later attempts share what remains
/// of that total.
pub const FULL_ATTEMPTS: u64 = 4;
/// Lines from the host about a job, such as its errors, that are stored beyond the limit.
pub const LOG_NOTES: u32 = 1_000;
/// Log lines of one attempt that are repeated in the server's log, and their bytes.
pub const SERVER_LOG_LINES: u32 = 1_000;
pub const SERVER_LOG_BYTES: u64 = 256 * 1024;
/// Length of one log line, in bytes; longer ones are truncated.
pub const LOG_MESSAGE_BYTES: usize = 16 * 1024;
/// Context of a log line as JSON, in bytes; a larger context is dropped.
pub const LOG_CONTEXT_BYTES: usize = 16 * 1024;
/// Length of a key in a plugin's store, in bytes.
pub const STORAGE_KEY_BYTES: usize = 512;
/// Value in a plugin's store as JSON, in bytes.
pub const STORAGE_VALUE_BYTES: usize = 32 * 1024 * 1024;
/// Total size of one plugin's store.
pub const STORAGE: StorageUse = StorageUse {
    keys: 20_000,
    bytes: 512 * 1024 * 1024,
};
/// Keys that one listing returns.
pub const STORAGE_LISTING: u32 = 5_000;
/// Child jobs that one job may submit.
pub const CHILDREN: u64 = 1_000;
/// Maximum depth of nested child jobs.
pub const DEPTH: u32 = 5;
/// Jobs that may wait for child jobs at once, per server. Each occupies a thread.
pub const WAITING: usize = 512;
/// A job's result as JSON, in bytes.
pub const RESULT_BYTES: usize = 32 * 1024 * 1024;
/// Nesting depth of values that become JSON: results, stored values, parameters of child jobs.
pub const JSON_DEPTH: usize = crate::json::MAX_VALUE_DEPTH;
/// Parameters of a child job as JSON, in bytes.
pub const PARAMS_BYTES: usize = 32 * 1024 * 1024;
/// A text passed to `diff`, in bytes.
pub const DIFF_BYTES: usize = 8 * 1024 * 1024;
/// A downloaded file, in bytes.
pub const FILE_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Questions that one command may have answers for.
pub const QUESTIONS: usize = 16;
/// The pattern of a question, in bytes; below, the size of the compiled pattern.
pub const QUESTION_BYTES: usize = 512;
pub const QUESTION_COMPILED_BYTES: usize = 64 * 1024;
/// The comment of a commit, in bytes.
pub const COMMENT_BYTES: usize = 512;
/// A command or a configuration line, in bytes.
pub const COMMAND_BYTES: usize = 64 * 1024;

/// The storage that one attempt may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub results: u32,
    pub output_bytes: u64,
    pub log_lines: u32,
    pub log_bytes: u64,
}

impl Allowance {
    /// Returns the allowance of an attempt after earlier attempts at the same job.
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

/// Checks, before parsing, that the values of a JSON text would take no more than `most` bytes of
/// memory.
///
/// # Errors
/// If they would take more. The message is meant to follow a prefix that names the place.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
