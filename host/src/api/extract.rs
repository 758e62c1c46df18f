//! Extractors for requests. Errors are reported as a [`Problem`] with a pointer to each invalid field.

mod messages;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;
use uuid::Uuid;

use super::Problem;
use super::body_budget::{BodyBudget, Share};
use crate::json::{Flaw, child, measure, reserved_field};
use crate::model::FieldError;

/// Maximum number of errors reported for one request.
const MAX_ERRORS: usize = 20;
/// Bodies longer than this are parsed on a blocking thread, in bytes.
const QUICKLY_PARSED: usize = 64 << 10;

/// A JSON body with the bytes it was parsed from.
pub(super) struct JsonBody<T> {
    pub(super) value: T,
    pub(super) bytes: Bytes,
    /// The memory reserved for both, held until the request has been handled.
    _shares: [Share; 2],
}

impl<S: Send + Sync, T: DeserializeOwned + Send + 'static> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let content_type = content_type
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "expected a JSON body with the header Content-Type: application/json",
            ));
        }
        let budget = request.extensions().get::<BodyBudget>().cloned();
        let budget = budget.ok_or_else(Problem::internal)?;
        let declared = request.headers().get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok());
        let (bytes, received) = budget.receive(request.into_body(), declared).await?;
        let most = budget.max_values();
        let memory = quickly_or_aside(&bytes, move |bytes| memory_of(bytes, most)).await?;
        let parsed = budget.reserve(memory).await?;
        Ok(Self {
            value: quickly_or_aside(&bytes, parse).await?,
            bytes,
            _shares: [received, parsed],
        })
    }
}

/// An optional body: absent if the request has no `Content-Type`.
impl<S: Send + Sync, T: DeserializeOwned + Send + 'static> OptionalFromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        if request.headers().get(header::CONTENT_TYPE).is_none() {
            return Ok(None);
        }
        <Self as FromRequest<S>>::from_request(request, state)
            .await
            .map(Some)
    }
}

/// Runs `work` inline for a short body and on a blocking thread for a long one.
async fn quickly_or_aside<R: Send + 'static>(
    bytes: &Bytes,
    work: impl FnOnce(&[u8]) -> Result<R, Problem> + Send + 'static,
) -> Result<R, Problem> {
    if bytes.len() <= QUICKLY_PARSED {
        return work(bytes);
    }
    let bytes = bytes.clone();
    let worked = tokio::task::spawn_blocking(move || work(&bytes)).await;
    worked.unwrap_or_else(|_| Err(Problem::internal()))
}

/// Returns the memory that a body takes once parsed, plus its text, which is stored.
fn memory_of(bytes: &[u8], most: usize) -> Result<usize, Problem> {
    if let Some((pointer, message)) = reserved_field(bytes) {
        return Err(Problem::invalid_field(&pointer, message));
    }
    let values = measure(bytes, most.saturating_sub(bytes.len()));
    let values = values.map_err(|flaw| match flaw {
        Flaw::Duplicate(pointer) => Problem::invalid_field(&pointer, "duplicate field"),
        Flaw::TooLarge => Problem::too_many_values(most),
    })?;
    Ok(values + bytes.len())
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Without this check, serde would deserialize an object's fields from an array.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::invalid_field(
            "",
            "invalid body: expected a JSON object",
        ));
    }
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(error) => match error.classify() {
            Category::Data => Err(Problem::invalid(errors_in::<T>(bytes)?)),
            Category::Syntax | Category::Eof | Category::Io => Err(not_json(&error)),
        },
    }
}

/// Returns all invalid fields of a body, not only the first.
///
/// serde stops at the first error, so the invalid field is removed and the rest is parsed again. For a
/// long body only the first error is returned, because parsing it repeatedly takes time and memory.
fn errors_in<T: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<FieldError>, Problem> {
    if bytes.len() > QUICKLY_PARSED {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let error = serde_path_to_error::deserialize::<_, T>(&mut json).err();
        return Ok(error.into_iter().map(first_error).collect());
    }
    let whole: Value = serde_json::from_slice(bytes).map_err(|error| not_json(&error))?;
    let mut rest = whole.clone();
    let mut removed: Vec<String> = Vec::new();
    let mut errors = Vec::new();
    while errors.len() < MAX_ERRORS {
        let Err(error) = from_text::<T>(&rest) else {
            break;
        };
        let parent = pointer_of(error.path());
        let message = without_position(&error.into_inner().to_string());
        let is_removed = |name: &str| removed.contains(&child(&parent, name));
        if field_named_in(&message, "missing field `").is_some_and(is_removed) {
            break;
        }
        let pointer = match field_named_in(&message, "unknown field `") {
            Some(field) if !parent.ends_with(&child("", field)) => child(&parent, field),
            _ => parent,
        };
        let message = messages::plain(&message, &pointer, whole.pointer(&pointer));
        let place = remove(&mut rest, &pointer);
        errors.push(FieldError { pointer, message });
        match place {
            Some(place) => removed.push(place),
            None => break,
        }
    }
    Ok(errors)
}

fn first_error(error: serde_path_to_error::Error<serde_json::Error>) -> FieldError {
    let pointer = pointer_of(error.path());
    let message = without_position(&error.into_inner().to_string());
    let message = messages::plain(&message, &pointer, None);
    FieldError { pointer, message }
}

/// Deserializes a JSON value from its text. Deserialized as a value, a number out of range gives an
/// error that does not say what was expected.
fn from_text<T: DeserializeOwned>(
    value: &Value,
) -> Result<T, serde_path_to_error::Error<serde_json::Error>> {
    let text = value.to_string();
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(&text))
}

