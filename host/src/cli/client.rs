//! The HTTP client of the API. Every error becomes a [`Failure`].

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use futures::StreamExt as _;
use reqwest::header::{CONNECTION, COOKIE, SEC_WEBSOCKET_ACCEPT, SET_COOKIE, UPGRADE};
use reqwest::{Method, RequestBuilder, StatusCode, Upgraded, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tower::ServiceExt as _;

use super::events::Events;
use super::{Failure, output, tokens_file};
use crate::api::Problem;
use crate::model::Principal;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the server's own limit (`server.request_timeout_seconds`), so that the server reports it.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Longer than any job: a job runs for a week at most, and may wait before that.
const MAX_STREAM: Duration = Duration::from_secs(366 * 86_400);
/// The server sends a keep-alive every 15 s.
const MAX_SILENCE: Duration = Duration::from_secs(60);

/// The validated address of the server.
#[derive(Clone)]
pub(super) struct ServerUrl {
    /// For a server on a Unix socket, a URL without a real host.
    url: Url,
    socket: Option<PathBuf>,
}

pub(super) struct Client {
    http: reqwest::Client,
    base: ServerUrl,
    proof: Proof,
    /// Handles the requests in place of a server, for a command that runs the API in its own process.
    in_process: Option<Router>,
}

/// The credentials of the client.
#[derive(Clone)]
enum Proof {
    None,
    Token(SecretString),
    /// The name and value of a session's cookie.
    Cookie(SecretString),
}

/// A successful response: the raw text and the parsed body.
pub(super) struct Answer<T> {
    pub(super) text: String,
    pub(super) body: T,
}

pub(super) type WebSocket = WebSocketStream<Upgraded>;

impl Client {
    pub(super) fn new(base: &ServerUrl) -> Result<Self, Failure> {
        // An error means that a provider is already installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("scheduler/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // Requests may contain a password and are meant for the named server only.
            .redirect(reqwest::redirect::Policy::none());
        if base.is_local() {
            builder = builder.no_proxy();
        }
        if let Some(path) = &base.socket {
            builder = builder.unix_socket(path.clone());
        }
        if base.url.scheme() == "http" {
            // Plain HTTP needs no certificates. Loading them fails on a machine without any, and
            // elsewhere takes most of a command's run time.
            builder = builder.tls_certs_only([]);
        }
        Ok(Self {
            http: builder.build().map_err(anyhow::Error::from)?,
            base: base.clone(),
            proof: Proof::None,
            in_process: None,
        })
    }

    /// Creates a client of an API in this process, which needs no port.
    pub(super) fn in_process(router: Router) -> Result<Self, Failure> {
        let base = ServerUrl::from_str("http://localhost").map_err(anyhow::Error::msg)?;
        Ok(Self {
            in_process: Some(router),
            ..Self::new(&base)?
        })
    }

    /// Adds the token for the server, if there is one.
    pub(super) fn with_token(self) -> Result<Self, Failure> {
        let token = tokens_file::token_for(&self.server())?;
        Ok(Self {
            proof: token.map_or(Proof::None, Proof::Token),
            ..self
        })
    }

    pub(super) fn has_token(&self) -> bool {
        matches!(self.proof, Proof::Token(_))
    }

    /// Returns the address of the server without a password.
    pub(super) fn server(&self) -> String {
        self.base.to_string()
    }

    /// Logs in, and returns a client with the session.
    pub(super) async fn log_in(&self, name: &str, password: SecretString) -> Result<Self, Failure> {
        let request = serde_json::json!({ "name": name, "password": password.expose_secret() });
        self.session_from(&["login"], &request).await
    }

    /// Sends a request that begins a session, and returns a client with the session.
    pub(super) async fn session_from(&self, path: &[&str], body: &Value) -> Result<Self, Failure> {
        let request = self.http.post(self.base.join(path)).json(body);
        let response = request.send().await;
        let response = response.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let cookie = response.headers().get(SET_COOKIE);
        let cookie = cookie.and_then(|cookie| cookie.to_str().ok());
        let cookie = cookie.and_then(|cookie| cookie.split(';').next());
        let cookie = cookie.map(str::to_owned);
        let text = response.text().await;
        let raw = self.raw(status, text.map_err(|error| self.unreachable(error))?);
        match cookie {
            Some(cookie) if status.is_success() => Ok(Self {
                http: self.http.clone(),
                base: self.base.clone(),
                proof: Proof::Cookie(SecretString::from(cookie)),
                in_process: None,
            }),
            _ => Err(raw.refusal()),
        }
    }

    /// Returns whether requests are encrypted or stay on this machine.
    fn is_private(&self) -> bool {
        self.base.url.scheme() == "https" || self.base.is_local()
    }

    pub(super) fn warn_of_plain_http(&self) {
        if !self.is_private() {
            output::talk(
                "warning: the server is reached over plain http, so requests can be read in \
                 transit",
            );
        }
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
    ) -> Result<Answer<T>, Failure> {
        self.get_with(path, &[]).await
    }

    pub(super) async fn get_with<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Answer<T>, Failure> {
        read(
            self.send(self.request(Method::GET, path).query(query))
                .await?,
        )
    }

    /// Gets all pages of a list and joins them. `field` holds the entries.
    pub(super) async fn get_list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        field: &str,
    ) -> Result<Answer<T>, Failure> {
        let mut whole: Option<Map<String, Value>> = None;
        let mut query = Vec::new();
        loop {
            let mut page = self
                .get_with::<Map<String, Value>>(path, &query)
                .await?
                .body;
            query = match (page.get("next_cursor"), page.get("next_after")) {
                (Some(Value::String(cursor)), _) => vec![("cursor", cursor.clone())],
                (_, Some(Value::Number(after))) => vec![("after", after.to_string())],
                _ => Vec::new(),
            };
            let entries = page.get_mut(field).map(Value::take);
            let whole = whole.get_or_insert(page);
            match (whole.get_mut(field), entries) {
                (Some(Value::Array(all)), Some(Value::Array(mut entries))) => {
                    all.append(&mut entries);
                }
                (Some(empty), Some(entries)) => *empty = entries,
                _ => {}
            }
            if query.is_empty() {
                break;
            }
        }
        let mut whole = whole.unwrap_or_default();
        for next in ["next_cursor", "next_after"] {
            if let Some(next) = whole.get_mut(next) {
                *next = Value::Null;
            }
        }
        read(self.raw(StatusCode::OK, Value::Object(whole).to_string()))
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
        idempotency_key: Option<&str>,
    ) -> Result<Answer<T>, Failure> {
        let mut request = self.request(Method::POST, path).json(body);
        if let Some(key) = idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        read(self.send(request).await?)
    }

    /// Sends a POST without a body and parses the response.
    pub(super) async fn post_empty_for<T: DeserializeOwned>(
        &self,
        path: &[&str],
    ) -> Result<Answer<T>, Failure> {
        read(self.send(self.request(Method::POST, path)).await?)
    }

    /// Sends a POST without a body. Any response body is accepted.
    pub(super) async fn post_empty(&self, path: &[&str]) -> Result<String, Failure> {
        Ok(self.send(self.request(Method::POST, path)).await?.text)
    }

    pub(super) async fn put<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Answer<T>, Failure> {
        self.put_with(path, &[], body).await
    }

    pub(super) async fn put_with<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        body: &impl Serialize,
    ) -> Result<Answer<T>, Failure> {
        let request = self.request(Method::PUT, path).query(query).json(body);
        read(self.send(request).await?)
    }

    pub(super) async fn delete(&self, path: &[&str]) -> Result<String, Failure> {
        self.delete_with(path, &[]).await
    }

    pub(super) async fn delete_with(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<String, Failure> {
        let request = self.request(Method::DELETE, path).query(query);
        Ok(self.send(request).await?.text)
    }

    /// Sends a PUT whose response has no body.
    pub(super) async fn put_empty(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<(), Failure> {
        let request = self.request(Method::PUT, path).json(body);
        self.send(request).await.map(drop)
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let request = self.http.request(method, self.base.join(path));
        match &self.proof {
            Proof::None => request,
            Proof::Token(token) => request.bearer_auth(token.expose_secret()),
            Proof::Cookie(cookie) => request.header(COOKIE, cookie.expose_secret()),
        }
    }

    /// Opens a WebSocket with the same connection, proxy and TLS settings as other requests.
    pub(super) async fn websocket(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<WebSocket, Failure> {
        let key = generate_key();
        let request = self
            .request(Method::GET, path)
            .query(query)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", &key);
        let response = request.send().await;
        let response = response.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT);
        let accepted = accepted.and_then(|accepted| accepted.to_str().ok());
        if status == StatusCode::SWITCHING_PROTOCOLS
            && accepted == Some(&derive_accept_key(key.as_bytes()))
        {
            let upgraded = response.upgrade().await;
            let upgraded = upgraded.map_err(|error| self.unreachable(error))?;
            return Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await);
        }
        let text = response.text().await;
        let text = text.map_err(|error| self.unreachable(error))?;
        Err(self.raw(status, text).refusal())
    }

    /// Opens an event stream that begins after the event with the id `after`.
    pub(super) async fn events(
        &self,
        path: &[&str],
        after: Option<&str>,
    ) -> Result<Events, Failure> {
        let mut request = self.request(Method::GET, path).timeout(MAX_STREAM);
        if let Some(id) = after {
            request = request.header("Last-Event-ID", id);
        }
        if let Some(router) = &self.in_process {
            let request = request.build().map_err(anyhow::Error::from)?;
            let response = hand_over(router.clone(), request).await?;
            if !response.status().is_success() {
                let (status, text) = read_whole(response).await?;
                return Err(self.raw(status, text).refusal());
            }
            let bytes = response.into_body().into_data_stream();
            return Ok(Events::new(bytes.map(Result::ok)));
        }
        let response = request.send().await;
        let response = response.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        if !status.is_success() {
            let text = response.text().await;
            let text = text.map_err(|error| self.unreachable(error))?;
            return Err(self.raw(status, text).refusal());
        }
        // A stream that stays silent for longer than the keep-alive interval counts as disconnected.
        let bytes = response.bytes_stream();
        let bytes = futures::stream::unfold(bytes, |mut bytes| async {
            let next = tokio::time::timeout(MAX_SILENCE, bytes.next()).await;
            let piece = next.ok().flatten().and_then(Result::ok);
            Some((piece, bytes))
        });
        Ok(Events::new(bytes))
    }

    fn unreachable(&self, error: reqwest::Error) -> Failure {
        Failure::Unreachable {
            url: self.base.to_string(),
            reason: reason(error),
        }
    }

    fn raw(&self, status: StatusCode, text: String) -> Raw {
        Raw {
            url: self.base.to_string(),
            status: status.as_u16(),
            text,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Raw, Failure> {
        let unreachable = |error: reqwest::Error| self.unreachable(error);
        let request = request.build().map_err(anyhow::Error::from)?;
        let (status, text) = match &self.in_process {
            Some(router) => read_whole(hand_over(router.clone(), request).await?).await?,
            None => {
                let response = self.http.execute(request).await.map_err(unreachable)?;
                let status = response.status();
                (status, response.text().await.map_err(unreachable)?)
            }
        };
        let raw = self.raw(status, text);
        if status.is_success() {
            return Ok(raw);
        }
        Err(raw.refusal())
    }
}

/// Sends a request to a router in this process.
async fn hand_over(router: Router, request: reqwest::Request) -> anyhow::Result<Response> {
    let body = request.body().and_then(|body| body.as_bytes());
    let body = axum::body::Body::from(body.unwrap_or_default().to_vec());
    let mut asked = axum::http::Request::builder()
        .method(request.method())
        .uri(request.url().as_str())
        .body(body)?;
    *asked.headers_mut() = request.headers().clone();
    // The commands of this process use its own database and need no login.
    asked.extensions_mut().insert(Principal::anyone());
    Ok(router.oneshot(asked).await?)
}

async fn read_whole(response: Response) -> anyhow::Result<(StatusCode, String)> {
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await?;
    Ok((status, String::from_utf8(bytes.to_vec())?))
}

impl ServerUrl {
    fn join(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        // Cannot fail for http and https, and `from_str` accepts no other scheme.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("api").extend(path);
        }
        url
    }

    /// Returns whether the server is on this machine, directly or over a Unix socket.
    fn is_local(&self) -> bool {
        self.url.host_str().is_some_and(|host| {
            host == "localhost"
                || host
                    .trim_matches(['[', ']'])
                    .parse::<IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
        })
    }
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err("expected a socket path after unix:".to_owned());
            }
            let url = Url::parse("http://localhost").map_err(|error| error.to_string())?;
            let socket = Some(PathBuf::from(path));
            return Ok(Self { url, socket });
        }
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err("expected http://HOST:PORT, https://HOST:PORT or unix:PATH".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("a query (?) or a fragment (#) is not allowed".to_owned());
        }
        Ok(Self { url, socket: None })
    }
}

