//! Options of a schedule besides name, plugin and expression, for `add` and `edit`.

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::cli::Failure;
use crate::cli::batch::BatchArgs;
use crate::cli::params::ParamArgs;
use crate::model::{BatchOptions, Misfire, Overlap};

#[derive(Debug, Args)]
pub(super) struct FieldArgs {
    /// A target, as for `job submit`; can be repeated
    #[arg(long = "target", short, value_name = "NAME")]
    targets: Vec<String>,

    #[command(flatten)]
    params: ParamArgs,

    /// Time zone of the cron expression, for example Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,

    /// Policy for runs missed while the server was down [default: skip]
    #[arg(long, value_parser = parse_misfire, value_name = "skip|run_once")]
    misfire: Option<Misfire>,

    /// Policy for a run that is due while the previous job is running [default: skip]
    #[arg(long, value_parser = parse_overlap, value_name = "skip|queue|allow")]
    overlap: Option<Overlap>,

    /// No run before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    starts_at: Option<DateTime<Utc>>,

    /// No run after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    ends_at: Option<DateTime<Utc>>,

    /// Maximum random delay of each job
    #[arg(long, value_name = "SECONDS")]
    jitter_seconds: Option<u32>,

    /// A description for other people, copied to the jobs
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// Timeout of one attempt
    #[arg(long, value_name = "SECONDS")]
    timeout_seconds: Option<u32>,

    /// Priority; higher runs first
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    priority: Option<i32>,

    /// Maximum number of retries when a device is unreachable
    #[arg(long, value_name = "NUMBER")]
    max_retries: Option<u32>,

    #[command(flatten)]
    batch: BatchArgs,
}

/// Fields of a schedule in the API's form.
#[derive(Serialize)]
pub(super) struct Fields {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timezone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    misfire: Option<Misfire>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overlap: Option<Overlap>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_retries: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<BatchOptions>,
}

impl FieldArgs {
    pub(super) fn read(self) -> Result<Fields, Failure> {
        Ok(Fields {
            targets: self.targets,
            params: self.params.read()?,
            timezone: self.timezone,
            misfire: self.misfire,
            overlap: self.overlap,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            jitter_seconds: self.jitter_seconds,
            description: self.description,
            timeout_seconds: self.timeout_seconds,
            priority: self.priority,
            max_retries: self.max_retries,
            batch: self.batch.options(),
        })
    }
}

fn parse_misfire(text: &str) -> Result<Misfire, String> {
    Misfire::parse(text).ok_or_else(|| "expected skip or run_once".to_owned())
}

fn parse_overlap(text: &str) -> Result<Overlap, String> {
    Overlap::parse(text).ok_or_else(|| "expected skip, queue or allow".to_owned())
}
