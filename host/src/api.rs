//! The HTTP API: routes, and the middleware around every request.
//!
//! Handlers translate between HTTP and the use cases of the host. The wire types are in [`crate::wire`]; every
//! error is sent as a [`Problem`].

mod access;
mod account;
mod body_budget;
mod budget;
mod compare;
mod connections;
mod devices;
mod events;
mod extract;
mod guard;
mod health;
mod jobs;
mod notifications;
mod page;
mod pauses;
mod plugins;
mod problem;
mod schedules;
mod terminal;
mod users;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware;
use axum::response::{Redirect, Response};
use axum::{Extension, Router};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::request_id::{
    MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer,
};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;
use tracing::Span;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::app::App;
use crate::board;
use crate::config::ServerConfig;
pub use access::{Access, ClientAddress, OPERATIONS};
pub(crate) use guard::FORWARDED_PROTO;
pub use problem::Problem;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// Content security policy of responses that are not pages: a browser that renders one as a page loads
/// and runs nothing.
const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
/// Content security policy of the API documentation, which sets inline styles and loads icons from
/// `data:`.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' \
    'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action \
    'none'; frame-ancestors 'none'";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Job Scheduler",
        description = "Jobs for network devices: submit a job by plugin name, follow it, read the \
                       devices' output. Times are RFC 3339 in UTC, ids are UUIDs, errors are problem \
                       details (RFC 9457).",
        license(name = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "jobs", description = "Runs of plugins"),
        (name = "connections", description = "Addresses and credentials of devices"),
        (name = "schedules", description = "Recurring jobs"),
        (name = "notifications", description = "Messages about ended jobs"),
        (name = "pauses", description = "Maintenance, freezes and blackout windows, in which jobs do \
                                         not start"),
        (name = "plugins", description = "Playbooks and components"),
        (name = "users", description = "Users, logins, sessions and API tokens"),
        (name = "health", description = "State of the server"),
    )
)]
struct Specification;

/// Builds the router with all routes and middleware.
pub fn router(app: &Arc<App>) -> Router {
    let (api, specification) = OpenApiRouter::with_openapi(Specification::openapi())
        .nest("/api", api_routes())
        .split_for_parts();
    let specification = with_permissions(specification);
    let api = with_access(api, app, "/api");
    let docs: Router<Arc<App>> = SwaggerUi::new("/api/docs")
        .url("/api/openapi.json", specification)
        .into();
    let docs = docs.layer(always(header::CONTENT_SECURITY_POLICY, DOCS_POLICY));
    let health = Router::new().route("/health", axum::routing::get(health::health));
    let mut all = api.merge(docs).merge(with_access(health, app, ""));
    let board = &app.config.board;
    if board.enabled {
        let dashboard = Redirect::temporary(&board.ui_path);
        all = all.route("/", axum::routing::get(async move || dashboard));
        // The dashboard gets its own prefix for the same API, so that a proxy can expose both under one
        // rule.
        let (board_api, _) = api_routes().split_for_parts();
        let board_api = with_access(board_api, app, &board.api_prefix);
        all = all
            .nest(&board.api_prefix, board_api.fallback(Problem::no_such_url))
            .merge(board::router(board));
    }
    let all = all
        .fallback(Problem::no_such_url)
        .method_not_allowed_fallback(Problem::method_not_allowed)
        .with_state(Arc::clone(app));
    let condition = app.storage.condition().clone();
    let all = all.layer(middleware::from_fn(move |request, next| {
        guard::usable_database(condition.clone(), request, next)
    }));
    wrap(all, &app.config.server)
}

/// Returns the OpenAPI specification that `GET /api/openapi.json` serves.
#[must_use]
pub fn specification() -> utoipa::openapi::OpenApi {
    let specification = OpenApiRouter::with_openapi(Specification::openapi())
        .nest("/api", api_routes())
        .into_openapi();
    with_permissions(specification)
}

/// Adds the check of [`access`] to routes that are under `prefix` in the URL.
fn with_access(routes: Router<Arc<App>>, app: &Arc<App>, prefix: &str) -> Router<Arc<App>> {
    let state = (Arc::clone(app), Arc::from(prefix));
    routes.route_layer(middleware::from_fn_with_state(state, access::check))
}

/// Adds to each operation what it requires, as `x-permission`.
fn with_permissions(mut specification: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    for (path, item) in &mut specification.paths.paths {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::POST, &mut item.post),
            (Method::PUT, &mut item.put),
            (Method::DELETE, &mut item.delete),
        ];
        for (method, operation) in operations {
            let path = path.strip_prefix("/api").unwrap_or(path);
            let (Some(operation), Some(access)) = (operation, access::access(&method, path)) else {
                continue;
            };
            let required = match access {
                Access::Public => "public",
                Access::Authenticated => "authenticated",
                Access::Requires(permission) => permission.as_str(),
            };
            let extension = utoipa::openapi::extensions::Extensions::builder()
                .add("x-permission", required)
                .build();
            operation
                .extensions
                .get_or_insert_default()
                .merge(extension);
        }
    }
    specification
}

