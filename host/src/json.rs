//! Checks that serde lacks: finds duplicate fields, and measures JSON before it is parsed.
//!
//! Parsed values take many times the memory of their text, for example thirty times for a list of empty
//! objects.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::io;

use netssh_core::visible::is_hidden;
use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Maximum nesting of a value that is stored or returned.
pub(crate) const MAX_VALUE_DEPTH: usize = 64;

/// Returns the length of a value as JSON, in bytes, without building the text.
pub(crate) fn length(value: &impl Serialize) -> usize {
    struct Length(usize);
    impl io::Write for Length {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut length = Length(0);
    // The writer never fails; a value that cannot be serialized fails where it is sent.
    let _ = serde_json::to_writer(&mut length, value);
    length.0
}

/// The reason why a JSON text is not parsed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// An object contains a field twice, at this JSON pointer. For types that accept any JSON, serde
    /// would silently keep the last one.
    Duplicate(String),
    /// The values take more memory than allowed.
    TooLarge,
}

/// Returns an upper bound of the memory that the values of a JSON text will take, in bytes.
///
/// # Errors
/// If a field occurs twice, or the values take more than `most` bytes. A text that is not valid JSON is
/// measured up to the first syntax error; parsing rejects it.
pub(crate) fn measure(json: &[u8], most: usize) -> Result<usize, Flaw> {
    let mut survey = Survey {
        memory: 0,
        most,
        unique: true,
        flaw: None,
    };
    survey.walk(json);
    survey.flaw.map_or(Ok(survey.memory), Err)
}

/// Measures like [`measure`], but allows duplicate fields.
///
/// # Errors
/// If the values take more than `most` bytes.
pub(crate) fn memory_of(json: &str, most: usize) -> Result<usize, Flaw> {
    let mut survey = Survey {
        memory: 0,
        most,
        unique: false,
        flaw: None,
    };
    survey.walk(json.as_bytes());
    survey.flaw.map_or(Ok(survey.memory), Err)
}

/// The name under which `serde_json` passes the text of a number through maps. It would read an object
/// with such a field as a number.
pub(crate) const RESERVED_NAME: &str = "$serde_json::private::Number";

/// `serde_json` rejects deeper nesting:
/// <https://docs.rs/serde_json/1/serde_json/struct.Deserializer.html#method.disable_recursion_limit>
const MAX_DEPTH: usize = 128;

/// Finds the first field called [`RESERVED_NAME`]. Returns its JSON pointer and an error message.
///
/// Searches the text itself, because `serde_json`'s readers do not distinguish such a field from a
/// number.
pub(crate) fn reserved_field(json: &[u8]) -> Option<(String, String)> {
    // However the name is written, the text contains one of these.
    let may_hold = |part: &[u8]| json.windows(part.len()).any(|window| window == part);
    if !may_hold(b"private") && !may_hold(b"\\u") {
        return None;
    }
    let mut stack: Vec<Step<'_>> = Vec::new();
    let mut place = 0;
    while let Some(byte) = json.get(place) {
        match byte {
            // Deeper than serde_json reads.
            b'{' | b'[' if stack.len() > MAX_DEPTH => return None,
            b'{' => stack.push(Step::Field(b"\"\"")),
            b'[' => stack.push(Step::Item(0)),
            b'}' | b']' => {
                stack.pop();
            }
            b',' => {
                if let Some(Step::Item(index)) = stack.last_mut() {
                    *index += 1;
                }
            }
            b'"' => {
                let text = string_at(json, place)?;
                place += text.len();
                let rest = json.get(place..).unwrap_or_default().trim_ascii_start();
                if let (true, Some(Step::Field(name))) = (rest.starts_with(b":"), stack.last_mut())
                {
                    *name = text;
                    if unquoted(text) == RESERVED_NAME {
                        let message = format!("the name `{RESERVED_NAME}` is not allowed");
                        return Some((pointer_of(&stack), message));
                    }
                }
                continue;
            }
            _ => {}
        }
        place += 1;
    }
    None
}

/// A step of the path to a value.
enum Step<'a> {
    /// The field's name, quoted.
    Field(&'a [u8]),
    Item(usize),
}

