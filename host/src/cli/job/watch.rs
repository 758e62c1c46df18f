use std::collections::{HashMap, HashSet};
use std::io::IsTerminal as _;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::{error_of, logs, results, took};
use crate::cli::client::{Answer, Client};
use crate::cli::events::ServerEvent;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::model::{JobStatus, LogLevel, Progress};
use crate::wire::{JobResponse, LogResponse, OutputEvent, ResultResponse};

/// How many reconnects may fail in a row before the command fails. An event resets the count.
const RECONNECTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// How long a log error is withheld, because an event with the same text may follow.
const HOLD: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The job's id
    id: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: WatchArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    follow_until_interrupted(&client, &args.id, args.server.output).await
}

/// Follows a job like [`follow`]; Ctrl-C ends the command, and the job continues.
pub(super) async fn follow_until_interrupted(
    client: &Client,
    id: &str,
    format: OutputFormat,
) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(anyhow::Error::from)?;
    tokio::select! {
        ended = follow(client, id, format) => ended,
        _ = interrupt.recv() => Err(Failure::Interrupted { job: id.to_owned() }),
    }
}

/// Follows a job to its end: status and log go to stderr, results to stdout. As JSON, stdout gets only
/// the ended job. Any status but `completed` is a failure.
pub(crate) async fn follow(client: &Client, id: &str, format: OutputFormat) -> Result<(), Failure> {
    let mut seen = Display::new(format);
    let mut last = None;
    let mut failures = 0;
    loop {
        let mut events = match client
            .events(&["jobs", id, "events"], last.as_deref())
            .await
        {
            Ok(events) => events,
            // The server was reachable before, so it may come back.
            Err(Failure::Unreachable { .. }) if last.is_some() && failures < RECONNECTS => {
                failures += 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        seen.begin_stream();
        loop {
            let next = events.next();
            let event = match seen.hold_until {
                None => next.await,
                // Before the event, which may be one of many.
                Some(until) => tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(until) => {
                        seen.show_held();
                        continue;
                    }
                    event = next => event,
                },
            };
            let Some(event) = event else { break };
            failures = 0;
            last = event.id.clone().or(last);
            seen.show(&event)?;
        }
        // The stream ends after the job, but also when the connection breaks.
        let answer = client.get::<JobResponse>(&["jobs", id]).await?;
        if seen.ended && answer.body.status.is_final() {
            seen.show_held();
            return seen.end(&answer);
        }
        if failures >= RECONNECTS {
            return Err(
                anyhow::anyhow!("the server closed the event stream before the job ended").into(),
            );
        }
        failures += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// The state of the display: everything that has been shown.
struct Display {
    format: OutputFormat,
    status: Option<JobStatus>,
    progress: Option<Progress>,
    outputs: HashSet<String>,
    /// Running commands with output that has been shown in part.
    printing: HashMap<CommandKey, Printed>,
    /// Log lines, from the first warning or error on, withheld until an event with the same text can no
    /// longer be expected.
    held: Vec<LogResponse>,
    /// The time at which held lines are shown even without a matching event.
    hold_until: Option<Instant>,
    /// Whether stdout is a terminal, where results and log lines appear together.
    on_terminal: bool,
    /// The command in the header above the last line.
    under: Option<CommandKey>,
    ended: bool,
}

/// The key of a command: its target and when it was sent.
type CommandKey = (String, DateTime<Utc>);

/// The part of a running command's output that has been shown.
#[derive(Default)]
struct Printed {
    text: String,
    /// Whether the next event repeats the output from its start, because the stream is a new one.
    repeats: bool,
}

impl Printed {
    /// Returns the part of an event that has not been shown, and records it as shown.
    fn news<'a>(&mut self, event: &'a OutputEvent) -> &'a str {
        let repeated = std::mem::take(&mut self.repeats);
        let news = if repeated {
            event.text.strip_prefix(&self.text).unwrap_or(&event.text)
        } else {
            &event.text
        };
        self.text.push_str(news);
        news
    }

    /// Returns the rest of the whole output, or `None` if the shown text is not its beginning.
    fn rest<'a>(&self, output: &'a str) -> Option<&'a str> {
        // Every line streamed from a running command has a line ending; the last line of the whole
        // output may lack it.
        output
            .strip_prefix(&self.text)
            .or_else(|| (output == self.text.trim_end_matches('\n')).then_some(""))
    }
}

impl Display {
    fn new(format: OutputFormat) -> Self {
        Self {
            format,
            status: None,
            progress: None,
            outputs: HashSet::new(),
            printing: HashMap::new(),
            held: Vec::new(),
            hold_until: None,
            on_terminal: std::io::stdout().is_terminal(),
            under: None,
            ended: false,
        }
    }

    fn show(&mut self, event: &ServerEvent) -> Result<(), Failure> {
        match event.name.as_str() {
            "status" => {
                let job: JobResponse = read(event)?;
                self.ended = job.status.is_final();
                if self.ended {
                    // The outcome shows the same error.
                    let error = error_of(&job);
                    self.held.retain(|line| line.message != error);
                }
                self.show_held();
                self.show_status(&job);
                self.show_progress(job.progress);
            }
            "progress" => self.show_progress(Some(read(event)?)),
            "log" => self.show_line(read(event)?),
            "result" if self.format == OutputFormat::Table => self.show_result(read(event)?)?,
            "output" if self.format == OutputFormat::Table => self.show_output(&read(event)?)?,
            // Events that a newer server may add.
            _ => {}
        }
        Ok(())
    }

