//! `/api/jobs`: submission, listing, cancellation, results and logs of jobs.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;
use uuid::Uuid;

use super::access::Caller;
use super::extract::{IdInPath, JsonBody, QueryParams, from_value};
use super::page;
use super::{Problem, accepted};
use crate::app::App;
use crate::connections::ConnectionInput;
use crate::dispatch::Blocked;
use crate::jobs::{Submission, SubmitError};
use crate::model::{
    FieldError, JobFilter, JobStatus, ListedJob, LogLevel, Misfire, Overlap, Permission, Progress,
    now,
};
use crate::storage::{CancelOutcome, DeleteOutcome, Page, StorageError};
use crate::wire::{
    AttemptList, AttemptResponse, ConnectionRequest, CreateJob, JobAccepted, JobList, JobResponse,
    JobStats, LogList, RerunJob, ResultList, ScheduleRequest,
};

/// A 202 response with the `Location` of the job.
type Accepted = (StatusCode, [(HeaderName, String); 1], Json<JobAccepted>);

const DEFAULT_PAGE: u32 = 50;
const MAX_LOG_PAGE: u32 = 5_000;
const LOG_PAGE_BYTES: u64 = 4 << 20;
const MAX_RESULT_PAGE: u32 = 1_000;
const RESULT_PAGE_BYTES: u64 = 4 << 20;

/// Submits a job.
#[utoipa::path(
    post, path = "/jobs", tag = "jobs",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters. A repeated \
         request with the same key and body returns the first job")),
    request_body = CreateJob,
    responses(
        (status = 202, description = "Stored; the job survives a crash", body = JobAccepted, headers(("Location" = String, description = "The \
             URL of the job, or of the schedule with cron_expression"))),
        (status = 404, description = "Plugin not found", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The plugin failed to load, or the Idempotency-Key was used with \
                                      another body", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Invalid; `errors` lists the invalid fields", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: JsonBody<CreateJob>,
) -> Result<Accepted, Problem> {
    let idempotency = idempotency_key(&headers, &caller)?
        .map(|key| (key, app.request_digests.digest(&body.bytes)));
    let cron = body.value.cron_expression.clone();
    let timezone = body.value.timezone.clone();
    let mut submission = submission(body.value, idempotency)?;
    submission.submitted_by = caller.name();
    if submission.inline.is_some() {
        caller.require(Permission::ConnectionsInline)?;
    }
    if let Some(cron) = cron {
        caller.require(Permission::SchedulesWrite)?;
        return schedule(&app, submission, cron, timezone).await;
    }
    if let Some((key, _)) = &submission.idempotency
        && app.storage.schedule_with_key(key).await?.is_some()
    {
        return Err(SubmitError::KeyReused.into());
    }
    let (id, status) = app.jobs.submit(submission).await?;
    let answer = JobAccepted {
        id,
        status,
        schedule_id: None,
        warning: None,
    };
    Ok(accepted(&format!("/api/jobs/{id}"), answer))
}

/// Creates a schedule from a job with a cron expression. Its first job runs at the schedule's first
/// time.
async fn schedule(
    app: &App,
    job: Submission,
    cron_expression: String,
    timezone: Option<String>,
) -> Result<Accepted, Problem> {
    let written = ScheduleRequest {
        // Needs no uniqueness check: the name ends in random characters of an id.
        name: schedule_name(&job.plugin),
        plugin: job.plugin,
        params: job.params,
        targets: job.targets,
        cron_expression,
        timezone,
        enabled: None,
        misfire: Misfire::default(),
        overlap: Overlap::default(),
        starts_at: job.scheduled_for,
        ends_at: None,
        jitter_seconds: 0,
        priority: job.priority,
        max_retries: job.max_retries,
        timeout_seconds: job.timeout_seconds,
        description: job.description,
        batch: job.batch,
    };
    let mut schedule = written.over(None);
    schedule.owner = job.submitted_by;
    let schedule = app.schedules.create(schedule, job.idempotency).await?;
    let answer = JobAccepted {
        id: schedule.id,
        status: JobStatus::Pending,
        schedule_id: Some(schedule.id),
        warning: None,
    };
    Ok(accepted(&format!("/api/schedules/{}", schedule.id), answer))
}

fn schedule_name(plugin: &str) -> String {
    let id = Uuid::now_v7().simple().to_string();
    let plugin: String = plugin.chars().take(80).collect();
    format!("{plugin}-{}", &id[20..])
}

fn submission(
    request: CreateJob,
    idempotency: Option<(String, String)>,
) -> Result<Submission, Problem> {
    let mut errors = Vec::new();
    let mut refuse = |pointer: &str, message: &str| {
        errors.push(FieldError {
            pointer: pointer.to_owned(),
            message: message.to_owned(),
        });
    };
    if request.timezone.is_some() && request.cron_expression.is_none() {
        refuse("/timezone", "not allowed without a cron_expression");
    }
    if request.cron_expression.is_some() && matches!(request.connection, Some(Value::Object(_))) {
        refuse(
            "/connection",
            "an inline connection is not allowed in a schedule; store the connection and name it",
        );
    }
    if request.dry_run == Some(true) {
        refuse("/dry_run", "dry runs are not available in this version");
    }
    let mut targets = request.targets;
    let mut inline = None;
    match request.connection {
        None | Some(Value::Null) => {}
        Some(Value::String(name)) => targets.push(name),
        Some(value) => match from_value::<ConnectionRequest>(value, "/connection") {
            Ok(connection) => inline = Some(ConnectionInput::from(connection)),
            Err(error) => errors.push(error),
        },
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    Ok(Submission {
        plugin: request.plugin,
        params: request.params,
        targets,
        inline,
        scheduled_for: request.scheduled_for,
        max_retries: request.max_retries,
        timeout_seconds: request.timeout_seconds,
        priority: request.priority,
        description: request.description,
        batch: request.batch,
        idempotency,
        rerun_of: None,
        schedule: None,
        submitted_by: None,
        bounds: Vec::new(),
    })
}

/// Returns the key of the request. It belongs to its user: another user's key is another one.
fn idempotency_key(headers: &HeaderMap, caller: &Caller) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) => Ok(Some(match &caller.0.user {
            Some(user) => format!("{} {key}", user.id),
            None => key.to_owned(),
        })),
        _ => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
            "invalid Idempotency-Key: expected 1 to 255 printable ASCII characters",
        )),
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    status: Option<JobStatus>,
    plugin: Option<String>,
    /// The name of a connection.
    target: Option<String>,
    created_after: Option<DateTime<Utc>>,
    created_before: Option<DateTime<Utc>>,
    /// Only child jobs of this job.
    parent: Option<Uuid>,
    /// Maximum number of entries, 1 to 500; 50 if absent. A page ends earlier when it reaches 1 MiB.
    limit: Option<u32>,
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
}

