//! Errors as `application/problem+json` (RFC 9457): the one mapping from the host's errors to HTTP.
//!
//! Responses contain what a client can act on; internal details go to the log.

use std::any::Any;

use axum::Json;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::AuthError;
use crate::connections::ConnectionError;
use crate::jobs::{RerunError, SubmitError};
use crate::model::{FieldError, Permission};
use crate::storage::{Fault, StorageError};

/// A problem detail (RFC 9457).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The kind of problem, as a URI reference.
    #[serde(rename = "type")]
    #[schema(example = "/problems/invalid")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// The invalid fields of a request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The header `Retry-After`.
    #[serde(skip)]
    pub(crate) retry_after_seconds: Option<u32>,
}

/// `Retry-After` for a submission while its plugin is being compiled.
const COMPILING_RETRY_SECONDS: u32 = 5;

impl Problem {
    pub(super) fn new(status: StatusCode, name: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/problems/{name}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_seconds: None,
        }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    pub(super) fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] if one.pointer.is_empty() => one.message.clone(),
            [one] => format!("{}: {}", one.pointer, one.message),
            several => format!("the request has {} errors; see `errors`", several.len()),
        };
        Self {
            errors,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
        }
    }

    pub(super) fn invalid_field(pointer: &str, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError {
            pointer: pointer.to_owned(),
            message: message.into(),
        }])
    }

    pub(crate) async fn no_such_url(method: Method, uri: Uri) -> Self {
        Self::not_found(format!(
            "{method} {} not found; GET /api/docs lists all endpoints",
            uri.path()
        ))
    }

    pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Self {
        let detail = format!("method {method} is not allowed for {}", uri.path());
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "the layer hands the panic over"
    )]
    pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        tracing::error!(panic = message, "request handler panicked");
        Self::internal().into_response()
    }

    pub(super) fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "the body is too large (server.max_body_bytes)",
        )
    }

    /// Rejects a body with values that take more than `most` bytes of memory.
    pub(super) fn too_many_values(most: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            format!(
                "the values in the body need too much memory: at most {} MiB are allowed \
                 (server.max_request_memory_bytes)",
                most >> 20
            ),
        )
    }

    pub(super) fn unreadable(error: &axum::Error) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "unreadable",
            format!("failed to read the body: {error}"),
        )
    }

    pub(super) fn busy(detail: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
    }

    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "internal error; see the server's log, under the x-request-id of this response",
        )
    }

    pub(super) fn unusable(fault: &Fault) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "database-unusable",
            fault.to_string(),
        )
    }

    fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "the database is not available; retry later",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
        let retry_after = self
            .retry_after_seconds
            .map(|seconds| [(header::RETRY_AFTER, seconds.to_string())]);
        // RFC 9110 requires it. No browser asks for a password because of `Bearer`.
        let challenge = (status == StatusCode::UNAUTHORIZED)
            .then_some([(header::WWW_AUTHENTICATE, "Bearer realm=\"scheduler\"")]);
        match (retry_after, challenge) {
            (Some(retry_after), _) => {
                (status, content_type, retry_after, Json(self)).into_response()
            }
            (None, Some(challenge)) => {
                (status, content_type, challenge, Json(self)).into_response()
            }
            (None, None) => (status, content_type, Json(self)).into_response(),
        }
    }
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Exists(what) => Self::conflict(format!("{what} already exists")),
            StorageError::Unavailable(_) | StorageError::Database(_) => {
                tracing::error!(%error, "request failed: database error");
                Self::unavailable()
            }
            StorageError::Full => {
                tracing::error!(%error, "request failed: database error");
                Self::new(
                    StatusCode::INSUFFICIENT_STORAGE,
                    "disk-full",
                    "the database's disk is full, so nothing was stored; free some space on it",
                )
            }
            StorageError::LowSpace(low) => {
                // The free space is left out because it changes: the log repeats an identical line only
                // a few times a minute.
                tracing::warn!(
                    least = low.least,
                    "request rejected: the disk is nearly full"
                );
                Self::new(
                    StatusCode::INSUFFICIENT_STORAGE,
                    "disk-low",
                    format!("{low}; new jobs are accepted again when space is freed"),
                )
            }
            // The fault was logged when it was detected.
            StorageError::Unusable(fault) => Self::unusable(&fault),
            StorageError::Corrupt(_) => {
                tracing::error!(%error, "request failed: database error");
                Self::internal()
            }
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::UnknownPlugin(name) => Self::not_found(format!(
                "plugin `{name}` not found; GET /api/plugins lists the plugins"
            )),
            SubmitError::BrokenPlugin(name, error) => {
                Self::conflict(format!("plugin `{name}` failed to load: {error}"))
            }
            SubmitError::CompilingPlugin(_) => Self {
                retry_after_seconds: Some(COMPILING_RETRY_SECONDS),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "compiling",
                    format!("{error}; retry in {COMPILING_RETRY_SECONDS} s"),
                )
            },
            SubmitError::NotGranted(..) => Self::new(
                StatusCode::FORBIDDEN,
                "not-granted",
                format!("{error}; see [policy] in the server's configuration"),
            ),
            SubmitError::Invalid(errors) => Self::invalid(errors),
            SubmitError::KeyReused => Self::conflict(
                "this Idempotency-Key was already used with another request; use a new key for a new \
                 job",
            ),
            SubmitError::Storage(error) => error.into(),
        }
    }
}

