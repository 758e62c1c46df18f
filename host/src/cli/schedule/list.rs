use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::ScheduleList;

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ListArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client
        .get_list::<ScheduleList>(&["schedules"], "schedules")
        .await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    if answer.body.schedules.is_empty() {
        output::talk("no schedules; add one with `scheduler schedule add`");
        return Ok(());
    }
    output::table(
        [
            "NAME", "ON", "PLUGIN", "TARGETS", "CRON", "ZONE", "NEXT RUN", "LAST",
        ],
        answer.body.schedules.into_iter().map(|schedule| {
            [
                schedule.name,
                if schedule.enabled { "on" } else { "off" }.to_owned(),
                schedule.plugin,
                schedule.targets.join(", "),
                schedule.cron_expression,
                schedule.timezone,
                schedule.next_run_at.map(output::time).unwrap_or_default(),
                schedule.last_outcome.unwrap_or_default(),
            ]
        }),
    )
}
