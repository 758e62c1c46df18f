//! Checks and escapes of JSON that serde leaves out.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::{self, Write as _};

use netssh_core::visible::is_hidden;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Returns the JSON pointer of the first field that an object contains twice.
///
/// serde keeps the last one without a word where a type takes any JSON.
pub(crate) fn duplicate_field(json: &[u8]) -> Option<String> {
    let mut pointer = None;
    let mut reader = serde_json::Deserializer::from_slice(json);
    let walk = Walk {
        path: String::new(),
        found: &mut pointer,
    };
    // A text that is not JSON is rejected where it is read.
    let _ = walk.deserialize(&mut reader);
    pointer
}

/// Escapes the hidden characters of JSON without line ends outside of its texts, so that a
/// terminal can show it. It remains the same value.
pub(crate) fn escape_hidden(json: &str) -> Cow<'_, str> {
    if !json.contains(is_hidden) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Appends a field's name to a JSON pointer.
pub(crate) fn child(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Walks one value and ends with an error at the first duplicate.
struct Walk<'a> {
    path: String,
    found: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0_usize;
        loop {
            let walk = Walk {
                path: format!("{}/{index}", self.path),
                found: &mut *self.found,
            };
            if list.next_element_seed(walk)?.is_none() {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = object.next_key::<String>()? {
            let path = child(&self.path, &name);
            if !names.insert(name) {
                *self.found = Some(path);
                return Err(A::Error::custom("duplicate field"));
            }
            object.next_value_seed(Walk {
                path,
                found: &mut *self.found,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_fields_are_found_at_any_depth() {
        for (json, pointer) in [
            (r#"{"a":1,"a":2}"#, "/a"),
            (r#"{"a":{"b":1,"c":[],"b":1}}"#, "/a/b"),
            (r#"{"a":[0,{"x/y":1,"x/y":2}]}"#, "/a/1/x~1y"),
            (r#"[{"a":1},{"\u0061":1,"a":2}]"#, "/1/a"),
        ] {
            assert_eq!(duplicate_field(json.as_bytes()).as_deref(), Some(pointer));
        }
        for json in [
            r#"{"a":{"a":{"a":1}},"b":{"a":123456789012345678901234567890}}"#,
            r#"[{"a":1.5},{"a":null},{"a":true},{"a":"a"},-1]"#,
            r#"{"a":1,"#,
            "",
        ] {
            assert_eq!(duplicate_field(json.as_bytes()), None, "{json}");
        }
    }
}
