//! `/api/login`, `/api/me`, `/api/sessions`, `/api/tokens`: the caller's own account.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Problem;
use super::access::{self, Caller};
use super::extract::{IdInPath, JsonBody, QueryParams};
use crate::app::App;
use crate::auth::{AuthError, Client, Login};
use crate::model::Permission;
use crate::wire::{
    LoginRequest, MeResponse, PasswordRequest, SessionList, SessionResponse, SetupRequest,
    TokenList, TokenRequest, TokenResponse,
};

/// Creates the first user, an admin, and logs in. Possible once, with the code that the server prints at
/// its start.
#[utoipa::path(
    post, path = "/setup", tag = "users", request_body = SetupRequest,
    responses(
        (status = 200, description = "Created and logged in; the session is in the cookie", body = MeResponse),
        (status = 409, description = "The code is wrong or has expired, or there is a user already", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Invalid; `errors` lists the invalid fields", body = Problem, content_type = "application/problem+json"),
        (status = 429, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn set_up(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    extensions: Extensions,
    body: JsonBody<SetupRequest>,
) -> Result<impl IntoResponse, Problem> {
    let SetupRequest {
        code,
        name,
        password,
    } = body.value;
    let client = client(&headers, &extensions);
    let login = app.auth.set_up(&code, name, password, client).await?;
    Ok(logged_in(&headers, login))
}

/// Logs in with name and password. The session is in the cookie of the response.
#[utoipa::path(
    post, path = "/login", tag = "users", request_body = LoginRequest,
    responses(
        (status = 200, body = MeResponse),
        (status = 401, description = "Wrong name or password", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Authentication is off", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many attempts; see Retry-After", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn log_in(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    extensions: Extensions,
    body: JsonBody<LoginRequest>,
) -> Result<impl IntoResponse, Problem> {
    let LoginRequest { name, password } = body.value;
    let client = client(&headers, &extensions);
    let login = app.auth.log_in(&name, password, client).await?;
    Ok(logged_in(&headers, login))
}

/// Ends the session of the request.
#[utoipa::path(
    post, path = "/logout", tag = "users",
    responses(
        (status = 204, description = "Logged out"),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The request has a token instead of a session", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn log_out(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    app.auth.log_out(&caller.0).await?;
    let cookie = access::set_cookie(&headers, "", 0);
    Ok((
        StatusCode::NO_CONTENT,
        AppendHeaders([(header::SET_COOKIE, cookie)]),
    ))
}

/// Returns the user of the request, with its permissions.
#[utoipa::path(
    get, path = "/me", tag = "users",
    responses(
        (status = 200, body = MeResponse),
        (status = 401, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn me(caller: Caller) -> Json<MeResponse> {
    Json(caller.0.into())
}

/// Changes the caller's password, and ends the caller's other sessions.
#[utoipa::path(
    put, path = "/me/password", tag = "users", request_body = PasswordRequest,
    responses(
        (status = 204, description = "Changed"),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The request has a token instead of a session", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The current password is wrong, or the new one is not accepted", body = Problem, content_type = "application/problem+json"),
        (status = 429, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn change_password(
    State(app): State<Arc<App>>,
    caller: Caller,
    extensions: Extensions,
    body: JsonBody<PasswordRequest>,
) -> Result<StatusCode, Problem> {
    let PasswordRequest {
        current_password,
        new_password,
    } = body.value;
    let address = access::address_of(&extensions);
    app.auth
        .change_password(&caller.0, current_password, new_password, address)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfUser {
    /// The user; if absent, the caller.
    user: Option<String>,
}

impl OfUser {
    /// Returns the name of the user, and checks the permission if it is not the caller.
    fn checked(self, caller: &Caller, permission: Permission) -> Result<String, Problem> {
        let own = caller.0.name().ok_or(AuthError::Off)?;
        match self.user {
            Some(user) if !user.eq_ignore_ascii_case(own) => {
                caller.require(permission)?;
                Ok(user)
            }
            _ => Ok(own.to_owned()),
        }
    }
}

/// Lists the sessions in browsers, the last used first.
#[utoipa::path(
    get, path = "/sessions", tag = "users", params(OfUser),
    responses(
        (status = 200, body = SessionList),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn sessions(
    State(app): State<Arc<App>>,
    caller: Caller,
    QueryParams(query): QueryParams<OfUser>,
) -> Result<Json<SessionList>, Problem> {
    let user = query.checked(&caller, Permission::UsersRead)?;
    let sessions = app.auth.sessions(&user).await?.into_iter();
    let sessions = sessions
        .map(|session| SessionResponse::new(session, &caller.0.proof))
        .collect();
    Ok(Json(SessionList { sessions }))
}

/// Ends a session in a browser.
#[utoipa::path(
    delete, path = "/sessions/{id}", tag = "users", params(("id" = Uuid, Path), OfUser),
    responses(
        (status = 204, description = "Ended"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn end_session(
    State(app): State<Arc<App>>,
    caller: Caller,
    IdInPath(id): IdInPath,
    QueryParams(query): QueryParams<OfUser>,
) -> Result<StatusCode, Problem> {
    let user = query.checked(&caller, Permission::UsersWrite)?;
    app.auth.end_session(&user, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the API tokens, by name.
#[utoipa::path(
    get, path = "/tokens", tag = "users", params(OfUser),
    responses(
        (status = 200, body = TokenList),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn tokens(
    State(app): State<Arc<App>>,
    caller: Caller,
    QueryParams(query): QueryParams<OfUser>,
) -> Result<Json<TokenList>, Problem> {
    let user = query.checked(&caller, Permission::UsersRead)?;
    let tokens = app.auth.tokens(&user).await?.into_iter();
    let tokens = tokens.map(TokenResponse::from).collect();
    Ok(Json(TokenList { tokens }))
}

/// Creates an API token. The response contains the token, which cannot be read again. Requires a login:
/// a token cannot create tokens.
#[utoipa::path(
    post, path = "/tokens", tag = "users", request_body = TokenRequest,
    responses(
        (status = 201, body = TokenResponse),
        (status = 403, body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "User not found", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The name already exists, or the user has too many tokens", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Invalid; `errors` lists the invalid fields", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create_token(
    State(app): State<Arc<App>>,
    caller: Caller,
    mut body: JsonBody<TokenRequest>,
) -> Result<(StatusCode, Json<TokenResponse>), Problem> {
    let user = body.value.user.take();
    let user = OfUser { user }.checked(&caller, Permission::UsersWrite)?;
    let input = body.value.into();
    let (token, text) = app.auth.create_token(&caller.0, &user, input).await?;
    let answer = TokenResponse {
        token: Some(text.expose_secret().to_owned()),
        ..token.into()
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Revokes an API token.
#[utoipa::path(
    delete, path = "/tokens/{id}", tag = "users", params(("id" = Uuid, Path), OfUser),
    responses(
        (status = 204, description = "Revoked"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn revoke_token(
    State(app): State<Arc<App>>,
    caller: Caller,
    IdInPath(id): IdInPath,
    QueryParams(query): QueryParams<OfUser>,
) -> Result<StatusCode, Problem> {
    let user = query.checked(&caller, Permission::UsersWrite)?;
    app.auth.revoke_token(&user, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn client(headers: &HeaderMap, extensions: &Extensions) -> Client {
    let agent = headers.get(header::USER_AGENT);
    let agent = agent.and_then(|agent| agent.to_str().ok());
    let address: Option<IpAddr> = access::address_of(extensions);
    Client {
        address,
        agent: agent.map(str::to_owned),
    }
}

fn logged_in(headers: &HeaderMap, login: Login) -> impl IntoResponse + use<> {
    let value = login.cookie.expose_secret();
    let cookie = access::set_cookie(headers, value, login.expires_in.num_seconds());
    (
        AppendHeaders([(header::SET_COOKIE, cookie)]),
        Json(MeResponse::from(login.principal)),
    )
}
