//! Time and size limits of requests, and protection against web pages of other sites.
//!
//! A page of another site, open in an operator's browser, can send requests to every address that the
//! browser can reach, and this server has no login that would stop it. Two checks do. The server answers
//! only to its own host names, because a page can point its own name at this machine (DNS rebinding) and
//! is then "same origin" to the browser. And it rejects requests that the browser marks as sent by a
//! page of another origin.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Problem;
use crate::config::ServerConfig;
use crate::storage::Condition;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// The scheme by which the client reaches the server. The server itself sets it for a connection with TLS.
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Ends a request that takes longer than `server.request_timeout_seconds`.
pub(super) async fn time_limit(limit: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timeout",
            format!("request timeout after {} s", limit.as_secs_f64()),
        )
        .into_response(),
    }
}

/// Rejects a body with a too large `Content-Length` before reading any of it, so a client that sends
/// `Expect: 100-continue` need not upload it. Other bodies are counted while they are read.
pub(super) async fn body_limit(limit: usize, request: Request, next: Next) -> Response {
    let length = text_of(request.headers(), &header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        return Problem::too_large().into_response();
    }
    next.run(request).await
}

/// Rejects requests that would be acknowledged and then lost while the database is unusable. Cancelling
/// stays possible, because it reaches a running job whether or not the cancellation can be stored.
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

/// Rejects requests for foreign host names and from pages of other origins.
#[derive(Clone)]
pub(super) struct Gate(Arc<Accepted>);

struct Accepted {
    /// The names in `server.allowed_hosts`.
    hosts: Vec<String>,
    /// The origins in `server.cors_origins`.
    origins: Vec<String>,
    /// Set if the server listens on a Unix socket, which no browser can reach: the proxy in front of it
    /// may pass any host name.
    any_host: bool,
}

/// The reason for a refusal.
#[derive(Debug, PartialEq)]
enum Foreign {
    Host(String),
    Origin(String),
}

impl Gate {
    pub(super) fn new(config: &ServerConfig) -> Self {
        Self(Arc::new(Accepted {
            hosts: config.allowed_hosts.clone(),
            origins: config.cors_origins.clone(),
            any_host: config.unix_socket().is_some(),
        }))
    }

    pub(super) async fn pass(self, request: Request, next: Next) -> Response {
        match self.0.foreign(&request) {
            Some(foreign) => foreign.into_response(),
            None => next.run(request).await,
        }
    }
}

impl IntoResponse for Foreign {
    fn into_response(self) -> Response {
        let (name, detail) = match self {
            Self::Host(host) => (
                "foreign-host",
                format!(
                    "host {host:?} is not allowed: it is not a known name of this server; to allow it, \
                     add it to server.allowed_hosts"
                ),
            ),
            Self::Origin(origin) => (
                "foreign-origin",
                format!(
                    "requests from pages of {origin} are not allowed; to allow them, add the origin to \
                     server.cors_origins"
                ),
            ),
        };
        Problem::new(StatusCode::FORBIDDEN, name, detail).into_response()
    }
}

impl Accepted {
    fn foreign(&self, request: &Request) -> Option<Foreign> {
        let headers = request.headers();
        if let Some(host) = self.foreign_host(request) {
            return Some(Foreign::Host(host));
        }
        let origin = text_of(headers, &header::ORIGIN);
        let trusted = origin.is_some_and(|origin| self.trusts(origin, headers));
        // A WebSocket is opened by a GET but can change state, and it is the one kind of response that a
        // browser lets pages of other sites read.
        let opens_socket = headers.contains_key(header::UPGRADE);
        let reads = !opens_socket
            && matches!(
                *request.method(),
                Method::GET | Method::HEAD | Method::OPTIONS
            );
        if let Some(origin) = origin
            && !trusted
            && !reads
        {
            return Some(Foreign::Origin(origin.to_owned()));
        }
        let other_site = matches!(
            text_of(headers, &SEC_FETCH_SITE),
            Some("cross-site" | "same-site")
        );
        if other_site && !trusted && !(reads && opens_page(headers)) {
            let origin = origin.unwrap_or("another origin");
            return Some(Foreign::Origin(origin.to_owned()));
        }
        None
    }

    /// Returns the request's host name if it is not one of this server's. A request without a host name
    /// comes from a program: browsers always send one.
    fn foreign_host(&self, request: &Request) -> Option<String> {
        if self.any_host {
            return None;
        }
        let in_target = request
            .uri()
            .authority()
            .map(axum::http::uri::Authority::as_str);
        let in_headers = request.headers().get_all(header::HOST);
        let in_headers = in_headers.iter().map(|host| host.to_str().unwrap_or("?"));
        let mut named = in_target.into_iter().chain(in_headers);
        named
            .find(|named| Authority::parse(named).is_none_or(|name| !self.is_own(&name)))
            .map(str::to_owned)
    }

    /// Returns whether the name belongs to this server. IP addresses are accepted, because a page cannot
    /// point an address at another machine.
    fn is_own(&self, name: &Authority<'_>) -> bool {
        name.is_address || name.host.eq_ignore_ascii_case("localhost") || self.is_listed(name.host)
    }

