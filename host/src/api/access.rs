//! Access to operations: the permission that each operation requires, and the middleware that finds the
//! principal of a request and checks it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Problem;
use super::guard::FORWARDED_PROTO;
use crate::app::App;
use crate::auth::{AuthError, Credentials};
use crate::model::{Denied, Permission, Principal, Proof};

/// A requirement of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: anyone may use it.
    Public,
    /// To be logged in or to have a token.
    Authenticated,
    Requires(Permission),
}

use Access::{Authenticated, Public, Requires};
use Permission as P;

/// The requirement of each operation. An operation that is missing here is rejected.
pub const OPERATIONS: &[(&str, &str, Access)] = &[
    ("GET", "/health", Public),
    ("POST", "/setup", Public),
    ("POST", "/login", Public),
    ("POST", "/logout", Authenticated),
    ("GET", "/me", Authenticated),
    ("PUT", "/me/password", Authenticated),
    // For other users, the handlers check `users.read` and `users.write`.
    ("GET", "/sessions", Authenticated),
    ("DELETE", "/sessions/{id}", Authenticated),
    ("GET", "/tokens", Authenticated),
    ("POST", "/tokens", Authenticated),
    ("DELETE", "/tokens/{id}", Authenticated),
    ("GET", "/users", Requires(P::UsersRead)),
    ("POST", "/users", Requires(P::UsersWrite)),
    ("GET", "/users/{name}", Requires(P::UsersRead)),
    ("PUT", "/users/{name}", Requires(P::UsersWrite)),
    ("DELETE", "/users/{name}", Requires(P::UsersWrite)),
    // With an inline connection also `connections.inline`; with a cron expression `schedules.write`.
    ("POST", "/jobs", Requires(P::JobsSubmit)),
    ("GET", "/jobs", Requires(P::JobsRead)),
    ("GET", "/jobs/stats", Requires(P::JobsRead)),
    // The result and the error's message only with `jobs.outputs`.
    ("GET", "/jobs/{id}", Requires(P::JobsRead)),
    ("DELETE", "/jobs/{id}", Requires(P::JobsDelete)),
    ("POST", "/jobs/{id}/cancel", Requires(P::JobsCancel)),
    ("POST", "/jobs/{id}/rerun", Requires(P::JobsSubmit)),
    ("GET", "/jobs/{id}/attempts", Requires(P::JobsRead)),
    ("GET", "/jobs/{id}/compare", Requires(P::JobsOutputs)),
    ("GET", "/jobs/{id}/results", Requires(P::JobsOutputs)),
    ("GET", "/jobs/{id}/logs", Requires(P::JobsOutputs)),
    ("GET", "/jobs/{id}/events", Requires(P::JobsOutputs)),
    ("GET", "/connections", Requires(P::ConnectionsRead)),
    ("POST", "/connections", Requires(P::ConnectionsWrite)),
    ("GET", "/connections/{id}", Requires(P::ConnectionsRead)),
    // With a changed address or route also `connections.trust`.
    ("PUT", "/connections/{id}", Requires(P::ConnectionsWrite)),
    ("DELETE", "/connections/{id}", Requires(P::ConnectionsWrite)),
    (
        "POST",
        "/connections/{id}/test",
        Requires(P::ConnectionsTest),
    ),
    (
        "POST",
        "/connections/{id}/detect",
        Requires(P::ConnectionsTest),
    ),
    // Logs in to any address with any credentials, as an inline connection does.
    ("POST", "/connections/test", Requires(P::ConnectionsInline)),
    (
        "GET",
        "/connections/{id}/host-keys",
        Requires(P::ConnectionsRead),
    ),
    (
        "POST",
        "/connections/{id}/host-keys",
        Requires(P::ConnectionsTrust),
    ),
    (
        "DELETE",
        "/connections/{id}/host-keys",
        Requires(P::ConnectionsTrust),
    ),
    (
        "GET",
        "/connections/{id}/terminal",
        Requires(P::TerminalsOpen),
    ),
    ("GET", "/devices", Requires(P::DevicesRead)),
    ("GET", "/devices/open-circuits", Requires(P::DevicesRead)),
    ("GET", "/schedules", Requires(P::SchedulesRead)),
    ("POST", "/schedules", Requires(P::SchedulesWrite)),
    ("POST", "/schedules/preview", Requires(P::SchedulesRead)),
    ("GET", "/schedules/{id}", Requires(P::SchedulesRead)),
    ("PUT", "/schedules/{id}", Requires(P::SchedulesWrite)),
    ("DELETE", "/schedules/{id}", Requires(P::SchedulesWrite)),
    (
        "POST",
        "/schedules/{id}/enable",
        Requires(P::SchedulesWrite),
    ),
    (
        "POST",
        "/schedules/{id}/disable",
        Requires(P::SchedulesWrite),
    ),
    (
        "POST",
        "/schedules/{id}/trigger",
        Requires(P::SchedulesTrigger),
    ),
    ("GET", "/notifications", Requires(P::NotificationsRead)),
    (
        "POST",
        "/notifications/test",
        Requires(P::NotificationsTest),
    ),
    ("GET", "/pauses", Requires(P::PausesRead)),
    ("POST", "/pauses", Requires(P::PausesWrite)),
    ("GET", "/pauses/{id}", Requires(P::PausesRead)),
    ("PUT", "/pauses/{id}", Requires(P::PausesWrite)),
    ("DELETE", "/pauses/{id}", Requires(P::PausesWrite)),
    ("POST", "/pauses/{id}/end", Requires(P::PausesWrite)),
    ("GET", "/plugins", Requires(P::PluginsRead)),
    ("POST", "/plugins/reload", Requires(P::PluginsReload)),
    ("GET", "/plugins/{name}", Requires(P::PluginsRead)),
    ("GET", "/plugins/{name}/versions", Requires(P::PluginsRead)),
];

