//! Redefines functions of the language that can return far more than their operands, so that they
//! respect the memory limit: padding, splitting and JSON.
//!
//! The engine checks the limit between operations (`memory.rs`); these functions check it while they
//! work.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "export_module exports pub functions only, the crate does not re-export them, and the generated code unwraps"
)]

use std::fmt;

use rhai::plugin::*;
use rhai::{Array, Blob, Dynamic, INT, ImmutableString, Map};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::arguments::{Thrown, invalid};
use super::host::Handle;
use super::{STRING_BYTES, values};
use crate::json::{RESERVED_NAME, reserved_field};

/// Elements created between two checks of the limit.
const ELEMENTS_PER_CHECK: usize = 1_024;
/// The least memory that one element takes.
const ELEMENT_BYTES: usize = size_of::<Dynamic>();

/// Checks that the script may allocate `bytes` more.
pub(super) fn reserve(context: &NativeCallContext<'_>, bytes: usize) -> Thrown<()> {
    match Handle::of(context) {
        Some(handle) => handle.reserve(bytes),
        // The engine's own limits apply while `describe()` runs.
        None if bytes <= STRING_BYTES => Ok(()),
        None => Err(invalid("value too large".to_owned())),
    }
}

/// Collects values into an array within the memory limit.
fn collect<T: Into<Dynamic>>(
    context: &NativeCallContext<'_>,
    values: impl Iterator<Item = T>,
) -> Thrown<Array> {
    let mut array = Array::new();
    for value in values {
        if array.len().is_multiple_of(ELEMENTS_PER_CHECK) {
            // A full vector doubles when it grows.
            reserve(context, (array.len() + ELEMENTS_PER_CHECK) * ELEMENT_BYTES)?;
        }
        array.push(value.into());
    }
    Ok(array)
}

fn length(function: &str, length: INT) -> Thrown<usize> {
    usize::try_from(length.max(0))
        .map_err(|_| invalid(format!("{function}: invalid length: {length}")))
}

/// Returns the maximum number of pieces of a split text; `None` if it stays whole.
fn pieces(segments: INT) -> Option<usize> {
    usize::try_from(segments).ok().filter(|count| *count > 1)
}

fn whole(text: &ImmutableString) -> Thrown<Array> {
    Ok(vec![text.clone().into()])
}

#[export_module]
pub(super) mod functions {
    /// Pads a text to a number of characters.
    #[rhai_fn(name = "pad", return_raw)]
    pub fn pad_text_with_character(
        context: NativeCallContext<'_>,
        text: &mut ImmutableString,
        len: INT,
        character: char,
    ) -> Thrown<()> {
        pad_text(context, text, len, character.encode_utf8(&mut [0; 4]))
    }

    #[rhai_fn(name = "pad", return_raw)]
    pub fn pad_text(
        context: NativeCallContext<'_>,
        text: &mut ImmutableString,
        len: INT,
        padding: &str,
    ) -> Thrown<()> {
        let missing = length("pad", len)?.saturating_sub(text.chars().count());
        if padding.is_empty() || missing == 0 {
            return Ok(());
        }
        let times = missing.div_ceil(padding.chars().count());
        let bytes = times.saturating_mul(padding.len());
        // The padding, and the text that it is appended to.
        reserve(&context, text.len().saturating_add(bytes).saturating_mul(2))?;
        let mut filling = padding.repeat(times);
        if let Some((end, _)) = filling.char_indices().nth(missing) {
            filling.truncate(end);
        }
        text.make_mut().push_str(&filling);
        Ok(())
    }

    /// Pads an array to a number of elements.
    #[rhai_fn(name = "pad", return_raw)]
    pub fn pad_array(
        context: NativeCallContext<'_>,
        array: &mut Array,
        len: INT,
        item: Dynamic,
    ) -> Thrown<()> {
        let missing = length("pad", len)?.saturating_sub(array.len());
        let filling = collect(&context, std::iter::repeat_n(item, missing))?;
        array.extend(filling);
        Ok(())
    }

    /// Pads a blob to a number of bytes.
    #[rhai_fn(name = "pad", return_raw)]
    pub fn pad_blob(
        context: NativeCallContext<'_>,
        blob: &mut Blob,
        len: INT,
        value: INT,
    ) -> Thrown<()> {
        let len = length("pad", len)?;
        let missing = len.saturating_sub(blob.len());
        reserve(&context, missing)?;
        let [byte, ..] = value.to_le_bytes();
        blob.extend(std::iter::repeat_n(byte, missing));
        Ok(())
    }

    /// Returns a blob of `len` bytes.
    #[rhai_fn(name = "blob", return_raw)]
    pub fn blob_of_zeros(context: NativeCallContext<'_>, len: INT) -> Thrown<Blob> {
        blob_of(context, len, 0)
    }

