use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::JobAccepted;

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The job's id
    id: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: CancelArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client
        .post_empty_for::<JobAccepted>(&["jobs", &args.id, "cancel"])
        .await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    output::talk(
        answer
            .body
            .warning
            .as_deref()
            .unwrap_or("cancellation requested; a running job ends as soon as it stops"),
    );
    Ok(())
}
