use clap::Args;

use crate::cli::answers::{CommandResult, Results};
use crate::cli::{Failure, OutputFormat, ServerArgs, output};

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
        .get::<Results>(&["jobs", &args.id, "results"])
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
pub(super) fn print(result: &CommandResult) -> Result<(), Failure> {
    let target = result.target.as_deref().unwrap_or("-");
    let took = result
        .duration_ms
        .map_or_else(String::new, |ms| format!("  ({})", output::duration(ms)));
    let command = output::printable(&result.command);
    output::data(&format!(
        "── {}: {command}{took}\n",
        output::printable(target)
    ))?;
    match result.output.as_deref() {
        None | Some("") => {}
        Some(text) => output::device_text(text)?,
    }
    if let Some(error) = &result.error {
        output::data(&format!("!! {}\n", output::printable(error)))?;
    }
    output::data("\n")
}
