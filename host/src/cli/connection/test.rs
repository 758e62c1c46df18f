use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::ConnectionTest;

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The connection's name or id
    name: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: TestArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client
        .post_empty_for::<ConnectionTest>(&["connections", &args.name, "test"])
        .await?;
    if args.server.output == OutputFormat::Json {
        output::json(&answer.text)?;
    }
    let test = answer.body;
    if !test.ok {
        return Err(Failure::Device {
            code: test.error_code.unwrap_or_default(),
            message: test.error.unwrap_or_default(),
        });
    }
    if args.server.output == OutputFormat::Json {
        return Ok(());
    }
    output::properties([
        ("prompt", test.prompt.unwrap_or_default()),
        ("platform", test.platform.unwrap_or_default()),
        (
            "time",
            output::duration(i64::try_from(test.duration_ms).unwrap_or(i64::MAX)),
        ),
    ])
}
