//! Values between Rhai and JSON.

use rhai::{Dynamic, INT};
use serde_json::{Map, Number, Value};

/// Arrays and maps inside one another; deeper ones could exhaust a stack on their way.
const DEPTH: usize = 64;

pub(super) fn from_json(value: &Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(bool) => Dynamic::from(*bool),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(int), _) => Dynamic::from(int as INT),
            (None, Some(float)) => Dynamic::from(float),
            (None, None) => Dynamic::UNIT,
        },
        Value::String(text) => Dynamic::from(text.clone()),
        Value::Array(values) => Dynamic::from_array(values.iter().map(from_json).collect()),
        Value::Object(fields) => Dynamic::from_map(
            fields
                .iter()
                .map(|(name, value)| (name.as_str().into(), from_json(value)))
                .collect(),
        ),
    }
}

/// # Errors
/// Says what stands in the value that JSON has no word for.
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
            .ok_or_else(|| format!("the number {float}"));
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(Value::String(text.to_string()));
    }
    if let Ok(char) = value.as_char() {
        return Ok(Value::String(char.to_string()));
    }
    if let Ok(values) = value.as_array_ref() {
        let values: Result<_, _> = values
            .iter()
            .map(|value| to_json_within(value, depth))
            .collect();
        return values.map(Value::Array);
    }
    if let Ok(fields) = value.as_map_ref() {
        let fields: Result<Map<_, _>, _> = fields
            .iter()
            .map(|(name, value)| Ok((name.to_string(), to_json_within(value, depth)?)))
            .collect();
        return fields.map(Value::Object);
    }
    Err(format!(
        "a value of type {}, which is not JSON",
        value.type_name()
    ))
}
