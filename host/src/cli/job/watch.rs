use std::collections::HashSet;
use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{error_of, logs, results, took};
use crate::api::types::{JobAnswer, OutputEvent, ResultAnswer};
use crate::cli::client::{Answer, Client};
use crate::cli::events::ServerEvent;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::model::{JobStatus, Progress};

/// How often a connection that was cut off is made again without anything having come over it.
const RECONNECTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The job's id
    id: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: WatchArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    follow(&client, &args.id, args.server.output).await
}

/// Shows a job's status and log on stderr and its results on stdout until it has ended; as JSON,
/// stdout gets the ended job instead. Anything but `completed` is a failure.
pub(crate) async fn follow(client: &Client, id: &str, format: OutputFormat) -> Result<(), Failure> {
    let mut seen = Seen::new(format);
    let mut last = None;
    let mut failures = 0;
    loop {
        let mut events = match client
            .events(&["jobs", id, "events"], last.as_deref())
            .await
        {
            Ok(events) => events,
            // It was there before, so it may come back.
            Err(Failure::Unreachable { .. }) if last.is_some() && failures < RECONNECTS => {
                failures += 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        while let Some(event) = events.next().await {
            failures = 0;
            last = event.id.clone().or(last);
            seen.show(&event)?;
        }
        // A stream ends after the job has, and when it is cut off.
        let answer = client.get::<JobAnswer>(&["jobs", id]).await?;
        if seen.ended && answer.body.status.is_final() {
            return seen.end(&answer);
        }
        if failures >= RECONNECTS {
            return Err(anyhow::anyhow!("the server does not tell what becomes of the job").into());
        }
        failures += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// What has been shown.
struct Seen {
    format: OutputFormat,
    status: Option<JobStatus>,
    progress: Option<Progress>,
    outputs: HashSet<String>,
    /// The command that prints now, and what it has printed so far.
    printing: Option<(OutputEvent, String)>,
    ended: bool,
}

impl Seen {
    fn new(format: OutputFormat) -> Self {
        Self {
            format,
            status: None,
            progress: None,
            outputs: HashSet::new(),
            printing: None,
            ended: false,
        }
    }

    fn show(&mut self, event: &ServerEvent) -> Result<(), Failure> {
        match event.name.as_str() {
            "status" => {
                let job: JobAnswer = read(event)?;
                self.show_status(&job);
                self.show_progress(job.progress);
                self.ended = job.status.is_final();
            }
            "progress" => self.show_progress(Some(read(event)?)),
            "log" => output::talk(&logs::text(&read(event)?)),
            "result" if self.format == OutputFormat::Table => self.show_result(read(event)?)?,
            "output" if self.format == OutputFormat::Table => self.show_output(read(event)?)?,
            // Whatever a newer server tells beside these.
            _ => {}
        }
        Ok(())
    }

    fn end(&self, answer: &Answer<JobAnswer>) -> Result<(), Failure> {
        match self.format {
            OutputFormat::Json => output::json(&answer.text)?,
            OutputFormat::Table => self.show_outcome(&answer.body)?,
        }
        match answer.body.status {
            JobStatus::Completed => Ok(()),
            status => Err(Failure::Job { status }),
        }
    }

    /// As it comes, under the command's name.
    fn show_output(&mut self, event: OutputEvent) -> Result<(), Failure> {
        let same = self.printing.take().filter(|(before, _)| {
            before.target == event.target && before.started_at == event.started_at
        });
        let mut printed = match same {
            Some((_, printed)) => printed,
            None => {
                output::data(&format!(
                    "── {}: {}  (runs)\n",
                    output::printable(&event.target),
                    output::printable(&event.command),
                ))?;
                String::new()
            }
        };
        output::device_text(&event.text)?;
        printed.push_str(&event.text);
        self.printing = Some((event, printed));
        Ok(())
    }

    /// Whole, unless all but its end has been shown while the command ran.
    fn show_result(&mut self, result: ResultAnswer) -> Result<(), Failure> {
        let printing = self.printing.take().filter(|(event, printed)| {
            event.target == result.target
                && event.started_at == result.executed_at
                && result.output.starts_with(printed.as_str())
        });
        match printing {
            Some((_, printed)) => results::print_rest(&result, &result.output[printed.len()..])?,
            None => results::print(&result)?,
        }
        self.outputs.insert(result.output);
        Ok(())
    }
}

fn read<T: DeserializeOwned>(event: &ServerEvent) -> Result<T, Failure> {
    serde_json::from_str(&event.data).map_err(|error| {
        let name = &event.name;
        anyhow::anyhow!("the server tells a `{name}` that is not as expected: {error}").into()
    })
}

impl Seen {
    fn show_status(&mut self, job: &JobAnswer) {
        if self.status != Some(job.status) {
            self.status = Some(job.status);
            if !job.status.is_final() {
                output::talk(&format!("job {} is {}", job.id, job.status));
            }
        }
    }

    fn show_progress(&mut self, progress: Option<Progress>) {
        if self.progress == progress {
            return;
        }
        if let Some(Progress {
            done,
            total,
            message,
        }) = &progress
        {
            let total = total.map_or_else(String::new, |total| format!(" of {total}"));
            let message = message.as_deref().unwrap_or_default();
            let text = format!("progress: {done}{total} {message}");
            output::talk(text.trim_end());
        }
        self.progress = progress;
    }

    fn show_outcome(&self, job: &JobAnswer) -> Result<(), Failure> {
        if let Some(result) = job.result.clone().and_then(|result| self.news_in(result)) {
            output::data("── result\n")?;
            show_result(&result)?;
        }
        let mut text = match job.status {
            JobStatus::Cancelled => format!("job {} was cancelled", job.id),
            status => format!("job {} has {status}", job.id),
        };
        if job.started_at.is_some() {
            text.push_str(&format!(" after {}", took(job)));
        }
        if job.error_message.is_some() {
            text.push_str(&format!(": {}", error_of(job)));
        }
        output::talk(&text);
        Ok(())
    }

    /// The result without the outputs that have been shown already: many playbooks return what
    /// their commands answered.
    fn news_in(&self, result: Value) -> Option<Value> {
        match result {
            Value::Null => None,
            Value::String(text) => {
                let shown = self
                    .outputs
                    .iter()
                    .any(|output| output.trim() == text.trim());
                (!shown).then_some(Value::String(text))
            }
            Value::Array(items) => {
                let news: Vec<Value> = items
                    .into_iter()
                    .filter_map(|item| self.news_in(item))
                    .collect();
                (!news.is_empty()).then_some(Value::Array(news))
            }
            // The whole output of the command has been shown.
            Value::Object(fields)
                if fields.contains_key("command")
                    && fields.get("ok") == Some(&Value::Bool(true))
                    && fields.get("kept") == Some(&Value::Bool(true))
                    && fields.get("truncated") == Some(&Value::Bool(false)) =>
            {
                None
            }
            Value::Object(fields) => {
                let news: serde_json::Map<String, Value> = fields
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, self.news_in(value)?)))
                    .collect();
                (!news.is_empty()).then_some(Value::Object(news))
            }
            other => Some(other),
        }
    }
}

/// One line a field; texts of several lines (a diff) as they are.
fn show_result(result: &Value) -> Result<(), Failure> {
    let Value::Object(fields) = result else {
        return output::device_text(&output::readable(result));
    };
    for (name, value) in fields {
        let text = match value {
            Value::String(text) => text.trim_end().to_owned(),
            other => output::readable(other),
        };
        if text.is_empty() {
            continue;
        }
        let gap = if text.contains('\n') { "\n" } else { " " };
        output::device_text(&format!("{name}:{gap}{text}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_shown_is_not_shown_again() {
        let seen = Seen {
            outputs: HashSet::from(["uptime 3 d\n".to_owned()]),
            ..Seen::new(OutputFormat::Table)
        };
        let repeated = json!({"show version": "uptime 3 d", "list": [{"output": "uptime 3 d\n"}]});
        assert_eq!(seen.news_in(repeated), None);
        let with_news = json!({"show version": "uptime 3 d", "changed": false, "none": null});
        assert_eq!(seen.news_in(with_news), Some(json!({"changed": false})));
    }
}