    fn is_listed(&self, host: &str) -> bool {
        let mut hosts = self.hosts.iter();
        hosts.any(|listed| listed.eq_ignore_ascii_case(host))
    }

    fn trusts(&self, origin: &str, headers: &HeaderMap) -> bool {
        self.origins.iter().any(|allowed| allowed == origin) || self.is_own_origin(origin, headers)
    }

    /// Returns whether a page of this server sent the request: the origin has the scheme, host and port
    /// that the browser requested. [`Self::foreign_host`] has already checked `Host`.
    fn is_own_origin(&self, origin: &str, headers: &HeaderMap) -> bool {
        let host = text_of(headers, &header::HOST).and_then(Authority::parse);
        let (Some(host), Some((scheme, authority))) = (host, origin.split_once("://")) else {
            return false;
        };
        let Some(origin) = Authority::parse(authority) else {
            return false;
        };
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return false,
        };
        // The server or a proxy terminates TLS and says so in a header, which a page cannot add to a
        // cross-site request without a preflight. Without the header, a name in the
        // operator's list is trusted under either scheme.
        let forwarded = text_of(headers, &FORWARDED_PROTO)
            .and_then(|list| list.split(',').next())
            .map(str::trim);
        let right_scheme = match forwarded {
            Some(forwarded) => forwarded.eq_ignore_ascii_case(scheme),
            None => scheme == "http" || self.any_host || self.is_listed(host.host),
        };
        right_scheme
            && origin.host.eq_ignore_ascii_case(host.host)
            && origin.port.unwrap_or(default_port) == host.port.unwrap_or(default_port)
    }
}

/// Returns whether the browser opens the response as a top-level page.
///
/// This is allowed from everywhere, or links to jobs in a ticket would not work. It does no harm: a GET
/// changes nothing, the linking page can neither read the response nor frame it (`frame-ancestors
/// 'none'`), and API responses are JSON, which `nosniff` keeps the browser from running. Everything else
/// that a page of another site loads (scripts, images, frames, fetches) is rejected.
fn opens_page(headers: &HeaderMap) -> bool {
    text_of(headers, &SEC_FETCH_MODE) == Some("navigate")
        && text_of(headers, &SEC_FETCH_DEST) == Some("document")
}

fn text_of<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    Some(headers.get(name)?.to_str().unwrap_or("?"))
}

/// A parsed `host` or `host:port`.
struct Authority<'a> {
    /// Without the brackets of an IPv6 address.
    host: &'a str,
    port: Option<u16>,
    is_address: bool,
}

