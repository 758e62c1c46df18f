//! A client connection: its phases with their timeouts, and the task that serves it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Limits;
use super::io::{BoxedStream, ConnectionIo};
use super::service::RequestService;
use super::slots::Slot;
use super::tls::Tls;

/// Maximum size of the HTTP buffers of a connection, including a request head.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
/// How long a client may continue to send a request that already has a response.
const MAX_LINGER: Duration = Duration::from_secs(30);

/// The shared state of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    phase: Mutex<Phase>,
    changed: Notify,
    /// Cancelled when another connection needs the slot.
    displaced: CancellationToken,
    /// Whether pending output waits for the client to read.
    stalled: AtomicBool,
    /// Whether the last response was sent before the request body was read to its end.
    unread_body: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// A request head is expected or incomplete; the initial phase.
    Head { since: Instant },
    /// A request is in progress, or the event stream or terminal that it became.
    Busy,
    /// A request in progress waits for more of its body. The request timeout applies.
    Body { since: Instant },
    /// Between two requests.
    Idle { since: Instant },
    /// All responses are sent, and the client is still sending.
    Lingering { since: Instant },
}

impl Connection {
    pub(super) fn new() -> Self {
        Self {
            phase: Mutex::new(Phase::Head {
                since: Instant::now(),
            }),
            changed: Notify::new(),
            displaced: CancellationToken::new(),
            stalled: AtomicBool::new(false),
            unread_body: AtomicBool::new(false),
        }
    }

    /// Records that bytes were received. The first ones after a request begin the next head.
    pub(super) fn received(&self) {
        let mut phase = self.phase.lock();
        if matches!(*phase, Phase::Idle { .. }) {
            *phase = Phase::Head {
                since: Instant::now(),
            };
            self.changed.notify_one();
        }
    }

    /// Records that a request head is complete.
    pub(super) fn begin_request(&self) {
        self.unread_body.store(false, Ordering::Relaxed);
        *self.phase.lock() = Phase::Busy;
    }

    /// Records whether a request waits for its body.
    pub(super) fn await_body(&self, waits: bool) {
        let mut phase = self.phase.lock();
        match (*phase, waits) {
            (Phase::Busy, true) => {
                *phase = Phase::Body {
                    since: Instant::now(),
                };
            }
            (Phase::Body { .. }, false) => *phase = Phase::Busy,
            _ => {}
        }
    }

    /// Records that a response is complete.
    pub(super) fn end_request(&self) {
        *self.phase.lock() = Phase::Idle {
            since: Instant::now(),
        };
        self.changed.notify_one();
    }

    pub(super) fn linger(&self) {
        *self.phase.lock() = Phase::Lingering {
            since: Instant::now(),
        };
        self.changed.notify_one();
    }

    pub(super) fn set_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
    }

    pub(super) fn leave_body_unread(&self) {
        self.unread_body.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_unread_body(&self) -> bool {
        self.unread_body.load(Ordering::Relaxed)
    }

    /// Returns since when the connection has waited for its client; `None` while it works for the
    /// client.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        if self.stalled.load(Ordering::Relaxed) {
            return None;
        }
        match *self.phase.lock() {
            Phase::Busy => None,
            Phase::Head { since }
            | Phase::Body { since }
            | Phase::Idle { since }
            | Phase::Lingering { since } => Some(since),
        }
    }

    /// Closes the connection because another one needs its slot.
    pub(super) fn displace(&self) {
        self.displaced.cancel();
    }

    #[cfg(test)]
    pub(super) fn is_displaced(&self) -> bool {
        self.displaced.is_cancelled()
    }

    fn deadline(&self, limits: &Limits) -> Option<Instant> {
        match *self.phase.lock() {
            Phase::Head { since } => Some(since + limits.header),
            Phase::Idle { since } => Some(since + limits.idle),
            Phase::Lingering { since } => Some(since + MAX_LINGER),
            Phase::Busy | Phase::Body { .. } => None,
        }
    }

    /// Waits until a phase exceeds its timeout.
    async fn expired(&self, limits: &Limits) {
        loop {
            let Some(deadline) = self.deadline(limits) else {
                self.changed.notified().await;
                continue;
            };
            let changed = timeout_at(deadline, self.changed.notified()).await.is_ok();
            let expired = |deadline: Instant| deadline <= Instant::now();
            if !changed && self.deadline(limits).is_some_and(expired) {
                return;
            }
        }
    }
}

