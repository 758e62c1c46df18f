//! Bounds the memory of request bodies: those that are received, and the values that they are
//! parsed to, share one budget each.
//!
//! A body is measured before it is parsed, and its memory is reserved until the request was
//! handled. Small requests reserve nothing, so that large ones do not hold them up.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Problem;
use crate::config::ServerConfig;

/// A body of up to this length is received without a reservation, bytes.
const SMALL_BODY: usize = 64 << 10;
/// Values of up to this size are parsed without a reservation, bytes.
const SMALL_VALUES: usize = 64 << 10;
/// A request waits this long for its share.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The budget of all requests.
#[derive(Clone, Debug)]
pub(super) struct BodyBudget {
    max_body: usize,
    max_values: usize,
    bodies: Pool,
    values: Pool,
}

/// Memory that is handed out in KiB.
#[derive(Clone, Debug)]
struct Pool(Arc<Semaphore>);

/// A share of the budget, given back on drop.
#[derive(Debug, Default)]
pub(super) struct Share {
    _permit: Option<OwnedSemaphorePermit>,
}

impl BodyBudget {
    pub(super) fn new(config: &ServerConfig) -> Self {
        Self {
            max_body: config.max_body_bytes,
            max_values: config.max_request_memory_bytes,
            bodies: Pool::new(config.max_body_bytes),
            values: Pool::new(config.max_request_memory_bytes),
        }
    }

    /// Returns the memory that the values of one body may take, bytes.
    pub(super) fn max_values(&self) -> usize {
        self.max_values
    }

    /// Receives a body. `declared` is the length that the client announced, bytes.
    ///
    /// # Errors
    /// 413 if it is larger than `server.max_body_bytes`; 503 if other requests hold the budget for
    /// too long; 400 if it ends too early.
    pub(super) async fn receive(
        &self,
        body: Body,
        declared: Option<usize>,
    ) -> Result<(Bytes, Share), Problem> {
        if declared.is_some_and(|length| length > self.max_body) {
            return Err(Problem::too_large());
        }
        let mut chunks = body.into_data_stream();
        let mut received = Vec::new();
        let mut share = None;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| Problem::unreadable(&error))?;
            if chunk.len() > self.max_body - received.len() {
                return Err(Problem::too_large());
            }
            // All of it at once: were bodies to reserve piece by piece, some could wait for each other.
            if share.is_none() && received.len() + chunk.len() > SMALL_BODY {
                let length = declared.unwrap_or(self.max_body);
                share = Some(self.bodies.reserve(length).await?);
                received.reserve_exact(length.saturating_sub(received.len()).max(chunk.len()));
            }
            received.extend_from_slice(&chunk);
        }
        Ok((received.into(), share.unwrap_or_default()))
    }

    /// Reserves memory for the values of a body, bytes.
    ///
    /// # Errors
    /// 503 if other requests hold the budget for too long.
    pub(super) async fn reserve(&self, memory: usize) -> Result<Share, Problem> {
        if memory <= SMALL_VALUES {
            return Ok(Share::default());
        }
        self.values.reserve(memory).await
    }
}

impl Pool {
    fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(kib(bytes) as usize)))
    }

    async fn reserve(&self, bytes: usize) -> Result<Share, Problem> {
        let reserved = Arc::clone(&self.0).acquire_many_owned(kib(bytes));
        match tokio::time::timeout(RESERVE_TIMEOUT, reserved).await {
            Ok(Ok(permit)) => Ok(Share {
                _permit: Some(permit),
            }),
            _ => Err(Problem::busy(
                "the server is busy with other large requests; retry later",
            )),
        }
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}
