use clap::Args;

use crate::cli::{Failure, ServerArgs, output};

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The pause's name or id
    name: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: RemoveArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    client.delete(&["pauses", &args.name]).await?;
    output::talk(&format!("pause {} removed", args.name));
    Ok(())
}
