//! `/api/users`: users and service accounts.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};

use super::Problem;
use super::access::Caller;
use super::extract::JsonBody;
use crate::app::App;
use crate::wire::{UserList, UserRequest, UserResponse};

/// Lists users, by name.
#[utoipa::path(
    get, path = "/users", tag = "users",
    responses(
        (status = 200, body = UserList),
        (status = 409, description = "Authentication is off", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<UserList>, Problem> {
    let users = app.auth.users().await?.into_iter();
    let users = users.map(UserResponse::from).collect();
    Ok(Json(UserList { users }))
}

/// Creates a user or a service account.
#[utoipa::path(
    post, path = "/users", tag = "users", request_body = UserRequest,
    responses(
        (status = 201, body = UserResponse),
        (status = 409, description = "The name already exists, or authentication is off", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Invalid; `errors` lists the invalid fields", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: JsonBody<UserRequest>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<UserResponse>), Problem> {
    let user = app.auth.create_user(&caller.0, body.value.into()).await?;
    let location = [(header::LOCATION, format!("/api/users/{}", user.name))];
    Ok((StatusCode::CREATED, location, Json(user.into())))
}

/// Returns a user.
#[utoipa::path(
    get, path = "/users/{name}", tag = "users", params(("name" = String, Path)),
    responses(
        (status = 200, body = UserResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<UserResponse>, Problem> {
    Ok(Json(app.auth.user(&name).await?.into()))
}

/// Replaces a user. A change of role, permissions, `disabled` or password ends the user's sessions.
#[utoipa::path(
    put, path = "/users/{name}", tag = "users", params(("name" = String, Path)),
    request_body = UserRequest,
    responses(
        (status = 200, body = UserResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The name already exists, or no admin would be left", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Invalid; `errors` lists the invalid fields", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn replace(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    body: JsonBody<UserRequest>,
) -> Result<Json<UserResponse>, Problem> {
    let changed = app.auth.update_user(&caller.0, &name, body.value.into());
    Ok(Json(changed.await?.into()))
}

/// Deletes a user with all sessions and tokens. The user's jobs are kept.
#[utoipa::path(
    delete, path = "/users/{name}", tag = "users", params(("name" = String, Path)),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "No admin would be left", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    app.auth.delete_user(&caller.0, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
