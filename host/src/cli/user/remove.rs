use clap::Args;

use crate::cli::{Failure, ServerArgs, output};

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The name of the user
    name: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: RemoveArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    client.delete(&["users", &args.name]).await?;
    output::talk(&format!("user {} deleted", args.name));
    Ok(())
}