impl From<RerunError> for Problem {
    fn from(error: RerunError) -> Self {
        match error {
            RerunError::NotFound(_) => Self::not_found(error.to_string()),
            RerunError::NotEnded(_) | RerunError::NothingLeft(_) | RerunError::OwnConnection => {
                Self::conflict(error.to_string())
            }
            RerunError::NoBatch => Self::invalid_field("/only", error.to_string()),
            RerunError::Refused(error) => error.into(),
            RerunError::Storage(error) => error.into(),
        }
    }
}

impl From<ConnectionError> for Problem {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Invalid(fields) => Self::invalid(fields),
            ConnectionError::NotFound(_) => Self::not_found(error.to_string()),
            ConnectionError::Dependents { .. } => Self::invalid(vec![FieldError {
                pointer: "/forget_secrets_of_dependents".to_owned(),
                message: error.to_string(),
            }]),
            ConnectionError::JumpedThrough { .. } | ConnectionError::KeyProtectsSecrets { .. } => {
                Self::conflict(error.to_string())
            }
            ConnectionError::Redirected(_) => Self::forbidden(format!(
                "{error}, for which you do not have the permission `{}`",
                Permission::ConnectionsTrust
            )),
            ConnectionError::Storage(error) => error.into(),
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let unauthenticated = |error: &AuthError| {
            Self::new(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                error.to_string(),
            )
        };
        match error {
            AuthError::Missing
            | AuthError::NoSession
            | AuthError::Malformed(_)
            | AuthError::UnknownToken
            | AuthError::ExpiredToken(_)
            | AuthError::Disabled(_) => unauthenticated(&error),
            AuthError::WrongPassword => Self::new(
                StatusCode::UNAUTHORIZED,
                "wrong-password",
                error.to_string(),
            ),
            AuthError::TooManyAttempts(seconds) => Self {
                retry_after_seconds: Some(seconds),
                ..Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too-many-attempts",
                    error.to_string(),
                )
            },
            AuthError::Busy => Self {
                retry_after_seconds: Some(1),
                ..Self::busy(&error.to_string())
            },
            AuthError::Off => Self::new(
                StatusCode::CONFLICT,
                "authentication-off",
                error.to_string(),
            ),
            AuthError::SessionRequired => {
                Self::new(StatusCode::FORBIDDEN, "session-required", error.to_string())
            }
            AuthError::Invalid(errors) => Self::invalid(errors),
            AuthError::NotFound(detail) => Self::not_found(detail),
            AuthError::Conflict(detail) => Self::conflict(detail),
            AuthError::Internal(_) => {
                tracing::error!(%error, "request failed");
                Self::internal()
            }
            AuthError::Storage(error) => error.into(),
        }
    }
}
