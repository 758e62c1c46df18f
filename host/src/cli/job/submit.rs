use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::watch;
use crate::cli::batch::BatchArgs;
use crate::cli::client::{Answer, Client};
use crate::cli::params::ParamArgs;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::model::BatchOptions;
use crate::wire::JobAccepted;

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// The plugin's name, as in `scheduler plugin list`
    plugin: String,

    /// The name of a connection, or an expression such as "tag:access and not name:lab-*"; can be
    /// repeated
    #[arg(long = "target", short, value_name = "NAME")]
    targets: Vec<String>,

    #[command(flatten)]
    params: ParamArgs,

    /// A description for other people
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

    /// Repeating the command with the same key creates no second job
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,

    /// Follow the job until it ends. Ctrl-C stops following, not the job
    #[arg(long, short)]
    wait: bool,

    #[command(flatten)]
    batch: BatchArgs,

    #[command(flatten)]
    server: ServerArgs,
}

/// The body of `POST /api/jobs`.
#[derive(Debug, Serialize)]
struct Submission<'a> {
    plugin: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Value>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    targets: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_retries: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<BatchOptions>,
}

pub(super) async fn run(args: SubmitArgs) -> Result<(), Failure> {
    let submission = Submission {
        plugin: &args.plugin,
        params: args.params.read()?,
        targets: &args.targets,
        description: args.description.as_deref(),
        timeout_seconds: args.timeout_seconds,
        priority: args.priority,
        max_retries: args.max_retries,
        batch: args.batch.options(),
    };
    let client = args.server.client()?;
    let answer = client
        .post::<JobAccepted>(&["jobs"], &submission, args.idempotency_key.as_deref())
        .await?;
    taken_in(&client, &answer, args.wait, args.server.output).await
}

/// Reports the submitted job, and follows it if `wait` is set.
pub(super) async fn taken_in(
    client: &Client,
    answer: &Answer<JobAccepted>,
    wait: bool,
    format: OutputFormat,
) -> Result<(), Failure> {
    let JobAccepted { id, status, .. } = &answer.body;
    if wait {
        output::talk(&format!("job {id} submitted"));
        return watch::follow_until_interrupted(client, &id.to_string(), format).await;
    }
    match format {
        OutputFormat::Json => output::json(&answer.text),
        OutputFormat::Table => {
            output::talk(&format!(
                "the job is {status}; follow it with `scheduler job watch {id}`"
            ));
            output::data(&format!("{id}\n"))
        }
    }
}
