use clap::Args;

use crate::api::types::{ResultAnswer, ResultList};
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::model::CommandKind;

#[derive(Debug, Args)]
pub(crate) struct ResultsArgs {
    /// The job's id
    id: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ResultsArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client
        .get::<ResultList>(&["jobs", &args.id, "results"])
        .await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    if answer.body.results.is_empty() {
        output::talk("the job has sent no command");
    }
    for result in &answer.body.results {
        print(result)?;
    }
    Ok(())
}

/// A command and what came of it.
pub(super) fn print(result: &ResultAnswer) -> Result<(), Failure> {
    let kind = match result.kind {
        CommandKind::Answer => "answer to ",
        _ => "",
    };
    output::data(&format!(
        "── {}: {kind}{}  ({})\n",
        output::printable(&result.target),
        output::printable(&result.command),
        output::duration(i64::try_from(result.duration_ms).unwrap_or(i64::MAX)),
    ))?;
    print_rest(result, &result.output)
}

/// What has not been shown yet of a command's output, and what came of it.
pub(super) fn print_rest(result: &ResultAnswer, rest: &str) -> Result<(), Failure> {
    if !rest.is_empty() {
        output::device_text(rest)?;
    }
    if result.truncated {
        output::data("!! the rest of the output was not kept\n")?;
    }
    if let Some(error) = &result.error {
        output::data(&format!("!! {}\n", output::printable(error)))?;
    }
    output::data("\n")
}
