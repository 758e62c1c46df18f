use std::collections::HashSet;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use uuid::Uuid;

use super::{error_of, logs, results, took};
use crate::api::types::{JobAnswer, LogList, ResultList};
use crate::cli::client::Client;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::model::{JobStatus, Progress};

/// Asked again after this long; sooner in the beginning, because most jobs are short.
const SLOWEST: Duration = Duration::from_millis(500);
const FASTEST: Duration = Duration::from_millis(50);

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
///
/// It asks again and again: the API has no event stream yet.
pub(crate) async fn follow(client: &Client, id: &str, format: OutputFormat) -> Result<(), Failure> {
    let mut seen = Seen::default();
    let mut pause = FASTEST;
    loop {
        // The job first: when it has ended, everything asked for after that is complete.
        let answer = client.get::<JobAnswer>(&["jobs", id]).await?;
        let job = &answer.body;
        seen.show_status(job);
        seen.show_logs(client, id).await?;
        if format == OutputFormat::Table {
            seen.show_results(client, id).await?;
        }
        if job.status.is_final() {
            match format {
                OutputFormat::Json => output::json(&answer.text)?,
                OutputFormat::Table => seen.show_outcome(job)?,
            }
            return match job.status {
                JobStatus::Completed => Ok(()),
                status => Err(Failure::Job { status }),
            };
        }
        tokio::time::sleep(pause).await;
        pause = SLOWEST.min(pause * 2);
    }
}

/// What has been shown.
#[derive(Default)]
struct Seen {
    status: Option<JobStatus>,
    progress: Option<Progress>,
    last_log: Option<i64>,
    results: HashSet<Uuid>,
    outputs: HashSet<String>,
}

impl Seen {
    fn show_status(&mut self, job: &JobAnswer) {
        if self.status != Some(job.status) {
            self.status = Some(job.status);
            if !job.status.is_final() {
                output::talk(&format!("job {} is {}", job.id, job.status));
            }
        }
        if self.progress != job.progress {
            self.progress.clone_from(&job.progress);
            if let Some(Progress {
                done,
                total,
                message,
            }) = &job.progress
            {
                let total = total.map_or_else(String::new, |total| format!(" of {total}"));
                let message = message.as_deref().unwrap_or_default();
                let text = format!("progress: {done}{total} {message}");
                output::talk(text.trim_end());
            }
        }
    }

    async fn show_logs(&mut self, client: &Client, id: &str) -> Result<(), Failure> {
        // A page at a time, until there is no more.
        loop {
            let query: Vec<_> = self
                .last_log
                .iter()
                .map(|id| ("after", id.to_string()))
                .collect();
            let page = client
                .get_with::<LogList>(&["jobs", id, "logs"], &query)
                .await?
                .body;
            let Some(last) = page.logs.last() else {
                return Ok(());
            };
            self.last_log = Some(last.id);
            for line in &page.logs {
                output::talk(&logs::text(line));
            }
        }
    }

    async fn show_results(&mut self, client: &Client, id: &str) -> Result<(), Failure> {
        let answer = client.get::<ResultList>(&["jobs", id, "results"]).await?;
        for result in answer.body.results {
            if self.results.insert(result.id) {
                results::print(&result)?;
                self.outputs.insert(result.output);
            }
        }
        Ok(())
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
            ..Seen::default()
        };
        let repeated = json!({"show version": "uptime 3 d", "list": [{"output": "uptime 3 d\n"}]});
        assert_eq!(seen.news_in(repeated), None);
        let with_news = json!({"show version": "uptime 3 d", "changed": false, "none": null});
        assert_eq!(seen.news_in(with_news), Some(json!({"changed": false})));
    }
}
