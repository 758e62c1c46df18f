//! What every request has to get past.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Problem;

/// No request takes longer than the configuration says.
pub(super) async fn time_limit(limit: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timeout",
            format!("the request took longer than {} s", limit.as_secs_f64()),
        )
        .into_response(),
    }
}

/// A page of another site, open in an operator's browser, cannot make the server do anything: a
/// request that changes something and says where it comes from has to come from here.
pub(super) async fn same_origin(allowed: Arc<[String]>, request: Request, next: Next) -> Response {
    let changes = !matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if changes && let Some(origin) = foreign_origin(request.headers(), &allowed) {
        let detail = format!(
            "a page of {origin} may not do this; if it should, add it to server.cors_origins"
        );
        return Problem::new(StatusCode::FORBIDDEN, "foreign-origin", detail).into_response();
    }
    next.run(request).await
}

fn foreign_origin<'h>(headers: &'h HeaderMap, allowed: &[String]) -> Option<&'h str> {
    let origin = headers.get(header::ORIGIN)?.to_str().unwrap_or("?");
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let own = origin
        .split_once("://")
        .is_some_and(|(_, authority)| Some(authority) == host);
    let allowed = allowed
        .iter()
        .any(|allowed| allowed == "*" || allowed == origin);
    (!own && !allowed).then_some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_foreign_pages_are_held_back() {
        let headers = |origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "127.0.0.1:8080".parse().unwrap());
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            headers
        };
        let allowed = ["https://tools.example".to_owned()];
        assert_eq!(foreign_origin(&HeaderMap::new(), &allowed), None);
        assert_eq!(
            foreign_origin(&headers("http://127.0.0.1:8080"), &allowed),
            None
        );
        assert_eq!(
            foreign_origin(&headers("https://tools.example"), &allowed),
            None
        );
        for foreign in ["http://evil.example", "http://127.0.0.1:9090", "null"] {
            assert!(
                foreign_origin(&headers(foreign), &allowed).is_some(),
                "{foreign}"
            );
        }
    }
}
