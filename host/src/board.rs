//! The dashboard: the files of `static/`, built into the binary.
//!
//! It speaks the public API and nothing else; here is only what serves its files.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::api::Problem;
use crate::app::App;
use crate::config::BoardConfig;

/// Scripts, styles and requests from this server only, and no inline code: text that a device sent
/// stays text.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'self'; form-action 'self'; \
    frame-ancestors 'none'";

#[derive(RustEmbed)]
#[folder = "../static"]
struct Files;

pub fn router(config: &BoardConfig) -> Router<Arc<App>> {
    let path = config.ui_path.clone();
    Router::new()
        .route(&path, get(page))
        .route(&format!("{path}/"), get(page))
        .route(&format!("{path}/static/{{*file}}"), get(file))
        .route(&format!("{path}/{{*page}}"), get(page))
}

/// The one page; which view it shows is its own business.
async fn page(State(app): State<Arc<App>>, method: Method, uri: Uri) -> Response {
    let board = &app.config.board;
    let path = uri.path();
    let of_api = path.strip_prefix(&board.api_prefix);
    let is_file = path
        .rsplit('/')
        .next()
        .is_some_and(|name| name.contains('.'));
    let Some(index) = Files::get("index.html") else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if is_file || of_api.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Problem::no_such_url(method, uri).await.into_response();
    }
    let html = String::from_utf8_lossy(&index.data)
        .replace(
            r#"<base href="/board/">"#,
            &format!(r#"<base href="{}/">"#, board.ui_path),
        )
        .replace(
            r#"<meta name="api-base" content="/api">"#,
            &format!(r#"<meta name="api-base" content="{}">"#, board.api_prefix),
        );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::REFERRER_POLICY, "same-origin"),
    ];
    (headers, html).into_response()
}

async fn file(Path(path): Path<String>, request: axum::http::HeaderMap) -> Response {
    let Some(file) = Files::get(&path) else {
        return (StatusCode::NOT_FOUND, "there is no such file").into_response();
    };
    let tag = tag_of(&file);
    let has = request.get(header::IF_NONE_MATCH);
    if has.is_some_and(|has| has.as_bytes() == tag.as_bytes()) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, content_type(&path).to_owned()),
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    (headers, file.data).into_response()
}

fn tag_of(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let digits: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("html") => "text/html; charset=utf-8",
        _ => "application/octet-stream",
    }
}
