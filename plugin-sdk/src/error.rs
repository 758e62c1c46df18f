//! Why a call, or the job, failed.

use std::fmt;

use crate::bindings::job_scheduler::plugin::types;

/// What everything that can fail answers with.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed, or why the job does.
///
/// Any other error becomes one by `?`, with the code `script`.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    /// A short word to act on: `denied`, `timeout`, `network`, `refused`, `invalid`, `not_found`,
    /// `limit`, … or one of your own, of `a-z 0-9 _ -`.
    pub code: String,
    pub message: String,
    /// The same may work in a while: the host makes another attempt, if the job may have one.
    pub retryable: bool,
}

impl Error {
    /// An error that another attempt would not mend.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            retryable: false,
        }
    }

    /// The same error, worth another attempt.
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

// As in anyhow: this covers every error, so that `Error` itself cannot be one.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self::new("script", error.to_string())
    }
}

/// An error of the host, as this crate's.
pub(crate) fn of_host(error: types::Error) -> Error {
    Error {
        code: error.code,
        message: error.message,
        retryable: error.retryable,
    }
}
