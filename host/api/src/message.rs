//! Protobuf of a document that exists as JSON: tables say which key is which field.
//!
//! Discovery and OpenAPI are made once, as JSON; their protobuf forms are the same facts under numbers. A [`Shape`] is a
//! message of a `.proto` file, reduced to what our documents say, and [`write`] walks document and shape together. So the two forms
//! cannot drift apart: there is no second set of types to fill. What a table does not name is not written; tests hold
//! that nothing of our documents is lost so ([`unnamed`]).
//!
//! As in all of proto3, a scalar that is zero or empty is left out, except as the branch of a `oneof`, where its presence is
//! what it says.

use prost::encoding::{WireType, encode_key};
use serde_json::{Map, Value};

use crate::protobuf::{put_block, put_present_int, put_text};
use crate::time::Timestamp;

/// One message.
#[derive(Debug)]
pub enum Shape {
    /// A JSON object with these keys.
    Fields(&'static [Field]),
    /// A JSON object with these keys, and a repeated `NamedAny` of this number for each key that starts with `x-`.
    Extended(&'static [Field], u32),
    /// A JSON object whose keys are data.
    Named(Named),
    /// A message that holds one field, chosen by the value; the field gets the value itself. Nothing chosen: an empty message.
    OneOf(fn(&Value) -> Option<(u32, Kind)>),
}

/// One key of a JSON object, its field number, and what its value is.
#[derive(Debug)]
pub struct Field(pub &'static str, pub u32, pub Kind);

/// A JSON object whose keys are data: each becomes a pair `{ name = 1, value = 2 }` in a repeated field.
#[derive(Debug)]
pub struct Named {
    /// Keys that are fields all the same.
    pub fields: &'static [Field],
    /// The number of the repeated pairs.
    pub pairs: u32,
    /// What a pair's value is.
    pub value: Kind,
    /// The number of the pairs whose keys start with `x-`, if they have one of their own.
    pub extensions: Option<u32>,
}

/// What a value is.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `string`.
    Text,
    /// `bool`.
    Flag,
    /// `double`.
    Number,
    /// `int64`.
    Integer,
    /// `repeated string`.
    Texts,
    /// A message whose field 1 is `repeated string`; in JSON one string or an array of them.
    Words,
    /// A message.
    One(&'static Shape),
    /// A repeated message.
    Many(&'static Shape),
    /// gnostic's `Any`: the value as YAML in field 2.
    Any,
    /// Repeated [`Kind::Any`].
    Anys,
    /// Not a field: it stands in the frame around the message.
    Frame,
    /// `meta/v1 Time`; in JSON an RFC 3339 text.
    Time,
    /// `map<string, string>`.
    Pairs,
    /// A message whose field 1 is the value as JSON.
    Raw,
}

/// The message's bytes, without a frame.
#[must_use]
pub fn write(shape: &Shape, document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    shape.write(document, &mut out);
    out
}

/// The first place whose key the tables do not name; for tests.
#[must_use]
pub fn unnamed(shape: &Shape, document: &Value) -> Option<String> {
    let map = document.as_object();
    match shape {
        Shape::Fields(fields) => map?
            .iter()
            .find_map(|(k, v)| in_fields(fields, k, v).unwrap_or_else(|| Some(k.clone()))),
        Shape::Extended(fields, _) => map?.iter().find_map(|(k, v)| {
            let other = || (!is_extension(k)).then(|| k.clone());
            in_fields(fields, k, v).unwrap_or_else(other)
        }),
        Shape::Named(named) => map?.iter().find_map(|(k, v)| {
            in_fields(named.fields, k, v).unwrap_or_else(|| {
                let extension = named.extensions.is_some() && is_extension(k);
                if extension { None } else { named.value.unnamed(k, v) }
            })
        }),
        Shape::OneOf(choose) => choose(document).and_then(|(_, kind)| kind.unnamed("", document)),
    }
}

fn in_fields(fields: &[Field], key: &str, value: &Value) -> Option<Option<String>> {
    fields.iter().find(|f| f.0 == key).map(|f| f.2.unnamed(key, value))
}

// === impl Shape ===

impl Shape {
    fn write(&self, value: &Value, out: &mut Vec<u8>) {
        let none = Map::new();
        let map = value.as_object().unwrap_or(&none);
        match self {
            Self::Fields(fields) => write_fields(fields, map, out),
            Self::Extended(fields, tag) => {
                write_fields(fields, map, out);
                for (key, value) in map.iter().filter(|(key, _)| is_extension(key)) {
                    pair(*tag, key, Kind::Any, value, out);
                }
            }
            Self::Named(named) => {
                write_fields(named.fields, map, out);
                for (key, value) in map {
                    match named.extensions {
                        _ if named.fields.iter().any(|f| f.0 == key) => {}
                        Some(tag) if is_extension(key) => pair(tag, key, Kind::Any, value, out),
                        _ => pair(named.pairs, key, named.value, value, out),
                    }
                }
            }
            Self::OneOf(choose) => {
                if let Some((tag, kind)) = choose(value) {
                    kind.write(tag, value, true, out);
                }
            }
        }
    }
}

fn write_fields(fields: &[Field], map: &Map<String, Value>, out: &mut Vec<u8>) {
    for Field(key, tag, kind) in fields {
        if let Some(value) = map.get(*key) {
            kind.write(*tag, value, false, out);
        }
    }
}

fn pair(tag: u32, key: &str, kind: Kind, value: &Value, out: &mut Vec<u8>) {
    let mut inner = Vec::new();
    put_text(&mut inner, 1, key);
    kind.write(2, value, true, &mut inner);
    block(out, tag, &inner);
}

fn is_extension(key: &str) -> bool {
    key.starts_with("x-")
}

fn block(out: &mut Vec<u8>, tag: u32, inner: &[u8]) {
    put_block(out, tag, inner.len());
    out.extend_from_slice(inner);
}

// === impl Kind ===

impl Kind {
    /// Appends the field; `always` also if it is zero. A value of another type is left out.
    fn write(self, tag: u32, value: &Value, always: bool, out: &mut Vec<u8>) {
        match self {
            Self::Text => {
                if let Some(text) = value.as_str().filter(|text| always || !text.is_empty()) {
                    block(out, tag, text.as_bytes());
                }
            }
            Self::Flag => {
                if let Some(flag) = value.as_bool().filter(|flag| always || *flag) {
                    put_present_int(out, tag, flag.into());
                }
            }
            Self::Integer => {
                if let Some(number) = value.as_i64().filter(|number| always || *number != 0) {
                    put_present_int(out, tag, number);
                }
            }
            Self::Number => {
                if let Some(number) = value.as_f64().filter(|number| always || number.to_bits() != 0) {
                    encode_key(tag, WireType::SixtyFourBit, out);
                    out.extend_from_slice(&number.to_le_bytes());
                }
            }
            Self::Texts => {
                for text in each(value).filter_map(Value::as_str) {
                    block(out, tag, text.as_bytes());
                }
            }
            Self::Words => {
                let mut inner = Vec::new();
                let words = std::slice::from_ref(value);
                let words = value.as_array().map_or(words, Vec::as_slice);
                for word in words.iter().filter_map(Value::as_str) {
                    block(&mut inner, 1, word.as_bytes());
                }
                block(out, tag, &inner);
            }
            Self::One(shape) => block(out, tag, &write(shape, value)),
            Self::Many(shape) => each(value).for_each(|one| block(out, tag, &write(shape, one))),
            Self::Any => {
                let mut inner = Vec::new();
                put_text(&mut inner, 2, &yaml(value));
                block(out, tag, &inner);
            }
            Self::Frame => {}
            Self::Time => {
                let time = value.as_str().and_then(|text| Timestamp::parse(text).ok());
                if let Some(time) = time {
                    let mut inner = Vec::new();
                    put_present_int(&mut inner, 1, time.seconds());
                    block(out, tag, &inner);
                }
            }
            Self::Pairs => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    pair(tag, key, Self::Text, value, out);
                }
            }
            Self::Raw => {
                let mut inner = Vec::new();
                put_text(&mut inner, 1, &value.to_string());
                block(out, tag, &inner);
            }
            Self::Anys => each(value).for_each(|one| Self::Any.write(tag, one, true, out)),
        }
    }

    fn unnamed(self, key: &str, value: &Value) -> Option<String> {
        let inner = match self {
            Self::One(shape) => unnamed(shape, value),
            Self::Many(shape) => each(value).find_map(|one| unnamed(shape, one)),
            _ => None,
        };
        inner.map(|inner| format!("{key}.{inner}"))
    }
}

fn each(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

/// A value as YAML: JSON, with what YAML's readers refuse or fold written as escapes, which both languages know.
fn yaml(value: &Value) -> String {
    use std::fmt::Write as _;
    let json = value.to_string();
    let mut out = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    static LEAF: Shape = Shape::Extended(&[Field("on", 1, Kind::Flag), Field("size", 2, Kind::Number)], 3);
    static EITHER: Shape = Shape::OneOf(|value| match value {
        Value::Bool(_) => Some((2, Kind::Flag)),
        Value::Object(_) => Some((1, Kind::One(&LEAF))),
        _ => None,
    });
    static TREE: Shape = Shape::Named(Named {
        fields: &[
            Field("name", 1, Kind::Text),
            Field("many", 2, Kind::Many(&LEAF)),
            Field("count", 3, Kind::Integer),
            Field("texts", 4, Kind::Texts),
            Field("words", 5, Kind::Words),
            Field("any", 6, Kind::Anys),
        ],
        pairs: 7,
        value: Kind::One(&EITHER),
        extensions: Some(8),
    });

    #[test]
    fn documents_become_fields() {
        let cases: [(&str, Value, &[u8]); 14] = [
            ("nothing", json!({}), b""),
            ("no object", json!([]), b""),
            ("text", json!({ "name": "ab" }), b"\x0a\x02ab"),
            ("zero values", json!({ "name": "", "count": 0 }), b""),
            (
                "wrong types",
                json!({ "name": 1, "count": "1", "texts": "a", "many": {} }),
                b"",
            ),
            (
                "negative",
                json!({ "count": -1 }),
                b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            ),
            ("texts keep empty ones", json!({ "texts": ["a", ""] }), b"\x22\x01a\x22\x00"),
            ("one word", json!({ "words": "a" }), b"\x2a\x03\x0a\x01a"),
            ("words", json!({ "words": ["a", "b"] }), b"\x2a\x06\x0a\x01a\x0a\x01b"),
            (
                "messages",
                json!({ "many": [{}, { "on": true }] }),
                b"\x12\x00\x12\x02\x08\x01",
            ),
            (
                "a number",
                json!({ "many": [{ "size": 1 }] }),
                b"\x12\x09\x11\0\0\0\0\0\0\xf0\x3f",
            ),
            (
                "a pair with a flag that is false",
                json!({ "p": false }),
                b"\x3a\x07\x0a\x01p\x12\x02\x10\x00",
            ),
            ("a pair with nothing", json!({ "p": null }), b"\x3a\x05\x0a\x01p\x12\x00"),
            (
                "an extension",
                json!({ "x-a": [1] }),
                b"\x42\x0d\x0a\x03x-a\x12\x06\x12\x04[1]\n",
            ),
        ];
        for (name, document, want) in cases {
            assert_eq!(write(&TREE, &document), want, "{name}");
        }
    }

    #[test]
    fn what_yaml_cannot_hold_is_escaped() {
        for (text, want) in [
            ("a\u{7f}\u{85}\u{9f}b", r#""a\u007f\u0085\u009fb""#),
            ("\u{2028}\u{feff}\u{ffff}", r#""\u2028\ufeff\uffff""#),
            ("é\u{a0}😀\u{1}", "\"é\u{a0}😀\\u0001\""),
        ] {
            assert_eq!(yaml(&json!(text)), format!("{want}\n"));
            assert_eq!(serde_json::from_str::<Value>(want).unwrap(), json!(text));
        }
    }

    #[test]
    fn what_no_table_names_is_found() {
        for (document, want) in [
            (json!({ "name": "a", "x-b": 1, "p": { "on": true, "x-c": 1 } }), None),
            (json!({ "p": { "of": true } }), Some("p..of")),
            (json!({ "many": [{}, { "of": 1 }] }), Some("many.of")),
        ] {
            assert_eq!(unnamed(&TREE, &document).as_deref(), want, "{document}");
        }
    }
}
