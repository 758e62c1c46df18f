//! Large responses, which hold their share of the [memory budget](crate::response_budget) until they have
//! been sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::Stream;

use super::Problem;
use crate::response_budget::{BudgetExhausted, Share};

/// Bodies are passed to the connection in chunks of this size, in bytes.
const PIECE: usize = 64 << 10;

impl From<BudgetExhausted> for Problem {
    fn from(error: BudgetExhausted) -> Self {
        Self::busy(&error.to_string())
    }
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
