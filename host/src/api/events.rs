//! `/api/jobs/{id}/events`: a job's events as Server-Sent Events, from the beginning or from
//! `Last-Event-ID`, until the job has ended.
//!
//! Events are read from the database; change notifications only say when to read. A lost notification
//! therefore delays an event but never drops it.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use utoipa::IntoParams;
use uuid::Uuid;

use super::access::{Caller, lapsed};
use super::extract::{IdInPath, QueryParams};
use super::{Problem, jobs};
use crate::app::{App, MAX_EVENT_STREAMS};
use crate::model::{JobStatus, ListedJob, Permission, Progress};
use crate::response_budget::Share;
use crate::storage::{Measured, Page, StorageError};
use crate::stream_limit::StreamPermit;
use crate::wire::{LogResponse, OutputEvent, ResultResponse};

/// Log lines or results read from the database at once. One result may have 8 MiB.
const PAGE: Page = Page {
    limit: 500,
    bytes: 1 << 20,
};
/// Changes that arrive within this time are coalesced into one read.
const COALESCE_DELAY: Duration = Duration::from_millis(50);
/// How often to poll the database in case a notification was missed.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Interval of keep-alive comments, so that proxies do not close an idle connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const LAST_EVENT_ID: &str = "last-event-id";

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// `false` omits the texts: one `log` or `result` event with the last id represents all new ones,
    /// and `output` is empty.
    texts: Option<bool>,
}

