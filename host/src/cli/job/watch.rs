use std::collections::{HashMap, HashSet};
use std::io::IsTerminal as _;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::{error_of, logs, results, took};
use crate::api::types::{JobAnswer, LogAnswer, OutputEvent, ResultAnswer};
use crate::cli::client::{Answer, Client};
use crate::cli::events::ServerEvent;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::model::{JobStatus, LogLevel, Progress};

/// How often a connection that was cut off is made again without anything having come over it.
const RECONNECTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// How long an error in the log waits for the event that says the same.
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
        seen.begin_stream();
        loop {
            let next = events.next();
            let event = match seen.held.is_empty() {
                true => next.await,
                false => match tokio::time::timeout(HOLD, next).await {
                    Ok(event) => event,
                    Err(_) => {
                        seen.show_held();
                        continue;
                    }
                },
            };
            let Some(event) = event else { break };
            failures = 0;
            last = event.id.clone().or(last);
            seen.show(&event)?;
        }
        // A stream ends after the job has, and when it is cut off.
        let answer = client.get::<JobAnswer>(&["jobs", id]).await?;
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

/// What has been shown.
struct Seen {
    format: OutputFormat,
    status: Option<JobStatus>,
    progress: Option<Progress>,
    outputs: HashSet<String>,
    /// The running commands of which output was shown.
    printing: HashMap<CommandKey, Printed>,
    /// Lines of the log, from the first warning or error on, that wait for an event that says the same.
    held: Vec<LogAnswer>,
    /// Results and log lines are shown in the same place.
    on_terminal: bool,
    /// The command under whose header the last line was shown.
    under: Option<CommandKey>,
    ended: bool,
}

/// A command: its target and when it was sent.
type CommandKey = (String, DateTime<Utc>);

/// The part of a running command's output that was shown.
#[derive(Default)]
struct Printed {
    text: String,
    /// The next event begins at the start of the output, because the stream is a new one.
    repeats: bool,
}

impl Printed {
    /// Returns the part of an event that was not shown, and remembers it as shown.
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

    /// Returns the rest of the whole output; `None` if what was shown is not its beginning.
    fn rest<'a>(&self, output: &'a str) -> Option<&'a str> {
        // While a command runs, each of its lines ends with a line end; the last one of the whole
        // output may have none.
        output
            .strip_prefix(&self.text)
            .or_else(|| (output == self.text.trim_end_matches('\n')).then_some(""))
    }
}

impl Seen {
    fn new(format: OutputFormat) -> Self {
        Self {
            format,
            status: None,
            progress: None,
            outputs: HashSet::new(),
            printing: HashMap::new(),
            held: Vec::new(),
            on_terminal: std::io::stdout().is_terminal(),
            under: None,
            ended: false,
        }
    }

    fn show(&mut self, event: &ServerEvent) -> Result<(), Failure> {
        match event.name.as_str() {
            "status" => {
                let job: JobAnswer = read(event)?;
                self.ended = job.status.is_final();
                if self.ended {
                    // The outcome says it.
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
            // Whatever a newer server tells beside these.
            _ => {}
        }
        Ok(())
    }

    /// Shows a line of the log, unless it waits for another event. Those behind it wait, too.
    fn show_line(&mut self, line: LogAnswer) {
        if self.held.is_empty() && !matches!(line.level, LogLevel::Warn | LogLevel::Error) {
            output::talk(&logs::text(&line));
        } else {
            self.held.push(line);
        }
    }

    fn show_held(&mut self) {
        for line in self.held.drain(..) {
            output::talk(&logs::text(&line));
        }
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

    /// Prepares for another stream, which repeats the output of running commands.
    fn begin_stream(&mut self) {
        for printed in self.printing.values_mut() {
            printed.repeats = true;
        }
    }

    /// Shows output as it comes, below a header with the command.
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

    /// Shows a result: all of it, or what was not shown while the command ran, and then the header
    /// again with the duration.
    fn show_result(&mut self, result: ResultAnswer) -> Result<(), Failure> {
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
            let message = output::line(message.as_deref().unwrap_or_default());
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
            text.push_str(&format!(": {}", output::indented(&error_of(job), 2)));
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
