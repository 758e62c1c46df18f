//! Invalid fields of a request.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An invalid field: where it is, and the expected value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = InvalidField)]
pub struct FieldError {
    /// A JSON pointer (RFC 6901) into the request's body; for a query parameter, `/` and its name.
    #[schema(example = "/params/commands/0")]
    pub pointer: String,
    pub message: String,
}

impl FieldError {
    #[must_use]
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
        }
    }

    /// An error in a field, or in a nested one such as `answers/0/question`.
    #[must_use]
    pub fn field(path: &str, message: impl Into<String>) -> Self {
        Self::new(format!("/{path}"), message)
    }

    /// Moves the error into the field of a larger value, at `pointer`.
    #[must_use]
    pub fn within(self, pointer: &str) -> Self {
        Self {
            pointer: format!("{pointer}{}", self.pointer),
            ..self
        }
    }
}
