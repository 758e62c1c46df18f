//! Integers beyond 64 bits.
//!
//! Devices count octets in unsigned 64-bit integers, and identifiers can be longer still. JSON
//! numbers of that size become a [`BigInteger`], never a float: they compare and calculate exactly
//! with other integers, and leave the playbook unchanged. Results that fit the language's own
//! integers are converted to them.

#![expect(
    unreachable_pub,
    reason = "export_module exports pub functions only, and the crate does not re-export them"
)]

use std::cmp::Ordering;

use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive, Zero};
use rhai::plugin::*;
use rhai::{Dynamic, Engine, FLOAT, INT};
use serde_json::Number;

use super::arguments::{Thrown, invalid};
use crate::numbers::{MAX_DIGITS, is_integer, too_many_digits};

/// The bits of an integer of [`MAX_DIGITS`] digits.
const MAX_BITS: u64 = 3_322;

/// An integer that does not fit the language's own integers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BigInteger(BigInt);

impl BigInteger {
    /// Parses a JSON number; `None` if it is not written as an integer.
    ///
    /// # Errors
    /// The number has more than [`MAX_DIGITS`] digits.
    pub(super) fn of_json(number: &Number) -> Result<Option<Self>, String> {
        let text = number.as_str();
        if !is_integer(text) {
            return Ok(None);
        }
        if let Some(message) = too_many_digits(text) {
            return Err(message);
        }
        let parsed = text.parse::<BigInt>();
        parsed
            .map(|integer| Some(Self(integer)))
            .map_err(|error| format!("the number {text}: {error}"))
    }

    /// Converts the integer to a JSON number.
    ///
    /// # Errors
    /// Never for a number that [`Self::of_json`] parsed.
    pub(super) fn to_json(&self) -> Result<Number, String> {
        let text = self.0.to_string();
        text.parse()
            .map_err(|error| format!("the number {text}: {error}"))
    }

    /// Converts to the language's own integer if the value fits.
    pub(super) fn into_dynamic(self) -> Dynamic {
        match self.0.to_i64() {
            Some(int) => Dynamic::from(int as INT),
            None => Dynamic::from(self),
        }
    }
}

/// Registers the type; its operators are the modules below.
pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<BigInteger>("integer");
}

/// Converts the result of an operator.
///
/// # Errors
/// The result has more than [`MAX_DIGITS`] digits.
fn result(integer: BigInt) -> Thrown<Dynamic> {
    if integer.bits() > MAX_BITS {
        return Err(invalid(format!(
            "invalid result: expected an integer of at most {MAX_DIGITS} digits"
        )));
    }
    Ok(BigInteger(integer).into_dynamic())
}

fn divisor(right: &BigInt, operator: &str) -> Thrown<()> {
    if right.is_zero() {
        return Err(invalid(format!("division by zero in `{operator}`")));
    }
    Ok(())
}

/// Compares an integer and a float exactly.
fn compare_with_float(left: &BigInt, right: FLOAT) -> Option<Ordering> {
    if right.is_nan() {
        return None;
    }
    if right.is_infinite() {
        return Some(if right > 0.0 {
            Ordering::Less
        } else {
            Ordering::Greater
        });
    }
    // Beyond 2^63 every float is whole.
    let right = <BigInt as num_traits::FromPrimitive>::from_f64(right)?;
    Some(left.cmp(&right))
}

macro_rules! operators {
    ($module:ident, $left:ty, $right:ty) => {
        #[export_module]
        pub(super) mod $module {
            #[rhai_fn(name = "+", return_raw)]
            pub fn add(left: $left, right: $right) -> Thrown<Dynamic> {
                result(big(left) + big(right))
            }

            #[rhai_fn(name = "-", return_raw)]
            pub fn subtract(left: $left, right: $right) -> Thrown<Dynamic> {
                result(big(left) - big(right))
            }

            #[rhai_fn(name = "*", return_raw)]
            pub fn multiply(left: $left, right: $right) -> Thrown<Dynamic> {
                result(big(left) * big(right))
            }

            #[rhai_fn(name = "/", return_raw)]
            pub fn divide(left: $left, right: $right) -> Thrown<Dynamic> {
                let right = big(right);
                divisor(&right, "/")?;
                result(big(left) / right)
            }

            #[rhai_fn(name = "%", return_raw)]
            pub fn remainder(left: $left, right: $right) -> Thrown<Dynamic> {
                let right = big(right);
                divisor(&right, "%")?;
                result(big(left) % right)
            }

            #[rhai_fn(name = "==")]
            pub fn equal(left: $left, right: $right) -> bool {
                big(left) == big(right)
            }

            #[rhai_fn(name = "!=")]
            pub fn different(left: $left, right: $right) -> bool {
                big(left) != big(right)
            }

            #[rhai_fn(name = "<")]
            pub fn less(left: $left, right: $right) -> bool {
                big(left) < big(right)
            }

            #[rhai_fn(name = "<=")]
            pub fn at_most(left: $left, right: $right) -> bool {
                big(left) <= big(right)
            }

            #[rhai_fn(name = ">")]
            pub fn greater(left: $left, right: $right) -> bool {
                big(left) > big(right)
            }

            #[rhai_fn(name = ">=")]
            pub fn at_least(left: $left, right: $right) -> bool {
                big(left) >= big(right)
            }
        }
    };
}

