//! What is wrong with one field, in the words of apimachinery `util/validation/field`: one [`Cause`] each.
//!
//! A sentence quotes the value that it refuses as Go prints it, so that the same object refused here and by kube-apiserver reads the same:
//! texts as `%q`, numbers and flags as `%v`, everything else as Go's JSON (members sorted, `<`, `>` and `&` escaped).

use std::fmt::Write as _;
use std::ops::Range;

use serde_json::{Number, Value};

use crate::quote::Quoted;
use crate::status::Cause;

/// As much of a value, or of the path to it, as a sentence quotes, in bytes. Upstream quotes all of it: a message of megabytes helps nobody.
pub(crate) const QUOTED: usize = 4_096;

/// A malformed value, and why.
#[must_use]
pub fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Cause {
    valued("FieldValueInvalid", "Invalid value", field.into(), &quoted(value), why)
}

/// A value of another type.
#[must_use]
pub fn type_invalid(field: impl Into<String>, value: &Value, why: &str) -> Cause {
    valued("FieldValueTypeInvalid", "Invalid value", field.into(), &quoted(value), why)
}

/// A value that is not there; `why` may be empty.
#[must_use]
pub fn required(field: impl Into<String>, why: &str) -> Cause {
    plain("FieldValueRequired", "Required value", field.into(), why)
}

/// A value that may not be there now.
#[must_use]
pub fn forbidden(field: impl Into<String>, why: &str) -> Cause {
    plain("FieldValueForbidden", "Forbidden", field.into(), why)
}

/// More bytes than `most`. Upstream says bytes of a schema's characters too.
#[must_use]
pub fn too_long(field: impl Into<String>, most: i64) -> Cause {
    let bytes = if most == 1 { "byte" } else { "bytes" };
    plain(
        "FieldValueTooLong",
        "Too long",
        field.into(),
        &format!("may not be more than {most} {bytes}"),
    )
}

/// `actual` items where `most` are allowed.
#[must_use]
pub fn too_many(field: impl Into<String>, actual: usize, most: i64) -> Cause {
    let items = if most == 1 { "item" } else { "items" };
    let why = format!("must have at most {most} {items}");
    valued("FieldValueTooMany", "Too many", field.into(), &actual.to_string(), &why)
}

/// A value that stands there before.
#[must_use]
pub fn duplicate(field: impl Into<String>, value: &Value) -> Cause {
    valued("FieldValueDuplicate", "Duplicate value", field.into(), &quoted(value), "")
}

/// A value that is none of those.
#[must_use]
pub fn not_supported<'a>(field: impl Into<String>, value: &Value, supported: impl IntoIterator<Item = &'a str>) -> Cause {
    let mut why = String::new();
    for one in supported {
        why.push_str(if why.is_empty() { "supported values: " } else { ", " });
        // Writing to a String does not fail.
        let _ = write!(why, "{}", Quoted(one));
    }
    valued(
        "FieldValueNotSupported",
        "Unsupported value",
        field.into(),
        &quoted(value),
        &why,
    )
}

/// A value as Go's `encoding/json` writes it: members sorted, `<`, `>`, `&` and the line separators escaped.
#[must_use]
pub fn go_json(value: &Value) -> String {
    let mut out = String::new();
    write_json(value, &mut out);
    out
}

/// A number as Go's `%v` prints it.
#[must_use]
pub fn go_number(number: &Number) -> String {
    match number.as_i64() {
        Some(integer) => integer.to_string(),
        // What does not fit into 64 bits with sign is a float to apimachinery's decoder.
        None => go_float(number.as_f64().unwrap_or_default(), -4..6, 2),
    }
}

/// A float as Go's `%v` prints it.
#[must_use]
pub fn go_float_text(float: f64) -> String {
    go_float(float, -4..6, 2)
}

fn plain(reason: &str, what: &str, field: String, why: &str) -> Cause {
    let message = if why.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {why}")
    };
    Cause {
        reason: reason.into(),
        message,
        field,
    }
}

fn valued(reason: &str, what: &str, field: String, value: &str, why: &str) -> Cause {
    plain(reason, &format!("{what}: {value}"), field, why)
}

fn quoted(value: &Value) -> String {
    let mut text = match value {
        Value::String(text) => Quoted(text).to_string(),
        Value::Number(number) => go_number(number),
        value => go_json(value),
    };
    shorten(&mut text);
    text
}

/// Cuts a text that is longer than what is quoted.
pub(crate) fn shorten(text: &mut String) {
    if text.len() > QUOTED {
        text.truncate(text.floor_char_boundary(QUOTED));
        text.push_str("...");
    }
}

fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => {
                let _ = write!(out, "{integer}");
            }
            None => out.push_str(&go_float(number.as_f64().unwrap_or_default(), -6..21, 1)),
        },
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_json(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (i, (key, value)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write_json(value, out);
            }
            out.push('}');
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The shortest digits that read back as the same: plain while the exponent is one of these, else with that many digits of it at least.
fn go_float(float: f64, plain: Range<i32>, width: usize) -> String {
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = exponent.parse().unwrap_or_default();
    if float == 0.0 || plain.contains(&power) {
        return format!("{float}");
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:0width$}", power.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_quoted_as_go_prints_them() {
        for (value, want) in [
            (json!("a\"b"), r#""a\"b""#),
            (json!(5), "5"),
            (json!(true), "true"),
            (json!(null), "null"),
            (json!(1.5), "1.5"),
            (json!(1.0), "1"),
            (json!(1e21), "1e+21"),
            (json!(1.5e20), "1.5e+20"),
            (json!(1_000_000.0), "1e+06"),
            (json!(123_456.5), "123456.5"),
            (json!(0.0001), "0.0001"),
            (json!(0.00001), "1e-05"),
            (json!(u64::MAX), "1.8446744073709552e+19"),
            (json!([u64::MAX]), "[18446744073709552000]"),
            (
                json!({"b": [1, null], "a": "<&>"}),
                r#"{"a":"\u003c\u0026\u003e","b":[1,null]}"#,
            ),
            (json!([1e-7, 1e-6, 2.5e22]), "[1e-7,0.000001,2.5e+22]"),
        ] {
            assert_eq!(invalid("f", &value, "x").message, format!("Invalid value: {want}: x"));
        }
        let long = invalid("f", &json!("x".repeat(10_000)), "is long").message;
        assert!(long.len() < 5_000 && long.ends_with("...: is long"), "{}", long.len());
    }

    #[test]
    fn sentences_are_those_of_upstream() {
        for (cause, reason, message) in [
            (required("f", ""), "FieldValueRequired", "Required value"),
            (required("f", "say it"), "FieldValueRequired", "Required value: say it"),
            (forbidden("f", "no"), "FieldValueForbidden", "Forbidden: no"),
            (too_long("f", 1), "FieldValueTooLong", "Too long: may not be more than 1 byte"),
            (
                too_long("f", 2),
                "FieldValueTooLong",
                "Too long: may not be more than 2 bytes",
            ),
            (
                too_many("f", 3, 1),
                "FieldValueTooMany",
                "Too many: 3: must have at most 1 item",
            ),
            (
                duplicate("f", &json!({"a": 1})),
                "FieldValueDuplicate",
                r#"Duplicate value: {"a":1}"#,
            ),
            (
                not_supported("f", &json!("c"), ["a", "b"]),
                "FieldValueNotSupported",
                r#"Unsupported value: "c": supported values: "a", "b""#,
            ),
        ] {
            assert_eq!((cause.reason.as_str(), cause.message.as_str()), (reason, message));
        }
    }
}
