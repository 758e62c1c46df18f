//! Numbers in JSON that the host accepts.
//!
//! A number keeps its text (`serde_json`'s `arbitrary_precision`), so that it is stored and
//! returned exactly, at any length. A number that would overflow or underflow a float is rejected
//! at the boundary: no program could calculate with it.

use serde_json::{Number, Value};

/// Finds a number that is out of range: its JSON pointer and a message.
pub(crate) fn out_of_range(value: &Value) -> Option<(String, String)> {
    match value {
        Value::Number(number) if !is_in_range(number) => Some((String::new(), refusal(number))),
        Value::Array(values) => values.iter().enumerate().find_map(|(index, value)| {
            out_of_range(value).map(|(place, message)| (format!("/{index}{place}"), message))
        }),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let (place, message) = out_of_range(value)?;
            let name = name.replace('~', "~0").replace('/', "~1");
            Some((format!("/{name}{place}"), message))
        }),
        _ => None,
    }
}

/// Returns whether the number is an integer, or a float that is neither too large nor too small.
pub(crate) fn is_in_range(number: &Number) -> bool {
    let text = number.as_str();
    if is_integer(text) {
        return true;
    }
    let digits = text.split(['e', 'E']).next().unwrap_or_default();
    let is_zero = !digits.contains(|digit: char| ('1'..='9').contains(&digit));
    match number.as_f64() {
        Some(float) => float != 0.0 || is_zero,
        None => false,
    }
}

/// Returns whether a number is written as an integer: without a fraction and an exponent.
pub(crate) fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// Returns the message for a number that is out of range.
pub(crate) fn refusal(number: &Number) -> String {
    let mut text = number.to_string();
    if text.len() > 60 {
        text.truncate(60);
        text.push('…');
    }
    format!("the number {text} is out of range: expected an integer or a 64-bit float")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> Option<String> {
        out_of_range(&serde_json::from_str(json).unwrap()).map(|(place, _)| place)
    }

    #[test]
    fn integers_of_any_length_and_finite_floats_are_in_range() {
        for json in [
            "0",
            "-0",
            "0.0",
            "0e5",
            "-0.0e-999",
            "18446744073709551616",
            "1.5",
            "1e308",
            "5e-324",
            "1000000000000000000000000000000",
        ] {
            assert_eq!(refused(json), None, "{json}");
        }
    }

    #[test]
    fn a_number_out_of_range_is_found_with_its_place() {
        assert_eq!(refused("1e400").unwrap(), "");
        assert_eq!(refused(r#"{"a":[1,{"b/c":-1e999}]}"#).unwrap(), "/a/1/b~1c");
        assert_eq!(refused("[1e-400]").unwrap(), "/0");
    }
}
