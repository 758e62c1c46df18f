use clap::Args;

use crate::api::types::ConnectionList;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ListArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client.get::<ConnectionList>(&["connections"]).await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    if answer.body.connections.is_empty() {
        output::talk("there are no connections; add one with `scheduler connection add`");
        return Ok(());
    }
    output::table(
        ["NAME", "ADDRESS", "USER", "PLATFORM", "TAGS", "SECRETS"],
        answer.body.connections.into_iter().map(|connection| {
            [
                connection.name,
                format!("{}:{}", connection.host, connection.port),
                connection.username,
                connection.device_type,
                connection.tags.join(", "),
                connection.secrets_set.join(", "),
            ]
        }),
    )
}
