use clap::Args;

use super::answers;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::ConnectionResponse;

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The connection's name or id
    name: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ShowArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client
        .get::<ConnectionResponse>(&["connections", &args.name])
        .await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    let connection = answer.body;
    let answers: Vec<String> = connection.answers.iter().map(answers::shown).collect();
    output::properties([
        ("id", connection.id.to_string()),
        ("name", connection.name),
        ("host", connection.host),
        ("port", connection.port.to_string()),
        ("username", connection.username),
        ("platform", connection.device_type),
        ("timeout", format!("{} s", connection.timeout_seconds)),
        ("tags", connection.tags.join(", ")),
        ("jump", connection.jump.join(" -> ")),
        ("algorithms", output::word(&connection.algorithms)),
        (
            "agent",
            if connection.agent { "yes" } else { "" }.to_owned(),
        ),
        ("max sessions", connection.max_sessions.to_string()),
        ("certificate", connection.certificate.unwrap_or_default()),
        ("host key", connection.host_key.unwrap_or_default()),
        ("secrets set", connection.secrets_set.join(", ")),
        ("answers", answers.join("; ")),
        ("created", output::time(connection.created_at)),
        ("updated", output::time(connection.updated_at)),
    ])
}