    #[rhai_fn(name = "blob", return_raw)]
    pub fn blob_of(context: NativeCallContext<'_>, len: INT, value: INT) -> Thrown<Blob> {
        let mut blob = Blob::new();
        pad_blob(context, &mut blob, len, value)?;
        Ok(blob)
    }

    /// Returns the bytes of a blob as integers.
    #[rhai_fn(name = "to_array", pure, return_raw)]
    pub fn blob_to_array(context: NativeCallContext<'_>, blob: &mut Blob) -> Thrown<Array> {
        collect(&context, blob.iter().map(|byte| INT::from(*byte)))
    }

    /// Returns the characters of a text.
    #[rhai_fn(name = "to_chars", return_raw)]
    pub fn to_chars(context: NativeCallContext<'_>, text: &str) -> Thrown<Array> {
        collect(&context, text.chars())
    }

    /// Splits a text at white space or at a delimiter, into a given number of pieces at most.
    #[rhai_fn(name = "split", pure, return_raw)]
    pub fn split_whitespace(
        context: NativeCallContext<'_>,
        text: &mut ImmutableString,
    ) -> Thrown<Array> {
        if text.is_empty() {
            return whole(text);
        }
        collect(&context, text.split_whitespace())
    }

    #[rhai_fn(name = "split", pure, return_raw)]
    pub fn split(
        context: NativeCallContext<'_>,
        text: &mut ImmutableString,
        delimiter: &str,
    ) -> Thrown<Array> {
        if text.is_empty() {
            return whole(text);
        }
        collect(&context, text.split(delimiter))
    }

    #[rhai_fn(name = "split", pure, return_raw)]
    pub fn split_into(
        context: NativeCallContext<'_>,
        text: &mut ImmutableString,
        delimiter: &str,
        segments: INT,
    ) -> Thrown<Array> {
        match pieces(segments) {
            Some(count) if !text.is_empty() => collect(&context, text.splitn(count, delimiter)),
            _ => whole(text),
        }
    }

    #[rhai_fn(name = "split", pure, return_raw)]
    pub fn split_at_character(
        context: NativeCallContext<'_>,
        text: &mut ImmutableString,
        delimiter: char,
    ) -> Thrown<Array> {
        split(context, text, delimiter.encode_utf8(&mut [0; 4]))
    }

    #[rhai_fn(name = "split", pure, return_raw)]
    pub fn split_at_character_into(
        context: NativeCallContext<'_>,
        text: &mut ImmutableString,
        delimiter: char,
        segments: INT,
    ) -> Thrown<Array> {
        split_into(context, text, delimiter.encode_utf8(&mut [0; 4]), segments)
    }

    /// Splits a text like `split`, from its end.
    #[rhai_fn(name = "split_rev", pure, return_raw)]
    pub fn split_rev(
        context: NativeCallContext<'_>,
        text: &mut ImmutableString,
        delimiter: &str,
    ) -> Thrown<Array> {
        if text.is_empty() {
            return whole(text);
        }
        collect(&context, text.rsplit(delimiter))
    }

    #[rhai_fn(name = "split_rev", pure, return_raw)]
    pub fn split_rev_into(
        context: NativeCallContext<'_>,
        text: &mut ImmutableString,
        delimiter: &str,
        segments: INT,
    ) -> Thrown<Array> {
        match pieces(segments) {
            Some(count) if !text.is_empty() => collect(&context, text.rsplitn(count, delimiter)),
            _ => whole(text),
        }
    }

    #[rhai_fn(name = "split_rev", pure, return_raw)]
    pub fn split_rev_at_character(
        context: NativeCallContext<'_>,
        text: &mut ImmutableString,
        delimiter: char,
    ) -> Thrown<Array> {
        split_rev(context, text, delimiter.encode_utf8(&mut [0; 4]))
    }

    #[rhai_fn(name = "split_rev", pure, return_raw)]
    pub fn split_rev_at_character_into(
        context: NativeCallContext<'_>,
        text: &mut ImmutableString,
        delimiter: char,
        segments: INT,
    ) -> Thrown<Array> {
        split_rev_into(context, text, delimiter.encode_utf8(&mut [0; 4]), segments)
    }

    // The language's own `replace` builds its result before its length is known.
    /// Replaces all occurrences of a text or character in a text.
    #[rhai_fn(name = "replace", return_raw)]
    pub fn replace(
        context: NativeCallContext<'_>,
        text: &mut ImmutableString,
        find: &str,
        put: &str,
    ) -> Thrown<()> {
        let found = text.matches(find).count();
        reserve(
            &context,
            text.len().saturating_add(found.saturating_mul(put.len())),
        )?;
        *text = text.replace(find, put).into();
        Ok(())
    }

