use clap::Args;
use serde_json::{Value, json};

use super::{took, waits_for};
use crate::cli::client::Client;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::{JobList, JobResponse};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only jobs with this status: pending, running, completed, failed, cancelled or retrying
    #[arg(long)]
    status: Option<String>,

    /// Only jobs of this plugin
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,

    /// Only jobs for this connection
    #[arg(long, value_name = "NAME")]
    target: Option<String>,

    /// Maximum number of jobs (with --all, per request)
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u32>,

    /// The cursor that the previous page printed
    #[arg(long)]
    cursor: Option<String>,

    /// List all jobs
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ListArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    if args.all {
        return all(&client, &args).await;
    }
    let answer = client
        .get_with::<JobList>(&["jobs"], &query(&args, args.cursor.as_deref()))
        .await?;
    match args.server.output {
        OutputFormat::Json => output::json(&answer.text)?,
        OutputFormat::Table => table(&answer.body.jobs, &args)?,
    }
    if let (OutputFormat::Table, Some(cursor)) = (args.server.output, answer.body.next_cursor) {
        output::talk(&format!(
            "more jobs: use --cursor {cursor}, or --all for all jobs"
        ));
    }
    Ok(())
}

async fn all(client: &Client, args: &ListArgs) -> Result<(), Failure> {
    let mut jobs = Vec::new();
    let mut cursor = args.cursor.clone();
    loop {
        let query = query(args, cursor.as_deref());
        let page = client.get_with::<Value>(&["jobs"], &query).await?.body;
        let Some(of_page) = page["jobs"].as_array() else {
            break;
        };
        jobs.extend(of_page.iter().cloned());
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    match args.server.output {
        // The same shape as a single page, so that programs parse both alike.
        OutputFormat::Json => output::json(&json!({"jobs": jobs, "next_cursor": null}).to_string()),
        OutputFormat::Table => {
            let jobs: Vec<JobResponse> =
                serde_json::from_value(jobs.into()).map_err(anyhow::Error::from)?;
            table(&jobs, args)
        }
    }
}

fn query(args: &ListArgs, cursor: Option<&str>) -> Vec<(&'static str, String)> {
    let parameters = [
        ("status", args.status.clone()),
        ("plugin", args.plugin.clone()),
        ("target", args.target.clone()),
        ("limit", args.limit.map(|limit| limit.to_string())),
        ("cursor", cursor.map(str::to_owned)),
    ];
    parameters
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

fn table(jobs: &[JobResponse], args: &ListArgs) -> Result<(), Failure> {
    if jobs.is_empty() {
        output::talk(nothing(args));
        return Ok(());
    }
    output::table(
        [
            "ID", "STATUS", "PLUGIN", "TARGETS", "CREATED", "TOOK", "REMARK",
        ],
        jobs.iter().map(|job| {
            let waits = waits_for(job).map(|what| format!("waits for {what}"));
            let remark = waits
                .or_else(|| job.error_message.clone())
                .or_else(|| job.description.clone());
            [
                job.id.to_string(),
                job.status.to_string(),
                job.plugin.clone(),
                job.targets.join(", "),
                output::time(job.created_at),
                took(job),
                remark.unwrap_or_default(),
            ]
        }),
    )
}

/// Explains why the list is empty.
fn nothing(args: &ListArgs) -> &'static str {
    if args.cursor.is_some() {
        return "no more jobs";
    }
    match (&args.status, &args.plugin, &args.target) {
        (None, None, None) => "no jobs; submit one with `scheduler job submit`",
        _ => "no job matches --status, --plugin and --target",
    }
}
