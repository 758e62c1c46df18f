use std::collections::HashSet;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{logs, results};
use crate::cli::answers::{Job, Logs, Results};
use crate::cli::client::Client;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};

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
pub(super) async fn follow(client: &Client, id: &str, format: OutputFormat) -> Result<(), Failure> {
    let mut seen = Seen::default();
    let mut pause = FASTEST;
    loop {
        // The job first: when it has ended, everything asked for after that is complete.
        let answer = client.get::<Job>(&["jobs", id]).await?;
        let job = &answer.body;
        seen.show_status(job);
        seen.show_logs(client, id).await?;
        if format == OutputFormat::Table {
            seen.show_results(client, id).await?;
        }
        if job.has_ended() {
            match format {
                OutputFormat::Json => output::json(&answer.text)?,
                OutputFormat::Table => seen.show_outcome(job)?,
            }
            return match job.status.as_str() {
                "completed" => Ok(()),
                status => Err(Failure::Job {
                    status: status.to_owned(),
                }),
            };
        }
        tokio::time::sleep(pause).await;
        pause = SLOWEST.min(pause * 2);
    }
}

/// What has been shown.
#[derive(Default)]
struct Seen {
    status: String,
    last_log: Option<String>,
    results: HashSet<String>,
    outputs: HashSet<String>,
}

impl Seen {
    fn show_status(&mut self, job: &Job) {
        if job.status != self.status {
            self.status.clone_from(&job.status);
            if !job.has_ended() {
                output::talk(&format!("job {} is {}", job.id, job.status));
            }
        }
    }

    async fn show_logs(&mut self, client: &Client, id: &str) -> Result<(), Failure> {
        // A page at a time, until there is no more.
        loop {
            let query: Vec<_> = self
                .last_log
                .iter()
                .map(|id| ("after", id.clone()))
                .collect();
            let page = client
                .get_with::<Logs>(&["jobs", id, "logs"], &query)
                .await?
                .body;
            let Some(last) = page.logs.last() else {
                return Ok(());
            };
            self.last_log = Some(plain(&last.id));
            for line in &page.logs {
                output::talk(&logs::text(line));
            }
        }
    }

    async fn show_results(&mut self, client: &Client, id: &str) -> Result<(), Failure> {
        let answer = client.get::<Results>(&["jobs", id, "results"]).await?;
        for result in answer.body.results {
            if self.results.insert(plain(&result.id)) {
                results::print(&result)?;
                self.outputs.extend(result.output);
            }
        }
        Ok(())
    }

    fn show_outcome(&self, job: &Job) -> Result<(), Failure> {
        if let Some(result) = job.result.clone().and_then(|result| self.news_in(result)) {
            output::data("── result\n")?;
            show_result(&result)?;
        }
        let took = job
            .milliseconds()
            .map_or_else(String::new, |ms| format!(" after {}", output::duration(ms)));
        let status = match job.status.as_str() {
            "cancelled" => "was cancelled",
            "failed" => "has failed",
            _ => "has completed",
        };
        let error = job
            .error_message
            .as_ref()
            .map_or_else(String::new, |message| format!(": {message}"));
        output::talk(&format!("job {} {status}{took}{error}", job.id));
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
        let gap = if text.contains('\n') { "\n" } else { " " };
        output::device_text(&format!("{name}:{gap}{text}"))?;
    }
    Ok(())
}

/// An id, be it a number or a text.
fn plain(id: &Value) -> String {
    match id {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
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
