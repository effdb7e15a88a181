//! What a plugin says of its fields, made safe to publish.
//!
//! A schema that Go's parsers dislike does not fail where it was written: merged into the cluster's document, one
//! `additionalProperties: true` stopped kube-controller-manager and with it garbage collection everywhere
//! (kubernetes#135145, #136472). So nothing passes here because it looked harmless: **only keywords on a list, each with a
//! value of the right type, in a schema that is structural** in the sense of CustomResourceDefinitions (each value has
//! a type, or is an integer or a string, or may be anything). Whatever does not fit is left out with a warning, and
//! where nothing true is left the value becomes "anything" (`x-kubernetes-preserve-unknown-fields`): a weaker promise, never a
//! wrong one. Depth and size are bounded.
//!
//! **kube-apiserver reads the merged document as YAML** when somebody asks for it in protobuf (gnostic), and answers 503 for the whole
//! cluster's if it cannot. YAML's readers refuse or change some characters that JSON allows, and refuse keys of more than 1,024 bytes, so such
//! texts do not pass either.
//!
//! JSON Schema as generators write it (`type: [string, null]`, `const`, `anyOf` with null) is understood and written the
//! OpenAPI way. References are not: whoever makes the schema inlines them.
//!
//! The result is a fixed point: sanitising it again changes nothing and warns of nothing.

mod limits;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use limits::{LIMITS, is_of};

/// Levels of nesting; below is "anything".
const DEPTH: usize = 24;
/// Schemas in one schema.
const NODES: usize = 4_096;
/// Bytes of all texts, defaults and enumerations.
const BYTES: usize = 256 * 1024;
/// Bytes of one description; the rest is cut.
const DESCRIPTION: usize = 4_096;
/// Characters of one name: six bytes each, if all of them are escaped, and the quotes stay below YAML's 1,024.
const NAME: usize = 160;
/// Warnings; the rest is counted.
const WARNINGS: usize = 50;

const OPEN: &str = "x-kubernetes-preserve-unknown-fields";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
/// What the host writes itself.
const OF_THE_HOST: [&str; 3] = ["apiVersion", "kind", "metadata"];
/// Keywords that say nothing to validate; they go without a warning.
const ANNOTATIONS: [&str; 9] = [
    "$schema",
    "$id",
    "$comment",
    "$anchor",
    "title",
    "example",
    "examples",
    "deprecated",
    "externalDocs",
];
/// A schema that may be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Sanitised {
    /// An object schema in OpenAPI v3's form, without apiVersion, kind and metadata.
    pub schema: Value,
    /// One sentence for each thing that was changed, with its place.
    pub warnings: Vec<String>,
}

/// Makes the schema of an object's fields (all but apiVersion, kind and metadata) safe to publish.
#[must_use]
pub fn sanitise(schema: &Value) -> Sanitised {
    let mut pass = Pass {
        warnings: Vec::new(),
        more: 0,
        nodes: NODES,
        bytes: BYTES,
    };
    let mut root = pass.node(schema, "", 0);
    if root.get("type").and_then(Value::as_str) != Some("object") {
        if schema != &Value::Bool(true) {
            pass.warn("", "is not the schema of an object; published as an object with any fields");
        }
        root = open();
        root.insert("type".into(), "object".into());
    }
    root.remove("nullable");
    if let Some(fields) = root.get_mut("properties").and_then(Value::as_object_mut) {
        for name in OF_THE_HOST.into_iter().filter(|name| fields.shift_remove(*name).is_some()) {
            pass.warn(name, "is written by the host; left out");
        }
    }
    if pass.more > 0 {
        pass.warnings.push(format!("and {} more", pass.more));
    }
    Sanitised {
        schema: root.into(),
        warnings: pass.warnings,
    }
}

/// A description for people: cut where it is too long, without the characters that YAML's readers refuse.
pub(super) fn description(text: &str) -> String {
    let cut = text.get(..text.floor_char_boundary(DESCRIPTION)).unwrap_or_default();
    cut.chars().filter(|&c| is_readable(c)).collect()
}

