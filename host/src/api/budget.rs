//! Bounds the memory of large answers: all that are under way share one budget.
//!
//! Memory is reserved before an answer is read from the database, and given back when its body was
//! sent or the client is gone. A client that does not read is cut off by the connection's write
//! timeout, so it cannot keep its share.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Problem;

/// All large answers under way, KiB.
const TOTAL_KIB: u32 = 64 << 10;
/// An answer waits this long for its share.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bodies are handed to the connection in pieces of this size, bytes.
const PIECE: usize = 64 << 10;
/// A control character takes six bytes in JSON, beside the one of the text itself.
const ESCAPED: u64 = 7;

/// The budget of all answers.
#[derive(Debug)]
pub struct AnswerBudget {
    kib: Arc<Semaphore>,
}

impl Default for AnswerBudget {
    fn default() -> Self {
        Self {
            kib: Arc::new(Semaphore::new(TOTAL_KIB as usize)),
        }
    }
}

impl AnswerBudget {
    /// Reserves memory for an answer of JSON texts with this length, bytes.
    ///
    /// # Errors
    /// 503 if other answers hold the budget for too long.
    pub(super) async fn reserve(&self, bytes: u64) -> Result<Share, Problem> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(TOTAL_KIB);
        // One answer that is larger than all of the budget has it for itself.
        let reserved = Arc::clone(&self.kib).acquire_many_owned(kib.min(TOTAL_KIB));
        match tokio::time::timeout(RESERVE_TIMEOUT, reserved).await {
            Ok(Ok(permit)) => Ok(Share { _permit: permit }),
            _ => Err(Problem::busy(
                "the server is busy with other large responses; retry later",
            )),
        }
    }

    /// Reserves memory for an answer with texts of this length that have to be escaped, bytes.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub(super) async fn reserve_escaped(&self, bytes: u64) -> Result<Share, Problem> {
        self.reserve(bytes.saturating_mul(ESCAPED)).await
    }
}

/// A share of the budget, given back on drop.
#[derive(Debug)]
pub(super) struct Share {
    _permit: OwnedSemaphorePermit,
}

impl Share {
    /// Answers with the parts of a JSON text. The share is held until they were sent.
    pub(super) fn json<const N: usize>(self, parts: [String; N]) -> Response {
        let body = Held {
            parts: parts.into_iter().map(Bytes::from).rev().collect(),
            _share: self,
        };
        let mut response = Body::from_stream(body).into_response();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

/// A body, and the memory that it takes.
struct Held {
    /// The last one is next.
    parts: Vec<Bytes>,
    _share: Share,
}

impl Stream for Held {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(part) = self.parts.last_mut() else {
            return Poll::Ready(None);
        };
        let piece = part.split_to(part.len().min(PIECE));
        if part.is_empty() {
            self.parts.pop();
        }
        Poll::Ready(Some(Ok(piece)))
    }
}
