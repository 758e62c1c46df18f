//! Stopping a job: one signal, which every wait of the job listens to, with the reason.

use std::sync::OnceLock;

use tokio_util::sync::CancellationToken;

use crate::model::{ErrorCode, JobError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody asked for it.
    Cancelled,
    /// The attempt took longer than it may; the limit, seconds.
    Timeout { seconds: u32 },
    /// The server ends.
    Shutdown,
}

#[derive(Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    reason: OnceLock<StopReason>,
}

impl Stop {
    /// Stops the job; the first reason stands.
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

    /// Waits until the job is to stop.
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
