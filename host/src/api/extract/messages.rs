//! Rewrites serde's error messages in the words of this API.

use serde_json::Value;

const TIME: &str = "a time such as 2026-12-01T02:30:00Z";
const ID: &str = "an id";
const MAX_SHOWN: usize = 60;

/// Secret fields, which error messages never quote.
const SECRET_FIELDS: [&str; 5] = ["answers", "password", "private_key", "passphrase", "secret"];

/// Rewrites a serde message about a wrong type as `expected X, got Y`. `found` is the value at
/// `pointer`.
pub(super) fn plain(message: &str, pointer: &str, found: Option<&Value>) -> String {
    let got = |words: &str| match found {
        Some(found) => shown(pointer, found),
        None => json_word(words),
    };
    if is_about_time(message) {
        return format!("expected {TIME}{}", and_got(pointer, found));
    }
    if message.starts_with("UUID parsing failed") {
        return format!("expected {ID}{}", and_got(pointer, found));
    }
    if let Some(expected) = of_text(message) {
        return format!("expected {expected}{}", and_got(pointer, found));
    }
    let variant = message.strip_prefix("unknown variant `");
    if let Some((variant, expected)) = variant.and_then(|rest| rest.rsplit_once("`, expected ")) {
        return format!("expected {expected}, got `{variant}`");
    }
    let mismatch = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix));
    match mismatch.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((words, expected)) => format!("expected {}, got {}", type_words(expected), got(words)),
        None => message.to_owned(),
    }
}

fn and_got(pointer: &str, found: Option<&Value>) -> String {
    found.map_or_else(String::new, |found| {
        format!(", got {}", shown(pointer, found))
    })
}

/// Matches chrono's messages, which do not mention that they are about a time.
fn is_about_time(message: &str) -> bool {
    [
        "input is out of range",
        "no possible date and time matching input",
        "input is not enough for unique date and time",
        "input contains invalid characters",
        "premature end of input",
        "trailing input",
    ]
    .contains(&message)
}

/// Returns the expected value for messages about numbers and flags parsed from text, as in a query.
fn of_text(message: &str) -> Option<&'static str> {
    match message {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            Some("a whole number")
        }
        "number too large to fit in target type" => Some("a smaller whole number"),
        "number too small to fit in target type" => Some("a larger whole number"),
        "provided string was not `true` or `false`" => Some("true or false"),
        "invalid float literal" | "cannot parse float from empty string" => Some("a number"),
        _ => None,
    }
}

/// Returns a client-facing name for a Rust type.
fn type_words(expected: &str) -> String {
    let whole = |from: &dyn std::fmt::Display, to: &dyn std::fmt::Display| {
        format!("a whole number from {from} to {to}")
    };
    let words = match expected {
        "u8" => return whole(&u8::MIN, &u8::MAX),
        "u16" => return whole(&u16::MIN, &u16::MAX),
        "u32" => return whole(&u32::MIN, &u32::MAX),
        "u64" | "usize" => return whole(&u64::MIN, &u64::MAX),
        "i8" => return whole(&i8::MIN, &i8::MAX),
        "i16" => return whole(&i16::MIN, &i16::MAX),
        "i32" => return whole(&i32::MIN, &i32::MAX),
        "i64" | "isize" => return whole(&i64::MIN, &i64::MAX),
        "f32" | "f64" | "a JSON number" => "a number",
        "a string" | "string" | "str" | "a borrowed string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" | "map" => "an object",
        "unit" => "null",
        "an RFC 3339 formatted date and time string" => TIME,
        "a formatted UUID string" | "a UUID string" => ID,
        "string or map" => "a text or an object",
        _ if expected.starts_with("struct ") || expected.starts_with("internally tagged enum") => {
            "an object"
        }
        _ if expected.starts_with("variant of enum") || expected.starts_with("enum ") => "a text",
        _ if expected.starts_with("tuple") || expected.starts_with("a tuple") => "a list",
        _ => expected,
    };
    words.to_owned()
}

/// Formats a value for a message.
fn shown(pointer: &str, found: &Value) -> String {
    let is_secret = pointer.split('/').any(|part| SECRET_FIELDS.contains(&part));
    let text = match found {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Number(_) if is_secret => "a number".to_owned(),
        Value::String(_) if is_secret => "a text".to_owned(),
        Value::Number(number) => number.as_str().to_owned(),
        Value::String(text) => format!("{text:?}"),
    };
    if text.chars().count() <= MAX_SHOWN {
        return text;
    }
    let mut short: String = text.chars().take(MAX_SHOWN).collect();
    short.push('…');
    short
}

/// Translates serde's word for a kind of value.
fn json_word(words: &str) -> String {
    let word = match words {
        "map" => "an object",
        "sequence" => "a list",
        "null" | "unit value" | "Option value" => "null",
        _ => {
            let quoted = words
                .split_once('`')
                .map(|(_, rest)| rest.trim_end_matches('`'));
            let number = ["integer ", "floating point ", "boolean ", "number"]
                .iter()
                .any(|kind| words.starts_with(kind));
            return match quoted {
                Some(quoted) if number => quoted.to_owned(),
                _ if words.starts_with("string ") => "a text".to_owned(),
                _ => words.to_owned(),
            };
        }
    };
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_name_what_a_client_knows() {
        let big: Value = serde_json::from_str("100000000000000000000000").unwrap();
        for (message, found, said) in [
            (
                "invalid type: string \"x\", expected u16",
                Some(json!("x")),
                "expected a whole number from 0 to 65535, got \"x\"",
            ),
            (
                "invalid type: floating point `1e+23`, expected i32",
                Some(big),
                "expected a whole number from -2147483648 to 2147483647, got \
                 100000000000000000000000",
            ),
            (
                "invalid type: map, expected a sequence",
                None,
                "expected a list, got an object",
            ),
            (
                "invalid type: integer `5`, expected struct BatchOptions",
                None,
                "expected an object, got 5",
            ),
            (
                "invalid value: integer `-1`, expected u32",
                Some(json!(-1)),
                "expected a whole number from 0 to 4294967295, got -1",
            ),
            (
                "unknown variant `x`, expected one of `skip`, `queue`",
                Some(json!("x")),
                "expected one of `skip`, `queue`, got `x`",
            ),
            (
                "input contains invalid characters",
                Some(json!("tomorrow")),
                "expected a time such as 2026-12-01T02:30:00Z, got \"tomorrow\"",
            ),
            (
                "invalid type: integer `5`, expected an RFC 3339 formatted date and time string",
                Some(json!(5)),
                "expected a time such as 2026-12-01T02:30:00Z, got 5",
            ),
            ("missing field `plugin`", None, "missing field `plugin`"),
        ] {
            assert_eq!(plain(message, "/field", found.as_ref()), said);
        }
    }

    #[test]
    fn secrets_are_not_repeated() {
        let found = json!("hunter2");
        let message = "invalid type: string \"hunter2\", expected struct Answer";
        for pointer in ["/password", "/answers/0", "/connection/secret"] {
            let said = plain(message, pointer, Some(&found));
            assert_eq!(said, "expected an object, got a text", "{pointer}");
        }
        let unknown = plain(message, "", None);
        assert!(!unknown.contains("hunter2"), "{unknown}");
    }
}
