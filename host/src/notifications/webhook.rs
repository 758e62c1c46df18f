//! Sends messages by HTTP: signed JSON to webhooks, and text to Slack.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sha2::Sha256;

use super::channel::SendError;
use super::{message, secret_file};
use crate::model::{Notification, now};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Upper bound of the `Retry-After` that a receiver may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);
/// Minimum length of the key in bytes; a shorter one could be guessed.
const MIN_KEY_BYTES: usize = 16;

/// A webhook that receives JSON, signed so that the receiver can authenticate it.
pub(super) struct Webhook {
    post: Post,
    key: SecretString,
}

/// An incoming webhook of Slack, which receives a text.
pub(super) struct Slack {
    post: Post,
}

/// Not `Debug`: knowing the URL is enough to send to it.
struct Post {
    http: reqwest::Client,
    url: Url,
}

impl Webhook {
    pub(super) fn build(key: &str, url: &str, secret_file: &Path) -> anyhow::Result<Self> {
        let name = format!("{key}.secret_file");
        let secret = secret_file::read(&name, secret_file)?;
        ensure!(
            secret.expose_secret().len() >= MIN_KEY_BYTES,
            "{name}: key too short: expected at least {MIN_KEY_BYTES} bytes in {}",
            secret_file.display()
        );
        Ok(Self {
            post: Post::build(&format!("{key}.url"), url)?,
            key: secret,
        })
    }

    pub(super) async fn send(&self, message: &Notification) -> Result<(), SendError> {
        let body = message.content.body.clone();
        let signature = self
            .signature(now(), &body)
            .ok_or_else(|| SendError::refused("failed to sign the message".to_owned()))?;
        let request = self
            .post
            .request()
            .header("X-Scheduler-Event", message.event.as_str())
            .header("X-Scheduler-Delivery", message.id.to_string())
            .header("X-Scheduler-Signature", signature)
            .body(body);
        send(request).await
    }

    /// Signs the time as well, to prevent replays of a captured message.
    fn signature(&self, now: DateTime<Utc>, body: &str) -> Option<String> {
        let time = now.timestamp();
        let key = self.key.expose_secret().as_bytes();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
        mac.update(format!("{time}.").as_bytes());
        mac.update(body.as_bytes());
        let code = HEXLOWER.encode(&mac.finalize().into_bytes());
        Some(format!("t={time},v1={code}"))
    }
}

impl Slack {
    pub(super) fn build(
        key: &str,
        url: Option<&str>,
        url_file: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let post = match (url, url_file) {
            (Some(url), _) => Post::build(&format!("{key}.url"), url)?,
            (None, Some(file)) => {
                let key = format!("{key}.url_file");
                Post::build(&key, secret_file::read(&key, file)?.expose_secret().trim())?
            }
            (None, None) => anyhow::bail!("{key}: expected url or url_file"),
        };
        Ok(Self { post })
    }

    pub(super) async fn send(&self, message: &Notification) -> Result<(), SendError> {
        let text = message::for_slack(&message.content);
        let body = json!({ "text": text }).to_string();
        send(self.post.request().body(body)).await
    }
}

impl Post {
    fn build(key: &str, url: &str) -> anyhow::Result<Self> {
        let no_url = || format!("invalid {key}: expected an http:// or https:// URL");
        let url = Url::parse(url).with_context(no_url)?;
        ensure!(matches!(url.scheme(), "http" | "https"), no_url());
        // Fails if a provider is installed already, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("scheduler/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            // A message must only reach the configured receiver.
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&url) {
            builder = builder.no_proxy();
        }
        if url.scheme() == "http" {
            // Loads no certificates: that fails on a machine without any.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().with_context(|| key.to_owned())?;
        Ok(Self { http, url })
    }

    fn request(&self) -> RequestBuilder {
        let request = self.http.post(self.url.clone());
        request.header(CONTENT_TYPE, "application/json")
    }
}

async fn send(request: RequestBuilder) -> Result<(), SendError> {
    match request.send().await {
        // Ignores the response body, which may repeat the URL.
        Ok(response) => judge(&response, now()),
        Err(error) => Err(SendError::unusable(reason(error))),
    }
}

fn judge(response: &Response, now: DateTime<Utc>) -> Result<(), SendError> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let mut error = format!("status {status}");
    if status.is_redirection() {
        error.push_str("; redirects are not followed");
    }
    // Other messages would fail as well: the receiver is busy or down, or rejects the credentials,
    // which an operator may fix.
    let of_channel = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::BAD_GATEWAY
            | StatusCode::GATEWAY_TIMEOUT
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
    );
    let again = of_channel || !status.is_client_error();
    let after = response.headers().get(RETRY_AFTER);
    let after = after.and_then(|after| retry_after(after.to_str().ok()?, now));
    Err(SendError {
        error,
        of_channel,
        again,
        after,
        unanswered: false,
    })
}

/// Parses a `Retry-After` header: seconds or a date.
fn retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let asked = match text.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = DateTime::parse_from_rfc2822(text.trim()).ok()?;
            (date.with_timezone(&Utc) - now).to_std().ok()?
        }
    };
    Some(asked.min(MAX_RETRY_AFTER))
}

fn reason(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "timeout".to_owned();
    }
    message::innermost(&error.without_url())
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook() -> Webhook {
        Webhook {
            post: Post::build("key", "http://127.0.0.1:1/").unwrap(),
            key: SecretString::from("0123456789abcdef"),
        }
    }

    /// The expected code is the output of `printf '0.{}' | openssl dgst -sha256 -hmac
    /// 0123456789abcdef`.
    #[test]
    fn the_signature_is_over_time_and_body() {
        let signature = webhook().signature(DateTime::UNIX_EPOCH, "{}").unwrap();
        assert_eq!(
            signature,
            "t=0,v1=67f763bd86951d3146a3a42ab0a1f10cf3c2ada2ba69a48501872230e0df57cc"
        );
    }

    #[test]
    fn patience_is_bounded() {
        let now = DateTime::UNIX_EPOCH;
        for (text, seconds) in [
            ("7", Some(7)),
            ("99999999", Some(3_600)),
            ("Thu, 01 Jan 1970 00:01:00 GMT", Some(60)),
            ("Wed, 31 Dec 1969 00:00:00 GMT", None),
            ("soon", None),
            ("-1", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(text, now), expected, "{text}");
        }
    }

    #[test]
    fn a_url_in_an_error_is_not_shown() {
        let refused = Post::build("some.key", "ftp://h/s3cret").err().unwrap();
        let refused = format!("{refused:#}");
        assert!(refused.contains("some.key") && !refused.contains("s3cret"));
    }
}
