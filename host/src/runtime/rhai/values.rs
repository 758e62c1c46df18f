//! Values between Rhai and JSON.
//!
//! Both directions are exact or fail: integers of any length are preserved, and a value that JSON
//! or Rhai cannot express is an error that names the value and its position.

use std::collections::HashMap;

use netssh_core::{Field, Item, Records};
use rhai::{Array, Dynamic, INT, ImmutableString, Map as Fields};
use serde_json::{Map, Number, Value};

use super::numbers::BigInteger;
use crate::capabilities::limits;
use crate::json::RESERVED_NAME;

/// Maximum nesting of arrays and maps; deeper ones could exhaust the stack.
const DEPTH: usize = limits::JSON_DEPTH;

/// Converts JSON to a value of the language.
///
/// # Errors
/// The language cannot express a number, which the message names with its position.
pub(super) fn from_json(value: &Value) -> Result<Dynamic, String> {
    from_json_sharing(value, &mut Texts::default())
}

fn from_json_sharing<'t>(value: &'t Value, texts: &mut Texts<'t>) -> Result<Dynamic, String> {
    Ok(match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(bool) => Dynamic::from(*bool),
        Value::Number(number) => from_number(number)?,
        Value::String(text) => texts.share(text),
        Value::Array(values) => {
            let mut array = Array::with_capacity(values.len());
            for (index, value) in values.iter().enumerate() {
                array.push(from_json_sharing(value, texts).map_err(within(&index))?);
            }
            array.into()
        }
        Value::Object(fields) => {
            let mut map = Fields::new();
            for (name, value) in fields {
                let value = from_json_sharing(value, texts).map_err(within(name))?;
                map.insert(name.as_str().into(), value);
            }
            map.into()
        }
    })
}

/// Shares the memory of short texts that repeat, such as the values of a column.
#[derive(Default)]
struct Texts<'t>(HashMap<&'t str, ImmutableString>);

impl<'t> Texts<'t> {
    /// Longer texts rarely repeat.
    const MAX_BYTES: usize = 64;
    const MAX_TEXTS: usize = 4_096;

    fn share(&mut self, text: &'t str) -> Dynamic {
        if text.len() > Self::MAX_BYTES {
            return text.into();
        }
        if let Some(shared) = self.0.get(text) {
            return shared.clone().into();
        }
        let shared = ImmutableString::from(text);
        if self.0.len() < Self::MAX_TEXTS {
            self.0.insert(text, shared.clone());
        }
        shared.into()
    }
}

/// Prepends one step of the path to a message that ends with the position.
fn within(step: &dyn std::fmt::Display) -> impl Fn(String) -> String {
    let step = step.to_string();
    move |message| match message.split_once(" at /") {
        Some((what, place)) => format!("{what} at /{step}/{place}"),
        None => format!("{message} at /{step}"),
    }
}

fn from_number(number: &Number) -> Result<Dynamic, String> {
    if let Some(int) = number.as_i64() {
        return Ok(Dynamic::from(int as INT));
    }
    if let Some(integer) = BigInteger::of_json(number)? {
        return Ok(integer.into_dynamic());
    }
    let float = number.as_f64().ok_or_else(|| out_of_range(number))?;
    Ok(Dynamic::from(float))
}

fn out_of_range(number: &Number) -> String {
    format!("the number {number}, which is out of range")
}

/// Returns the records of a parsed output as an array of maps.
pub(super) fn from_records(records: &Records) -> Dynamic {
    let mut texts = Texts::default();
    let mut rows = Array::with_capacity(records.rows().len());
    for row in records.rows() {
        let mut map = Fields::new();
        for (name, field) in records.names().iter().zip(row) {
            let value = match field {
                Field::Text(text) => texts.share(text),
                Field::List(items) => {
                    let items = items.iter().map(|item| from_item(item, &mut texts));
                    Dynamic::from_array(items.collect())
                }
            };
            map.insert(name.as_str().into(), value);
        }
        rows.push(map.into());
    }
    rows.into()
}

fn from_item<'t>(item: &'t Item, texts: &mut Texts<'t>) -> Dynamic {
    match item {
        Item::Text(text) => texts.share(text),
        Item::Absent => Dynamic::UNIT,
        Item::Groups(groups) => {
            let mut map = Fields::new();
            for (name, group) in groups {
                let text = group.as_deref();
                let text = text.map_or(Dynamic::UNIT, |text| texts.share(text));
                map.insert(name.as_str().into(), text);
            }
            map.into()
        }
    }
}

/// Converts a value of the language to JSON.
///
/// # Errors
/// JSON cannot express a value, which the message names with its position.
pub(super) fn to_json(value: &Dynamic) -> Result<Value, String> {
    to_json_within(value, DEPTH)
}

fn to_json_within(value: &Dynamic, depth: usize) -> Result<Value, String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(format!("arrays and maps nested more than {DEPTH} levels"));
    };
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(bool) = value.as_bool() {
        return Ok(Value::Bool(bool));
    }
    if let Ok(int) = value.as_int() {
        return Ok(Value::Number(int.into()));
    }
    if let Ok(float) = value.as_float() {
        let number = Number::from_f64(float);
        return number
            .map(Value::Number)
            .ok_or_else(|| format!("the number {float}, which is not JSON"));
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(Value::String(text.to_string()));
    }
    if let Ok(char) = value.as_char() {
        return Ok(Value::String(char.to_string()));
    }
    if let Ok(values) = value.as_array_ref() {
        return array_to_json(&values, depth);
    }
    if let Ok(fields) = value.as_map_ref() {
        let fields: Result<Map<_, _>, _> = fields
            .iter()
            .map(|(name, value)| {
                if name == RESERVED_NAME {
                    return Err(format!(
                        "a map with the field `{RESERVED_NAME}`, which is not allowed"
                    ));
                }
                let value = to_json_within(value, depth).map_err(placed(name))?;
                Ok((name.to_string(), value))
            })
            .collect();
        return fields.map(Value::Object);
    }
    if let Some(integer) = value.read_lock::<BigInteger>() {
        return integer.to_json().map(Value::Number);
    }
    Err(format!(
        "a value of type {}, which is not JSON",
        value.type_name()
    ))
}

fn array_to_json(values: &Array, depth: usize) -> Result<Value, String> {
    let values: Result<_, _> = values
        .iter()
        .enumerate()
        .map(|(index, value)| to_json_within(value, depth).map_err(placed(&index)))
        .collect();
    values.map(Value::Array)
}

/// Like [`within`], but omits the path for values that are nested too deep: it would be just as long.
fn placed(step: &dyn std::fmt::Display) -> impl Fn(String) -> String {
    let place = within(step);
    move |message| {
        if message.starts_with("arrays and maps") {
            message
        } else {
            place(message)
        }
    }
}
