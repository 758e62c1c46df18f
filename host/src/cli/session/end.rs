use clap::Args;

use crate::cli::{Failure, ServerArgs, output};

#[derive(Debug, Args)]
pub(crate) struct EndArgs {
    /// The id of the session
    id: String,

    /// The user [default: the caller]
    #[arg(long)]
    user: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: EndArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let query = args.user.as_deref().map(|user| ("user", user));
    client
        .delete_with(&["sessions", &args.id], query.as_slice())
        .await?;
    output::talk(&format!("session {} ended", args.id));
    Ok(())
}
