//! Tracks requests of a connection: their start and end, and whether their body was read.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use futures::future::BoxFuture;
use tower::Service;

use super::connection::Connection;
use crate::api::{ClientAddress, FORWARDED_PROTO};

/// Browsers that have seen this host over TLS use nothing else for a year.
const STRICT_TRANSPORT: &str = "max-age=31536000";

/// The router for the requests of one connection.
#[derive(Clone)]
pub(super) struct RequestService {
    router: Router,
    /// The address of the client; `None` for a Unix socket.
    client: Option<IpAddr>,
    /// Whether the connection uses TLS.
    encrypted: bool,
    connection: Arc<Connection>,
}

impl RequestService {
    pub(super) fn new(
        router: Router,
        client: Option<IpAddr>,
        encrypted: bool,
        connection: Arc<Connection>,
    ) -> Self {
        Self {
            router,
            client,
            encrypted,
            connection,
        }
    }
}

impl<B> Service<Request<B>> for RequestService
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.router, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut under_way = UnderWay::begin(Arc::clone(&self.connection));
        let (mut parts, body) = request.into_parts();
        if let Some(client) = self.client {
            parts.extensions.insert(ClientAddress(client));
        }
        let encrypted = self.encrypted;
        if encrypted {
            // As from a proxy that adds TLS; what the client itself says does not count.
            let https = HeaderValue::from_static("https");
            parts.headers.insert(FORWARDED_PROTO, https);
        }
        let read = Arc::new(AtomicBool::new(body.is_end_stream()));
        let body = RequestBody {
            body: Body::new(body),
            read: Arc::clone(&read),
            connection: Arc::clone(&self.connection),
        };
        let answering = self
            .router
            .call(Request::from_parts(parts, Body::new(body)));
        Box::pin(async move {
            let mut response = answering.await?;
            under_way.connection.await_body(false);
            if encrypted {
                let always = HeaderValue::from_static(STRICT_TRANSPORT);
                let headers = response.headers_mut();
                headers.insert(header::STRICT_TRANSPORT_SECURITY, always);
            }
            if !read.load(Ordering::Relaxed) {
                // The rest of this request is unread, so the start of the next one is unknown.
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
                under_way.connection.leave_body_unread();
            }
            under_way.lasts = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            Ok(response.map(|body| ResponseBody {
                body,
                _under_way: under_way,
            }))
        })
    }
}

/// A request in progress.
struct UnderWay {
    connection: Arc<Connection>,
    /// Whether the connection was upgraded from HTTP to another protocol.
    lasts: bool,
}

impl UnderWay {
    fn begin(connection: Arc<Connection>) -> Self {
        connection.begin_request();
        Self {
            connection,
            lasts: false,
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.lasts {
            self.connection.end_request();
        }
    }
}

/// A request body that records when it is awaited and when it was read to its end.
struct RequestBody {
    body: Body,
    read: Arc<AtomicBool>,
    connection: Arc<Connection>,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.connection.await_body(frame.is_pending());
        let frame = ready!(frame);
        if frame.is_none() || self.body.is_end_stream() {
            self.read.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// A response body; the request is in progress until it is dropped.
pub(super) struct ResponseBody {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