/// Operations on a resource whose name is also the last part of another path, and their usual path.
const NAMED: &[(&str, &str)] = &[
    ("/connections/test", "/connections/{id}"),
    ("/schedules/preview", "/schedules/{id}"),
    ("/plugins/reload", "/plugins/{name}"),
];

/// Returns the requirement of an operation; `None` for an operation that does not exist.
pub(super) fn access(method: &Method, path: &str) -> Option<Access> {
    let method = match *method {
        Method::HEAD => "GET",
        _ => method.as_str(),
    };
    let find = |path: &str| {
        let found =
            |operation: &&(&str, &str, Access)| operation.0 == method && operation.1 == path;
        OPERATIONS.iter().find(found).map(|(_, _, access)| *access)
    };
    find(path).or_else(|| {
        let (_, usual) = NAMED.iter().find(|(named, _)| *named == path)?;
        find(usual)
    })
}

/// The address of a request's client. Absent for a Unix socket and for a request of this process.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

/// The name of the session's cookie over TLS. Browsers accept it from this host over TLS only.
const SECURE_COOKIE: &str = "__Host-scheduler-session";
/// The name of the session's cookie over plain HTTP.
const PLAIN_COOKIE: &str = "scheduler-session";

/// Finds the principal of a request, and rejects the request if the operation requires more.
///
/// `prefix` is the path of the API in the URL.
pub(super) async fn check(
    State((app, prefix)): State<(Arc<App>, Arc<str>)>,
    path: MatchedPath,
    mut request: Request,
    next: Next,
) -> Response {
    let operation = path.as_str().strip_prefix(&*prefix).unwrap_or_default();
    let Some(access) = access(request.method(), operation) else {
        return Problem::method_not_allowed(request.method().clone(), request.uri().clone())
            .await
            .into_response();
    };
    // The client commands of this process are not users.
    let of_this_process = request.extensions().get::<Principal>().cloned();
    let principal = match of_this_process {
        Some(principal) => Ok(principal),
        None => {
            let headers = request.headers();
            let authorization = headers.get(header::AUTHORIZATION);
            let authorization = authorization.map(|value| value.to_str().unwrap_or_default());
            let credentials = Credentials {
                cookie: session_cookie(headers),
                authorization,
                address: address_of(request.extensions()),
            };
            app.auth.identify(credentials).await
        }
    };
    let principal = match (principal, access) {
        (Ok(principal), Requires(permission)) => match principal.require(permission) {
            Ok(()) => principal,
            Err(denied) => return denied_to(&principal, denied).into_response(),
        },
        (Ok(principal), _) => principal,
        (Err(_), Public) => Principal::nobody(),
        (Err(error), _) => return Problem::from(error).into_response(),
    };
    if let Some(name) = principal.name() {
        tracing::Span::current().record("user", name);
    }
    request.extensions_mut().insert(Caller(principal));
    next.run(request).await
}