/// Lists jobs, newest first.
#[utoipa::path(
    get, path = "/jobs", tag = "jobs", params(ListQuery),
    responses(
        (status = 200, body = JobList),
        (status = 422, description = "A parameter is invalid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    QueryParams(query): QueryParams<ListQuery>,
) -> Result<Json<JobList>, Problem> {
    let limit = page::checked(query.limit, DEFAULT_PAGE)?;
    let after = query.cursor.as_deref().map(read_cursor).transpose()?;
    let filter = JobFilter {
        status: query.status,
        plugin: query.plugin,
        target: query.target,
        parent: query.parent,
        created_after: query.created_after,
        created_before: query.created_before,
        after,
        same_as: None,
        // One more than shown tells whether there is another page.
        limit: limit + 1,
    };
    let jobs = app.storage.jobs(&filter).await?;
    let mut jobs = answers(&app, &caller, jobs).await?;
    for job in &mut jobs {
        job.waiting_for.truncate(ListedJob::TARGETS as usize);
    }
    let (jobs, more) = page::fitting(jobs, limit);
    let last = jobs.last().filter(|_| more);
    let next_cursor =
        last.map(|job| format!("{}.{}", job.created_at.timestamp_micros(), job.id.simple()));
    Ok(Json(JobList { jobs, next_cursor }))
}

fn read_cursor(text: &str) -> Result<(DateTime<Utc>, Uuid), Problem> {
    let read = || {
        let (time, id) = text.split_once('.')?;
        let time = DateTime::from_timestamp_micros(time.parse().ok()?)?;
        Some((time, Uuid::parse_str(id).ok()?))
    };
    read().ok_or_else(|| Problem::invalid_field("/cursor", "expected the `next_cursor` of a page"))
}

/// Counts jobs by status.
#[utoipa::path(get, path = "/jobs/stats", tag = "jobs", responses((status = 200, body = JobStats)))]
pub(super) async fn stats(State(app): State<Arc<App>>) -> Result<Json<JobStats>, Problem> {
    let yesterday = now() - TimeDelta::hours(24);
    Ok(Json(JobStats {
        by_status: app.storage.count_jobs(None).await?,
        last_24h: app.storage.count_jobs(Some(yesterday)).await?,
    }))
}

/// Returns a job.
#[utoipa::path(
    get, path = "/jobs/{id}", tag = "jobs", params(("id" = Uuid, Path)),
    responses(
        (status = 200, body = JobResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    IdInPath(id): IdInPath,
) -> Result<Response, Problem> {
    let listed = app.storage.listed_job(id).await?;
    let listed = listed.ok_or_else(|| no_job(id))?;
    let bytes = listed.params_bytes + listed.result_bytes.unwrap_or_default();
    let permit = app.answers.reserve(bytes).await?;
    let mut answer = answers(&app, &caller, vec![listed]).await?;
    let (Some(answer), Some(mut texts)) = (answer.pop(), app.storage.job_texts(id).await?) else {
        return Err(no_job(id));
    };
    if !caller.may(Permission::JobsOutputs) {
        (texts.result, texts.error_message) = (None, None);
    }
    // Parameters and result are already JSON; parsing them would take many times their size.
    let answer = JobResponse {
        params: Value::Null,
        targets: texts
            .targets
            .into_iter()
            .map(|target| target.name)
            .collect(),
        error_message: texts.error_message,
        ..answer
    };
    let Ok(Value::Object(mut fields)) = serde_json::to_value(&answer) else {
        return Err(Problem::internal());
    };
    fields.shift_remove("params");
    let mut head = Value::Object(fields).to_string();
    head.pop();
    head.push_str(",\"params\":");
    let result = texts.result.unwrap_or_else(|| "null".to_owned());
    let parts = [
        head,
        texts.params,
        ",\"result\":".to_owned(),
        result,
        "}".to_owned(),
    ];
    Ok(permit.json(parts))
}

/// Converts listed jobs into responses, batches with the status counts of their child jobs. Leaves out
/// texts that may quote a device if the caller may not read outputs.
pub(super) async fn answers(
    app: &App,
    caller: &Caller,
    jobs: Vec<ListedJob>,
) -> Result<Vec<JobResponse>, StorageError> {
    let batches = jobs.iter().filter(|listed| listed.job.batch.is_some());
    let batches: Vec<Uuid> = batches.map(|listed| listed.job.id).collect();
    let counts = if batches.is_empty() {
        HashMap::new()
    } else {
        app.storage.batch_counts(&batches).await?
    };
    let answer = |listed: ListedJob| {
        let job = &listed.job;
        let (waiting_for, paused_by) = match app.dispatch.blocked_by(job) {
            Some(Blocked::Resources(names)) => (names, None),
            Some(Blocked::Paused(pause)) => (Vec::new(), Some(pause.into())),
            None => (Vec::new(), None),
        };
        let mut answer = JobResponse {
            waiting_for,
            paused_by,
            ..JobResponse::from(listed)
        };
        if !caller.may(Permission::JobsOutputs) {
            answer.error_message = None;
            answer.progress = answer.progress.map(|progress| Progress {
                message: None,
                ..progress
            });
        }
        if let Some(batch) = &mut answer.batch {
            batch.counts = counts.get(&answer.id).copied().unwrap_or_default();
        }
        answer
    };
    Ok(jobs.into_iter().map(answer).collect())
}

/// Reruns an ended job: submits a new job with its parameters and targets, for the current version of
/// its plugin.
#[utoipa::path(
    post, path = "/jobs/{id}/rerun", tag = "jobs",
    params(
        ("id" = Uuid, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "As for a submission"),
    ),
    request_body(content = RerunJob, description = "Optional"),
    responses(
        (status = 202, description = "The new job", body = JobAccepted),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The job has not ended, or there is nothing to rerun", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The job's parameters or targets are no longer valid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn rerun(
    State(app): State<Arc<App>>,
    caller: Caller,
    IdInPath(id): IdInPath,
    headers: HeaderMap,
    body: Option<JsonBody<RerunJob>>,
) -> Result<impl IntoResponse, Problem> {
    let only = body.map(|body| body.value.only).unwrap_or_default();
    let idempotency = idempotency_key(&headers, &caller)?.map(|key| {
        let request = format!("rerun {id} {only:?}");
        (key, app.request_digests.digest(request.as_bytes()))
    });
    let (id, status) = app.jobs.rerun(id, only, idempotency, caller.name()).await?;
    Ok(accepted(
        &format!("/api/jobs/{id}"),
        JobAccepted {
            id,
            status,
            schedule_id: None,
            warning: None,
        },
    ))
}

/// Lists the attempts of a job with their outcomes.
#[utoipa::path(
    get, path = "/jobs/{id}/attempts", tag = "jobs", params(("id" = Uuid, Path), AttemptQuery),
    responses(
        (status = 200, body = AttemptList),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn attempts(
    State(app): State<Arc<App>>,
    caller: Caller,
    IdInPath(id): IdInPath,
    QueryParams(query): QueryParams<AttemptQuery>,
) -> Result<Json<AttemptList>, Problem> {
    let limit = page::checked(query.limit, page::MAX_ENTRIES)?;
    let attempts = app.storage.attempts(id).await?;
    if attempts.is_empty() && app.storage.listed_job(id).await?.is_none() {
        return Err(no_job(id));
    }
    let after = query.after.unwrap_or_default();
    let attempts = attempts.into_iter().filter(|one| one.attempt > after);
    let may_read = caller.may(Permission::JobsOutputs);
    let attempts = attempts.map(AttemptResponse::from).map(|mut attempt| {
        attempt.error_message = attempt.error_message.filter(|_| may_read);
        attempt
    });
    let (attempts, more) = page::fitting(attempts, limit);
    let next_after = attempts.last().filter(|_| more).map(|one| one.attempt);
    Ok(Json(AttemptList {
        attempts,
        next_after,
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AttemptQuery {
    /// Only attempts after this one: `next_after` of the previous page.
    after: Option<u32>,
    /// Maximum number of entries, 1 to 500; 500 if absent. A page ends earlier when it reaches 1 MiB.
    limit: Option<u32>,
}

/// Deletes a job that is not running, with its results, logs and child jobs.
#[utoipa::path(
    delete, path = "/jobs/{id}", tag = "jobs", params(("id" = Uuid, Path)),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The job is running; cancel it first", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    IdInPath(id): IdInPath,
) -> Result<StatusCode, Problem> {
    match app.jobs.delete(id).await? {
        DeleteOutcome::Deleted => Ok(StatusCode::NO_CONTENT),
        DeleteOutcome::NotFound => Err(no_job(id)),
        DeleteOutcome::Running => Err(Problem::conflict(
            "the job or one of its child jobs is running; cancel it first",
        )),
    }
}

/// Warning for a cancellation that the database could not store.
const UNRECORDED: &str = "the running job was stopped, but the database failed to store the \
                          cancellation (see /health). The job is listed as running until its end is \
                          stored. Child jobs of a batch that have not started are not cancelled: \
                          cancel the batch again when the database works";

/// Cancels a job. A waiting job is cancelled immediately, a running one when it has stopped.
#[utoipa::path(
    post, path = "/jobs/{id}/cancel", tag = "jobs", params(("id" = Uuid, Path)),
    responses(
        (status = 202, body = JobAccepted),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The job has ended", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    IdInPath(id): IdInPath,
) -> Result<impl IntoResponse, Problem> {
    let cancelled = app.jobs.cancel(id).await?;
    let status = match cancelled {
        CancelOutcome::Cancelled => JobStatus::Cancelled,
        CancelOutcome::Requested | CancelOutcome::Unrecorded => JobStatus::Running,
        CancelOutcome::NotFound => return Err(no_job(id)),
        CancelOutcome::Finished => return Err(Problem::conflict("the job has ended")),
    };
    let unrecorded = cancelled == CancelOutcome::Unrecorded;
    let answer = JobAccepted {
        id,
        status,
        schedule_id: None,
        warning: unrecorded.then(|| UNRECORDED.to_owned()),
    };
    Ok(accepted(&format!("/api/jobs/{id}"), answer))
}

/// Lists the outputs of a job's commands in order, and the partial outputs of running commands.
#[utoipa::path(
    get, path = "/jobs/{id}/results", tag = "jobs", params(("id" = Uuid, Path), ResultQuery),
    responses(
        (status = 200, body = ResultList),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The server is busy with other large responses; retry later", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn results(
    State(app): State<Arc<App>>,
    IdInPath(id): IdInPath,
    QueryParams(query): QueryParams<ResultQuery>,
) -> Result<Response, Problem> {
    let limit = query.limit.unwrap_or(MAX_RESULT_PAGE);
    if !(1..=MAX_RESULT_PAGE).contains(&limit) {
        return Err(Problem::invalid_field(
            "/limit",
            format!("expected 1 to {MAX_RESULT_PAGE}, got {limit}"),
        ));
    }
    // Read before the results: a command that ends in between is then listed twice rather than not at
    // all.
    let running = app.live.of(id);
    let after = query.after.unwrap_or_default();
    let page = Page {
        limit,
        bytes: RESULT_PAGE_BYTES,
    };
    let measured = app.storage.measure_results(id, after, page).await?;
    if measured.count == 0 && app.storage.listed_job(id).await?.is_none() {
        return Err(no_job(id));
    }
    let permit = app.answers.reserve_escaped(measured.bytes).await?;
    let results = app.storage.results_after(id, after, measured.count).await?;
    let next_after = results.last().map(|result| result.id);
    let list = ResultList {
        results: results.into_iter().map(Into::into).collect(),
        next_after: next_after.filter(|_| measured.more),
        // Running commands follow all results, so only the last page lists them.
        running: match measured.more {
            true => Vec::new(),
            false => running.into_iter().map(Into::into).collect(),
        },
    };
    let text = serde_json::to_string(&list).map_err(|_| Problem::internal())?;
    Ok(permit.json([text]))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ResultQuery {
    /// Only results after this one: `next_after` of the previous page.
    after: Option<Uuid>,
    /// Maximum number of results, 1 to 1000; 1000 if absent. A page ends earlier when its outputs reach
    /// 4 MiB.
    limit: Option<u32>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LogQuery {
    /// Only lines with a greater id.
    after: Option<i64>,
    /// Only the last lines with a smaller id; not allowed together with `after`.
    before: Option<i64>,
    /// Only lines of this level and above.
    level: Option<LogLevel>,
    /// Maximum number of lines, 1 to 5000; 5000 if absent. A page ends earlier when its lines reach 4
    /// MiB.
    limit: Option<u32>,
}

/// Lists the log lines of a job, oldest first.
#[utoipa::path(
    get, path = "/jobs/{id}/logs", tag = "jobs", params(("id" = Uuid, Path), LogQuery),
    responses(
        (status = 200, body = LogList),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn logs(
    State(app): State<Arc<App>>,
    IdInPath(id): IdInPath,
    QueryParams(query): QueryParams<LogQuery>,
) -> Result<Response, Problem> {
    let limit = query.limit.unwrap_or(MAX_LOG_PAGE);
    if !(1..=MAX_LOG_PAGE).contains(&limit) {
        return Err(Problem::invalid_field(
            "/limit",
            format!("expected 1 to {MAX_LOG_PAGE}, got {limit}"),
        ));
    }
    let page = Page {
        limit,
        bytes: LOG_PAGE_BYTES,
    };
    let level = query.level;
    let storage = &app.storage;
    let measured = match (query.after, query.before) {
        (Some(_), Some(_)) => {
            let message = "not allowed together with `after`";
            return Err(Problem::invalid_field("/before", message));
        }
        (None, Some(before)) => storage.measure_logs_before(id, before, level, page).await?,
        (after, None) => {
            let after = after.unwrap_or_default();
            storage.measure_logs(id, after, level, page).await?
        }
    };
    if measured.count == 0 && app.storage.listed_job(id).await?.is_none() {
        return Err(no_job(id));
    }
    let permit = app.answers.reserve_escaped(measured.bytes).await?;
    let (logs, next_after, next_before) = match query.before {
        Some(before) => {
            let count = measured.count;
            let logs = storage.logs_before(id, before, level, count).await?;
            let first = logs.first().filter(|_| measured.more).map(|line| line.id);
            (logs, None, first)
        }
        None => {
            let after = query.after.unwrap_or_default();
            let logs = storage.logs(id, after, level, measured.count).await?;
            let last = logs.last().filter(|_| measured.more).map(|line| line.id);
            (logs, last, None)
        }
    };
    let list = LogList {
        logs: logs.into_iter().map(Into::into).collect(),
        next_after,
        next_before,
    };
    let text = serde_json::to_string(&list).map_err(|_| Problem::internal())?;
    Ok(permit.json([text]))
}

pub(super) fn no_job(id: Uuid) -> Problem {
    Problem::not_found(format!("job {id} not found"))
}