/// Streams a job's events: `status` (the job as in a list), `log`, `result`, `progress`, and `output`
/// with the output of running commands. Resumes without a gap after the event in the header
/// `Last-Event-ID`, except for `output`, which has no id and starts over. Ends after the last `status`
/// of an ended job.
#[utoipa::path(
    get, path = "/jobs/{id}/events", tag = "jobs",
    params(("id" = Uuid, Path), EventQuery, ("Last-Event-ID" = Option<String>, Header, description = "The \
         id of the last event received")),
    responses(
        (status = 200, body = String, content_type = "text/event-stream"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn events(
    State(app): State<Arc<App>>,
    caller: Caller,
    IdInPath(id): IdInPath,
    QueryParams(query): QueryParams<EventQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let cursor = match headers.get(LAST_EVENT_ID) {
        None => Cursor::default(),
        Some(text) => text.to_str().ok().and_then(Cursor::parse).ok_or_else(|| {
            Problem::invalid_field(
                "",
                "invalid Last-Event-ID: expected the id of an \
                 event",
            )
        })?,
    };
    if app.storage.listed_job(id).await?.is_none() {
        return Err(jobs::no_job(id));
    }
    let permit = app.event_streams.try_acquire().ok_or_else(|| {
        let message = format!(
            "too many event streams: at most {MAX_EVENT_STREAMS} are allowed; retry \
                               later"
        );
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    })?;
    let following = Following {
        changes: app.storage.changes(),
        prints: app.live.changes(),
        only_prints: false,
        id,
        texts: query.texts.unwrap_or(true),
        cursor,
        progress: None,
        shown: HashMap::new(),
        waiting: VecDeque::new(),
        share: None,
        ended: false,
        permit,
        lapsed: lapsed(Arc::clone(&app), caller.0.clone(), Permission::JobsOutputs).boxed(),
        caller,
        app,
    };
    let stream = futures::stream::unfold(following, |mut following| async {
        let event = following.next().await?;
        Some((Ok(event), following))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// How much of a job a client has seen; the id of each event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cursor {
    log: i64,
    result: Uuid,
    status: Option<(u32, JobStatus)>,
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let cursor = Self {
            log: parts.next()?.parse().ok()?,
            result: parts.next()?.parse().ok()?,
            status: match (parts.next()?, parts.next()?) {
                ("0", "none") => None,
                (attempt, status) => Some((attempt.parse().ok()?, JobStatus::parse(status)?)),
            },
        };
        parts.next().is_none().then_some(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (attempt, status) = match self.status {
            Some((attempt, status)) => (attempt, status.as_str()),
            None => (0, "none"),
        };
        write!(
            f,
            "{}.{}.{attempt}.{status}",
            self.log,
            self.result.simple()
        )
    }
}

/// The state of one client that follows a job.
struct Following {
    app: Arc<App>,
    id: Uuid,
    /// Whether events carry the text of logs, results and output.
    texts: bool,
    cursor: Cursor,
    progress: Option<Progress>,
    /// Printed bytes already sent, per running command.
    shown: HashMap<u64, usize>,
    waiting: VecDeque<Event>,
    /// The memory reserved for the waiting events.
    share: Option<Share>,
    ended: bool,
    changes: Receiver<Uuid>,
    prints: Receiver<Uuid>,
    /// Whether only commands have printed since the last poll; the job, which may be large, is then not
    /// read.
    only_prints: bool,
    permit: StreamPermit,
    caller: Caller,
    /// Ends when the caller may no longer read the job.
    lapsed: BoxFuture<'static, ()>,
}

impl Following {
    /// Returns the next event, or `None` when the job has ended or was deleted, or the server is
    /// shutting down.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            self.share = None;
            if self.ended {
                return None;
            }
            match self.look().await {
                Ok(false) if self.waiting.is_empty() && !self.ended => self.wait().await,
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(job_id = %self.id, %error, "failed to follow a job; retrying");
                    self.wait().await;
                }
            }
        }
    }

    /// Queues events for everything new since the last poll. Returns whether there may be more.
    ///
    /// The job is read before its log and results: if the job has ended by then, they are complete.
    async fn look(&mut self) -> Result<bool, StorageError> {
        if std::mem::take(&mut self.only_prints) {
            self.take_output();
            return Ok(false);
        }
        let Some(listed) = self.app.storage.listed_job(self.id).await? else {
            self.ended = true;
            return Ok(false);
        };
        let (logs, results) = if self.texts {
            let storage = &self.app.storage;
            let logs = storage.measure_logs(self.id, self.cursor.log, None, PAGE);
            let results = storage.measure_results(self.id, self.cursor.result, PAGE);
            let (logs, results) = (logs.await?, results.await?);
            let bytes = logs.bytes + results.bytes;
            let Ok(share) = self.app.answers.reserve_escaped(bytes).await else {
                // Other large responses hold the budget: try again.
                return Ok(true);
            };
            self.share = Some(share);
            (logs, results)
        } else {
            (Measured::default(), Measured::default())
        };
        let job = &listed.job;
        let status = Some((job.attempt, job.status));
        let is_news = self.cursor.status != status;
        if is_news && !job.status.is_final() {
            self.cursor.status = status;
            self.push_status(listed.clone()).await?;
        }
        if job.progress != self.progress {
            self.progress.clone_from(&job.progress);
            if let Some(progress) = &job.progress {
                self.push("progress", progress);
            }
        }
        if self.texts {
            self.take_logs(logs.count).await?;
            self.take_results(results.count).await?;
        } else {
            self.take_ids().await?;
        }
        let more = logs.more || results.more;
        self.take_output();
        // The remaining log lines and results follow with the next poll, which is immediate.
        if job.status.is_final() && !more {
            if is_news {
                self.cursor.status = status;
                self.push_status(listed).await?;
            }
            self.ended = true;
        }
        Ok(more)
    }

    /// Queues a `status` event with the job as a listing shows it.
    async fn push_status(&mut self, job: ListedJob) -> Result<(), StorageError> {
        if let Some(answer) = jobs::answers(&self.app, &self.caller, vec![job])
            .await?
            .pop()
        {
            self.push("status", &answer);
        }
        Ok(())
    }

    /// Queues the ids of the last log line and result, without their text.
    async fn take_ids(&mut self) -> Result<(), StorageError> {
        let storage = &self.app.storage;
        let log = storage.last_log(self.id, self.cursor.log).await?;
        let result = storage.last_result(self.id, self.cursor.result).await?;
        if let Some(id) = log {
            self.cursor.log = id;
            self.push("log", &json!({ "id": id }));
        }
        if let Some(id) = result {
            self.cursor.result = id;
            self.push("result", &json!({ "id": id }));
        }
        Ok(())
    }

    async fn take_logs(&mut self, count: u32) -> Result<(), StorageError> {
        let storage = &self.app.storage;
        let lines = storage.logs(self.id, self.cursor.log, None, count).await?;
        for line in lines {
            self.cursor.log = line.id;
            self.push("log", &LogResponse::from(line));
        }
        Ok(())
    }

    async fn take_results(&mut self, count: u32) -> Result<(), StorageError> {
        let storage = &self.app.storage;
        let results = storage
            .results_after(self.id, self.cursor.result, count)
            .await?;
        for result in results {
            self.cursor.result = result.id;
            self.push("result", &ResultResponse::from(result));
        }
        Ok(())
    }

    fn take_output(&mut self) {
        let running = self.app.live.of(self.id);
        if !self.texts {
            let is_news = running.iter().any(|command| {
                let shown = self.shown.get(&command.id).copied().unwrap_or_default();
                command.printed > shown as u64
            });
            self.shown = running
                .into_iter()
                .map(|command| {
                    let printed = usize::try_from(command.printed).unwrap_or(usize::MAX);
                    (command.id, printed)
                })
                .collect();
            if is_news {
                self.push_without_id("output", &json!({}));
            }
            return;
        }
        self.shown
            .retain(|id, _| running.iter().any(|command| command.id == *id));
        for command in running {
            let shown = self.shown.entry(command.id).or_default();
            let end = command.printed;
            // `command.output` keeps only the end of the output, so the start of the new text may be
            // missing.
            let news = usize::try_from(end.saturating_sub(*shown as u64)).unwrap_or(usize::MAX);
            let begin = command.output.len().saturating_sub(news);
            *shown = usize::try_from(end).unwrap_or(usize::MAX);
            let text = command.output.get(begin..).unwrap_or_default();
            if text.is_empty() {
                continue;
            }
            let event = OutputEvent {
                target: command.target.clone(),
                command: command.command.clone(),
                started_at: command.started_at,
                text: text.to_owned(),
                cut: news > command.output.len(),
            };
            self.push_without_id("output", &event);
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            biased;
            () = told(&mut self.changes, self.id) => {}
            () = told(&mut self.prints, self.id) => self.only_prints = true,
            () = tokio::time::sleep(POLL_INTERVAL) => {}
            () = self.permit.closing() => self.ended = true,
            () = &mut self.lapsed => self.ended = true,
        }
        if !self.ended {
            tokio::time::sleep(COALESCE_DELAY).await;
        }
        // The next poll covers everything up to now, so older notifications are dropped. A poll for
        // output alone does not read the job, so its change notifications are kept for the next wait.
        self.prints = self.prints.resubscribe();
        if !self.only_prints {
            self.changes = self.changes.resubscribe();
        }
    }

    fn push(&mut self, name: &str, data: &impl Serialize) {
        if let Some(event) = event(name, data) {
            self.waiting.push_back(event.id(self.cursor.to_string()));
        }
    }

    fn push_without_id(&mut self, name: &str, data: &impl Serialize) {
        self.waiting.extend(event(name, data));
    }
}

fn event(name: &str, data: &impl Serialize) -> Option<Event> {
    match Event::default().event(name).json_data(data) {
        Ok(event) => Some(event),
        Err(error) => {
            tracing::error!(%error, event = name, "failed to serialize an event");
            None
        }
    }
}

/// Waits for a change of the job. A lagged receiver counts as a change.
async fn told(changes: &mut Receiver<Uuid>, id: Uuid) {
    loop {
        match changes.recv().await {
            Ok(changed) if changed != id => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            // The server is shutting down; the caller handles that separately.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let seen = Cursor {
            log: 42,
            result: Uuid::now_v7(),
            status: Some((2, JobStatus::Retrying)),
        };
        for cursor in [Cursor::default(), seen] {
            assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        }
        for odd in ["", "1", "x.y.z", "1.2.3.4", "0.0.0.none.0"] {
            assert_eq!(Cursor::parse(odd), None, "{odd}");
        }
    }
}
