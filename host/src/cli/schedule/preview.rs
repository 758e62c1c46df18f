use clap::Args;
use serde::Serialize;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::SchedulePreview;

#[derive(Debug, Args)]
pub(crate) struct PreviewArgs {
    /// The cron expression, in quotes
    cron: String,

    /// Time zone of the cron expression [default: UTC]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,

    /// Number of runs to show
    #[arg(long, default_value_t = 5)]
    count: usize,

    #[command(flatten)]
    server: ServerArgs,
}

/// The body of `POST /api/schedules/preview`.
#[derive(Serialize)]
struct Preview {
    cron_expression: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timezone: Option<String>,
    count: usize,
}

pub(super) async fn run(args: PreviewArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let preview = Preview {
        cron_expression: args.cron,
        timezone: args.timezone,
        count: args.count,
    };
    let answer = client
        .post::<SchedulePreview>(&["schedules", "preview"], &preview, None)
        .await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    output::talk(&format!("{} ({})", answer.body.words, answer.body.timezone));
    for run in answer.body.next_runs {
        output::data(&format!("{}\n", output::time(run)))?;
    }
    Ok(())
}
