use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::ScheduleResponse;

#[derive(Debug, Args)]
pub(crate) struct SwitchArgs {
    /// The schedule's name or id
    name: String,

    #[command(flatten)]
    server: ServerArgs,
}

/// Enables or disables a schedule. `what` is `enable` or `disable`.
pub(super) async fn run(args: SwitchArgs, what: &str) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client
        .post_empty_for::<ScheduleResponse>(&["schedules", &args.name, what])
        .await?;
    match args.server.output {
        OutputFormat::Json => output::json(&answer.text),
        OutputFormat::Table => {
            let name = &answer.body.name;
            output::talk(&format!("schedule {name} {what}d"));
            Ok(())
        }
    }
}