/// Whether YAML's readers take this character as it stands: YAML 1.2's `c-printable`, and what JSON writes as an escape. Three
/// more are line breaks to readers of YAML 1.1 (go-yaml): folded in texts, refused in keys.
fn is_readable(c: char) -> bool {
    !matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}')
}

/// Whether YAML's readers take this name as a key.
fn is_name(name: &str) -> bool {
    name.chars().count() <= NAME && name.chars().all(is_readable)
}

/// Whether YAML's readers take this value. gnostic takes integers of more than 64 bits with sign for 0.
fn is_readable_value(value: &Value) -> bool {
    match value {
        Value::String(text) => text.chars().all(is_readable),
        Value::Number(number) => number.is_i64() || number.is_f64(),
        Value::Array(all) => all.iter().all(is_readable_value),
        Value::Object(map) => map.iter().all(|(name, value)| is_name(name) && is_readable_value(value)),
        _ => true,
    }
}

/// Anything.
fn open() -> Map<String, Value> {
    Map::from_iter([(OPEN.to_owned(), true.into())])
}

/// A walk over one schema.
struct Pass {
    warnings: Vec<String>,
    more: usize,
    nodes: usize,
    bytes: usize,
}

/// The types that a schema allows.
enum Type {
    One(&'static str),
    IntOrString,
    Any,
}

// === impl Pass ===

impl Pass {
    fn warn(&mut self, at: &str, what: &str) {
        if self.warnings.len() >= WARNINGS {
            self.more += 1;
            return;
        }
        let at: String = if at.is_empty() {
            "the schema".into()
        } else {
            at.chars().take(256).collect()
        };
        self.warnings.push(format!("{at}: {what}"));
    }

    /// Whether so many bytes may still be published.
    fn afford(&mut self, bytes: usize) -> bool {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.unwrap_or(self.bytes);
        left.is_some()
    }

    /// A structural schema of one value.
    fn node(&mut self, schema: &Value, at: &str, depth: usize) -> Map<String, Value> {
        if depth > DEPTH {
            self.warn(at, "is nested too deeply; published as anything");
            return open();
        }
        let Some(left) = self.nodes.checked_sub(1) else {
            self.warn(at, "is left out: the schema is too large; published as anything");
            return open();
        };
        self.nodes = left;
        let map = match schema {
            Value::Object(map) => map,
            Value::Bool(true) => return open(),
            _ => {
                self.warn(at, "is not a schema; published as anything");
                return open();
            }
        };
        if map.contains_key("$ref") {
            self.warn(at, "has a $ref, which must be inlined; published as anything");
            return self.described(map, open());
        }
        // `anyOf: [X, null]` is X that may be null; a single `allOf` is the schema itself.
        if let Some((only, nullable)) = sole_alternative(map) {
            let mut merged = only.clone();
            merged.extend(
                map.iter()
                    .filter(|(k, _)| !["allOf", "anyOf", "oneOf"].contains(&k.as_str()))
                    .map(|(k, v)| (k.clone(), v.clone())),
            );
            let mut out = self.node(&merged.into(), at, depth + 1);
            if nullable {
                out.insert("nullable".into(), true.into());
            }
            return out;
        }
        let (kind, nullable) = self.types(map, at);
        let mut out = self.described(map, Map::new());
        match kind {
            Type::One(name) => {
                out.insert("type".into(), name.into());
            }
            Type::IntOrString => {
                out.insert(INT_OR_STRING.into(), true.into());
            }
            Type::Any => {
                out.insert(OPEN.into(), true.into());
            }
        }
        if nullable {
            out.insert("nullable".into(), true.into());
        }
        self.formatted(map, &kind, at, &mut out);
        self.limited(map, &kind, at, &mut out);
        match kind {
            Type::One("object") => self.object(map, at, depth, &mut out),
            Type::One("array") => self.array(map, at, depth, &mut out),
            _ => {}
        }
        self.alternatives(map, &kind, at, depth, &mut out);
        self.unknown(map, &kind, at);
        out
    }

