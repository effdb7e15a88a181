//! The object in a request's body: JSON or YAML, and what strict decoding finds in it.
//!
//! Upstream decodes the bodies of custom resources from JSON and YAML alone. `fieldValidation` decides what fields do that stand there twice
//! or that the schema does not know: nothing, a warning each, or 400 (KEP-2885).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::field;
use crate::object::unknown_members;
use crate::status::Status;
use crate::write_options::FieldValidation;

/// The media types of objects that can be read.
pub const ACCEPTED: [&str; 2] = ["application/json", "application/yaml"];

/// A body that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// The document.
    pub value: Value,
    /// Paths of members that stand there twice.
    pub twice: Vec<String>,
}

/// Reads a value and notes what stands there twice.
struct Twice<'a> {
    way: &'a Way<'a>,
    found: &'a mut Vec<String>,
}

/// The way to a value, written only where something is found: a document may have a million values, and a name may have a megabyte.
#[derive(Clone, Copy)]
enum Way<'a> {
    Begin,
    Member(&'a Way<'a>, &'a str),
    Item(&'a Way<'a>, usize),
}

/// As many findings as are told; upstream stops at a hundred too (sigs.k8s.io/json).
const FINDINGS: usize = 100;

// === impl Body ===

impl Body {
    /// Reads a body of this `Content-Type`; none at all is JSON.
    ///
    /// # Errors
    /// 415 for protobuf and everything else that is no text, 400 for what is malformed.
    pub fn read(content_type: Option<&str>, body: &[u8]) -> Result<Self, Status> {
        let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let mut twice = Vec::new();
        let seed = Twice {
            way: &Way::Begin,
            found: &mut twice,
        };
        let value = match media {
            "" | "application/json" | "*/*" => {
                let mut reader = serde_json::Deserializer::from_slice(body);
                let value = seed.deserialize(&mut reader);
                value
                    .and_then(|value| reader.end().map(|()| value))
                    .map_err(|e| e.to_string())
            }
            "application/yaml" => {
                let text =
                    std::str::from_utf8(body).map_err(|e| Status::bad_request(format!("error converting YAML to JSON: {e}")))?;
                serde_saphyr::from_str::<Value>(text).map_err(|e| format!("error converting YAML to JSON: {e}"))
            }
            _ => return Err(Status::unsupported_media_type(&ACCEPTED)),
        };
        Ok(Self {
            value: value.map_err(Status::bad_request)?,
            twice,
        })
    }

    /// What strict decoding says of it: one sentence each. `schema` is that of the object's fields, as a manifest has it.
    #[must_use]
    pub fn findings(&self, schema: Option<&Value>) -> Vec<String> {
        let mut found: Vec<String> = self.twice.iter().map(|path| format!("duplicate field {path:?}")).collect();
        if let Some(object) = self.value.as_object() {
            let mut unknown = Vec::new();
            if let Some(metadata) = object.get("metadata").and_then(Value::as_object) {
                unknown.extend(unknown_members(metadata).map(|key| format!("metadata.{key}")));
            }
            if let Some(schema) = schema {
                let fields = object
                    .iter()
                    .filter(|(k, _)| !matches!(k.as_str(), "apiVersion" | "kind" | "metadata"));
                let fields: Map<String, Value> = fields.map(|(k, v)| (k.clone(), v.clone())).collect();
                unknown_fields(schema, &Value::Object(fields), &Way::Begin, &mut unknown);
            }
            found.extend(unknown.into_iter().map(|path| format!("unknown field {path:?}")));
        }
        found.truncate(FINDINGS);
        found
    }
}