fn pointer_of(stack: &[Step<'_>]) -> String {
    stack
        .iter()
        .fold(String::new(), |pointer, step| match step {
            Step::Field(name) => child(&pointer, &unquoted(name)),
            Step::Item(index) => format!("{pointer}/{index}"),
        })
}

/// Returns the quoted string at a position, or `None` if it is not terminated.
fn string_at(json: &[u8], start: usize) -> Option<&[u8]> {
    let mut end = start + 1;
    loop {
        match json.get(end)? {
            b'"' => return json.get(start..=end),
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
}

/// Unquotes a string. An invalid one becomes empty here, because parsing the text rejects it.
fn unquoted(text: &[u8]) -> String {
    serde_json::from_slice(text).unwrap_or_default()
}

/// Escapes the hidden characters of a JSON text for a terminal, without changing its value. The text
/// must have no line endings outside its strings.
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

/// Parses JSON text from a plugin.
///
/// # Errors
/// If the text is not valid JSON, or nested too deeply.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let too_deep = || {
        let most = MAX_VALUE_DEPTH;
        format!("invalid JSON: expected at most {most} levels of nesting")
    };
    let value = serde_json::from_str(text).map_err(|error| {
        let text = error.to_string();
        match text.starts_with("recursion limit") {
            true => too_deep(),
            false => format!("invalid JSON: {text}"),
        }
    })?;
    match is_within(&value, MAX_VALUE_DEPTH) {
        true => Ok(value),
        false => Err(too_deep()),
    }
}

fn is_within(value: &Value, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    match value {
        Value::Array(values) => values.iter().all(|value| is_within(value, depth)),
        Value::Object(fields) => fields.values().all(|value| is_within(value, depth)),
        _ => true,
    }
}

/// Appends a field's name to a JSON pointer.
pub(crate) fn child(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// The state of a measurement.
struct Survey {
    memory: usize,
    most: usize,
    /// Whether duplicate fields are rejected.
    unique: bool,
    flaw: Option<Flaw>,
}

impl Survey {
    fn walk(&mut self, json: &[u8]) {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let walk = Walk {
            place: &Position::Root,
            survey: self,
        };
        // Parsing rejects a text that is not valid JSON.
        let _ = walk.deserialize(&mut reader);
    }

    fn add<E: serde::de::Error>(&mut self, bytes: usize) -> Result<(), E> {
        self.memory = self.memory.saturating_add(bytes);
        if self.memory > self.most {
            return Err(self.stop(Flaw::TooLarge));
        }
        Ok(())
    }

    fn stop<E: serde::de::Error>(&mut self, flaw: Flaw) -> E {
        self.flaw = Some(flaw);
        E::custom("not parsed")
    }
}

/// The position of a value. A pointer is built from it only when needed.
enum Position<'a> {
    Root,
    Item(&'a Self, usize),
    Field(&'a Self, &'a str),
}

impl Position<'_> {
    fn pointer(&self) -> String {
        match self {
            Position::Root => String::new(),
            Position::Item(list, index) => format!("{}/{index}", list.pointer()),
            Position::Field(object, name) => child(&object.pointer(), name),
        }
    }
}

/// Returns the memory that the allocator takes for a length, in bytes. jemalloc has four sizes between
/// powers of two, and steps of 16 bytes for small sizes: <https://jemalloc.net/jemalloc.3.html>, "Size
/// classes".
fn allocated(length: usize) -> usize {
    let step = length.next_power_of_two() / 8;
    length.next_multiple_of(step.max(16))
}

/// Returns the memory of a list's items, in bytes. A growing list may have twice the needed capacity.
fn list(items: usize) -> usize {
    match items {
        0 => 0,
        items => allocated(items.next_power_of_two().max(4) * size_of::<Value>()),
    }
}

/// Returns the memory of an object's fields, in bytes, excluding the contents of names and values: a
/// hash table that is at most seven eighths full, and the list of fields.
fn object(fields: usize) -> usize {
    /// A hash, a name and a value.
    const FIELD: usize = size_of::<usize>() + size_of::<String>() + size_of::<Value>();
    if fields == 0 {
        return 0;
    }
    let places = (fields * 8).div_ceil(7).next_power_of_two().max(4);
    let table = places * (size_of::<usize>() + 1) + 16;
    allocated(table) + allocated(places * 7 / 8 * FIELD)
}

/// Walks a value, and stops with an error at the first flaw.
struct Walk<'a> {
    place: &'a Position<'a>,
    survey: &'a mut Survey,
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

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.survey.add(allocated(value.len()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0_usize;
        loop {
            let walk = Walk {
                place: &Position::Item(self.place, index),
                survey: &mut *self.survey,
            };
            if items.next_element_seed(walk)?.is_none() {
                return Ok(());
            }
            self.survey.add(list(index + 1) - list(index))?;
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        let mut count = 0_usize;
        while let Some(name) = fields.next_key::<String>()? {
            self.survey
                .add(object(count + 1) - object(count) + allocated(name.len()))?;
            count += 1;
            let place = Position::Field(self.place, &name);
            if self.survey.unique && names.contains(&name) {
                let pointer = place.pointer();
                return Err(self.survey.stop(Flaw::Duplicate(pointer)));
            }
            fields.next_value_seed(Walk {
                place: &place,
                survey: &mut *self.survey,
            })?;
            if self.survey.unique {
                names.insert(name);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_json_is_that_of_its_text() {
        let value = serde_json::json!({"a": [1, 2.5, null, "ü\n\u{1}"], "b": {}});
        assert_eq!(length(&value), value.to_string().len());
    }

    #[test]
    fn a_field_with_the_reserved_name_is_found_however_it_is_written() {
        for (json, pointer) in [
            (
                r#"{"$serde_json::private::Number":"5"}"#,
                "/$serde_json::private::Number",
            ),
            (
                r#"{"a":[1,{"x":{},"\u0024serde_json::privat\u0065::Number" : 1}]}"#,
                "/a/1/$serde_json::private::Number",
            ),
            (
                r#"{"a":"]}\"","b/c":{"$serde_json::private::Number":{}}}"#,
                "/b~1c/$serde_json::private::Number",
            ),
        ] {
            let found = reserved_field(json.as_bytes());
            assert_eq!(found.map(|(pointer, _)| pointer).as_deref(), Some(pointer));
        }
        for json in [
            r#"{"a":"$serde_json::private::Number","b":["$serde_json::private::Number"]}"#,
            r#"{"$serde_json::private::Numbers":1,"private":1.5,"\u0061":123456789012345678901}"#,
            r#"{"private"#,
            r#"}],"private":"\"#,
        ] {
            assert_eq!(reserved_field(json.as_bytes()), None, "{json}");
        }
    }

    #[test]
    fn values_are_nested_as_deep_as_the_limit() {
        let nested = |arrays: usize| format!("{}1{}", "[".repeat(arrays), "]".repeat(arrays));
        assert!(parse(&nested(63)).is_ok());
        for arrays in [64, 100, 200, 100_000] {
            let error = parse(&nested(arrays)).unwrap_err();
            assert!(
                error.contains("at most 64 levels of nesting"),
                "{arrays}: {error}"
            );
        }
        assert!(parse("[").unwrap_err().starts_with("invalid JSON: EOF"));
    }

    #[test]
    fn duplicate_fields_are_found_at_any_depth() {
        for (json, pointer) in [
            (r#"{"a":1,"a":2}"#, "/a"),
            (r#"{"a":{"b":1,"c":[],"b":1}}"#, "/a/b"),
            (r#"{"a":[0,{"x/y":1,"x/y":2}]}"#, "/a/1/x~1y"),
            (r#"[{"a":1},{"\u0061":1,"a":2}]"#, "/1/a"),
        ] {
            let expected = Err(Flaw::Duplicate(pointer.to_owned()));
            assert_eq!(measure(json.as_bytes(), usize::MAX), expected);
            assert!(memory_of(json, usize::MAX).is_ok());
        }
        for json in [
            r#"{"a":{"a":{"a":1}},"b":{"a":123456789012345678901234567890}}"#,
            r#"[{"a":1.5},{"a":null},{"a":true},{"a":"a"},-1]"#,
            r#"{"a":1,"#,
            "",
        ] {
            assert!(measure(json.as_bytes(), usize::MAX).is_ok(), "{json}");
        }
    }

    /// Returns the memory that this thread has allocated and not freed, in bytes.
    fn held() -> u64 {
        use tikv_jemalloc_ctl::thread::{allocatedp, deallocatedp};
        let read = |allocated: bool| match allocated {
            true => allocatedp::read().unwrap().get(),
            false => deallocatedp::read().unwrap().get(),
        };
        read(true) - read(false)
    }

    #[test]
    fn values_take_no_more_memory_than_measured() {
        let record = r#"{"interface":"GigabitEthernet0/1","status":"up","vlan":"10","mtu":1500}"#;
        for (name, item) in [
            ("records", record),
            ("empty objects", "{}"),
            ("objects of one field", r#"{"":[]}"#),
            ("numbers", "0"),
            ("lists", "[[],[]]"),
            ("lists of one", "[[0]]"),
            ("texts", r#""0123456789abcdef0123456789abcdef""#),
            ("empty texts", r#""""#),
            (
                "large objects",
                r#"{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8}"#,
            ),
        ] {
            let json = format!("[{}]", vec![item; 20_000].join(","));
            let before = held();
            let values: Value = serde_json::from_str(&json).unwrap();
            let taken = usize::try_from(held() - before).unwrap();
            drop(values);
            let measured = measure(json.as_bytes(), usize::MAX).unwrap();
            assert!(taken <= measured, "{name}: {taken}, measured {measured}");
            assert!(
                measured <= 3 * taken,
                "{name}: {taken}, measured {measured}"
            );
            let most = measured / 2;
            assert_eq!(
                measure(json.as_bytes(), most),
                Err(Flaw::TooLarge),
                "{name}"
            );
        }
    }
}