/// A connection before its TLS handshake.
pub(super) struct Accepted {
    pub(super) stream: BoxedStream,
    /// The address of the client; `None` for a Unix socket.
    pub(super) client: Option<IpAddr>,
    /// The certificate; `None` for plain HTTP.
    pub(super) tls: Option<Arc<Tls>>,
}

/// Serves the requests of one connection until it ends, expires or is displaced.
pub(super) async fn serve(
    accepted: Accepted,
    slot: Slot,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
    cut: CancellationToken,
) {
    let Accepted {
        stream,
        client,
        tls,
    } = accepted;
    let connection = Arc::clone(slot.connection());
    let encrypted = tls.is_some();
    let stream = match tls {
        None => stream,
        Some(tls) => tokio::select! {
            accepted = tls.accept(stream) => match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::debug!(%error, "TLS handshake failed");
                    return;
                }
            },
            () = connection.expired(&limits) => {
                tracing::debug!("TLS handshake timed out");
                return;
            }
            () = connection.displaced.cancelled() => return,
            () = cut.cancelled() => return,
            () = shutdown.cancelled() => return,
        },
    };
    let io = TokioIo::new(ConnectionIo::new(stream, slot, limits.write));
    let service = RequestService::new(router, client, encrypted, Arc::clone(&connection));
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .max_buf_size(MAX_BUFFER_BYTES)
        // hyper would use one timeout both for request heads and for idle connections.
        .header_read_timeout(None);
    let serving = builder.serve_connection_with_upgrades(io, TowerToHyperService::new(service));
    let mut serving = std::pin::pin!(serving);
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = connection.expired(&limits) => {
                tracing::debug!(phase = ?*connection.phase.lock(), "connection timed out");
                return;
            }
            () = connection.displaced.cancelled() => return,
            () = cut.cancelled() => return,
            () = shutdown.cancelled(), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn limits(header: Duration, idle: Duration) -> Limits {
        Limits {
            header,
            idle,
            write: HOUR,
            connections: 1,
            connections_per_address: 1,
        }
    }

    /// Returns the rounded number of seconds until the deadline.
    fn seconds_left(connection: &Connection) -> Option<f64> {
        let limits = limits(Duration::from_secs(100), Duration::from_secs(1_000));
        let deadline = connection.deadline(&limits)?;
        let left = deadline.saturating_duration_since(Instant::now());
        Some(left.as_secs_f64().round())
    }

    #[tokio::test]
    async fn a_head_has_less_time_than_an_idle_connection_and_a_request_any() {
        let connection = Connection::new();
        assert_eq!(seconds_left(&connection), Some(100.0));
        connection.begin_request();
        assert_eq!(seconds_left(&connection), None);
        connection.end_request();
        assert_eq!(seconds_left(&connection), Some(1_000.0));
        connection.received();
        assert_eq!(seconds_left(&connection), Some(100.0));
        let deadline = connection.deadline(&limits(HOUR, HOUR));
        connection.received();
        assert_eq!(
            connection.deadline(&limits(HOUR, HOUR)),
            deadline,
            "more of a head does not give it more time"
        );
    }

    #[tokio::test]
    async fn only_a_connection_without_work_under_way_waits() {
        let connection = Connection::new();
        let waits = || connection.waiting_since().is_some();
        assert!(waits());
        connection.begin_request();
        assert!(!waits());
        connection.await_body(true);
        assert!(waits(), "for the rest of a body");
        connection.await_body(false);
        assert!(!waits());
        connection.end_request();
        assert!(waits());
        connection.set_stalled(true);
        assert!(!waits(), "an answer is being taken");
    }

    #[tokio::test]
    async fn a_request_under_way_does_not_expire_but_a_head_that_begins_late_does() {
        let connection = Connection::new();
        let limits = limits(Duration::from_millis(20), HOUR);
        connection.begin_request();
        let busy = Duration::from_millis(200);
        let expired = tokio::time::timeout(busy, connection.expired(&limits)).await;
        assert!(expired.is_err());
        connection.end_request();
        let begins = async {
            tokio::task::yield_now().await;
            connection.received();
        };
        let expires = tokio::time::timeout(HOUR / 60, connection.expired(&limits));
        let (expired, ()) = tokio::join!(expires, begins);
        assert!(expired.is_ok(), "although an idle connection has an hour");
    }
}