/// Does with the findings what was asked for.
///
/// # Errors
/// 400, in upstream's words, if there are any and they are not to be borne.
pub fn judge(findings: &[String], validation: FieldValidation, kind: (&str, &str), warn: impl Fn(&str)) -> Result<(), Status> {
    match validation {
        FieldValidation::Strict if !findings.is_empty() => {
            let (version, kind) = kind;
            Err(Status::bad_request(format!(
                "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {}",
                findings.join(", ")
            )))
        }
        FieldValidation::Warn => {
            findings.iter().for_each(|finding| warn(finding));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Fields that a schema with `properties` does not name. Where it takes any field, or says in another way what it takes, all are known.
fn unknown_fields(schema: &Value, value: &Value, way: &Way<'_>, found: &mut Vec<String>) {
    let is_open = |schema: &Value| {
        let any = |key: &str| schema.get(key).is_some_and(|v| *v != Value::Bool(false));
        [
            "additionalProperties",
            "x-kubernetes-preserve-unknown-fields",
            "$ref",
            "allOf",
            "anyOf",
            "oneOf",
        ]
        .into_iter()
        .any(any)
    };
    match value {
        Value::Object(members) => {
            let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
                return;
            };
            for (key, value) in members {
                let way = Way::Member(way, key);
                match properties.get(key) {
                    Some(schema) => unknown_fields(schema, value, &way, found),
                    None if is_open(schema) => {}
                    None if found.len() < FINDINGS => found.push(way.text()),
                    None => return,
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            for (i, item) in items.iter().enumerate() {
                unknown_fields(schema, item, &Way::Item(way, i), found);
            }
        }
        _ => {}
    }
}

// === impl Way ===

impl Way<'_> {
    /// Such as `spec.list[1].name`; cut where a sentence is.
    fn text(&self) -> String {
        let (way, own) = match self {
            Self::Begin => return String::new(),
            Self::Member(way, name) => (way, format!(".{name}")),
            Self::Item(way, at) => (way, format!("[{at}]")),
        };
        let mut out = way.text();
        if out.len() > field::QUOTED {
            return out;
        }
        let is_first = out.is_empty();
        out.push_str(own.strip_prefix('.').filter(|_| is_first).unwrap_or(&own));
        field::shorten(&mut out);
        out
    }
}

// === impl Twice ===

impl<'de> DeserializeSeed<'de> for Twice<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Twice<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let Self { way, found } = self;
        let mut items = Vec::new();
        loop {
            let way = &Way::Item(way, items.len());
            match seq.next_element_seed(Twice { way, found })? {
                Some(item) => items.push(item),
                None => return Ok(items.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let Self { way, found } = self;
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let way = &Way::Member(way, &key);
            if members.contains_key(&key) && found.len() < FINDINGS {
                found.push(way.text());
            }
            let value = map.next_value_seed(Twice { way, found })?;
            members.insert(key, value);
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_are_json_or_yaml() {
        for (kind, body, want) in [
            (None, r#"{"a":1}"#, Ok(json!({"a": 1}))),
            (
                Some("application/json"),
                r#"{"a":[1,2.5,"x",null,true]}"#,
                Ok(json!({"a": [1, 2.5, "x", null, true]})),
            ),
            (Some("application/json; charset=utf-8"), "{}", Ok(json!({}))),
            (
                Some("application/yaml"),
                "a: {b: 1}\nc: [x]\n",
                Ok(json!({"a": {"b": 1}, "c": ["x"]})),
            ),
            (Some("application/json"), "{", Err(400)),
            (Some("application/json"), "{} {}", Err(400)),
            (Some("application/yaml"), "a: [", Err(400)),
            (Some("application/vnd.kubernetes.protobuf"), "k8s\0", Err(415)),
            (Some("text/plain"), "{}", Err(415)),
        ] {
            let got = Body::read(kind, body.as_bytes()).map(|b| b.value).map_err(|s| s.code);
            assert_eq!(got, want, "{kind:?} {body}");
        }
    }

    /// Work, or an answer, that grows with the product of names and values would not end.
    #[test]
    fn long_names_over_many_values_cost_no_more_than_they_are() {
        let name = "n".repeat(1 << 20);
        let schema = json!({"properties": {"spec": {"additionalProperties": {}, "properties": {name.as_str(): {"items": {"properties": {}}}}}}});
        for list in ["1,".repeat(500_000), r#"{"a":1,"a":2},"#.repeat(100_000)] {
            let body = format!(r#"{{"spec":{{"{name}":[{}]}}}}"#, list.trim_end_matches(','));
            let body = Body::read(None, body.as_bytes()).unwrap();
            let findings = body.findings(Some(&schema));
            assert!(findings.iter().all(|finding| finding.len() < 5_000));
            assert!(
                findings.first().is_none_or(|finding| finding.ends_with("nnn...\"")),
                "{:?}",
                findings.first()
            );
        }
    }

    #[test]
    fn strict_decoding_finds_what_is_there_twice_or_unknown() {
        let schema = json!({"properties": {
            "spec": {"properties": {"a": {}, "list": {"items": {"properties": {"x": {}}}}, "open": {"additionalProperties": {}}}},
            "free": {"x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {}}},
        }});
        let json = br#"{"kind":"K","kind":"K","metadata":{"name":"a","nome":"b"},"spec":{"a":1,"a":2,"b":{"c":1},"list":[{"x":1},{"y":2,"y":3}],
            "open":{"z":1}},"free":{"b":1},"status":{}}"#;
        let body = Body::read(None, json).unwrap();
        assert_eq!(
            body.findings(Some(&schema)),
            [
                r#"duplicate field "kind""#,
                r#"duplicate field "spec.a""#,
                r#"duplicate field "spec.list[1].y""#,
                r#"unknown field "metadata.nome""#,
                r#"unknown field "spec.b""#,
                r#"unknown field "spec.list[1].y""#,
                r#"unknown field "status""#,
            ]
        );
        assert_eq!(body.findings(None).len(), 4);
        let told = std::cell::RefCell::new(0);
        let judge = |validation| judge(&body.findings(None), validation, ("v1", "K"), |_| *told.borrow_mut() += 1);
        judge(FieldValidation::Ignore).unwrap();
        assert_eq!(*told.borrow(), 0);
        judge(FieldValidation::Warn).unwrap();
        assert_eq!(*told.borrow(), 4);
        let refused = judge(FieldValidation::Strict).unwrap_err();
        assert!(
            refused
                .message
                .starts_with(r#"K in version "v1" cannot be handled as a K: strict decoding error: duplicate field "kind", dup"#),
            "{}",
            refused.message
        );
    }
}
