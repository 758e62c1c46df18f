//! `/api/pauses`: pauses that withhold jobs.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};

use super::Problem;
use super::extract::{JsonBody, QueryParams};
use super::page::{PageQuery, fitting};
use crate::app::App;
use crate::model::PauseRule;
use crate::pauses::{PauseRefused, PauseVersion};
use crate::wire::{PauseList, PauseRequest, PauseResponse};

/// Creates a pause, which withholds jobs until it is removed, for a period, or in recurring windows.
/// Running jobs are not affected.
#[utoipa::path(
    post, path = "/pauses", tag = "pauses", request_body = PauseRequest,
    responses(
        (status = 201, body = PauseResponse),
        (status = 409, description = "The name already exists", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Invalid; `errors` lists the invalid fields", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    body: JsonBody<PauseRequest>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<PauseResponse>), Problem> {
    let pause = app.pauses.create(body.value.into()).await?;
    let location = [(header::LOCATION, format!("/api/pauses/{}", pause.id))];
    let answer = answer(&app, &pause.id.to_string())?;
    Ok((StatusCode::CREATED, location, Json(answer)))
}

/// Lists the pauses, by name.
#[utoipa::path(
    get, path = "/pauses", tag = "pauses", params(PageQuery),
    responses(
        (status = 200, body = PauseList),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<PauseList>, Problem> {
    let page = query.page()?;
    let after = query.cursor.unwrap_or_default();
    let rules = app.pauses.list();
    let rules = rules.iter().filter(|rule| rule.pause.name > after);
    let (pauses, more) = fitting(rules.map(|rule| told(&app, rule)), page.limit);
    let last = pauses.last().filter(|_| more);
    let next_cursor = last.map(|pause| pause.name.clone());
    Ok(Json(PauseList {
        pauses,
        next_cursor,
    }))
}

/// Returns a pause.
#[utoipa::path(
    get, path = "/pauses/{id}", tag = "pauses", params(("id" = String, Path, description = "Id or name")),
    responses(
        (status = 200, body = PauseResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<PauseResponse>, Problem> {
    Ok(Json(answer(&app, &id)?))
}

/// Replaces a pause. Jobs that the new version does not cover are released.
#[utoipa::path(
    put, path = "/pauses/{id}", tag = "pauses", params(("id" = String, Path, description = "Id or name")),
    request_body = PauseRequest,
    responses(
        (status = 200, body = PauseResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn replace(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    body: JsonBody<PauseRequest>,
) -> Result<Json<PauseResponse>, Problem> {
    let pause = app.pauses.replace(&id, body.value.into()).await?;
    Ok(Json(answer(&app, &pause.id.to_string())?))
}

/// Ends a pause now and releases its jobs. A pause with windows is in force again in the next window;
/// any other stays in the list until it is removed.
#[utoipa::path(
    post, path = "/pauses/{id}/end", tag = "pauses", params(("id" = String, Path, description = "Id or name")),
    responses(
        (status = 200, body = PauseResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The pause is not in force", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn end(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<PauseResponse>, Problem> {
    let pause = app.pauses.end(&id).await?;
    Ok(Json(answer(&app, &pause.id.to_string())?))
}

/// Deletes a pause and releases its jobs.
#[utoipa::path(
    delete, path = "/pauses/{id}", tag = "pauses", params(("id" = String, Path, description = "Id or name")),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.pauses.remove(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn answer(app: &App, id: &str) -> Result<PauseResponse, PauseRefused> {
    let pause = app.pauses.find(id)?;
    let rules = app.pauses.list();
    let rule = rules.iter().find(|rule| rule.pause.id == pause.id);
    rule.map(|rule| told(app, rule))
        .ok_or_else(|| PauseRefused::NotFound(id.to_owned()))
}

/// Returns a pause with the number of jobs it withholds.
fn told(app: &App, rule: &PauseRule) -> PauseResponse {
    PauseResponse {
        held_jobs: app.dispatch.count_paused(PauseVersion::of(&rule.pause)),
        ..PauseResponse::from(rule)
    }
}

impl From<PauseRefused> for Problem {
    fn from(error: PauseRefused) -> Self {
        match error {
            PauseRefused::NotFound(_) => Self::not_found(error.to_string()),
            PauseRefused::TooMany | PauseRefused::NotInForce(_) => {
                Self::conflict(error.to_string())
            }
            PauseRefused::Invalid(errors) => Self::invalid(errors),
            PauseRefused::Storage(error) => error.into(),
        }
    }
}
