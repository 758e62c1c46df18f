use clap::Args;
use serde_json::{Map, Value};

use super::fields::FieldArgs;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::ScheduleResponse;

#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// The schedule's name or id
    name: String,

    /// New name
    #[arg(long, value_name = "NAME")]
    rename: Option<String>,

    /// New plugin
    #[arg(long)]
    plugin: Option<String>,

    /// New cron expression
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,

    #[command(flatten)]
    fields: FieldArgs,

    #[command(flatten)]
    server: ServerArgs,
}

/// Response fields of a schedule that a request must not contain.
const ANSWERED_ALONE: [&str; 10] = [
    "id",
    "words",
    "next_run_at",
    "next_runs",
    "last_run_at",
    "last_job_id",
    "last_outcome",
    "created_at",
    "updated_at",
    "owner",
];

pub(super) async fn run(args: EditArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let mut changes = Map::new();
    let plain = [
        ("name", args.rename),
        ("plugin", args.plugin),
        ("cron_expression", args.cron),
    ];
    let said = plain
        .into_iter()
        .filter_map(|(field, value)| Some((field.to_owned(), Value::from(value?))));
    changes.extend(said);
    let fields = serde_json::to_value(args.fields.read()?).map_err(anyhow::Error::from)?;
    if let Value::Object(fields) = fields {
        changes.extend(fields);
    }
    if changes.is_empty() {
        return Err(Failure::Usage(
            "no change given; --help lists the options".to_owned(),
        ));
    }
    let stored = client
        .get::<ScheduleResponse>(&["schedules", &args.name])
        .await?;
    let mut schedule: Map<String, Value> =
        serde_json::from_str(&stored.text).map_err(anyhow::Error::from)?;
    schedule.retain(|field, _| !ANSWERED_ALONE.contains(&field.as_str()));
    schedule.extend(changes);
    // Addressed by id: another schedule may have taken over the name meanwhile.
    let id = stored.body.id.to_string();
    let answer = client
        .put::<ScheduleResponse>(&["schedules", &id], &schedule)
        .await?;
    match args.server.output {
        OutputFormat::Json => output::json(&answer.text),
        OutputFormat::Table => {
            output::talk(&format!("schedule {} updated", answer.body.name));
            Ok(())
        }
    }
}