fn big(integer: impl Into<BigInt>) -> BigInt {
    integer.into()
}

impl From<BigInteger> for BigInt {
    fn from(integer: BigInteger) -> Self {
        integer.0
    }
}

operators!(both_big, BigInteger, BigInteger);
operators!(left_big, BigInteger, INT);
operators!(right_big, INT, BigInteger);

#[export_module]
pub(super) mod others {
    #[rhai_fn(name = "==")]
    pub fn equal(left: BigInteger, right: FLOAT) -> bool {
        compare_with_float(&left.0, right) == Some(Ordering::Equal)
    }

    #[rhai_fn(name = "!=")]
    pub fn different(left: BigInteger, right: FLOAT) -> bool {
        !equal(left, right)
    }

    #[rhai_fn(name = "<")]
    pub fn less(left: BigInteger, right: FLOAT) -> bool {
        compare_with_float(&left.0, right).is_some_and(Ordering::is_lt)
    }

    #[rhai_fn(name = ">")]
    pub fn greater(left: BigInteger, right: FLOAT) -> bool {
        compare_with_float(&left.0, right).is_some_and(Ordering::is_gt)
    }

    #[rhai_fn(name = "<=")]
    pub fn at_most(left: BigInteger, right: FLOAT) -> bool {
        compare_with_float(&left.0, right).is_some_and(Ordering::is_le)
    }

    #[rhai_fn(name = ">=")]
    pub fn at_least(left: BigInteger, right: FLOAT) -> bool {
        compare_with_float(&left.0, right).is_some_and(Ordering::is_ge)
    }

    #[rhai_fn(name = "==")]
    pub fn equal_right(left: FLOAT, right: BigInteger) -> bool {
        equal(right, left)
    }

    #[rhai_fn(name = "!=")]
    pub fn different_right(left: FLOAT, right: BigInteger) -> bool {
        !equal(right, left)
    }

    #[rhai_fn(name = "<")]
    pub fn less_right(left: FLOAT, right: BigInteger) -> bool {
        greater(right, left)
    }

    #[rhai_fn(name = ">")]
    pub fn greater_right(left: FLOAT, right: BigInteger) -> bool {
        less(right, left)
    }

    #[rhai_fn(name = "<=")]
    pub fn at_most_right(left: FLOAT, right: BigInteger) -> bool {
        at_least(right, left)
    }

    #[rhai_fn(name = ">=")]
    pub fn at_least_right(left: FLOAT, right: BigInteger) -> bool {
        at_most(right, left)
    }

    #[rhai_fn(name = "-", return_raw)]
    pub fn negate(integer: BigInteger) -> Thrown<Dynamic> {
        result(-integer.0)
    }

    /// Returns the integer without its sign.
    #[rhai_fn(name = "abs", return_raw)]
    pub fn abs(integer: BigInteger) -> Thrown<Dynamic> {
        result(integer.0.abs())
    }

    /// Returns the nearest float.
    #[rhai_fn(name = "to_float")]
    pub fn to_float(integer: BigInteger) -> FLOAT {
        integer.0.to_f64().unwrap_or(FLOAT::NAN)
    }

    /// Returns the digits of the integer.
    #[rhai_fn(name = "to_string", name = "to_debug")]
    pub fn to_string(integer: BigInteger) -> String {
        integer.0.to_string()
    }

    /// Parses the digits of an integer of any length.
    #[rhai_fn(name = "parse_int", return_raw)]
    pub fn parse_int(text: &str) -> Thrown<Dynamic> {
        parse_int_radix(text, 10)
    }

    /// Parses the digits of an integer of any length, in a number system of 2 to 36 digits.
    #[rhai_fn(name = "parse_int", return_raw)]
    pub fn parse_int_radix(text: &str, radix: INT) -> Thrown<Dynamic> {
        let written = text.trim();
        let radix = u32::try_from(radix).ok();
        let radix = radix.filter(|radix| (2..=36).contains(radix));
        let radix = radix
            .ok_or_else(|| invalid("parse_int: invalid radix: expected 2 to 36".to_owned()))?;
        let digits = written.strip_prefix(['-', '+']).unwrap_or(written);
        let valid = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
        let integer = if valid && digits.len() <= MAX_DIGITS {
            BigInt::parse_bytes(written.as_bytes(), radix)
        } else {
            None
        };
        let integer = integer.ok_or_else(|| {
            let quoted: String = text.chars().take(80).collect();
            invalid(format!("parse_int: invalid integer: `{quoted}`"))
        })?;
        result(integer)
    }
}
