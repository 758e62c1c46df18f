//! The `format` keyword in parameter schemas.
//!
//! An unchecked format would accept the values it seems to exclude, so formats are asserted, and a
//! plugin with an unknown format does not load.

use std::net::IpAddr;

use jsonschema::{ValidationError, ValidationOptions};
use uuid::Uuid;

/// Formats that describe how a text is entered, not its content.
const OF_FORMS: [&str; 4] = ["multiline", "textarea", "password", "markdown"];

/// Number formats that code generators write next to `type`. The schema's `minimum` and `maximum` are
/// the actual check.
const OF_NUMBERS: [&str; 16] = [
    "int", "int8", "int16", "int32", "int64", "int128", "uint", "uint8", "uint16", "uint32",
    "uint64", "uint128", "float", "double", "decimal", "number",
];

const EXPECTED: &str = "expected date-time, date, time, duration, email, hostname, ipv4, ipv6, ip, \
                        uri, uri-reference, uuid, regex, json-pointer or for forms: multiline, \
                        password; use `pattern` for other rules";

/// Returns options that check formats and reject unknown ones.
pub(super) fn asserted(options: ValidationOptions<'_>) -> ValidationOptions<'_> {
    let options = options
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .with_format("ip", |text| text.parse::<IpAddr>().is_ok())
        // A format of later drafts, registered for schemas that name an earlier one.
        .with_format("uuid", |text| {
            text.len() == 36 && Uuid::try_parse(text).is_ok()
        });
    let known = OF_FORMS.into_iter().chain(OF_NUMBERS);
    known.fold(options, |options, name| options.with_format(name, |_| true))
}

/// Returns the message for an unknown format; `None` for another error.
pub(super) fn unknown(error: &ValidationError<'_>) -> Option<String> {
    let message = error.to_string();
    let rest = message.strip_prefix("Unknown format: '")?;
    let (name, _) = rest.split_once('\'')?;
    Some(format!("unknown format `{name}`: {EXPECTED}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_are_asserted() {
        for (format, good, bad) in [
            ("ipv4", "192.0.2.1", "no-ip"),
            ("ipv6", "2001:db8::1", "192.0.2.1"),
            ("ip", "192.0.2.1", "192.0.2.256"),
            ("hostname", "core1.example.net", "a b"),
            ("date-time", "2026-12-01T02:30:00Z", "tomorrow"),
            ("uuid", "01a20b8d-4b7a-70ea-a625-19007fea5eeb", "01a20b8d"),
            ("email", "noc@example.com", "noc"),
        ] {
            for schema in [
                json!({ "format": format }),
                json!({ "$schema": "http://json-schema.org/draft-07/schema#", "format": format }),
            ] {
                let validator = asserted(jsonschema::options()).build(&schema).unwrap();
                assert!(validator.is_valid(&json!(good)), "{format}: {good}");
                assert!(!validator.is_valid(&json!(bad)), "{format}: {bad}");
            }
        }
        let forms = json!({ "properties": {
            "text": { "type": "string", "format": "multiline" },
            "count": { "type": "integer", "format": "uint32" },
        } });
        let validator = asserted(jsonschema::options()).build(&forms).unwrap();
        assert!(validator.is_valid(&json!({ "text": "a\nb", "count": 3 })));
    }

    #[test]
    fn an_unknown_format_is_named() {
        let schema = json!({ "properties": { "a": { "format": "ipv5" } } });
        let error = asserted(jsonschema::options()).build(&schema).unwrap_err();
        let message = unknown(&error).unwrap();
        assert!(
            message.contains("unknown format `ipv5`: expected date-time"),
            "{message}"
        );
    }
}
