use clap::Args;
use uuid::Uuid;

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
    let mut all = ResultList::default();
    let mut after = None;
    loop {
        let query: Vec<_> = after
            .map(|id: Uuid| ("after", id.to_string()))
            .into_iter()
            .collect();
        let page = client
            .get_with::<ResultList>(&["jobs", &args.id, "results"], &query)
            .await?
            .body;
        after = page.next_after;
        all.running = page.running;
        match args.server.output {
            OutputFormat::Json => all.results.extend(page.results),
            // Each page is printed as it comes: all of them may be hundreds of megabytes.
            OutputFormat::Table => {
                if after.is_none() && page.results.is_empty() {
                    output::talk("the job has sent no command");
                }
                page.results.iter().try_for_each(print)?;
            }
        }
        if after.is_none() {
            break;
        }
    }
    match args.server.output {
        OutputFormat::Json => {
            output::json(&serde_json::to_string(&all).map_err(anyhow::Error::from)?)
        }
        OutputFormat::Table => Ok(()),
    }
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
