use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::JobAccepted;

#[derive(Debug, Args)]
pub(crate) struct TriggerArgs {
    /// The schedule's name or id
    name: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: TriggerArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client
        .post_empty_for::<JobAccepted>(&["schedules", &args.name, "trigger"])
        .await?;
    match args.server.output {
        OutputFormat::Json => output::json(&answer.text),
        OutputFormat::Table => {
            let id = answer.body.id;
            output::talk(&format!("follow the job with `scheduler job watch {id}`"));
            output::data(&format!("{id}\n"))
        }
    }
}
