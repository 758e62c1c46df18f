//! Capability `parse`: structured data from a command's output, by the operator's `TextFSM` templates.

use std::sync::Arc;

use netssh_core::ParseError;
use serde_json::Value;

use super::{JobContext, Result};
use crate::model::{ErrorCode, JobError};

impl JobContext {
    /// The records in a command's output, each a map from the template's names in lower case.
    ///
    /// # Errors
    /// Code `unsupported` where the operator has no templates, `not_found` where none is for this
    /// command, `mismatch` when the output does not fit, `limit` when it is too long.
    pub async fn parse(&self, platform: &str, command: &str, output: String) -> Result<Value> {
        let Some(templates) = self.services.templates.as_ref().map(Arc::clone) else {
            return Err(JobError::new(
                "unsupported",
                "there are no templates to parse with: the operator sets devices.templates_dir",
            ));
        };
        let (platform, command) = (platform.to_owned(), command.to_owned());
        self.unless_stopped(async {
            let parsing =
                tokio::task::spawn_blocking(move || templates.parse(&platform, &command, &output));
            let records = parsing.await.map_err(|_| {
                JobError::new(ErrorCode::INTERNAL, "the output could not be parsed")
            })?;
            let records = records.map_err(|error| {
                let code = match error {
                    ParseError::NoTemplate { .. } => "not_found",
                    ParseError::TooLong { .. } => ErrorCode::LIMIT,
                    _ => "mismatch",
                };
                JobError::new(code, error.to_string())
            })?;
            serde_json::to_value(records).map_err(|error| {
                JobError::new(ErrorCode::INTERNAL, format!("the records: {error}"))
            })
        })
        .await
    }
}
