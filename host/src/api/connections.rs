//! `/api/connections`: stored connections, login tests and host keys.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::MethodRouter;
use netssh_core::{Detection, Endpoint, Session};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Problem;
use super::access::Caller;
use super::extract::{JsonBody, QueryParams};
use super::page::{PageQuery, fitting};
use crate::app::App;
use crate::connections::{AnswerInput, ConnectionInput, SecretChange};
use crate::model::{Connection, JobError, KnownHostKey, Permission, SecretField};
use crate::wire::{
    ConnectionDetection, ConnectionList, ConnectionRequest, ConnectionResponse, ConnectionTest,
    DetectedPlatform, HostKeyList, LoginAnswerRequest, TrustHostKey, WrittenSecret,
};

/// Stores a connection.
#[utoipa::path(
    post, path = "/connections", tag = "connections", request_body = ConnectionRequest,
    responses(
        (status = 201, body = ConnectionResponse),
        (status = 409, description = "The name already exists", body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    body: JsonBody<ConnectionRequest>,
) -> Result<
    (
        StatusCode,
        [(HeaderName, String); 1],
        Json<ConnectionResponse>,
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
#[utoipa::path(
    get, path = "/connections", tag = "connections", params(PageQuery),
    responses(
        (status = 200, body = ConnectionList),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<ConnectionList>, Problem> {
    let page = query.page()?;
    let after = query.cursor.unwrap_or_default();
    let (found, others) = app.storage.connections_page(&after, page).await?;
    let answers = found.into_iter().map(ConnectionResponse::from);
    let (connections, more) = fitting(answers, page.limit);
    let last = connections.last().filter(|_| more || others);
    let next_cursor = last.map(|connection| connection.name.clone());
    Ok(Json(ConnectionList {
        connections,
        next_cursor,
    }))
}

/// Returns a connection, without its secrets.
#[utoipa::path(
    get, path = "/connections/{id}", tag = "connections", params(("id" = String, Path, description = "Id or name")),
    responses(
        (status = 200, body = ConnectionResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<ConnectionResponse>, Problem> {
    let connection = app.connections.find(&id).await?;
    Ok(Json(connection.into()))
}

/// Replaces a connection. Secrets and answers that the body omits are kept, unless a new address, user,
/// route or host key could send them to another host.
#[utoipa::path(
    put, path = "/connections/{id}", tag = "connections",
    params(("id" = String, Path, description = "Id or name"), ReplaceQuery),
    request_body = ConnectionRequest,
    responses(
        (status = 200, body = ConnectionResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The new name already exists", body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn replace(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<ReplaceQuery>,
    body: JsonBody<ConnectionRequest>,
) -> Result<Json<ConnectionResponse>, Problem> {
    let mut body = body.value;
    if body.name.is_none() {
        body.name = Some(app.connections.find(&id).await?.name);
    }
    let forget = query.forget_secrets_of_dependents;
    let may_redirect = caller.may(Permission::ConnectionsTrust);
    let updating = app
        .connections
        .update(&id, body.into(), forget, may_redirect);
    let connection = updating.await?;
    Ok(Json(connection.into()))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReplaceQuery {
    /// Also clears the secrets of connections that use this one as a jump host and could reach another
    /// device after the change. Without it, such a change is rejected.
    #[serde(default)]
    forget_secrets_of_dependents: bool,
}

/// Deletes a connection. Its jobs keep their results.
#[utoipa::path(
    delete, path = "/connections/{id}", tag = "connections", params(("id" = String, Path, description = "Id or name")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Other connections use it as a jump host", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.connections.delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Connects and logs in. If that fails, the status is 200 as well, and `ok` is false.
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
    let endpoint = app.connections.endpoint_of(&connection).await;
    Ok(Json(try_out(&app, &connection, endpoint).await))
}

/// Detects the platform of the device: logs in and runs a few harmless commands. If that fails, the
/// status is 200 as well, and `ok` is false. The connection is not changed.
#[utoipa::path(
    post, path = "/connections/{id}/detect", tag = "connections", params(("id" = String, Path, description = "Id or name")),
    responses(
        (status = 200, body = ConnectionDetection),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn detect(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<ConnectionDetection>, Problem> {
    let connection = app.connections.find(&id).await?;
    let begun = Instant::now();
    let found = look(&app, &connection).await;
    let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (found, error) = match found {
        Ok(found) => (Some(found), None),
        Err(error) => (None, Some(error)),
    };
    let (error_code, message) = error.map(|error| (error.code.0, error.message)).unzip();
    Ok(Json(ConnectionDetection {
        ok: found.is_some(),
        device_type: connection.device_type,
        duration_ms,
        error_code,
        error: message,
        ..found.map(ConnectionDetection::from).unwrap_or_default()
    }))
}

async fn look(app: &App, connection: &Connection) -> Result<Detection, JobError> {
    let endpoint = app.connections.endpoint_of(connection).await?;
    let detecting = netssh_core::detect(&endpoint, app.connections.platforms());
    let detected = app.interactive_login(&endpoint, detecting).await;
    detected
        .map(|(detected, _connection)| detected)
        .map_err(|error| app.connections.explain(connection, &error))
}

impl From<Detection> for ConnectionDetection {
    fn from(found: Detection) -> Self {
        let candidates = found.candidates.into_iter();
        Self {
            candidates: candidates
                .map(|(device_type, certainty)| DetectedPlatform {
                    device_type,
                    certainty,
                })
                .collect(),
            server: Some(found.server),
            prompt: Some(found.prompt),
            ..Self::default()
        }
    }
}

/// Connects and logs in with a connection that is not stored.
#[utoipa::path(
    post, path = "/connections/test", tag = "connections", request_body = ConnectionRequest,
    responses(
        (status = 200, body = ConnectionTest),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn test_unsaved(
    State(app): State<Arc<App>>,
    body: JsonBody<ConnectionRequest>,
) -> Result<Json<ConnectionTest>, Problem> {
    let connection = app.connections.unsaved(body.value.into()).await?;
    let endpoint = app.connections.unsaved_endpoint_of(&connection).await;
    Ok(Json(try_out(&app, &connection, endpoint).await))
}

/// Lists the host keys known for a connection's address.
#[utoipa::path(
    get, path = "/connections/{id}/host-keys", tag = "connections", params(("id" = String, Path, description = "Id or name")),
    responses(
        (status = 200, body = HostKeyList),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn host_keys(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<HostKeyList>, Problem> {
    let (connection, known) = app.connections.host_keys(&id).await?;
    Ok(Json(host_key_list(connection, known)))
}

/// Pins a host key that the operator has verified, such as after a replacement of the device. Stored
/// secrets are kept.
#[utoipa::path(
    post, path = "/connections/{id}/host-keys", tag = "connections", params(("id" = String, Path, description = "Id or name")),
    request_body = TrustHostKey,
    responses(
        (status = 200, body = HostKeyList),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn trust_host_key(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    body: JsonBody<TrustHostKey>,
) -> Result<Json<HostKeyList>, Problem> {
    let trusting = app.connections.trust_host_key(&id, &body.value.fingerprint);
    let (connection, known) = trusting.await?;
    Ok(Json(host_key_list(connection, known)))
}

fn host_key_list(connection: Connection, known: Vec<KnownHostKey>) -> HostKeyList {
    HostKeyList {
        host: connection.host,
        port: connection.port,
        pinned: connection.host_key,
        host_keys: known.into_iter().map(Into::into).collect(),
    }
}

/// Forgets the host keys known for a connection's address and route; the next session learns the device's
/// key.
#[utoipa::path(
    delete, path = "/connections/{id}/host-keys", tag = "connections",
    params(("id" = String, Path, description = "Id or name"), ForgetQuery),
    responses(
        (status = 204, description = "Forgotten"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Stored secrets are bound to these keys", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn forget_host_keys(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<ForgetQuery>,
) -> Result<StatusCode, Problem> {
    let forgetting = app.connections.forget_host_keys(&id, query.forget_secrets);
    forgetting.await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ForgetQuery {
    /// Also clears the secrets that are bound to these keys. Without it, the request is rejected if
    /// there are any.
    #[serde(default)]
    forget_secrets: bool,
}

/// Routes the other methods of `/connections/test`, beside [`test_unsaved`], to a connection named
/// `test`.
pub(super) fn named_test() -> MethodRouter<Arc<App>> {
    let name = || Path("test".to_owned());
    axum::routing::get(move |state| get(state, name()))
        .put(move |state, caller, query, body| replace(state, caller, name(), query, body))
        .delete(move |state| delete(state, name()))
}

async fn try_out(
    app: &App,
    connection: &Connection,
    endpoint: Result<Endpoint, JobError>,
) -> ConnectionTest {
    let begun = Instant::now();
    let tried = match endpoint {
        Ok(endpoint) => log_in(app, connection, &endpoint).await,
        Err(error) => Err(error),
    };
    let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (seen, error) = match tried {
        Ok(seen) => (Some(seen), None),
        Err(error) => (None, Some(error)),
    };
    let (prompt, platform) = seen.unzip();
    let ok = error.is_none();
    let (error_code, error) = error.map(|error| (error.code.0, error.message)).unzip();
    ConnectionTest {
        ok,
        prompt,
        platform,
        duration_ms,
        error_code,
        error,
    }
}

/// Logs in and returns the device's prompt and the platform's name.
async fn log_in(
    app: &App,
    connection: &Connection,
    endpoint: &Endpoint,
) -> Result<(String, String), JobError> {
    let (session, _connection) = app
        .interactive_login(endpoint, Session::connect(endpoint))
        .await
        .map_err(|error| app.connections.explain(connection, &error))?;
    let seen = (session.prompt().to_owned(), session.platform().name.clone());
    session.close().await;
    Ok(seen)
}

impl From<ConnectionRequest> for ConnectionInput {
    fn from(body: ConnectionRequest) -> Self {
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
            // A connection that is submitted with a job may omit its name.
            name: body.name.unwrap_or_else(|| "inline".to_owned()),
            host: body.host,
            port: body.port,
            username: body.username,
            device_type: body.device_type,
            timeout_seconds: body.timeout_seconds,
            tags: body.tags,
            host_key: body.host_key,
            jump: body.jump,
            algorithms: body.algorithms,
            certificate: body.certificate,
            agent: body.agent,
            max_sessions: body.max_sessions,
            secrets: secrets.into_iter().flatten().collect(),
            answers: body
                .answers
                .map(|answers| answers.into_iter().map(Into::into).collect()),
        }
    }
}

impl From<LoginAnswerRequest> for AnswerInput {
    fn from(body: LoginAnswerRequest) -> Self {
        Self {
            question: body.question,
            answer: body.answer,
            credential: body.credential,
            set: body.set,
            secret: body.secret,
            key: body.key,
        }
    }
}
