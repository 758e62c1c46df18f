//! The threads that run components.
//!
//! A component computes for up to a tick before it yields. On the server's own threads, requests would
//! have to wait for that repeatedly: with four computing components they took a hundred times as long.

use std::panic::resume_unwind;

use anyhow::Context as _;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::context::TokioContext;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

pub(super) struct Threads {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Threads {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the system cannot create threads.
    pub(super) fn start() -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("component")
            // Wake-ups from the server's threads must not wait behind dozens of computing components.
            // The threads do not run at a lower priority, because `CpuClock` would count the time that
            // other threads take.
            .global_queue_interval(1)
            .build()
            .context("failed to start the threads of components")?;
        Ok(Self {
            runtime: Some(runtime),
        })
    }

    /// Runs work on these threads. Its timers, sockets and tasks belong to the caller's runtime.
    /// Dropping the returned future aborts the work.
    ///
    /// # Errors
    /// If the threads have ended.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Ended> {
        let runtime = self.runtime.as_ref().ok_or(Ended)?;
        let work = TokioContext::new(work.in_current_span(), Handle::current());
        let task = AbortOnDropHandle::new(runtime.spawn(work));
        match task.await {
            Ok(done) => Ok(done),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => Err(Ended),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // The last component may be dropped where blocking is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The threads of components have ended, because the server is stopping.
#[derive(Debug, thiserror::Error)]
#[error("the server is shutting down")]
pub(super) struct Ended;