    fn described(&mut self, map: &Map<String, Value>, mut out: Map<String, Value>) -> Map<String, Value> {
        if let Some(text) = map.get("description").and_then(Value::as_str) {
            let text = description(text);
            if self.afford(text.len()) {
                out.insert("description".into(), text.into());
            }
        }
        out
    }

    fn types(&mut self, map: &Map<String, Value>, at: &str) -> (Type, bool) {
        let mut nullable = map.get("nullable") == Some(&Value::Bool(true));
        if map.get(INT_OR_STRING) == Some(&Value::Bool(true)) {
            return (Type::IntOrString, nullable);
        }
        let mut names: Vec<&str> = match map.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => implied(map),
        };
        nullable |= names.len() > 1 && names.contains(&"null");
        names.retain(|name| *name != "null");
        names.sort_unstable();
        match names.as_slice() {
            ["integer", "string"] => (Type::IntOrString, nullable),
            [one] => match ["object", "array", "string", "integer", "number", "boolean"]
                .into_iter()
                .find(|name| name == one)
            {
                Some(name) => (Type::One(name), nullable),
                None => {
                    self.warn(at, &format!("type {one:?} is unknown; published as anything"));
                    (Type::Any, nullable)
                }
            },
            [] if map.get(OPEN) == Some(&Value::Bool(true)) => (Type::Any, nullable),
            _ => {
                self.warn(at, "has no single type; published as anything");
                (Type::Any, nullable)
            }
        }
    }

    fn object(&mut self, map: &Map<String, Value>, at: &str, depth: usize, out: &mut Map<String, Value>) {
        let mut fields = Map::new();
        for (name, field) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if !is_name(name) {
                self.warn(at, "has a field whose name is too long or not printable; left out");
                out.insert(OPEN.into(), true.into());
                continue;
            }
            if !self.afford(name.len()) {
                self.warn(at, "has too many fields; the rest is left out");
                out.insert(OPEN.into(), true.into());
                break;
            }
            let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            fields.insert(name.clone(), self.node(field, &at, depth + 1).into());
        }
        match map.get("additionalProperties") {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) => {
                out.insert(OPEN.into(), true.into());
            }
            Some(each) if fields.is_empty() => {
                let each = self.node(each, &format!("{at}[*]"), depth + 1);
                out.insert("additionalProperties".into(), each.into());
            }
            Some(_) => {
                self.warn(
                    at,
                    "has properties and additionalProperties; other fields are published as anything",
                );
                out.insert(OPEN.into(), true.into());
            }
        }
        if !fields.is_empty() {
            out.insert("properties".into(), fields.into());
        }
        if map.get(OPEN) == Some(&Value::Bool(true)) {
            out.insert(OPEN.into(), true.into());
        }
        if let Some(word @ ("atomic" | "granular")) = map.get("x-kubernetes-map-type").and_then(Value::as_str) {
            out.insert("x-kubernetes-map-type".into(), word.into());
        }
        if !out.contains_key("properties") && !out.contains_key("additionalProperties") && depth > 0 {
            out.entry(OPEN).or_insert(true.into());
        }
    }

    fn array(&mut self, map: &Map<String, Value>, at: &str, depth: usize, out: &mut Map<String, Value>) {
        let each = match map.get("items") {
            Some(items @ Value::Object(_)) => self.node(items, &format!("{at}[]"), depth + 1),
            Some(Value::Bool(true)) => open(),
            _ => {
                self.warn(at, "is a list without a schema of its items; they are published as anything");
                open()
            }
        };
        let scalar = matches!(
            each.get("type").and_then(Value::as_str),
            Some("string" | "integer" | "number" | "boolean")
        );
        let keys = map.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
        match map.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("atomic") => {
                out.insert("x-kubernetes-list-type".into(), "atomic".into());
            }
            Some("set") if scalar => {
                out.insert("x-kubernetes-list-type".into(), "set".into());
            }
            Some("map") if keys.is_some_and(|keys| are_keys(keys, &each)) => {
                out.insert("x-kubernetes-list-type".into(), "map".into());
                out.extend(keys.map(|keys| ("x-kubernetes-list-map-keys".to_owned(), Value::from(keys.clone()))));
            }
            Some(_) => self.warn(at, "x-kubernetes-list-type does not fit the items; left out"),
            None => {}
        }
        out.insert("items".into(), each.into());
    }

    /// Warns of what was not read.
    fn unknown(&mut self, map: &Map<String, Value>, kind: &Type, at: &str) {
        const READ: [&str; 15] = [
            "type",
            "nullable",
            "format",
            "default",
            "const",
            "description",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
            OPEN,
            INT_OR_STRING,
            "properties",
            "additionalProperties",
            "items",
        ];
        const SPECIAL: [&str; 3] = [
            "x-kubernetes-list-type",
            "x-kubernetes-list-map-keys",
            "x-kubernetes-map-type",
        ];
        for key in map.keys().map(String::as_str) {
            let of_another_type = match key {
                "properties" | "additionalProperties" | "x-kubernetes-map-type" => !matches!(kind, Type::One("object")),
                "items" | "x-kubernetes-list-type" | "x-kubernetes-list-map-keys" => !matches!(kind, Type::One("array")),
                _ => false,
            };
            let read = READ.contains(&key) || LIMITS.contains(&key) || SPECIAL.contains(&key) || ANNOTATIONS.contains(&key);
            if of_another_type || !read {
                let key: String = key.chars().take(64).collect();
                self.warn(at, &format!("keyword {key:?} is not published"));
            }
        }
    }
}

