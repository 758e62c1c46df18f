//! Capability `parse`: structured data from a command's output, with the operator's `TextFSM` templates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use netssh_core::{ParseError, Records, Templates};
use tokio::sync::Semaphore;

use super::{JobContext, Result};
use crate::model::{ErrorCode, JobError};

/// Concurrency limit of parsing, across all jobs. Parsing runs on blocking threads, which file access
/// and name resolution need too.
const SIMULTANEOUS: usize = 2;

/// The operator's templates, and the permits for parsing.
pub struct Parser {
    templates: Templates,
    permits: Arc<Semaphore>,
}

impl Parser {
    #[must_use]
    pub fn new(templates: Templates) -> Self {
        Self {
            templates,
            permits: Arc::new(Semaphore::new(SIMULTANEOUS)),
        }
    }
}

/// Cancels parsing when the call is dropped.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl JobContext {
    /// Returns the records in a command's output. Parsing time counts as the plugin's own.
    ///
    /// # Errors
    /// Code `unsupported` without configured templates, `not_found` without a template for the
    /// command, `mismatch` if the output does not fit the template, `limit` if the output is too
    /// long or the template backtracks too much.
    pub async fn parse(&self, platform: &str, command: &str, output: &str) -> Result<Records> {
        let Some(parser) = self.services.templates.as_ref().map(Arc::clone) else {
            return Err(JobError::new(
                "unsupported",
                "parsing is not available: devices.templates_dir is not set in the server's \
                 configuration",
            ));
        };
        self.unless_stopped(async {
            // The semaphore is never closed.
            let permit = Arc::clone(&parser.permits).acquire_owned().await;
            let (platform, command) = (platform.to_owned(), command.to_owned());
            let output = output.to_owned();
            let stopped = Arc::new(AtomicBool::new(false));
            let _stop = StopOnDrop(Arc::clone(&stopped));
            let parsing = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                let stop = || stopped.load(Ordering::Relaxed);
                let begun = Instant::now();
                let records = parser.templates.parse(&platform, &command, &output, &stop);
                (records, begun.elapsed())
            });
            let (records, elapsed) = parsing
                .await
                .map_err(|_| JobError::new(ErrorCode::INTERNAL, "failed to parse the output"))?;
            self.add_computed(elapsed);
            records.map_err(|error| {
                let code = match error {
                    ParseError::NoTemplate { .. } => "not_found",
                    ParseError::TooLong { .. }
                    | ParseError::LineTooLong { .. }
                    | ParseError::TooManyRecords { .. }
                    | ParseError::TooSlow { .. } => ErrorCode::LIMIT,
                    ParseError::Template { .. } => ErrorCode::INVALID,
                    _ => "mismatch",
                };
                JobError::new(code, error.to_string())
            })
        })
        .await
    }
}
