use clap::Args;
use uuid::Uuid;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::model::{CommandKind, JobStatus};
use crate::wire::{JobResponse, ResultList, ResultResponse};

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
    let mut none = true;
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
            // Each page is printed as it arrives: all of them may be hundreds of megabytes.
            OutputFormat::Table => {
                none &= page.results.is_empty();
                page.results.iter().try_for_each(print)?;
            }
        }
        if after.is_none() {
            break;
        }
    }
    if args.server.output == OutputFormat::Json {
        return output::json(&serde_json::to_string(&all).map_err(anyhow::Error::from)?);
    }
    // Read after the results, so that a job that ended in between is not reported as running.
    let job = client.get::<JobResponse>(&["jobs", &args.id]).await?.body;
    if let Some(note) = note(&job, none) {
        output::talk(&note);
    }
    Ok(())
}

/// Explains why there are no results, or only some.
fn note(job: &JobResponse, none: bool) -> Option<String> {
    let id = job.id;
    let nothing = if none {
        "no results yet"
    } else {
        "more results may follow"
    };
    if job.batch.is_some() {
        return Some(format!(
            "job {id} is a batch, and its child jobs have the results; `scheduler job list --target \
             NAME` lists the jobs of a device"
        ));
    }
    match job.status {
        JobStatus::Running => Some(format!(
            "the job is running: {nothing}; follow it with `scheduler job watch {id}`"
        )),
        status if status.is_waiting() => Some(format!("the job is {status}: {nothing}")),
        _ if none => Some("the job stored no results".to_owned()),
        _ => None,
    }
}

/// Prints a command and its output.
pub(super) fn print(result: &ResultResponse) -> Result<(), Failure> {
    let kind = match result.kind {
        CommandKind::Answer => "answer to ",
        _ => "",
    };
    let command = format!("{kind}{}", result.command);
    print_header(&result.target, &command, &took(result))?;
    print_output(result, &result.output)?;
    output::data("\n")
}

/// Prints the header of a command: `── core1: show version  (44 ms)`.
pub(super) fn print_header(target: &str, command: &str, state: &str) -> Result<(), Failure> {
    output::data(&format!(
        "── {}: {}  ({state})\n",
        output::line(target),
        output::line(command),
    ))
}

fn took(result: &ResultResponse) -> String {
    output::duration(i64::try_from(result.duration_ms).unwrap_or(i64::MAX))
}

/// Prints the part of an output that was not shown while the command ran, and the command's end.
pub(super) fn print_rest(result: &ResultResponse, rest: &str) -> Result<(), Failure> {
    print_output(result, rest)?;
    let ended = format!("ended after {}", took(result));
    print_header(&result.target, &result.command, &ended)?;
    output::data("\n")
}

fn print_output(result: &ResultResponse, text: &str) -> Result<(), Failure> {
    if !text.is_empty() {
        output::device_text(text)?;
    }
    if result.truncated {
        output::data("!! output truncated\n")?;
    }
    if let Some(error) = &result.error {
        output::data(&format!("!! {}\n", output::indented(error, 3)))?;
    }
    Ok(())
}