/// The one schema that is left of `allOf`, `anyOf` or `oneOf` without null, and whether null was there.
fn sole_alternative(map: &Map<String, Value>) -> Option<(&Map<String, Value>, bool)> {
    let mut junctors = ["allOf", "anyOf", "oneOf"]
        .into_iter()
        .filter_map(|key| map.get(key)?.as_array());
    let all = junctors.next()?;
    if junctors.next().is_some() || map.contains_key("type") || map.contains_key("properties") || map.contains_key(INT_OR_STRING)
    {
        return None;
    }
    let is_null = |one: &&Value| one.get("type").and_then(Value::as_str) == Some("null");
    let mut others = all.iter().filter(|one| !is_null(one));
    let only = others.next()?.as_object()?;
    others.next().is_none().then_some((only, all.len() > 1))
}

/// Types that go without saying.
fn implied(map: &Map<String, Value>) -> Vec<&'static str> {
    if map.contains_key("properties") || map.contains_key("additionalProperties") {
        return vec!["object"];
    }
    if map.contains_key("items") {
        return vec!["array"];
    }
    let one = map.get("const").map(std::slice::from_ref);
    let values = map
        .get("enum")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .or(one)
        .unwrap_or_default();
    let all = |name: &&str| !values.is_empty() && values.iter().all(|value| is_of(value, name));
    let scalars = ["string", "integer", "number", "boolean"];
    if let Some(name) = scalars.into_iter().find(all) {
        return vec![name];
    }
    // An enumeration that describes each of its values: alternatives of one type.
    let alternatives = ["oneOf", "anyOf"]
        .into_iter()
        .find_map(|key| map.get(key)?.as_array())
        .map(Vec::as_slice)
        .unwrap_or_default();
    let of_type = |name: &&str| {
        let is = |one: &Value| {
            one.get("type").and_then(Value::as_str) == Some(name) || one.get("const").is_some_and(|only| is_of(only, name))
        };
        !alternatives.is_empty() && alternatives.iter().all(is)
    };
    scalars.into_iter().chain(["object"]).find(of_type).into_iter().collect()
}

/// Whether items can be told apart by these fields: each is a scalar that is there in every item.
fn are_keys(keys: &[Value], each: &Map<String, Value>) -> bool {
    let is_key = |key: &Value| {
        let Some(field) = key.as_str().and_then(|name| each.get("properties")?.get(name)) else {
            return false;
        };
        let scalar = matches!(
            field.get("type").and_then(Value::as_str),
            Some("string" | "integer" | "number" | "boolean")
        );
        let required = each
            .get("required")
            .and_then(Value::as_array)
            .is_some_and(|names| names.contains(key));
        scalar && (required || field.get("default").is_some())
    };
    !keys.is_empty() && keys.iter().all(is_key)
}
