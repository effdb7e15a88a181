//! Limits of numbers, and numbers as Go sees them.

use serde_json::{Number, Value};

use super::{NOWHERE, Path};
use crate::field::{self, go_float_text};
use crate::status::Cause;

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Limits {
    minimum: Option<(f64, bool)>,
    maximum: Option<(f64, bool)>,
    multiple: Option<f64>,
    width: Width,
}

/// How large a number may be, by type and format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Width {
    #[default]
    Any,
    Integer,
    Int32,
    Int64,
    Float,
    Double,
}

// === impl Limits ===

impl Limits {
    /// In OpenAPI's spelling (a limit and a flag) or JSON Schema's (an exclusive limit is a number).
    pub(super) fn read<'a>(get: impl Fn(&str) -> Option<&'a Value>) -> Result<Self, String> {
        let number = |key: &str| match get(key) {
            None | Some(Value::Bool(_)) => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| format!("{key} is a number")),
        };
        let limit = |key: &str, exclusive: &str| -> Result<_, String> {
            if matches!(get(key), Some(Value::Bool(_))) {
                return Err(format!("{key} is a number"));
            }
            Ok(match (number(key)?, number(exclusive)?) {
                (inclusive, Some(limit)) if inclusive.is_none_or(|other| tighter(key, limit, other)) => Some((limit, true)),
                (Some(limit), _) => Some((limit, get(exclusive) == Some(&Value::Bool(true)))),
                (None, _) => None,
            })
        };
        let multiple = number("multipleOf")?;
        if multiple.is_some_and(|factor| factor <= 0.0) {
            return Err("multipleOf is a number above 0".to_owned());
        }
        Ok(Self {
            minimum: limit("minimum", "exclusiveMinimum")?,
            maximum: limit("maximum", "exclusiveMaximum")?,
            multiple,
            width: Width::Any,
        })
    }

    pub(super) fn set_integer(&mut self, format: &str) {
        self.width = match (format, self.width) {
            ("int32", _) => Width::Int32,
            ("int64", _) => Width::Int64,
            (_, Width::Any) => Width::Integer,
            (_, width) => width,
        };
    }

    pub(super) fn set_float(&mut self, format: &str) {
        self.width = match format {
            "float" => Width::Float,
            "double" => Width::Double,
            _ => Width::Any,
        };
    }

    /// The format that a wrong type is told.
    pub(super) fn format(&self) -> Option<&'static str> {
        match self.width {
            Width::Int32 => Some("int32"),
            Width::Int64 => Some("int64"),
            Width::Float => Some("float"),
            Width::Double => Some("double"),
            Width::Any | Width::Integer => None,
        }
    }

    pub(super) fn check(&self, number: &Number, path: &Path<'_>, causes: &mut Vec<Cause>) {
        let value = Value::Number(number.clone());
        let float = number.as_f64().unwrap_or_default();
        if !self.width.holds(number) {
            let of = match self.width {
                Width::Int32 => "integer with format int32",
                Width::Int64 => "integer with format int64",
                Width::Float => "number with format float",
                _ => "integer (default format)",
            };
            let why = format!("Checked value must be of type {of} in {}", path.text());
            causes.push(field::invalid(NOWHERE, &Value::from(""), &why));
        }
        let mut refuse = |what: &str, limit: f64| {
            let why = format!("{} in body should be {what} {}", path.text(), go_limit(number, limit));
            causes.push(field::invalid(path.cause(), &value, &why));
        };
        if let Some(factor) = self.multiple.filter(|factor| !is_multiple(number, *factor)) {
            refuse("a multiple of", factor);
        }
        // Integers beyond 2^53 are compared as integers where the limit is one.
        let order = |limit: f64| match (number.as_i64(), as_integer(limit)) {
            (Some(integer), Some(limit)) => integer.cmp(&limit),
            _ => float.total_cmp(&limit),
        };
        match self.minimum {
            Some((limit, true)) if order(limit).is_le() => refuse("greater than", limit),
            Some((limit, false)) if order(limit).is_lt() => refuse("greater than or equal to", limit),
            _ => {}
        }
        match self.maximum {
            Some((limit, true)) if order(limit).is_ge() => refuse("less than", limit),
            Some((limit, false)) if order(limit).is_gt() => refuse("less than or equal to", limit),
            _ => {}
        }
    }
}

// === impl Width ===

impl Width {
    fn holds(self, number: &Number) -> bool {
        match (self, number.as_i64()) {
            (Self::Any | Self::Double, _) => true,
            (Self::Int32, Some(integer)) => i32::try_from(integer).is_ok(),
            (Self::Float, _) => number.as_f64().is_some_and(|float| {
                // Go rounds to the nearest, so a little above the largest is still it.
                #[allow(clippy::cast_possible_truncation, reason = "whether it overflows is the question")]
                let narrow = float as f32;
                narrow.is_finite()
            }),
            (_, Some(_)) => true,
            (width, None) => match number.as_f64().and_then(as_integer) {
                Some(integer) => width != Self::Int32 || i32::try_from(integer).is_ok(),
                None => false,
            },
        }
    }
}

/// Whether Go takes a float for an integer (`swag.IsFloat64AJSONInteger`): up to 2^53, and as good as whole.
pub(super) fn is_integer(number: &Number) -> bool {
    number.as_f64().is_some_and(is_whole)
}

fn is_whole(float: f64) -> bool {
    const LARGEST: f64 = 9_007_199_254_740_991.0;
    let whole = float.trunc();
    float.abs() <= LARGEST && (float.fract() == 0.0 || (float - whole).abs() / (float.abs() + whole.abs()) < 1e-9)
}

fn as_integer(float: f64) -> Option<i64> {
    // 2^63 itself is one too many.
    const END: f64 = 9_223_372_036_854_775_808.0;
    let inside = (-END..END).contains(&float) && float.fract() == 0.0;
    #[allow(clippy::cast_possible_truncation, reason = "it is a whole number in the range")]
    inside.then_some(float as i64)
}

fn is_multiple(number: &Number, factor: f64) -> bool {
    if let (Some(integer), Some(factor)) = (number.as_i64(), as_integer(factor)) {
        // The one quotient that overflows has no rest either.
        return integer.checked_rem(factor).unwrap_or_default() == 0;
    }
    let float = number.as_f64().unwrap_or_default();
    is_whole(if factor < 1.0 { 1.0 / factor * float } else { float / factor })
}

fn tighter(key: &str, limit: f64, other: f64) -> bool {
    if key == "minimum" { limit >= other } else { limit <= other }
}

/// A limit is printed as what the number is that it is held against.
fn go_limit(number: &Number, limit: f64) -> String {
    match as_integer(limit).filter(|_| number.is_i64()) {
        Some(integer) => integer.to_string(),
        None => go_float_text(limit),
    }
}
