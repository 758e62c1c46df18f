use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The job's id
    id: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: CancelArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client.post_empty(&["jobs", &args.id, "cancel"]).await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer);
    }
    output::talk("the job will be cancelled: at once if it was waiting, else as soon as it stops");
    Ok(())
}
