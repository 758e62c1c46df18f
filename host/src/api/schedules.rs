//! `/api/schedules`: schedules that submit jobs at the times of a cron expression.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::MethodRouter;

use super::access::Caller;
use super::extract::{JsonBody, QueryParams};
use super::page::{PageQuery, fitting};
use super::{Problem, accepted};
use crate::app::App;
use crate::model::{JobStatus, Schedule, Timing, now};
use crate::schedules::{ScheduleError, invalid_timing};
use crate::wire::{
    JobAccepted, NEXT_RUNS, PreviewSchedule, ScheduleList, SchedulePreview, ScheduleRequest,
    ScheduleResponse,
};

const MAX_PREVIEW: usize = 100;

/// Stores a schedule.
#[utoipa::path(
    post, path = "/schedules", tag = "schedules", request_body = ScheduleRequest,
    responses(
        (status = 201, body = ScheduleResponse),
        (status = 404, description = "Plugin not found", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The name already exists, or the plugin failed to load", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Invalid; `errors` lists the invalid fields", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: JsonBody<ScheduleRequest>,
) -> Result<
    (
        StatusCode,
        [(HeaderName, String); 1],
        Json<ScheduleResponse>,
    ),
    Problem,
> {
    let schedule = Schedule {
        owner: caller.name(),
        ..body.value.over(None)
    };
    let schedule = app.schedules.create(schedule, None).await?;
    let location = [(header::LOCATION, format!("/api/schedules/{}", schedule.id))];
    Ok((StatusCode::CREATED, location, Json(schedule.into())))
}

/// Lists schedules, by name.
#[utoipa::path(
    get, path = "/schedules", tag = "schedules", params(PageQuery),
    responses(
        (status = 200, body = ScheduleList),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<ScheduleList>, Problem> {
    let page = query.page()?;
    let after = query.cursor.unwrap_or_default();
    let (found, others) = app.storage.schedules_page(&after, page).await?;
    let answers = found.into_iter().map(ScheduleResponse::from);
    let (schedules, more) = fitting(answers, page.limit);
    let last = schedules.last().filter(|_| more || others);
    let next_cursor = last.map(|schedule| schedule.name.clone());
    Ok(Json(ScheduleList {
        schedules,
        next_cursor,
    }))
}

/// Returns a schedule.
#[utoipa::path(
    get, path = "/schedules/{id}", tag = "schedules", params(("id" = String, Path, description = "Id or name")),
    responses(
        (status = 200, body = ScheduleResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<ScheduleResponse>, Problem> {
    Ok(Json(app.schedules.find(&id).await?.into()))
}

/// Replaces a schedule and recomputes its next run. The caller becomes its owner.
#[utoipa::path(
    put, path = "/schedules/{id}", tag = "schedules", params(("id" = String, Path, description = "Id or name")),
    request_body = ScheduleRequest,
    responses(
        (status = 200, body = ScheduleResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn replace(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody<ScheduleRequest>,
) -> Result<Json<ScheduleResponse>, Problem> {
    let old = app.schedules.find(&id).await?;
    // The caller becomes the owner: otherwise, a user could write jobs that are submitted for another
    // user.
    let schedule = Schedule {
        owner: caller.name(),
        ..body.value.over(Some(old))
    };
    let schedule = app.schedules.replace(schedule).await?;
    Ok(Json(schedule.into()))
}

/// Deletes a schedule. Its jobs are kept.
#[utoipa::path(
    delete, path = "/schedules/{id}", tag = "schedules", params(("id" = String, Path, description = "Id or name")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.schedules.delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Enables a schedule.
#[utoipa::path(
    post, path = "/schedules/{id}/enable", tag = "schedules", params(("id" = String, Path, description = "Id or name")),
    responses(
        (status = 200, body = ScheduleResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn enable(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<ScheduleResponse>, Problem> {
    Ok(Json(app.schedules.set_enabled(&id, true).await?.into()))
}

/// Disables a schedule. Running jobs are not affected.
#[utoipa::path(
    post, path = "/schedules/{id}/disable", tag = "schedules", params(("id" = String, Path, description = "Id or name")),
    responses(
        (status = 200, body = ScheduleResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn disable(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<ScheduleResponse>, Problem> {
    Ok(Json(app.schedules.set_enabled(&id, false).await?.into()))
}

/// Submits a job of the schedule now, even if others are running.
#[utoipa::path(
    post, path = "/schedules/{id}/trigger", tag = "schedules", params(("id" = String, Path, description = "Id or name")),
    responses(
        (status = 202, body = JobAccepted, headers(("Location" = String, description = "The job's URL"))),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The schedule's job is no longer valid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn trigger(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let id = app.schedules.trigger(&id, caller.name()).await?;
    let answer = JobAccepted {
        id,
        status: JobStatus::Pending,
        schedule_id: None,
        warning: None,
    };
    Ok(accepted(&format!("/api/jobs/{id}"), answer))
}

/// Returns the next runs of a cron expression; stores nothing.
#[utoipa::path(
    post, path = "/schedules/preview", tag = "schedules", request_body = PreviewSchedule,
    responses(
        (status = 200, body = SchedulePreview),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn preview(
    body: JsonBody<PreviewSchedule>,
) -> Result<Json<SchedulePreview>, Problem> {
    let count = body.value.count.unwrap_or(NEXT_RUNS);
    if !(1..=MAX_PREVIEW).contains(&count) {
        let message = format!("expected 1 to {MAX_PREVIEW}, got {count}");
        return Err(Problem::invalid_field("/count", message));
    }
    let timezone = body.value.timezone.unwrap_or_else(|| "UTC".to_owned());
    let timing = Timing::parse(&body.value.cron_expression, &timezone)
        .map_err(|error| Problem::invalid(vec![invalid_timing(error)]))?;
    Ok(Json(SchedulePreview {
        words: timing.words(),
        timezone,
        next_runs: timing.next_runs(now(), count),
    }))
}

/// Routes the other methods of `/schedules/preview` to a schedule named `preview`.
pub(super) fn named_preview() -> MethodRouter<Arc<App>> {
    axum::routing::get(get).put(replace).delete(delete)
}

impl From<ScheduleError> for Problem {
    fn from(error: ScheduleError) -> Self {
        match error {
            ScheduleError::NotFound(_) => Self::not_found(error.to_string()),
            ScheduleError::TooMany => Self::conflict(error.to_string()),
            ScheduleError::Job(error) => error.into(),
        }
    }
}