/// Rejects a request whose caller lacks a permission.
pub(super) fn denied_to(principal: &Principal, denied: Denied) -> Problem {
    let Denied(permission) = denied;
    let what = match principal.proof {
        Proof::Token(_) => "the API token does not have",
        Proof::Session(_) | Proof::None => "you do not have",
    };
    tracing::info!(
        user = principal.name(),
        permission = permission.as_str(),
        "request denied"
    );
    Problem::forbidden(format!("{what} the permission `{permission}`"))
}

pub(super) fn address_of(extensions: &axum::http::Extensions) -> Option<IpAddr> {
    extensions.get::<ClientAddress>().map(|address| address.0)
}

/// Returns whether the client reaches the server or the proxy before it over TLS.
fn is_secure(headers: &HeaderMap) -> bool {
    let proto = headers.get(FORWARDED_PROTO);
    let proto = proto.and_then(|value| value.to_str().ok());
    let first = proto.and_then(|list| list.split(',').next());
    first.is_some_and(|first| first.trim().eq_ignore_ascii_case("https"))
}

/// Returns the value of the session's cookie. Over TLS, a cookie that was set without TLS does not count.
fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let wanted = if is_secure(headers) {
        SECURE_COOKIE
    } else {
        PLAIN_COOKIE
    };
    let cookies = headers.get_all(header::COOKIE).iter();
    let mut cookies = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='));
    cookies
        .find(|(name, _)| *name == wanted)
        .map(|(_, value)| value)
}

/// Returns the `Set-Cookie` value that stores a session, or removes it if `value` is empty.
pub(super) fn set_cookie(headers: &HeaderMap, value: &str, seconds: i64) -> String {
    let (name, secure) = match is_secure(headers) {
        true => (SECURE_COOKIE, "; Secure"),
        false => (PLAIN_COOKIE, ""),
    };
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

/// Interval at which a lasting request checks that its caller may still make it.
const RECHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Waits until the caller of a lasting request has logged out or lost a permission.
pub(super) async fn lapsed(app: Arc<App>, caller: Principal, permission: Permission) {
    loop {
        tokio::time::sleep(RECHECK_INTERVAL).await;
        match app.auth.identify_again(&caller).await {
            Ok(now) if now.may(permission) => {}
            // The database is unavailable; the caller may have lost nothing.
            Err(AuthError::Storage(_)) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// The principal of the request.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) Principal);

impl Caller {
    /// Checks a permission that the operation requires for this request only.
    ///
    /// # Errors
    /// Status 403, with the missing permission.
    pub(super) fn require(&self, permission: Permission) -> Result<(), Problem> {
        self.0
            .require(permission)
            .map_err(|denied| denied_to(&self.0, denied))
    }

    pub(super) fn may(&self, permission: Permission) -> bool {
        self.0.may(permission)
    }

    /// Returns the name of the user; `None` while authentication is off.
    pub(super) fn name(&self) -> Option<String> {
        self.0.name().map(str::to_owned)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(Problem::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_listed_once() {
        for (index, (method, path, _)) in OPERATIONS.iter().enumerate() {
            let mut others = OPERATIONS[index + 1..].iter();
            assert!(
                !others.any(|other| (other.0, other.1) == (*method, *path)),
                "{method} {path}"
            );
        }
    }

    #[test]
    fn what_is_not_listed_has_no_access() {
        assert_eq!(access(&Method::PATCH, "/jobs"), None);
        assert_eq!(access(&Method::GET, "/unknown"), None);
        assert_eq!(access(&Method::GET, ""), None);
        assert_eq!(access(&Method::HEAD, "/jobs"), Some(Requires(P::JobsRead)));
        let named = access(&Method::DELETE, "/connections/test");
        assert_eq!(named, Some(Requires(P::ConnectionsWrite)));
    }

    #[test]
    fn over_tls_only_the_bound_cookie_counts() {
        let headers = |secure: bool, cookies: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, cookies.parse().unwrap());
            if secure {
                headers.insert("x-forwarded-proto", "https".parse().unwrap());
            }
            headers
        };
        let both = "a=b; scheduler-session=plain;__Host-scheduler-session=secure";
        assert_eq!(session_cookie(&headers(false, both)), Some("plain"));
        assert_eq!(session_cookie(&headers(true, both)), Some("secure"));
        let tossed = headers(true, "scheduler-session=plain");
        assert_eq!(session_cookie(&tossed), None);
        assert_eq!(
            set_cookie(&tossed, "x", 60),
            "__Host-scheduler-session=x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
        );
    }
}
