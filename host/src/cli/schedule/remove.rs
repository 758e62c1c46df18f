use clap::Args;

use crate::cli::{Failure, ServerArgs, output};

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The schedule's name or id
    name: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: RemoveArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    client.delete(&["schedules", &args.name]).await?;
    output::talk(&format!("schedule {} removed", args.name));
    Ok(())
}
