//! `scheduler whoami`: shows the user of the requests, and what they may do.

use clap::Args;

use super::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::MeResponse;

#[derive(Debug, Args)]
pub(crate) struct WhoamiArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: WhoamiArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client.get::<MeResponse>(&["me"]).await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    let me = answer.body;
    if !me.authentication {
        output::talk("authentication is off: every client may do everything");
        return Ok(());
    }
    let permissions = me.permissions.iter().map(|each| each.as_str());
    output::properties([
        ("user", me.name.unwrap_or_default()),
        ("role", output::word(&me.role)),
        ("permissions", permissions.collect::<Vec<_>>().join("\n")),
    ])
}