fn api_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(health::health))
        .routes(routes!(account::set_up))
        .routes(routes!(account::log_in))
        .routes(routes!(account::log_out))
        .routes(routes!(account::me))
        .routes(routes!(account::change_password))
        .routes(routes!(account::sessions))
        .routes(routes!(account::end_session))
        .routes(routes!(account::tokens, account::create_token))
        .routes(routes!(account::revoke_token))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::get, users::replace, users::delete))
        .routes(routes!(jobs::create, jobs::list))
        .routes(routes!(jobs::stats))
        .routes(routes!(jobs::get, jobs::delete))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::rerun))
        .routes(routes!(jobs::attempts))
        .routes(routes!(compare::compare))
        .routes(routes!(jobs::results))
        .routes(routes!(jobs::logs))
        .routes(routes!(events::events))
        .routes(routes!(connections::create, connections::list))
        .routes(routes!(
            connections::get,
            connections::replace,
            connections::delete
        ))
        .routes(routes!(connections::test))
        .routes(routes!(connections::detect))
        .routes(routes!(connections::test_unsaved))
        .route("/connections/test", connections::named_test())
        .routes(routes!(
            connections::host_keys,
            connections::trust_host_key,
            connections::forget_host_keys
        ))
        .routes(routes!(devices::list))
        .routes(routes!(devices::list_open_circuits))
        .routes(routes!(terminal::open))
        .routes(routes!(schedules::create, schedules::list))
        .routes(routes!(schedules::preview))
        .route("/schedules/preview", schedules::named_preview())
        .routes(routes!(
            schedules::get,
            schedules::replace,
            schedules::delete
        ))
        .routes(routes!(schedules::enable))
        .routes(routes!(schedules::disable))
        .routes(routes!(schedules::trigger))
        .routes(routes!(notifications::list))
        .routes(routes!(notifications::test))
        .routes(routes!(pauses::create, pauses::list))
        .routes(routes!(pauses::get, pauses::replace, pauses::delete))
        .routes(routes!(pauses::end))
        .routes(routes!(plugins::list))
        .routes(routes!(plugins::get))
        .routes(routes!(plugins::versions))
        .routes(routes!(plugins::reload))
        .route("/plugins/reload", plugins::named_reload())
}

/// Adds the middleware of every request, outermost first.
fn wrap(router: Router, config: &ServerConfig) -> Router {
    let timeout = Duration::from_secs(config.request_timeout_seconds);
    let max_body_bytes = config.max_body_bytes;
    let gate = guard::Gate::new(config);
    let layers = ServiceBuilder::new()
        .layer(SetRequestIdLayer::new(REQUEST_ID, RequestIds))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(|request: &Request| {
                    let request_id = request.extensions().get::<RequestId>();
                    let request_id = request_id.and_then(|id| id.header_value().to_str().ok());
                    tracing::info_span!(
                        "request",
                        method = %request.method(),
                        path = request.uri().path(),
                        user = tracing::field::Empty,
                        request_id
                    )
                })
                .on_request(())
                .on_response(log_answer)
                .on_failure(()),
        )
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(always(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(always(header::CONTENT_SECURITY_POLICY, API_POLICY))
        .layer(always(header::X_FRAME_OPTIONS, "DENY"))
        .layer(always(header::REFERRER_POLICY, "no-referrer"))
        .layer(always(CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"))
        .layer(CompressionLayer::new())
        .layer(cors(config))
        .layer(CatchPanicLayer::custom(Problem::panicked))
        .layer(middleware::from_fn(move |request, next| {
            guard::time_limit(timeout, request, next)
        }))
        .layer(middleware::from_fn(move |request, next| {
            gate.clone().pass(request, next)
        }))
        .layer(middleware::from_fn(move |request, next| {
            guard::body_limit(max_body_bytes, request, next)
        }))
        .layer(Extension(body_budget::BodyBudget::new(config)));
    router.layer(layers)
}

/// Returns a layer that sets a response header unless the response already has it.
fn always(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

fn log_answer<B>(response: &Response<B>, took: Duration, _: &Span) {
    let status = response.status().as_u16();
    let took_ms = took.as_secs_f64() * 1000.0;
    tracing::debug!(status, took_ms, "answered");
}

fn cors(config: &ServerConfig) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
            REQUEST_ID,
        ])
        .expose_headers([header::LOCATION, REQUEST_ID]);
    let origins = config.cors_origins.iter();
    layer.allow_origin(AllowOrigin::list(
        origins.filter_map(|origin| origin.parse().ok()),
    ))
}

#[derive(Clone)]
struct RequestIds;

impl MakeRequestId for RequestIds {
    fn make_request_id<B>(&mut self, _: &axum::http::Request<B>) -> Option<RequestId> {
        let id = uuid::Uuid::now_v7().to_string();
        id.parse().ok().map(RequestId::new)
    }
}

/// Returns a 202 response with a `Location` header.
fn accepted<T>(location: &str, body: T) -> (StatusCode, [(HeaderName, String); 1], axum::Json<T>) {
    let location = [(header::LOCATION, location.to_owned())];
    (StatusCode::ACCEPTED, location, axum::Json(body))
}
