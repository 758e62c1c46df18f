//! A memory budget that all large responses share.
//!
//! Memory is reserved before a response is read from the database, and released when its body has been
//! sent or the client has disconnected. The write timeout of the connection closes it when the client
//! stops reading, so such a client cannot keep its share.

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

/// Memory of all large responses together, in KiB.
const TOTAL_KIB: u32 = 64 << 10;
/// How long a response waits for its share.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bodies are passed to the connection in chunks of this size, in bytes.
const PIECE: usize = 64 << 10;
/// Memory per byte of text that is escaped: a control character takes six bytes as JSON, plus the byte
/// of the text itself.
const ESCAPED: u64 = 7;

/// The memory budget of all large responses.
#[derive(Debug)]
pub struct ResponseBudget {
    kib: Arc<Semaphore>,
}

impl Default for ResponseBudget {
    fn default() -> Self {
        Self {
            kib: Arc::new(Semaphore::new(TOTAL_KIB as usize)),
        }
    }
}

impl ResponseBudget {
    /// Reserves memory for a response with JSON text of this length, in bytes.
    ///
    /// # Errors
    /// 503 if the budget stays exhausted for too long.
    pub(super) async fn reserve(&self, bytes: u64) -> Result<Share, Problem> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(TOTAL_KIB);
        // A response larger than the whole budget takes all of it.
        let reserved = Arc::clone(&self.kib).acquire_many_owned(kib.min(TOTAL_KIB));
        match tokio::time::timeout(RESERVE_TIMEOUT, reserved).await {
            Ok(Ok(permit)) => Ok(Share { _permit: permit }),
            _ => Err(Problem::busy(
                "the server is busy with other large responses; retry later",
            )),
        }
    }

    /// Reserves memory for a response with text of this length that has to be escaped, in bytes.
    ///
    /// # Errors
    /// Like [`Self::reserve`].
    pub(super) async fn reserve_escaped(&self, bytes: u64) -> Result<Share, Problem> {
        self.reserve(bytes.saturating_mul(ESCAPED)).await
    }
}

/// A share of the budget, released on drop.
#[derive(Debug)]
pub(super) struct Share {
    _permit: OwnedSemaphorePermit,
}

impl Share {
    /// Returns a response with the concatenated parts of a JSON text as its body. The share is held
    /// until the body has been sent.
    pub(super) fn json<const N: usize>(self, parts: [String; N]) -> Response {
        let body = BudgetedBody {
            parts: parts.into_iter().map(Bytes::from).rev().collect(),
            _share: self,
        };
        let mut response = Body::from_stream(body).into_response();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

/// A response body with its share of the budget.
struct BudgetedBody {
    /// In reverse order: the last part is sent next.
    parts: Vec<Bytes>,
    _share: Share,
}

impl Stream for BudgetedBody {
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
