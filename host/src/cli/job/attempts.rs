use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::AttemptList;

#[derive(Debug, Args)]
pub(crate) struct AttemptsArgs {
    /// The job's id
    id: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: AttemptsArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client
        .get_list::<AttemptList>(&["jobs", &args.id, "attempts"], "attempts")
        .await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    output::table(
        ["ATTEMPT", "STARTED", "ENDED", "BECAME", "NEXT", "ERROR"],
        answer.body.attempts.into_iter().map(|attempt| {
            let error = [attempt.error_code, attempt.error_message];
            [
                attempt.attempt.to_string(),
                output::time(attempt.started_at),
                attempt.ended_at.map(output::time).unwrap_or_default(),
                attempt.status.to_string(),
                attempt
                    .next_attempt_at
                    .map(output::time)
                    .unwrap_or_default(),
                error.into_iter().flatten().collect::<Vec<_>>().join(": "),
            ]
        }),
    )
}
