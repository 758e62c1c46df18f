use clap::Args;
use serde::Serialize;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::NotificationTest;

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The channel's name
    channel: String,

    #[command(flatten)]
    server: ServerArgs,
}

/// The body of `POST /api/notifications/test`.
#[derive(Serialize)]
struct Test<'a> {
    channel: &'a str,
}

pub(super) async fn run(args: TestArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let test = Test {
        channel: &args.channel,
    };
    let answer = client
        .post::<NotificationTest>(&["notifications", "test"], &test, None)
        .await?;
    if args.server.output == OutputFormat::Json {
        output::json(&answer.text)?;
    }
    let test = answer.body;
    if !test.ok {
        return Err(Failure::SendError {
            channel: args.channel,
            error: test.error.unwrap_or_default(),
        });
    }
    if args.server.output == OutputFormat::Table {
        let took = output::duration(i64::try_from(test.duration_ms).unwrap_or(i64::MAX));
        output::talk(&format!("sent within {took}"));
    }
    Ok(())
}
