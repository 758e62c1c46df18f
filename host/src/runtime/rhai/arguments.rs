//! Parsing of host function arguments; errors name the argument.

use std::time::Duration;

use rhai::{Array, Dynamic, EvalAltResult, FLOAT, Map};
use serde_json::Value;

use super::errors::thrown;
use super::values;
use crate::capabilities::arguments;

pub(super) type Thrown<T> = Result<T, Box<EvalAltResult>>;

/// The last argument of some functions: a map with known keys.
pub(super) struct Options {
    function: &'static str,
    fields: Map,
}

impl Options {
    pub(super) fn new(function: &'static str, fields: Map, known: &[&str]) -> Thrown<Self> {
        if let Some(unknown) = fields.keys().find(|name| !known.contains(&name.as_str())) {
            let known = known.join(", ");
            return Err(invalid(format!(
                "{function}: unknown option `{unknown}`; known: {known}"
            )));
        }
        Ok(Self { function, fields })
    }

    pub(super) fn text(&self, name: &str) -> Thrown<Option<String>> {
        let Some(value) = self.fields.get(name).filter(|value| !value.is_unit()) else {
            return Ok(None);
        };
        let text = value.as_immutable_string_ref().map_err(|found| {
            invalid(format!(
                "{}: invalid {name}: expected text, got {found}",
                self.function
            ))
        })?;
        Ok(Some(text.to_string()))
    }

    pub(super) fn required_text(&self, name: &str) -> Thrown<String> {
        self.text(name)?
            .ok_or_else(|| invalid(format!("{}: option {name} not found", self.function)))
    }

    pub(super) fn flag(&self, name: &str) -> Thrown<Option<bool>> {
        let Some(value) = self.fields.get(name).filter(|value| !value.is_unit()) else {
            return Ok(None);
        };
        let flag = value.as_bool().map_err(|found| {
            invalid(format!(
                "{}: invalid {name}: expected true or false, got {found}",
                self.function
            ))
        })?;
        Ok(Some(flag))
    }

    pub(super) fn texts(&self, name: &str) -> Thrown<Vec<String>> {
        match self.fields.get(name) {
            None => Ok(Vec::new()),
            Some(value) => {
                let values = value.as_array_ref().map_err(|found| {
                    invalid(format!(
                        "{}: invalid {name}: expected an array, got {found}",
                        self.function
                    ))
                })?;
                texts(self.function, name, values.clone())
            }
        }
    }

    /// Returns the values of an array; an empty list if the option is absent.
    pub(super) fn values(&self, name: &str) -> Thrown<Array> {
        let Some(value) = self.fields.get(name).filter(|value| !value.is_unit()) else {
            return Ok(Array::new());
        };
        let values = value.as_array_ref().map_err(|found| {
            invalid(format!(
                "{}: invalid {name}: expected an array, got {found}",
                self.function
            ))
        })?;
        Ok(values.clone())
    }

    pub(super) fn duration(&self, name: &str) -> Thrown<Option<Duration>> {
        let Some(value) = self.fields.get(name).filter(|value| !value.is_unit()) else {
            return Ok(None);
        };
        let seconds = value
            .as_float()
            .or_else(|_| value.as_int().map(|int| int as FLOAT))
            .map_err(|found| {
                invalid(format!(
                    "{}: invalid {name}: expected a number of seconds, got {found}",
                    self.function
                ))
            })?;
        duration(self.function, seconds).map(Some)
    }
}

pub(super) fn texts(function: &str, what: &str, values: Array) -> Thrown<Vec<String>> {
    values
        .into_iter()
        .map(|value| {
            let kind = value.type_name();
            value.into_string().map_err(|_| {
                invalid(format!(
                    "{function}: invalid {what}: expected text, got {kind}"
                ))
            })
        })
        .collect()
}

pub(super) fn duration(function: &str, seconds: FLOAT) -> Thrown<Duration> {
    arguments::seconds(function, seconds).map_err(thrown)
}

pub(super) fn json(function: &str, value: &Dynamic) -> Thrown<Value> {
    values::to_json(value)
        .map_err(|message| invalid(format!("{function}: invalid value: {message}")))
}

pub(super) fn invalid(message: String) -> Box<EvalAltResult> {
    thrown(arguments::invalid(message))
}
