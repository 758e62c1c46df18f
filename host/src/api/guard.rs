//! What every request has to get past.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Problem;
use crate::config::ServerConfig;
use crate::storage::Condition;

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

/// Rejects what would be acknowledged and then lost while the database is unusable. Cancelling stays
/// possible: it reaches a running job whether or not it can be stored.
pub(super) async fn usable_database(
    condition: Condition,
    request: Request,
    next: Next,
) -> Response {
    let reads = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    match condition.fault() {
        Some(fault) if !reads && !request.uri().path().ends_with("/cancel") => {
            Problem::unusable(fault).into_response()
        }
        _ => next.run(request).await,
    }
}

/// Whom the server answers, as far as a browser tells where a request comes from.
#[derive(Clone)]
pub(super) struct Gate {
    /// `server.cors_origins`
    allowed: Arc<[String]>,
    /// The server listens on loopback, so that nobody reaches it by a name but through a proxy.
    loopback: bool,
}

impl Gate {
    pub(super) fn new(config: &ServerConfig) -> Self {
        let address: Option<IpAddr> = config.host.parse().ok();
        Self {
            allowed: config.cors_origins.clone().into(),
            loopback: config.host == "localhost" || address.is_some_and(|ip| ip.is_loopback()),
        }
    }

    /// Keeps pages of other sites, open in an operator's browser, from using the server: by a
    /// request that changes something and says it is from there, or by a name of theirs that was
    /// pointed at this machine (DNS rebinding), under which a browser takes the server for theirs.
    ///
    /// A WebSocket is asked for by GET, changes what it likes, and is the one thing whose answers
    /// a browser lets pages of other sites read.
    pub(super) async fn pass(self, request: Request, next: Next) -> Response {
        let reads = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS
        );
        let changes = !reads || request.headers().contains_key(header::UPGRADE);
        let stranger = self.foreign_name(request.headers()).or_else(|| {
            let origin = self.foreign_origin(request.headers());
            origin.filter(|_| changes)
        });
        if let Some(stranger) = stranger {
            let detail = format!(
                "requests from or by the name of {stranger} are not taken; if they should be, add \
                 its origin to server.cors_origins"
            );
            return Problem::new(StatusCode::FORBIDDEN, "foreign-origin", detail).into_response();
        }
        next.run(request).await
    }

    fn foreign_origin<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let origin = headers.get(header::ORIGIN)?.to_str().unwrap_or("?");
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let own = host.is_some() && authority(origin) == host;
        (!own && !self.allows(|allowed| allowed == origin)).then_some(origin)
    }

    fn foreign_name<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let host = headers.get(header::HOST)?.to_str().unwrap_or("?");
        let is_number = host.parse::<SocketAddr>().is_ok()
            || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
        let own = !self.loopback || is_number || name == "localhost";
        (!own && !self.allows(|allowed| authority(allowed) == Some(host))).then_some(host)
    }

    fn allows(&self, is: impl Fn(&str) -> bool) -> bool {
        self.allowed
            .iter()
            .any(|allowed| allowed == "*" || is(allowed))
    }
}

/// `host:port` of `scheme://host:port`.
fn authority(origin: &str) -> Option<&str> {
    origin.split_once("://").map(|(_, authority)| authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate::new(&ServerConfig {
            cors_origins: vec!["https://tools.example".to_owned()],
            ..ServerConfig::default()
        })
    }

    fn header(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn only_foreign_pages_are_held_back() {
        let from = |origin: &str| {
            let mut headers = header(header::HOST, "127.0.0.1:8080");
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            headers
        };
        assert_eq!(gate().foreign_origin(&HeaderMap::new()), None);
        for own in ["http://127.0.0.1:8080", "https://tools.example"] {
            assert_eq!(gate().foreign_origin(&from(own)), None);
        }
        for foreign in ["http://evil.example", "http://127.0.0.1:9090", "null"] {
            assert_eq!(gate().foreign_origin(&from(foreign)), Some(foreign));
        }
    }

    #[test]
    fn only_foreign_names_are_held_back() {
        let own = [
            "127.0.0.1:8080",
            "127.0.0.1",
            "[::1]:8080",
            "[::1]",
            "localhost:1",
            "tools.example",
        ];
        for host in own {
            assert_eq!(
                gate().foreign_name(&header(header::HOST, host)),
                None,
                "{host}"
            );
        }
        assert_eq!(gate().foreign_name(&HeaderMap::new()), None);
        for host in [
            "evil.example:8080",
            "evil.example",
            "localhost.evil.example",
            "",
        ] {
            assert_eq!(gate().foreign_name(&header(header::HOST, host)), Some(host));
        }
        // Reached over the network, a server has whatever name it is given there.
        let open = Gate {
            loopback: false,
            ..gate()
        };
        assert_eq!(
            open.foreign_name(&header(header::HOST, "noc.example")),
            None
        );
    }
}
