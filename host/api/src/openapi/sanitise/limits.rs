//! What a schema says of values beyond their type: formats, defaults, limits, and alternatives of these.
//!
//! They stay as they are or not at all: half a condition would allow or refuse other values.

use serde_json::{Map, Value, json};

use super::{ANNOTATIONS, DEPTH, OPEN, Pass, Type, is_name, is_readable_value};

/// Keywords that limit a value of some type, and stand in alternatives as well.
pub(super) const LIMITS: [&str; 14] = [
    "enum",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "maxProperties",
    "minProperties",
    "required",
];

// === impl Pass ===

impl Pass {
    pub(super) fn formatted(&mut self, map: &Map<String, Value>, kind: &Type, at: &str, out: &mut Map<String, Value>) {
        if let Some(format) = map.get("format").and_then(Value::as_str)
            && matches!(kind, Type::One(_))
            && is_name(format)
            && self.afford(format.len())
        {
            out.insert("format".into(), format.into());
        }
        if let Some(default) = map.get("default") {
            let fits = match kind {
                Type::One(name) => is_of(default, name) || (default.is_null() && out.contains_key("nullable")),
                Type::IntOrString => default.is_i64() || default.is_string(),
                Type::Any => true,
            };
            if fits && is_readable_value(default) && self.afford(default.to_string().len()) {
                out.insert("default".into(), default.clone());
            } else {
                self.warn(at, "default is of another type, too large or not printable; left out");
            }
        }
    }

    /// The limits of this value. What has the wrong type is left out.
    pub(super) fn limited(&mut self, map: &Map<String, Value>, kind: &Type, at: &str, out: &mut Map<String, Value>) {
        if matches!(kind, Type::Any) {
            return;
        }
        if let Some(only) = map.get("const")
            && !map.contains_key("enum")
        {
            if is_readable_value(only) && self.afford(only.to_string().len()) {
                out.insert("enum".into(), json!([only]));
            } else {
                self.warn(at, "const is too large or not printable; left out");
            }
        }
        for key in LIMITS {
            let Some(value) = map.get(key) else { continue };
            // JSON Schema since draft 6 has a number where OpenAPI 3.0 has a limit and a flag.
            let (key, value) = match (key, value) {
                ("exclusiveMaximum", Value::Number(_)) => {
                    out.insert("maximum".into(), value.clone());
                    (key, &Value::Bool(true))
                }
                ("exclusiveMinimum", Value::Number(_)) => {
                    out.insert("minimum".into(), value.clone());
                    (key, &Value::Bool(true))
                }
                _ => (key, value),
            };
            let fits = match key {
                "enum" => value.as_array().is_some_and(|values| !values.is_empty()),
                "multipleOf" | "maximum" | "minimum" => value.is_number(),
                "exclusiveMaximum" | "exclusiveMinimum" => value.is_boolean(),
                "pattern" => value.is_string(),
                "required" => value
                    .as_array()
                    .is_some_and(|names| !names.is_empty() && names.iter().all(Value::is_string)),
                _ => value.as_u64().is_some_and(|n| i64::try_from(n).is_ok()),
            };
            let empty = ["enum", "required"].contains(&key) && value.as_array().is_some_and(Vec::is_empty);
            if fits && (value.is_number() || is_readable_value(value)) && self.afford(value.to_string().len()) {
                out.insert(key.into(), value.clone());
            } else if !empty {
                self.warn(at, &format!("{key} has a value that does not fit; left out"));
            }
        }
    }

    /// `allOf`, `anyOf`, `oneOf` and `not` stay where each alternative only limits the value that stands outside. One that
    /// loses a condition would allow or refuse other values, so then all of them go.
    pub(super) fn alternatives(
        &mut self,
        map: &Map<String, Value>,
        kind: &Type,
        at: &str,
        depth: usize,
        out: &mut Map<String, Value>,
    ) {
        for key in ["allOf", "anyOf", "oneOf", "not"] {
            let Some(value) = map.get(key) else { continue };
            if matches!(kind, Type::IntOrString) && is_int_or_string(value) {
                // apiextensions' own spelling, and the only alternatives with types that it allows.
                out.insert(key.into(), json!([{ "type": "integer" }, { "type": "string" }]));
                continue;
            }
            let kept = match (value, kind) {
                (Value::Array(all), Type::One(name)) if !all.is_empty() && key != "not" => all
                    .iter()
                    .map(|one| self.limits(one, name, depth))
                    .collect::<Option<Vec<_>>>()
                    .map(Value::from),
                (one, Type::One(name)) if key == "not" => self.limits(one, name, depth),
                _ => None,
            };
            match kept {
                Some(kept) => {
                    out.insert(key.into(), kept);
                }
                None => {
                    self.warn(
                        at,
                        &format!("{key} is not structural; left out, so its conditions are not published"),
                    );
                    if out.get("type").and_then(Value::as_str) == Some("object") {
                        // Its fields may stand in the alternatives only.
                        out.insert(OPEN.into(), true.into());
                    }
                }
            }
        }
    }

    /// One alternative, if limits of a value of this type are all that it has.
    fn limits(&mut self, one: &Value, kind: &'static str, depth: usize) -> Option<Value> {
        let map = one.as_object().filter(|_| depth <= DEPTH)?;
        self.nodes = self.nodes.checked_sub(1)?;
        let known = |key: &str| LIMITS.contains(&key) || ANNOTATIONS.contains(&key) || ["description", "const"].contains(&key);
        let same_type = |key: &str, value: &Value| key == "type" && value.as_str() == Some(kind);
        if !map.iter().all(|(key, value)| known(key) || same_type(key, value)) {
            return None;
        }
        let before = self.warnings.len() + self.more;
        let mut out = Map::new();
        self.limited(map, &Type::One(kind), "an alternative", &mut out);
        (!out.is_empty() && before == self.warnings.len() + self.more).then(|| out.into())
    }
}

pub(super) fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => false,
    }
}

fn is_int_or_string(value: &Value) -> bool {
    let mut types: Vec<_> = value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one.get("type")?.as_str())
        .collect();
    types.sort_unstable();
    types == ["integer", "string"]
}
