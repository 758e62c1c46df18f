//! Memory budgets for request bodies: one for the received bytes, one for the parsed values.
//!
//! A body is measured before it is parsed, and its memory stays reserved until the request has been
//! handled. Small requests reserve nothing, so large ones cannot delay them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Problem;
use crate::config::ServerConfig;

/// Bodies up to this length are received without a reservation, in bytes.
const SMALL_BODY: usize = 64 << 10;
/// Values up to this size are parsed without a reservation, in bytes.
const SMALL_VALUES: usize = 64 << 10;
/// Bodies of the largest size that may be received at once, so that one slow client does not block
/// the others. Memory is allocated as they arrive.
const MAX_LARGEST_BODIES: usize = 4;
/// How long a request waits for its share of a budget.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The memory budgets that all requests share.
#[derive(Clone, Debug)]
pub(super) struct BodyBudget {
    max_body: usize,
    max_values: usize,
    bodies: Pool,
    values: Pool,
}

/// A semaphore with one permit per KiB of memory.
#[derive(Clone, Debug)]
struct Pool(Arc<Semaphore>);

/// A share of a budget, released on drop.
#[derive(Debug, Default)]
pub(super) struct Share {
    _permit: Option<OwnedSemaphorePermit>,
}

impl BodyBudget {
    pub(super) fn new(config: &ServerConfig) -> Self {
        Self {
            max_body: config.max_body_bytes,
            max_values: config.max_request_memory_bytes,
            bodies: Pool::new(config.max_body_bytes.saturating_mul(MAX_LARGEST_BODIES)),
            values: Pool::new(config.max_request_memory_bytes),
        }
    }

    /// Returns the memory that the values of one body may take, in bytes.
    pub(super) fn max_values(&self) -> usize {
        self.max_values
    }

    /// Receives a body. `declared` is the length that the client announced, in bytes.
    ///
    /// # Errors
    /// 413 if the body is larger than `server.max_body_bytes`; 503 if the budget stays exhausted for too
    /// long; 400 if the body ends too early.
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
            // Reserve the whole length at once: bodies that reserve piece by piece could deadlock.
            if share.is_none() && received.len() + chunk.len() > SMALL_BODY {
                let length = declared.unwrap_or(self.max_body);
                share = Some(self.bodies.reserve(length).await?);
                received.reserve_exact(length.saturating_sub(received.len()).max(chunk.len()));
            }
            received.extend_from_slice(&chunk);
        }
        Ok((received.into(), share.unwrap_or_default()))
    }

    /// Reserves memory for the values of a body, in bytes.
    ///
    /// # Errors
    /// 503 if the budget stays exhausted for too long.
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
