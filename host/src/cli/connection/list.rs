use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::ConnectionList;

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ListArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client
        .get_list::<ConnectionList>(&["connections"], "connections")
        .await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    if answer.body.connections.is_empty() {
        output::talk("no connections; add one with `scheduler connection add`");
        return Ok(());
    }
    output::table(
        [
            "NAME", "ADDRESS", "USER", "PLATFORM", "JUMP", "TAGS", "LOGIN",
        ],
        answer.body.connections.into_iter().map(|connection| {
            let mut login = connection.secrets_set;
            login.extend(connection.certificate.map(|_| "certificate".to_owned()));
            login.extend(connection.agent.then(|| "agent".to_owned()));
            let has_answers = !connection.answers.is_empty();
            login.extend(has_answers.then(|| "answers".to_owned()));
            [
                connection.name,
                format!("{}:{}", connection.host, connection.port),
                connection.username,
                connection.device_type,
                connection.jump.join(" -> "),
                connection.tags.join(", "),
                login.join(", "),
            ]
        }),
    )
}
