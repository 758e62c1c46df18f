//! Errors of calls and of jobs.

use std::fmt;

use crate::bindings::job_scheduler::plugin::types;

/// The result of a fallible call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a call or of a job.
///
/// `?` converts any other error into this type, with the code `script`.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    /// A stable identifier for programs: `denied`, `timeout`, `network`, `refused`, `invalid`,
    /// `not_found`, `limit`, … or a code of your own, made of `a-z 0-9 _ -`.
    pub code: String,
    pub message: String,
    /// Whether a retry may succeed. The host then retries the job if it has attempts left.
    pub retryable: bool,
}

impl Error {
    /// Creates an error that is not retryable.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            retryable: false,
        }
    }

    /// Returns the same error as a retryable one.
    #[must_use]
    pub fn retryable(self) -> Self {
        Self {
            retryable: true,
            ..self
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// As in anyhow: this covers every error type, so `Error` itself cannot implement
// `std::error::Error`.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self::new("script", error.to_string())
    }
}

/// Converts an error of the host.
pub(crate) fn of_host(error: types::Error) -> Error {
    Error {
        code: error.code,
        message: error.message,
        retryable: error.retryable,
    }
}