impl<'a> Authority<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (host, rest, in_brackets) = match text.strip_prefix('[') {
            Some(text) => {
                let (host, rest) = text.split_once(']')?;
                (host, rest, true)
            }
            None => {
                let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
                (host, rest, false)
            }
        };
        let port = match rest.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            None if rest.is_empty() => None,
            _ => return None,
        };
        let is_address = match in_brackets {
            true => host.parse::<Ipv6Addr>().is_ok(),
            false => host.parse::<Ipv4Addr>().is_ok(),
        };
        let is_name = !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        (is_address || (is_name && !in_brackets)).then_some(Self {
            host,
            port,
            is_address,
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn foreign_to(config: &ServerConfig, headers: &[(&str, &str)]) -> Option<Foreign> {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = match *name {
                "method" => request.method(*value),
                "target" => request.uri(*value),
                _ => request.header(*name, *value),
            };
        }
        let request = request.body(Body::empty()).unwrap();
        Gate::new(config).0.foreign(&request)
    }

    fn foreign(headers: &[(&str, &str)]) -> Option<Foreign> {
        let config = ServerConfig {
            allowed_hosts: vec!["noc.example".to_owned()],
            cors_origins: vec!["https://tools.example".to_owned()],
            ..ServerConfig::default()
        };
        foreign_to(&config, headers)
    }

    fn host(host: &str) -> Option<Foreign> {
        Some(Foreign::Host(host.to_owned()))
    }

    fn origin(origin: &str) -> Option<Foreign> {
        Some(Foreign::Origin(origin.to_owned()))
    }

    #[test]
    fn own_host_names_pass_whatever_address_the_server_listens_on() {
        for listen in ["127.0.0.1", "0.0.0.0", "::", "192.0.2.1", "noc"] {
            let config = ServerConfig {
                host: listen.to_owned(),
                allowed_hosts: vec!["noc.example".to_owned()],
                ..ServerConfig::default()
            };
            for own in [
                "127.0.0.1:8080",
                "127.0.0.1",
                "192.0.2.7:1",
                "[::1]:8080",
                "[2001:db8::1]",
                "localhost:1",
                "LOCALHOST",
                "noc.example",
                "NOC.example:8443",
            ] {
                assert_eq!(foreign_to(&config, &[("host", own)]), None, "{own}");
            }
            assert_eq!(foreign_to(&config, &[]), None, "a program without a host");
            for other in [
                "evil.example:8080",
                "noc",
                "evil.noc.example",
                "noc.example.evil.example",
                "localhost.evil.example",
                "localhost.",
                "127.0.0.1.evil.example",
                "127.0.0.1@evil.example",
                "127.1",
                "2130706433",
                "0x7f000001",
                "127.0.0.256",
                "[::1",
                "::1",
                "[127.0.0.1]",
                "[localhost]",
                "localhost:http",
                "localhost:99999",
                "localhost:1:1",
                "",
            ] {
                assert_eq!(
                    foreign_to(&config, &[("host", other)]),
                    host(other),
                    "{other}"
                );
            }
        }
    }

    #[test]
    fn every_name_in_a_request_has_to_be_own() {
        let target = "http://evil.example/api/jobs";
        assert_eq!(
            foreign(&[("host", "localhost"), ("target", target)]),
            host("evil.example")
        );
        assert_eq!(
            foreign(&[("host", "localhost"), ("host", "evil.example")]),
            host("evil.example")
        );
    }

    #[test]
    fn a_unix_socket_takes_any_host_and_only_its_own_origin() {
        let config = ServerConfig {
            host: "unix:/run/http.sock".to_owned(),
            ..ServerConfig::default()
        };
        let post = |sent_by| {
            let headers = [
                ("method", "POST"),
                ("host", "any.example"),
                ("origin", sent_by),
            ];
            foreign_to(&config, &headers)
        };
        assert_eq!(post("https://any.example"), None);
        assert_eq!(post("https://evil.example"), origin("https://evil.example"));
    }

    #[test]
    fn changes_pass_from_own_and_allowed_origins_alone() {
        let post = |asked: &str, sent_by: &str| {
            foreign(&[("method", "POST"), ("host", asked), ("origin", sent_by)])
        };
        for (asked, sent_by) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("localhost", "http://localhost"),
            ("localhost:80", "http://localhost"),
            ("noc.example", "http://noc.example"),
            ("noc.example", "https://noc.example"),
            ("noc.example:443", "https://noc.example"),
            ("127.0.0.1:8080", "https://tools.example"),
        ] {
            assert_eq!(post(asked, sent_by), None, "{asked} {sent_by}");
        }
        for (asked, sent_by) in [
            ("127.0.0.1:8080", "http://evil.example"),
            ("127.0.0.1:8080", "http://127.0.0.1:9090"),
            ("127.0.0.1:8080", "https://127.0.0.1:8080"),
            ("127.0.0.1:8080", "http://localhost:8080"),
            ("127.0.0.1:8080", "http://tools.example"),
            ("127.0.0.1:8080", "null"),
            ("127.0.0.1:8080", "file://127.0.0.1:8080"),
            ("noc.example", "https://noc.example:8443"),
        ] {
            assert_eq!(post(asked, sent_by), origin(sent_by), "{asked} {sent_by}");
        }
        // An allowed origin does not imply an allowed host name, and vice versa.
        assert_eq!(
            post("tools.example", "https://tools.example"),
            host("tools.example")
        );
        assert_eq!(
            post("127.0.0.1", "https://noc.example"),
            origin("https://noc.example")
        );
    }

    #[test]
    fn a_proxys_scheme_decides_where_it_is_given() {
        let post = |sent_by, proxied_by| {
            foreign(&[
                ("method", "POST"),
                ("host", "192.0.2.1"),
                ("origin", sent_by),
                ("x-forwarded-proto", proxied_by),
            ])
        };
        assert_eq!(post("https://192.0.2.1", "https"), None);
        assert_eq!(
            post("http://192.0.2.1", "https"),
            origin("http://192.0.2.1")
        );
    }

    #[test]
    fn a_websocket_counts_as_a_change() {
        let open = |sent_by| {
            foreign(&[
                ("host", "localhost"),
                ("origin", sent_by),
                ("upgrade", "websocket"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
            ])
        };
        assert_eq!(open("http://localhost"), None);
        assert_eq!(open("http://evil.example"), origin("http://evil.example"));
    }

    #[test]
    fn reads_for_pages_of_other_sites_are_refused_but_links_work() {
        let read = |site, mode, dest| {
            foreign(&[
                ("host", "localhost"),
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
            ])
        };
        assert_eq!(read("none", "navigate", "document"), None);
        assert_eq!(read("same-origin", "cors", "empty"), None);
        for site in ["cross-site", "same-site"] {
            assert_eq!(read(site, "navigate", "document"), None);
            for (mode, dest) in [
                ("navigate", "iframe"),
                ("navigate", "object"),
                ("no-cors", "script"),
                ("no-cors", "image"),
                ("cors", "empty"),
            ] {
                assert_eq!(read(site, mode, dest), origin("another origin"), "{dest}");
            }
        }
        let from_tools = foreign(&[
            ("host", "localhost"),
            ("origin", "https://tools.example"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "cors"),
        ]);
        assert_eq!(from_tools, None);
        let changes_by_link = foreign(&[
            ("method", "DELETE"),
            ("host", "localhost"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ]);
        assert_eq!(changes_by_link, origin("another origin"));
    }
}