    #[rhai_fn(name = "replace", return_raw)]
    pub fn replace_character(
        context: NativeCallContext<'_>,
        text: &mut ImmutableString,
        find: char,
        put: &str,
    ) -> Thrown<()> {
        replace(context, text, find.encode_utf8(&mut [0; 4]), put)
    }

    /// Parses JSON. Integers of any length are exact.
    #[rhai_fn(name = "parse_json", return_raw)]
    pub fn parse_json(context: NativeCallContext<'_>, text: &str) -> Thrown<Dynamic> {
        let refused =
            |error: &serde_json::Error| invalid(format!("parse_json: invalid JSON: {error}"));
        if let Some((place, message)) = reserved_field(text.as_bytes()) {
            return Err(invalid(format!("parse_json: {message}, at {place:?}")));
        }
        let mut failure = None;
        let mut json = serde_json::Deserializer::from_str(text);
        let mut elements = 0;
        let value = Json {
            context: &context,
            failure: &mut failure,
            elements: &mut elements,
        }
        .deserialize(&mut json);
        if let Some(failure) = failure {
            return Err(failure);
        }
        let value = value.map_err(|error| refused(&error))?;
        json.end().map_err(|error| refused(&error))?;
        Ok(value)
    }

    /// Writes a value as JSON.
    #[rhai_fn(name = "to_json", pure, return_raw)]
    pub fn map_to_json(context: NativeCallContext<'_>, map: &mut Map) -> Thrown<String> {
        to_json(context, map.clone().into())
    }

    #[rhai_fn(name = "to_json", return_raw)]
    pub fn to_json(context: NativeCallContext<'_>, value: Dynamic) -> Thrown<String> {
        let write = || values::to_json(&value).map(|value| value.to_string());
        // The intermediate JSON value is the host's memory.
        let text = match Handle::of(&context) {
            Some(handle) => handle.exclude(write),
            None => write(),
        };
        let text = text.map_err(|message| invalid(format!("to_json: invalid value: {message}")))?;
        reserve(&context, text.len())?;
        Ok(text.as_str().to_owned())
    }
}

/// Parses JSON directly into the language's values, within the memory limit.
struct Json<'r, 'c> {
    context: &'r NativeCallContext<'c>,
    /// An error of the host that `serde_json` cannot carry.
    failure: &'r mut Option<Box<rhai::EvalAltResult>>,
    /// The elements parsed so far, in all arrays and maps.
    elements: &'r mut usize,
}

impl Json<'_, '_> {
    /// Counts an element that was added to an array or map, which has `length` elements now.
    fn check<E: serde::de::Error>(&mut self, length: usize) -> Result<(), E> {
        *self.elements += 1;
        let due = |count: usize| count.is_multiple_of(ELEMENTS_PER_CHECK);
        if !due(*self.elements) && !due(length) {
            return Ok(());
        }
        // A full vector doubles when it grows.
        let bytes = (length + ELEMENTS_PER_CHECK) * ELEMENT_BYTES;
        reserve(self.context, bytes).map_err(|error| {
            *self.failure = Some(error);
            E::custom("too large")
        })
    }

    fn inner(&mut self) -> Json<'_, '_> {
        Json {
            context: self.context,
            failure: self.failure,
            elements: self.elements,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Json<'_, '_> {
    type Value = Dynamic;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Dynamic, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Json<'_, '_> {
    type Value = Dynamic;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::UNIT)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, int: i64) -> Result<Dynamic, E> {
        Ok((int as INT).into())
    }

    fn visit_u64<E: serde::de::Error>(self, int: u64) -> Result<Dynamic, E> {
        values::from_json(&int.into()).map_err(E::custom)
    }

    fn visit_f64<E: serde::de::Error>(self, float: f64) -> Result<Dynamic, E> {
        Ok(float.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Dynamic, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut values: A) -> Result<Dynamic, A::Error> {
        let mut array = Array::new();
        while let Some(value) = values.next_element_seed(self.inner())? {
            array.push(value);
            self.check(array.len())?;
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, fields: A) -> Result<Dynamic, A::Error> {
        let mut fields = fields;
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<Name>()? {
            // `serde_json` passes a number as a map with one specially named entry: its text.
            let Name::Field(name) = name else {
                let text: String = fields.next_value()?;
                let number: serde_json::Number = text.parse().map_err(serde::de::Error::custom)?;
                return values::from_json(&number.into()).map_err(serde::de::Error::custom);
            };
            let value = fields.next_value_seed(self.inner())?;
            map.insert(name.as_str().into(), value);
            self.check(map.len())?;
        }
        Ok(map.into())
    }
}

/// The key of a map entry.
enum Name {
    Field(String),
    /// The key under which `serde_json` passes the text of a number.
    Number,
}

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(if name == RESERVED_NAME {
            Self::Number
        } else {
            Self::Field(name)
        })
    }
}
