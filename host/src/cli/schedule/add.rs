use clap::Args;
use serde::Serialize;

use super::fields::{FieldArgs, Fields};
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::ScheduleResponse;

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The schedule's name: letters, digits, `-`, `_` and `.`
    name: String,

    /// The plugin's name, as in `scheduler plugin list`
    #[arg(long)]
    plugin: String,

    /// The cron expression: `minute hour day month weekday`, optionally with seconds in front
    #[arg(long, value_name = "EXPRESSION")]
    cron: String,

    #[command(flatten)]
    fields: FieldArgs,

    /// Add the schedule disabled
    #[arg(long)]
    disabled: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// The body of `POST /api/schedules`.
#[derive(Serialize)]
struct NewSchedule {
    name: String,
    plugin: String,
    cron_expression: String,
    enabled: bool,
    #[serde(flatten)]
    fields: Fields,
}

pub(super) async fn run(args: AddArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let schedule = NewSchedule {
        name: args.name,
        plugin: args.plugin,
        cron_expression: args.cron,
        enabled: !args.disabled,
        fields: args.fields.read()?,
    };
    let answer = client
        .post::<ScheduleResponse>(&["schedules"], &schedule, None)
        .await?;
    match args.server.output {
        OutputFormat::Json => output::json(&answer.text),
        OutputFormat::Table => {
            let next = answer.body.next_run_at;
            let next = next.map_or_else(|| "never".to_owned(), output::time);
            let name = &answer.body.name;
            output::talk(&format!("schedule {name} created; next run: {next}"));
            output::data(&format!("{}\n", answer.body.id))
        }
    }
}