/// Removes the value at a pointer. For an item of a list the whole list is removed, because the pointers
/// of its other items would change. Returns the pointer of the removed field.
fn remove(value: &mut Value, pointer: &str) -> Option<String> {
    let mut pointer = pointer;
    loop {
        let (parent, name) = pointer.rsplit_once('/')?;
        if let Value::Object(fields) = value.pointer_mut(parent)? {
            let name = name.replace("~1", "/").replace("~0", "~");
            fields.shift_remove(&name)?;
            return Some(pointer.to_owned());
        }
        pointer = parent;
    }
}

/// Deserializes a JSON value. The pointers in errors begin with `base`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers do not use the value afterwards"
)]
pub(super) fn from_value<T: DeserializeOwned>(value: Value, base: &str) -> Result<T, FieldError> {
    from_text(&value).map_err(|error| {
        let place = pointer_of(error.path());
        let pointer = format!("{base}{place}");
        let message = without_position(&error.into_inner().to_string());
        FieldError {
            message: messages::plain(&message, &pointer, value.pointer(&place)),
            pointer,
        }
    })
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "not-json",
        format!("invalid JSON body: {error}"),
    )
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}

fn without_position(message: &str) -> String {
    let end = message.rfind(" at line ").unwrap_or(message.len());
    message[..end].to_owned()
}

/// Returns the field that a serde message names after a prefix.
fn field_named_in<'a>(message: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = message.strip_prefix(prefix)?;
    rest.split('`').next()
}

/// A query string. Unknown parameters are rejected.
pub(super) struct QueryParams<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let message = innermost(&rejection);
                let (name, message) = match parameter_of(&message) {
                    Some((name, message)) => (Some(name), message),
                    None => (
                        field_named_in(&message, "unknown field `"),
                        message.as_str(),
                    ),
                };
                Err(match name {
                    Some(name) => {
                        let found = parts.uri.query().and_then(|query| value_in(query, name));
                        let pointer = child("", name);
                        let message = messages::plain(message, &pointer, found.as_ref());
                        Problem::invalid_field(&pointer, message)
                    }
                    None => Problem::new(
                        StatusCode::UNPROCESSABLE_ENTITY,
                        "invalid",
                        format!("invalid query string: {message}"),
                    ),
                })
            }
        }
    }
}

/// Splits `PARAMETER: MESSAGE`, the form of an error about one parameter.
fn parameter_of(message: &str) -> Option<(&str, &str)> {
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    message.split_once(": ").filter(|(name, _)| is_name(name))
}

fn value_in(query: &str, name: &str) -> Option<Value> {
    let url = reqwest::Url::parse(&format!("http://query/?{query}")).ok()?;
    let (_, value) = url.query_pairs().find(|(key, _)| key == name)?;
    Some(Value::String(value.into_owned()))
}

/// Returns the message of the innermost error, without the wrappers' text.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// An id in the path. A malformed id gets 404, like an unknown one.
pub(super) struct IdInPath(pub(super) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for IdInPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::not_found(rejection.body_text()))?;
        Uuid::parse_str(&text)
            .map(Self)
            .map_err(|_| Problem::not_found(format!("invalid id `{text}`: expected a UUID")))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read by serde")]
    struct Body {
        name: String,
        port: u16,
        mode: Option<Mode>,
        list: Option<Vec<u32>>,
        params: Option<Value>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Mode {
        One,
        Two,
    }

    fn said(json: &str) -> Vec<(String, String)> {
        let measured = memory_of(json.as_bytes(), usize::MAX);
        let parsed = measured.and_then(|_| parse::<Body>(json.as_bytes()));
        let problem = parsed.unwrap_err();
        let errors = problem.errors.into_iter();
        errors.map(|error| (error.pointer, error.message)).collect()
    }

    #[test]
    fn all_wrong_fields_of_a_body_are_reported() {
        let json = r#"{"name":"x","mode":"three","port":70000,"list":[1,-2],"porrt":1}"#;
        let expected = [
            ("/mode", "expected `one` or `two`, got `three`"),
            (
                "/port",
                "expected a whole number from 0 to 65535, got 70000",
            ),
            (
                "/list/1",
                "expected a whole number from 0 to 4294967295, got -2",
            ),
        ];
        let said = said(json);
        for (index, (pointer, message)) in expected.iter().enumerate() {
            assert_eq!(said[index].0, *pointer, "{said:?}");
            assert_eq!(said[index].1, *message);
        }
        assert_eq!(said[3].0, "/porrt");
        assert_eq!(said.len(), 4, "{said:?}");
    }

    #[test]
    fn a_removed_field_is_not_reported_as_missing() {
        let errors = said(r#"{"name":["x"],"port":1}"#);
        assert_eq!(
            errors,
            [("/name".to_owned(), "expected a text, got a list".to_owned())]
        );
        let missing = said(r#"{"port":1}"#);
        assert_eq!(missing[0].1, "missing field `name`");
    }

    #[test]
    fn duplicate_fields_are_rejected_wherever_they_are() {
        for (json, pointer) in [
            (r#"{"name":"x","name":"y","port":1}"#, "/name"),
            (
                r#"{"name":"x","port":1,"params":{"a":1,"b":[{"c":1,"c":2}]}}"#,
                "/params/b/0/c",
            ),
        ] {
            assert_eq!(
                said(json),
                [(pointer.to_owned(), "duplicate field".to_owned())]
            );
        }
    }

    #[test]
    fn a_body_that_is_not_json_is_a_bad_request() {
        for json in ["{", r#"{"name":"x","port":1} x"#, ""] {
            assert_eq!(
                parse::<Body>(json.as_bytes()).unwrap_err().status,
                400,
                "{json}"
            );
        }
    }
}
