use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::ScheduleResponse;

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The schedule's name or id
    name: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ShowArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client
        .get::<ScheduleResponse>(&["schedules", &args.name])
        .await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    let schedule = answer.body;
    let runs: Vec<_> = schedule.next_runs.into_iter().map(output::time).collect();
    let time = |time: Option<_>| time.map(output::time).unwrap_or_default();
    output::properties([
        ("id", schedule.id.to_string()),
        ("name", schedule.name),
        ("plugin", schedule.plugin),
        (
            "params",
            schedule
                .params
                .as_ref()
                .map(output::readable)
                .unwrap_or_default(),
        ),
        ("targets", schedule.targets.join(", ")),
        ("cron", schedule.cron_expression),
        ("in words", schedule.words.unwrap_or_default()),
        ("time zone", schedule.timezone),
        (
            "enabled",
            if schedule.enabled { "yes" } else { "no" }.to_owned(),
        ),
        ("misfire", output::word(&schedule.misfire)),
        ("overlap", output::word(&schedule.overlap)),
        ("starts", time(schedule.starts_at)),
        ("ends", time(schedule.ends_at)),
        ("jitter", format!("{} s", schedule.jitter_seconds)),
        ("description", schedule.description.unwrap_or_default()),
        ("next runs", runs.join("\n")),
        ("last run", time(schedule.last_run_at)),
        (
            "last job",
            schedule
                .last_job_id
                .map(|id| id.to_string())
                .unwrap_or_default(),
        ),
        ("last outcome", schedule.last_outcome.unwrap_or_default()),
        ("created", output::time(schedule.created_at)),
        ("updated", output::time(schedule.updated_at)),
    ])
}