/// Omits the password that the URL may contain, for a proxy that authenticates.
impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.socket {
            return write!(f, "unix:{}", path.display());
        }
        let mut shown = self.url.clone();
        if shown.password().is_some() {
            let _ = shown.set_password(Some("***"));
        }
        f.write_str(shown.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUrl({self})")
    }
}

struct Raw {
    url: String,
    status: u16,
    text: String,
}

impl Raw {
    fn refusal(&self) -> Failure {
        match serde_json::from_str::<Problem>(&self.text) {
            Ok(problem) => Failure::Refused(problem),
            Err(_) => self.not_the_api(),
        }
    }

    fn not_the_api(&self) -> Failure {
        const SHOWN: usize = 200;
        let mut start: String = self.text.trim().chars().take(SHOWN).collect();
        if start.is_empty() {
            "nothing".clone_into(&mut start);
        }
        Failure::NotTheApi {
            url: self.url.clone(),
            found: format!("status {}, {start}", self.status),
        }
    }
}

fn read<T: DeserializeOwned>(raw: Raw) -> Result<Answer<T>, Failure> {
    match serde_json::from_str(&raw.text) {
        Ok(body) => Ok(Answer {
            text: raw.text,
            body,
        }),
        Err(error) => {
            output::talk(&format!("unexpected response: {error}"));
            Err(raw.not_the_api())
        }
    }
}