    /// Shows a log line, or withholds it if it is a warning, an error, or behind one.
    fn show_line(&mut self, line: LogResponse) {
        if self.held.is_empty() && !matches!(line.level, LogLevel::Warn | LogLevel::Error) {
            output::talk(&logs::text(&line));
        } else {
            self.held.push(line);
            self.hold_until.get_or_insert_with(|| Instant::now() + HOLD);
        }
    }

    fn show_held(&mut self) {
        self.hold_until = None;
        for line in self.held.drain(..) {
            output::talk(&logs::text(&line));
        }
    }

    fn end(&self, answer: &Answer<JobResponse>) -> Result<(), Failure> {
        match self.format {
            OutputFormat::Json => output::json(&answer.text)?,
            OutputFormat::Table => self.show_outcome(&answer.body)?,
        }
        match answer.body.status {
            JobStatus::Completed => Ok(()),
            status => Err(Failure::Job { status }),
        }
    }

    /// Prepares for a new stream, which repeats the output of running commands.
    fn begin_stream(&mut self) {
        for printed in self.printing.values_mut() {
            printed.repeats = true;
        }
    }

    /// Shows output as it arrives, below a header with the command.
    fn show_output(&mut self, event: &OutputEvent) -> Result<(), Failure> {
        let key = (event.target.clone(), event.started_at);
        let is_new = !self.printing.contains_key(&key);
        let news = self.printing.entry(key.clone()).or_default().news(event);
        if news.is_empty() {
            return Ok(());
        }
        if self.under.as_ref() != Some(&key) {
            let state = if is_new { "runs" } else { "continues" };
            results::print_header(&event.target, &event.command, state)?;
            self.under = Some(key);
        }
        output::device_text(news)
    }

    /// Shows a result: the whole of it, or the part not shown while the command ran, followed by the
    /// header with the duration.
    fn show_result(&mut self, result: ResultResponse) -> Result<(), Failure> {
        if let Some(error) = result.error.as_ref().filter(|_| self.on_terminal) {
            let said = format!("{}: `{}`: {error}", result.target, result.command);
            self.held.retain(|line| line.message != said);
        }
        let key = (result.target.clone(), result.executed_at);
        let printed = self.printing.remove(&key);
        let rest = printed.and_then(|printed| printed.rest(&result.output).map(str::to_owned));
        match rest {
            None => results::print(&result)?,
            Some(rest) => {
                if !rest.is_empty() && self.under.as_ref() != Some(&key) {
                    results::print_header(&result.target, &result.command, "continues")?;
                }
                results::print_rest(&result, &rest)?;
            }
        }
        self.under = None;
        self.outputs.insert(result.output);
        Ok(())
    }
}

fn read<T: DeserializeOwned>(event: &ServerEvent) -> Result<T, Failure> {
    serde_json::from_str(&event.data).map_err(|error| {
        let name = &event.name;
        anyhow::anyhow!("unexpected `{name}` event from the server: {error}").into()
    })
}

impl Display {
    fn show_status(&mut self, job: &JobResponse) {
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
            let message = output::line(message.as_deref().unwrap_or_default());
            let text = format!("progress: {done}{total} {message}");
            output::talk(text.trim_end());
        }
        self.progress = progress;
    }

    fn show_outcome(&self, job: &JobResponse) -> Result<(), Failure> {
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
            text.push_str(&format!(": {}", output::indented(&error_of(job), 2)));
        }
        output::talk(&text);
        Ok(())
    }

    /// Returns the result without the outputs that have been shown already: many playbooks return the
    /// output of their commands.
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
            // A complete command result: its output has been shown already.
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

/// Prints one field per line. Multi-line texts, such as diffs, are printed as they are.
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

    fn printed(text: &str) -> Printed {
        Printed {
            text: text.to_owned(),
            repeats: false,
        }
    }

    #[test]
    fn the_rest_of_an_output_follows_what_was_shown() {
        assert_eq!(printed("one\n").rest("one\ntwo\n"), Some("two\n"));
        assert_eq!(printed("one\n").rest("one\n"), Some(""));
        assert_eq!(printed("one\n").rest("one"), Some(""));
        assert_eq!(printed("one\n\n").rest("one"), Some(""));
        assert_eq!(printed("").rest("one"), Some("one"));
        assert_eq!(printed("two\n").rest("one\ntwo"), None);
    }

    #[test]
    fn a_new_stream_repeats_output_that_is_not_shown_again() {
        let event = |text: &str| OutputEvent {
            target: "r1".to_owned(),
            command: "show log".to_owned(),
            started_at: Utc::now(),
            text: text.to_owned(),
            cut: false,
        };
        let mut shown = Printed::default();
        assert_eq!(shown.news(&event("one\n")), "one\n");
        assert_eq!(shown.news(&event("one\n")), "one\n");
        shown.repeats = true;
        assert_eq!(shown.news(&event("one\none\ntwo\n")), "two\n");
        assert_eq!(shown.news(&event("three\n")), "three\n");
        assert_eq!(shown.rest("one\none\ntwo\nthree\nfour"), Some("four"));
    }

    #[test]
    fn what_was_shown_is_not_shown_again() {
        let seen = Display {
            outputs: HashSet::from(["uptime 3 d\n".to_owned()]),
            ..Display::new(OutputFormat::Table)
        };
        let repeated = json!({"show version": "uptime 3 d", "list": [{"output": "uptime 3 d\n"}]});
        assert_eq!(seen.news_in(repeated), None);
        let with_news = json!({"show version": "uptime 3 d", "changed": false, "none": null});
        assert_eq!(seen.news_in(with_news), Some(json!({"changed": false})));
    }
}
