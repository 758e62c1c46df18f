//! Validation of JSON numbers.
//!
//! A number keeps its text (`serde_json`'s `arbitrary_precision`), so that it is stored and returned
//! exactly, at any length. Numbers that overflow or underflow a float are rejected at the boundary,
//! because programs could not calculate with them.

use serde_json::{Number, Value};

use crate::json::child;

/// Maximum number of digits of an integer in a job's parameters. Parsing, formatting and multiplying
/// longer ones takes quadratic time.
pub(crate) const MAX_DIGITS: usize = 1_000;

/// Finds a number that is out of range; returns its JSON pointer and a message.
pub(crate) fn out_of_range(value: &Value) -> Option<(String, String)> {
    find(value, &|number| {
        (!is_in_range(number)).then(|| refusal(number))
    })
}

/// Finds an integer with more than [`MAX_DIGITS`] digits; returns its JSON pointer and a message.
pub(crate) fn too_long(value: &Value) -> Option<(String, String)> {
    find(value, &|number| too_many_digits(number.as_str()))
}

/// Returns an error message if the text is an integer with more than [`MAX_DIGITS`] digits.
pub(crate) fn too_many_digits(text: &str) -> Option<String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_too_long = is_integer(text) && digits.len() > MAX_DIGITS;
    is_too_long.then(|| {
        let (begin, count) = (&digits[..20], digits.len());
        format!("the number {begin}…, which has {count} digits: at most {MAX_DIGITS} are allowed")
    })
}

fn find(value: &Value, check: &dyn Fn(&Number) -> Option<String>) -> Option<(String, String)> {
    match value {
        Value::Number(number) => check(number).map(|message| (String::new(), message)),
        Value::Array(values) => values.iter().enumerate().find_map(|(index, value)| {
            find(value, check).map(|(place, message)| (format!("/{index}{place}"), message))
        }),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let (place, message) = find(value, check)?;
            Some((format!("{}{place}", child("", name)), message))
        }),
        _ => None,
    }
}

/// Returns whether the number is an integer, or a float that neither overflows nor underflows.
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
    fn an_integer_with_too_many_digits_is_found_with_its_place() {
        let long = |digits: usize| {
            let json = format!(r#"{{"a":[1,-{}]}}"#, "7".repeat(digits));
            too_long(&serde_json::from_str(&json).unwrap())
        };
        assert_eq!(long(MAX_DIGITS), None);
        let (place, message) = long(MAX_DIGITS + 1).unwrap();
        assert_eq!(place, "/a/1");
        assert!(message.contains("has 1001 digits"), "{message}");
    }

    #[test]
    fn a_number_out_of_range_is_found_with_its_place() {
        assert_eq!(refused("1e400").unwrap(), "");
        assert_eq!(refused(r#"{"a":[1,{"b/c":-1e999}]}"#).unwrap(), "/a/1/b~1c");
        assert_eq!(refused("[1e-400]").unwrap(), "/0");
    }
}