/// Returns the innermost cause ("Connection refused"). The outer ones say "error sending request" and
/// repeat the URL.
fn reason(error: reqwest::Error) -> String {
    if error.is_timeout() && !error.is_connect() {
        return format!("timeout: no response within {} s", TIMEOUT.as_secs());
    }
    let error = error.without_url();
    let mut innermost: &dyn std::error::Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> ServerUrl {
        text.parse().unwrap()
    }

    #[test]
    fn paths_are_put_behind_the_base_and_encoded() {
        let join = |base: &str| url(base).join(&["connections", "a b/c"]).to_string();
        let expected = "http://h:1/api/connections/a%20b%2Fc";
        assert_eq!(join("http://h:1"), expected);
        assert_eq!(join("http://h:1/"), expected);
        assert_eq!(
            join("https://proxy/scheduler/"),
            "https://proxy/scheduler/api/connections/a%20b%2Fc"
        );
    }

    #[test]
    fn a_password_in_the_url_is_not_shown() {
        let url = url("https://me:s3cret@proxy");
        assert_eq!(url.to_string(), "https://me:***@proxy");
        assert!(!format!("{url:?}").contains("s3cret"));
    }

    #[test]
    fn what_is_no_url_of_a_server() {
        for text in [
            "",
            "localhost",
            "localhost:8080",
            "ftp://h",
            "http://",
            "http://h/?x=1",
            "unix:",
        ] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn servers_on_this_machine() {
        for text in [
            "http://127.0.0.1:1",
            "http://localhost",
            "http://[::1]:8080",
            "unix:/run/scheduler/http.sock",
        ] {
            assert!(url(text).is_local(), "{text}");
        }
        assert!(!url("http://10.0.0.1").is_local());
    }

    #[test]
    fn a_socket_is_shown_as_it_was_given() {
        let url = url("unix:/run/scheduler/http.sock");
        assert_eq!(url.to_string(), "unix:/run/scheduler/http.sock");
    }
}
