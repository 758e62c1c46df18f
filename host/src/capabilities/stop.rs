//! The stop signal of a job, which every wait of the job observes.

use std::sync::OnceLock;

use tokio_util::sync::CancellationToken;

use crate::model::{ErrorCode, JobError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A client cancelled the job.
    Cancelled,
    /// The attempt exceeded its time limit, in seconds.
    Timeout { seconds: u32 },
    /// The server is shutting down.
    Shutdown,
}

#[derive(Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    reason: OnceLock<StopReason>,
}

impl Stop {
    /// Stops the job. Later reasons are ignored.
    pub fn now(&self, reason: StopReason) {
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        self.token
            .is_cancelled()
            .then(|| self.reason.get().copied())?
    }

    /// Waits until the job is stopped.
    pub async fn stopped(&self) -> StopReason {
        self.token.cancelled().await;
        self.reason.get().copied().unwrap_or(StopReason::Cancelled)
    }
}

impl From<StopReason> for JobError {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::Cancelled => Self::new(ErrorCode::CANCELLED, "cancelled while running"),
            StopReason::Timeout { seconds } => Self::new(
                ErrorCode::TIMEOUT,
                format!(
                    "timeout after {seconds} s; set a longer one with the job's timeout_seconds, or \
                     change the default worker.timeout_seconds"
                ),
            ),
            StopReason::Shutdown => Self::new(
                ErrorCode::INTERRUPTED,
                "the server was shut down while the job was running",
            ),
        }
    }
}
