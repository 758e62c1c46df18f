//! The result of a commit, as the callers of its writes learn it.

use super::{Result, StorageError};
use crate::storage::Fault;

/// The result of a group's commit.
pub(super) struct Committed(pub(super) std::result::Result<(), Failure>);

impl Committed {
    /// Returns the reply for a caller: its own error if its write failed, otherwise the result of the
    /// commit.
    pub(super) fn reply<T>(&self, result: Result<T>) -> Result<T> {
        match &self.0 {
            Ok(()) => result,
            Err(failure) => result.and(Err(failure.clone().into())),
        }
    }
}

/// Why a group was not committed.
#[derive(Clone)]
pub(super) enum Failure {
    Full,
    Unusable(Fault),
    Other(String),
}

impl From<Failure> for StorageError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Full => Self::Full,
            Failure::Unusable(fault) => Self::Unusable(fault),
            Failure::Other(reason) => Self::Unavailable(reason),
        }
    }
}
