//! `/api/connections`

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use netssh_core::Session;

use super::Problem;
use super::extract::JsonBody;
use super::types::{
    ConnectionAnswer, ConnectionList, ConnectionTest, WriteConnection, WrittenSecret,
};
use crate::app::App;
use crate::connections::{ConnectionInput, SecretChange};
use crate::model::{JobError, SecretField, Target};

/// Stores a connection.
#[utoipa::path(
    post, path = "/connections", tag = "connections", request_body = WriteConnection,
    responses(
        (status = 201, body = ConnectionAnswer),
        (status = 409, description = "The name is taken", body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    body: JsonBody<WriteConnection>,
) -> Result<
    (
        StatusCode,
        [(HeaderName, String); 1],
        Json<ConnectionAnswer>,
    ),
    Problem,
> {
    if body.value.name.is_none() {
        return Err(Problem::invalid_field("/name", "missing field `name`"));
    }
    let connection = app.connections.create(body.value.into()).await?;
    let location = [(
        header::LOCATION,
        format!("/api/connections/{}", connection.id),
    )];
    Ok((StatusCode::CREATED, location, Json(connection.into())))
}

/// Lists connections, by name.
#[utoipa::path(get, path = "/connections", tag = "connections", responses((status = 200, body = ConnectionList)))]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<ConnectionList>, Problem> {
    let connections = app.connections.list().await?;
    let connections = connections.into_iter().map(Into::into).collect();
    Ok(Json(ConnectionList { connections }))
}

/// Shows a connection; never its secrets.
#[utoipa::path(
    get, path = "/connections/{id}", tag = "connections", params(("id" = String, Path, description = "Id or name")),
    responses(
        (status = 200, body = ConnectionAnswer),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<ConnectionAnswer>, Problem> {
    let connection = app.connections.find(&id).await?;
    Ok(Json(connection.into()))
}

/// Replaces a connection. Secrets that the body does not mention stay.
#[utoipa::path(
    put, path = "/connections/{id}", tag = "connections", params(("id" = String, Path, description = "Id or name")),
    request_body = WriteConnection,
    responses(
        (status = 200, body = ConnectionAnswer),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The new name is taken", body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn replace(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    body: JsonBody<WriteConnection>,
) -> Result<Json<ConnectionAnswer>, Problem> {
    let mut body = body.value;
    if body.name.is_none() {
        body.name = Some(app.connections.find(&id).await?.name);
    }
    let connection = app.connections.update(&id, body.into()).await?;
    Ok(Json(connection.into()))
}

/// Deletes a connection. Jobs that were submitted for it keep their results.
#[utoipa::path(
    delete, path = "/connections/{id}", tag = "connections", params(("id" = String, Path, description = "Id or name")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.connections.delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Connects and logs in. A device that cannot be reached is an answer, not an error: `ok` is false.
#[utoipa::path(
    post, path = "/connections/{id}/test", tag = "connections", params(("id" = String, Path, description = "Id or name")),
    responses(
        (status = 200, body = ConnectionTest),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn test(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<ConnectionTest>, Problem> {
    let connection = app.connections.find(&id).await?;
    let target = Target {
        connection_id: connection.id,
        name: connection.name,
    };
    let begun = Instant::now();
    let tried = log_in(&app, &target).await;
    let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Json(match tried {
        Ok(prompt) => ConnectionTest {
            ok: true,
            prompt: Some(prompt),
            duration_ms,
            error_code: None,
            error: None,
        },
        Err(error) => ConnectionTest {
            ok: false,
            prompt: None,
            duration_ms,
            error_code: Some(error.code.0),
            error: Some(error.message),
        },
    }))
}

async fn log_in(app: &App, target: &Target) -> Result<String, JobError> {
    let (endpoint, _) = app.connections.endpoint(target).await?;
    let session = Session::connect(&endpoint)
        .await
        .map_err(|error| JobError::new(error.code(), error.to_string()))?;
    let prompt = session.prompt().to_owned();
    session.close().await;
    Ok(prompt)
}

impl From<WriteConnection> for ConnectionInput {
    fn from(body: WriteConnection) -> Self {
        let change = |field, written: WrittenSecret| {
            let change = match written? {
                Some(secret) => SecretChange::Set(secret),
                None => SecretChange::Clear,
            };
            Some((field, change))
        };
        let secrets = [
            change(SecretField::Password, body.password),
            change(SecretField::PrivateKey, body.private_key),
            change(SecretField::Passphrase, body.passphrase),
            change(SecretField::Secret, body.secret),
        ];
        Self {
            // A connection given with a job needs no name of its own.
            name: body.name.unwrap_or_else(|| "inline".to_owned()),
            host: body.host,
            port: body.port,
            username: body.username,
            device_type: body.device_type,
            timeout_seconds: body.timeout_seconds,
            tags: body.tags,
            host_key: body.host_key,
            secrets: secrets.into_iter().flatten().collect(),
        }
    }
}
