//! The server: the application behind HTTP, with addresses, connections and their limits.
//!
//! It has its own accept loop, because existing ones do not limit what a client can hold without
//! sending a request: the number of connections, and the time for a request head, an idle connection
//! and an unread response. Start reading at [`serve`].

mod connection;
mod io;
mod listener;
mod service;
mod slots;
mod tls;

use std::io::Error as IoError;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use rustix::io::Errno;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::api;
use crate::app::App;
use crate::config::ServerConfig;
use crate::descriptors;
use connection::Accepted;
pub use listener::{Address, Listener, UnixSocketListener};
use slots::{Admission, Slots};

/// Minimum interval between log lines about a persistent condition.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Delay before the next `accept` after a persistent failure, unless a connection closes sooner.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Serves HTTP and runs jobs until `shutdown` is cancelled; then drains both and closes the files.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    app: Arc<App>,
    listener: impl Into<Listener>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let router = api::router(&app);
    let requests = serve_router(
        listener.into(),
        router,
        &app.config.server,
        shutdown.clone(),
    );
    // Requests in progress may finish within the request timeout; after that, a client that never
    // finishes no longer delays the shutdown.
    let timeout = Duration::from_secs(app.config.server.request_timeout_seconds);
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(timeout).await;
    };
    let requests = async {
        let served = tokio::select! {
            served = requests => served,
            () = deadline => Ok(()),
        };
        // A listener that fails triggers an orderly shutdown.
        shutdown.cancel();
        served
    };
    let streams = async {
        shutdown.cancelled().await;
        tokio::join!(app.terminals.close(), app.event_streams.close());
    };
    let background = app.run_in_background(&shutdown);
    let (served, (), ()) = tokio::join!(requests, background, streams);
    app.close().await;
    served.context("the HTTP server failed")
}

/// The timeouts and limits of connections.
#[derive(Clone, Copy, Debug)]
struct Limits {
    header: Duration,
    idle: Duration,
    write: Duration,
    connections: usize,
    connections_per_address: usize,
}

impl Limits {
    fn new(config: &ServerConfig) -> Self {
        Self {
            header: Duration::from_secs(config.header_timeout_seconds),
            idle: Duration::from_secs(config.idle_timeout_seconds),
            write: Duration::from_secs(config.write_timeout_seconds),
            connections: affordable(config.max_connections),
            connections_per_address: config.max_connections_per_address,
        }
    }
}

/// Returns the connection limit, reduced to the clients' share of file descriptors.
fn affordable(configured: usize) -> usize {
    let most = descriptors::for_clients(configured);
    if configured > most {
        tracing::warn!(
            configured,
            used = most,
            descriptors = descriptors::limit(),
            "server.max_connections exceeds the clients' share of file descriptors and was lowered; \
             raise the limit of file descriptors (ulimit -n, LimitNOFILE)"
        );
    }
    most
}

/// Serves the router until `shutdown`. Then stops accepting, closes idle connections and waits for
/// requests in progress. Dropping the future aborts the remaining connections.
///
/// # Errors
/// If the listener fails permanently.
async fn serve_router(
    listener: Listener,
    router: Router,
    config: &ServerConfig,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let limits = Limits::new(config);
    let tls = listener.tls();
    let _watching = tls.clone().map(|tls| {
        let watching = tokio::spawn(async move { tls.watch().await });
        AbortOnDropHandle::new(watching)
    });
    let slots = Arc::new(Slots::new(limits));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let _cut_when_dropped = cut.clone().drop_guard();
    let mut warnings = Warnings::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => match AcceptFailure::of(&error) {
                AcceptFailure::OneConnection => continue,
                AcceptFailure::Lasting => {
                    warnings.not_accepting(&error);
                    // Closing idle connections is the cheapest way to free descriptors.
                    let freed = slots.freed();
                    slots.close_longest_waiting();
                    let _ = tokio::time::timeout(ACCEPT_RETRY_INTERVAL, freed).await;
                    continue;
                }
                AcceptFailure::Listener => return Err(error),
            },
        };
        match slots.admit(&peer) {
            Admission::Admitted(slot) => {
                let accepted = Accepted {
                    stream,
                    client: peer.ip(),
                    tls: tls.clone(),
                };
                let serving = connection::serve(
                    accepted,
                    slot,
                    router.clone(),
                    limits,
                    shutdown.clone(),
                    cut.clone(),
                );
                connections.spawn(serving);
            }
            Admission::Refused(refusal) => {
                warnings.refused(&refusal, &peer);
                if let Some(answering) = slots.answer_refused(stream) {
                    connections.spawn(answering);
                }
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

/// The consequence of a failed `accept` for the next one.
#[derive(Debug, PartialEq)]
enum AcceptFailure {
    /// Only this connection failed before it was accepted; the next one may succeed.
    OneConnection,
    /// No connection can be accepted for now: the process or the system is out of descriptors or
    /// memory, or the cause is unknown.
    Lasting,
    /// The listener will never accept again.
    Listener,
}

impl AcceptFailure {
    fn of(error: &IoError) -> Self {
        match Errno::from_io_error(error) {
            Some(
                Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::CONNREFUSED
                | Errno::INTR
                | Errno::PERM
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::TIMEDOUT,
            ) => Self::OneConnection,
            Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK) => Self::Listener,
            _ => Self::Lasting,
        }
    }
}

/// Rate-limits log lines about persistent conditions.
#[derive(Default)]
struct Warnings {
    not_accepting: Option<Instant>,
    refused: Option<Instant>,
}

impl Warnings {
    fn not_accepting(&mut self, error: &IoError) {
        if is_due(&mut self.not_accepting) {
            let descriptors = descriptors::limit();
            let hint = match Errno::from_io_error(error) {
                Some(Errno::MFILE) => {
                    "raise the limit of file descriptors (ulimit -n, LimitNOFILE)"
                }
                Some(Errno::NFILE) => "raise the system's limit of open files (fs.file-max)",
                _ => "",
            };
            tracing::error!(
                %error,
                descriptors,
                hint,
                "failed to accept connections; closing idle ones and retrying"
            );
        }
    }

    fn refused(&mut self, refusal: &slots::Refusal, peer: &listener::Peer) {
        if is_due(&mut self.refused) {
            tracing::warn!(%peer, "connection rejected: {refusal}");
        }
    }
}

fn is_due(last: &mut Option<Instant>) -> bool {
    let now = Instant::now();
    let due = last.is_none_or(|last| now - last >= LOG_INTERVAL);
    if due {
        *last = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_accept_ends_the_server_only_if_the_listener_is_broken() {
        let of = |errno: Errno| AcceptFailure::of(&errno.into());
        for errno in [Errno::CONNABORTED, Errno::PROTO, Errno::PERM, Errno::INTR] {
            assert_eq!(of(errno), AcceptFailure::OneConnection);
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOSPC] {
            assert_eq!(of(errno), AcceptFailure::Lasting);
        }
        assert_eq!(of(Errno::BADF), AcceptFailure::Listener);
    }
}
