//! A real HTTP server that receives notifications.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::DEADLINE;

/// A server that records requests, and responds with a configurable status.
pub(crate) struct Receiver {
    pub(crate) url: String,
    inbox: Arc<Inbox>,
    serving: JoinHandle<()>,
}

struct Inbox {
    answer: Mutex<StatusCode>,
    messages: Mutex<VecDeque<Received>>,
    news: Notify,
}

/// A received request.
#[derive(Debug)]
pub(crate) struct Received {
    /// The status of the response.
    pub(crate) answer: StatusCode,
    headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::listen("127.0.0.1:0").await
    }

    /// Starts a receiver at a given address.
    pub(crate) async fn listen(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}/hook/s3cret", listener.local_addr().unwrap());
        let inbox = Arc::new(Inbox {
            answer: Mutex::new(StatusCode::OK),
            messages: Mutex::default(),
            news: Notify::new(),
        });
        let router = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&inbox));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            inbox,
            serving,
        }
    }

    /// Sets the status of all following responses.
    pub(crate) fn answers(&self, status: u16) {
        *self.inbox.answer.lock().unwrap() = StatusCode::from_u16(status).unwrap();
    }

    /// Returns the requests since the last call.
    pub(crate) fn all(&self) -> Vec<Received> {
        self.inbox.messages.lock().unwrap().drain(..).collect()
    }

    /// Waits for the next request.
    pub(crate) async fn next(&self) -> Received {
        let waiting = async {
            loop {
                if let Some(message) = self.inbox.messages.lock().unwrap().pop_front() {
                    return message;
                }
                self.inbox.news.notified().await;
            }
        };
        timeout(DEADLINE, waiting).await.expect("a message comes")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// Returns whether it was signed with a key, as the book describes.
    pub(crate) fn is_signed_with(&self, key: &str) -> bool {
        let signature = self.header("x-scheduler-signature");
        let (time, code) = signature.split_once(",v1=").unwrap();
        let time = time.strip_prefix("t=").unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(format!("{time}.{}", self.text).as_bytes());
        let expected = mac.finalize().into_bytes();
        let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
        code == expected
    }
}

async fn receive(State(inbox): State<Arc<Inbox>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let answer = *inbox.answer.lock().unwrap();
    let message = Received {
        answer,
        headers,
        body: serde_json::from_str(&text).unwrap(),
        text,
    };
    inbox.messages.lock().unwrap().push_back(message);
    inbox.news.notify_one();
    answer
}
