//! Capability `parse`: structured data from a command's output, by the operator's `TextFSM` templates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use netssh_core::{ParseError, Records, Templates};
use tokio::sync::Semaphore;

use super::{JobContext, Result};
use crate::model::{ErrorCode, JobError};

/// Outputs that are parsed at once, of all jobs: parsing computes, on threads that file access and
/// name look-ups need, too.
const SIMULTANEOUS: usize = 2;

/// The operator's templates, and the right to parse with them.
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

/// Stops the parsing of a call that is dropped.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl JobContext {
    /// Returns the records in a command's output. Its time counts as the plugin's own.
    ///
    /// # Errors
    /// Code `unsupported` where the operator has no templates, `not_found` where none is for this
    /// command, `mismatch` when the output does not fit, `limit` when it is too long or its template
    /// backtracks too much.
    pub async fn parse(&self, platform: &str, command: &str, output: &str) -> Result<Records> {
        let Some(parser) = self.services.templates.as_ref().map(Arc::clone) else {
            return Err(JobError::new(
                "unsupported",
                "there are no templates to parse with: the operator sets devices.templates_dir",
            ));
        };
        self.unless_stopped(async {
            // Closed never.
            let permit = Arc::clone(&parser.permits).acquire_owned().await;
            let (platform, command) = (platform.to_owned(), command.to_owned());
            let output = output.to_owned();
            let stopped = Arc::new(AtomicBool::new(false));
            let _stop = StopOnDrop(Arc::clone(&stopped));
            let begun = Instant::now();
            let parsing = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                let stop = || stopped.load(Ordering::Relaxed);
                parser.templates.parse(&platform, &command, &output, &stop)
            });
            let records = parsing.await;
            self.add_computed(begun.elapsed());
            let records = records.map_err(|_| {
                JobError::new(ErrorCode::INTERNAL, "the output could not be parsed")
            })?;
            records.map_err(|error| {
                let code = match error {
                    ParseError::NoTemplate { .. } => "not_found",
                    ParseError::TooLong { .. }
                    | ParseError::LineTooLong { .. }
                    | ParseError::TooSlow { .. } => ErrorCode::LIMIT,
                    _ => "mismatch",
                };
                JobError::new(code, error.to_string())
            })
        })
        .await
    }
}
