//! Values between Rhai and JSON.
//!
//! Both ways are exact or refused: an integer of any length is the same integer on the other side,
//! and what JSON or Rhai cannot express is an error that names the value and its place.

use netssh_core::{Field, Item, Records};
use rhai::{Array, Dynamic, INT, Map as Fields};
use serde_json::{Map, Number, Value};

use super::numbers::BigInteger;

/// Arrays and maps inside one another; deeper ones could exhaust a stack on their way.
const DEPTH: usize = 64;

/// # Errors
/// Says which number has no counterpart, and where it is.
pub(super) fn from_json(value: &Value) -> Result<Dynamic, String> {
    Ok(match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(bool) => Dynamic::from(*bool),
        Value::Number(number) => from_number(number)?,
        Value::String(text) => Dynamic::from(text.clone()),
        Value::Array(values) => {
            let values = values.iter().enumerate();
            let values = values.map(|(index, value)| from_json(value).map_err(within(&index)));
            Dynamic::from_array(values.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| {
                Ok((
                    name.as_str().into(),
                    from_json(value).map_err(within(name))?,
                ))
            });
            Dynamic::from_map(fields.collect::<Result<_, String>>()?)
        }
    })
}

/// Puts a step of the way in front of a message that ends in the place.
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

/// The records of a parsed output, an array of maps.
pub(super) fn from_records(records: &Records) -> Dynamic {
    let row = |row: &Vec<Field>| {
        let fields = records.names().iter().zip(row).map(|(name, field)| {
            let value = match field {
                Field::Text(text) => Dynamic::from(text.clone()),
                Field::List(items) => Dynamic::from_array(items.iter().map(from_item).collect()),
            };
            (name.as_str().into(), value)
        });
        Dynamic::from_map(fields.collect())
    };
    Dynamic::from_array(records.rows().iter().map(row).collect())
}

fn from_item(item: &Item) -> Dynamic {
    let text = |text: &Option<String>| {
        text.as_ref()
            .map_or(Dynamic::UNIT, |text| text.clone().into())
    };
    match item {
        Item::Text(text) => text.clone().into(),
        Item::Absent => Dynamic::UNIT,
        Item::Groups(groups) => {
            let groups = groups.iter();
            let fields: Fields = groups
                .map(|(name, group)| (name.as_str().into(), text(group)))
                .collect();
            fields.into()
        }
    }
}

/// # Errors
/// Names the value that JSON cannot express, and its place.
pub(super) fn to_json(value: &Dynamic) -> Result<Value, String> {
    to_json_within(value, DEPTH)
}

fn to_json_within(value: &Dynamic, depth: usize) -> Result<Value, String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(format!("arrays and maps more than {DEPTH} deep"));
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

/// As [`within`], but for what is too deep: its place would be as deep.
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
