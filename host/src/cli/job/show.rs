use clap::Args;

use super::{error_of, took, waits_for};
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::JobResponse;

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The job's id
    id: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ShowArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client.get::<JobResponse>(&["jobs", &args.id]).await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    let job = answer.body;
    let time = |time| Option::map_or_else(time, String::new, output::time);
    output::properties([
        ("id", job.id.to_string()),
        ("plugin", job.plugin.clone()),
        ("digest", job.plugin_digest.clone().unwrap_or_default()),
        ("status", job.status.to_string()),
        ("waits for", waits_for(&job).unwrap_or_default()),
        ("error", error_of(&job)),
        ("targets", job.targets.join(", ")),
        ("params", job.params.to_string()),
        ("description", job.description.clone().unwrap_or_default()),
        ("created", output::time(job.created_at)),
        ("scheduled for", time(job.scheduled_for)),
        ("started", time(job.started_at)),
        ("ended", time(job.completed_at)),
        ("took", took(&job)),
        (
            "retries",
            format!("{} of {}", job.retry_count, job.max_retries),
        ),
        ("next attempt", time(job.next_attempt_at)),
        ("worker", job.worker_id.clone().unwrap_or_default()),
    ])?;
    if let Some(result) = &job.result {
        output::data("result:\n")?;
        output::device_text(&output::readable(result))?;
    }
    output::talk(&format!(
        "more: `scheduler job results {id}`, `scheduler job logs {id}`",
        id = job.id
    ));
    Ok(())
}
