//! Compiles a schema. What it makes of odd spellings is what [`crate::openapi::sanitise`] publishes of them: an object that names no fields, or a
//! value without a type, is anything.

use std::collections::{BTreeMap, HashMap};

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::formats::Format;
use super::{
    Alternatives, Limits, List, Node, OF_THE_HOST, Others, Patch, Schema, Type, Unusable, fill, numbers, pattern, prune,
};
use super::{Path, validate};

/// Levels of nesting; below is anything. As many as are published.
const DEPTH: usize = 24;
/// Schemas in one, references followed.
const NODES: usize = 16_384;
/// References on the way to one schema.
const REFERENCES: usize = 64;
/// Bytes of names, enumerations, defaults and patterns, counted wherever a reference leads to them again.
const BYTES: usize = 4 << 20;
/// Different patterns, and bytes of one compiled.
const PATTERNS: usize = 512;
const PATTERN: usize = 1 << 20;
/// Sentences; the rest is counted.
const SENTENCES: usize = 50;

const OPEN: &str = "x-kubernetes-preserve-unknown-fields";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
const JUNCTORS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords that say nothing about values, or are read elsewhere.
const SILENT: [&str; 20] = [
    "$schema",
    "$id",
    "$comment",
    "$anchor",
    "$defs",
    "definitions",
    "title",
    "description",
    "example",
    "examples",
    "deprecated",
    "externalDocs",
    "readOnly",
    "writeOnly",
    "contentEncoding",
    "contentMediaType",
    "x-kubernetes-map-type",
    "x-kubernetes-group-version-kind",
    "discriminator",
    "xml",
];
const READ: [&str; 39] = [
    "$ref",
    "type",
    "nullable",
    "const",
    "enum",
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "required",
    "properties",
    "additionalProperties",
    "items",
    "default",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    OPEN,
    INT_OR_STRING,
    "x-kubernetes-embedded-resource",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-patch-strategy",
    "x-kubernetes-patch-merge-key",
    // Read as "anything": see `object` and `array`.
    "patternProperties",
    "prefixItems",
    "additionalItems",
    "unevaluatedProperties",
];

pub(super) fn read(schema: &Value) -> Result<Schema, Unusable> {
    let mut reader = Reader {
        document: schema,
        references: Vec::new(),
        patterns: HashMap::new(),
        wrong: Vec::new(),
        more: 0,
        notes: Vec::new(),
        nodes: NODES,
        bytes: BYTES,
    };
    let mut root = reader.node(schema, "", 0, false);
    if !root.types.is_empty() && root.types != [Type::Object] {
        reader.refuse("", "is not the schema of an object");
    }
    for name in OF_THE_HOST {
        if root.properties.remove(name).is_some() {
            reader.note(name, "is the host's; what the schema says of it is passed over");
        }
    }
    if reader.more > 0 {
        reader.wrong.push(format!("and {} more", reader.more));
    }
    if reader.wrong.is_empty() {
        root.types = vec![Type::Object];
        root.nullable = false;
        Ok(Schema {
            root,
            notes: reader.notes,
        })
    } else {
        Err(Unusable(reader.wrong))
    }
}

/// A walk over one schema.
struct Reader<'a> {
    document: &'a Value,
    /// References on the way to here.
    references: Vec<&'a str>,
    patterns: HashMap<String, Regex>,
    wrong: Vec<String>,
    more: usize,
    notes: Vec<String>,
    nodes: usize,
    bytes: usize,
}

/// One schema, spread over what it refers to: the first that has a keyword counts.
struct View<'a> {
    parts: Vec<&'a Map<String, Value>>,
    /// Alternatives that were taken for the schema itself.
    taken: Vec<*const Value>,
    nullable: bool,
}

// === impl View ===

impl<'a> View<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        let mut all = self.parts.iter().filter_map(|part| part.get(key));
        all.find(|value| !self.taken.iter().any(|taken| std::ptr::eq(*taken, *value)))
    }

    fn is(&self, key: &str) -> bool {
        self.get(key) == Some(&Value::Bool(true))
    }

    fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn sentence(at: &str, what: &str) -> String {
        let at: String = if at.is_empty() {
            "the schema".into()
        } else {
            at.chars().take(256).collect()
        };
        format!("{at}: {what}")
    }

    fn refuse(&mut self, at: &str, what: &str) {
        if self.wrong.len() < SENTENCES {
            self.wrong.push(Self::sentence(at, what));
        } else {
            self.more += 1;
        }
    }

    fn note(&mut self, at: &str, what: &str) {
        if self.notes.len() < SENTENCES {
            self.notes.push(Self::sentence(at, what));
        }
    }

    /// Whether so much more may be kept.
    fn afford(&mut self, bytes: usize) -> bool {
        match self.bytes.checked_sub(bytes) {
            Some(left) => {
                self.bytes = left;
                true
            }
            None => {
                self.bytes = 0;
                let what = format!("says more than {BYTES} bytes");
                if !self.wrong.iter().any(|wrong| wrong.ends_with(&what)) {
                    self.refuse("", &what);
                }
                false
            }
        }
    }

    /// One value's schema. `nested` is inside an alternative, which limits a value whose shape is said outside.
    fn node(&mut self, schema: &'a Value, at: &str, depth: usize, nested: bool) -> Node {
        match self.nodes.checked_sub(1) {
            Some(left) => self.nodes = left,
            None => {
                if !self.wrong.iter().any(|w| w.ends_with("schemas")) {
                    self.refuse("", &format!("is larger than {NODES} schemas"));
                }
                return Node::anything();
            }
        }
        if depth > DEPTH {
            self.note(at, &format!("is deeper than {DEPTH} levels; taken as anything"));
            return Node::anything();
        }
        let map = match schema {
            Value::Bool(true) => return Node::anything(),
            Value::Object(map) => map,
            Value::Bool(false) => {
                self.refuse(at, "false allows nothing");
                return Node::anything();
            }
            _ => {
                self.refuse(at, "a schema is an object");
                return Node::anything();
            }
        };
        let before = self.references.len();
        let node = match self.view(map, at) {
            Some(view) => self.viewed(&view, at, depth, nested),
            None => Node::anything(),
        };
        self.references.truncate(before);
        node
    }

    /// Follows references and takes the only alternative but null for the schema itself.
    fn view(&mut self, map: &'a Map<String, Value>, at: &str) -> Option<View<'a>> {
        let mut view = View {
            parts: vec![map],
            taken: Vec::new(),
            nullable: false,
        };
        let mut last = map;
        loop {
            if let Some(reference) = last.get("$ref") {
                let Some(name) = reference.as_str() else {
                    self.refuse(at, "$ref is a text");
                    return None;
                };
                if self.references.contains(&name) {
                    self.note(at, "refers to what it is part of; taken as anything there");
                    return None;
                }
                if self.references.len() >= REFERENCES {
                    self.refuse(at, &format!("lies behind more than {REFERENCES} references"));
                    return None;
                }
                self.references.push(name);
                match name.strip_prefix('#').and_then(|pointer| self.document.pointer(pointer)) {
                    Some(Value::Object(target)) => {
                        view.parts.push(target);
                        last = target;
                        continue;
                    }
                    Some(Value::Bool(true)) => return None,
                    _ => {
                        self.refuse(at, &format!("$ref {name:?} leads nowhere"));
                        return None;
                    }
                }
            }
            let said = |key: &str| view.has(key);
            if said("type") || said("properties") || said(INT_OR_STRING) || said("enum") || said("const") {
                return Some(view);
            }
            let mut junctors = JUNCTORS.into_iter().filter_map(|key| last.get(key));
            let (Some(junctor), None) = (junctors.next(), junctors.next()) else {
                return Some(view);
            };
            let all = junctor.as_array().map(Vec::as_slice).unwrap_or_default();
            let mut others = all.iter().filter(|one| !is_null(one));
            let (Some(Value::Object(only)), None) = (others.next(), others.next()) else {
                return Some(view);
            };
            view.nullable |= all.len() > 1;
            view.taken.push(junctor);
            view.parts.push(only);
            last = only;
        }
    }

    fn viewed(&mut self, view: &View<'a>, at: &str, depth: usize, nested: bool) -> Node {
        let mut node = Node {
            nullable: view.nullable || view.is("nullable"),
            open: view.is(OPEN),
            embedded: view.is("x-kubernetes-embedded-resource"),
            ..Node::default()
        };
        self.types(view, at, &mut node);
        let int_or_string = view.is(INT_OR_STRING) || (!nested && node.types == [Type::String, Type::Integer]);
        if int_or_string {
            node.types = vec![Type::Integer, Type::String];
        }
        node.alternatives = self.alternatives(view, at, depth, &mut node.nullable).map(Box::new);
        if node.types.is_empty() && !nested {
            match implied(view, node.alternatives.as_deref()) {
                Some(kind) => node.types = vec![kind],
                None => {
                    node.open = true;
                    // Anything is null too, unless values are listed.
                    node.nullable |= !view.has("enum") && !view.has("const") && node.alternatives.is_none();
                }
            }
        }
        self.object(view, at, depth, nested, &mut node);
        self.array(view, at, depth, nested, &mut node);
        node.limits = self.limits(view, at, &node).map(Box::new);
        node.patch = self.patch(view, at).map(Box::new);
        for key in view.parts.iter().flat_map(|part| part.keys()) {
            if !READ.contains(&key.as_str()) && !SILENT.contains(&key.as_str()) {
                let key: String = key.chars().take(64).collect();
                self.note(at, &format!("nobody is held to keyword {key:?}"));
            }
        }
        if let Some(default) = view.get("default").filter(|default| !default.is_null()) {
            self.default_of(default, at, &mut node);
        }
        node
    }

    fn types(&mut self, view: &View<'a>, at: &str, node: &mut Node) {
        let names: Vec<&Value> = match view.get("type") {
            None => return,
            Some(Value::Array(all)) => all.iter().collect(),
            Some(one) => vec![one],
        };
        for name in names {
            match name.as_str() {
                Some("null") => node.nullable = true,
                Some(name) => match Type::read(name) {
                    Some(kind) if !node.types.contains(&kind) => node.types.push(kind),
                    Some(_) => {}
                    None => self.refuse(at, &format!("{name:?} is no type")),
                },
                None => self.refuse(at, "type is a text or a list of texts"),
            }
        }
        // An integer is a number.
        if node.types.contains(&Type::Number) {
            node.types.retain(|kind| *kind != Type::Integer);
        }
    }

    fn alternatives(&mut self, view: &View<'a>, at: &str, depth: usize, nullable: &mut bool) -> Option<Alternatives> {
        let mut found = Alternatives::default();
        for (key, into) in [
            ("anyOf", &mut found.any),
            ("oneOf", &mut found.one),
            ("allOf", &mut found.all),
        ] {
            let Some(value) = view.get(key) else { continue };
            let Some(all) = value.as_array().filter(|all| !all.is_empty()) else {
                self.refuse(at, &format!("{key} is a list of schemas"));
                continue;
            };
            if key != "allOf" && sole_values(all).is_some() {
                // Read as an enumeration: see `limits`.
                *nullable |= all.iter().any(is_null);
                continue;
            }
            for one in all {
                if key != "allOf" && is_null(one) {
                    *nullable = true;
                } else {
                    into.push(self.node(one, at, depth + 1, true));
                }
            }
        }
        if let Some(not) = view.get("not") {
            found.not = Some(self.node(not, at, depth + 1, true));
        }
        let empty = found.any.is_empty() && found.one.is_empty() && found.all.is_empty() && found.not.is_none();
        (!empty).then_some(found)
    }

    fn object(&mut self, view: &View<'a>, at: &str, depth: usize, nested: bool, node: &mut Node) {
        let is_object = node.types.contains(&Type::Object);
        if let Some(properties) = view.get("properties") {
            let Some(properties) = properties.as_object() else {
                self.refuse(at, "properties is an object");
                return;
            };
            let mut fields = BTreeMap::new();
            for (name, field) in properties {
                if !self.afford(name.len()) {
                    return;
                }
                let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                fields.insert(name.as_str().into(), self.node(field, &at, depth + 1, nested));
            }
            node.properties = fields;
        }
        for key in ["patternProperties", "unevaluatedProperties"] {
            if view.get(key).is_some_and(|value| *value != Value::Bool(false)) {
                self.note(at, &format!("nobody is held to keyword {key:?}; other fields are anything"));
                node.open = true;
            }
        }
        match view.get("additionalProperties") {
            None => {}
            Some(Value::Bool(true)) => node.open = true,
            Some(Value::Bool(false)) if nested => node.others = Others::Refused,
            Some(Value::Bool(false)) => {}
            Some(each) => {
                let each = self.node(each, &format!("{at}[*]"), depth + 1, nested);
                node.others = Others::Each(Box::new(each));
            }
        }
        // An object that says nothing of its fields has any. The root is what its fields are.
        let silent = node.properties.is_empty() && matches!(node.others, Others::Unsaid);
        node.open |= is_object && silent && depth > 0 && !nested;
        if node.embedded && !is_object {
            self.refuse(at, "x-kubernetes-embedded-resource is an object's");
        }
    }

    fn array(&mut self, view: &View<'a>, at: &str, depth: usize, nested: bool, node: &mut Node) {
        match view.get("items") {
            Some(items @ (Value::Object(_) | Value::Bool(true))) => {
                let items = self.node(items, &format!("{at}[]"), depth + 1, nested);
                node.items = Some(Box::new(items));
            }
            Some(Value::Bool(false)) | None => {}
            Some(_) => self.refuse(at, "items is a schema"),
        }
        if view.has("prefixItems") || view.has("additionalItems") {
            self.note(at, "nobody is held to different schemas of a list's items");
        }
        let keys: Vec<Box<str>> = match view.get("x-kubernetes-list-map-keys") {
            None => Vec::new(),
            Some(Value::Array(all)) if !all.is_empty() && all.iter().all(Value::is_string) => {
                all.iter().filter_map(Value::as_str).map(Into::into).collect()
            }
            Some(_) => {
                self.refuse(at, "x-kubernetes-list-map-keys is a list of names");
                return;
            }
        };
        node.list = match view.get("x-kubernetes-list-type").map(Value::as_str) {
            None | Some(Some("atomic")) => List::Atomic,
            Some(Some("set")) => List::Set,
            Some(Some("map")) if !keys.is_empty() => List::Map(keys),
            Some(Some("map")) => {
                self.refuse(at, "a list that is a map has x-kubernetes-list-map-keys");
                List::Atomic
            }
            Some(_) => {
                self.refuse(at, "x-kubernetes-list-type is atomic, set or map");
                List::Atomic
            }
        };
        if node.list != List::Atomic && !node.types.contains(&Type::Array) {
            self.refuse(at, "x-kubernetes-list-type is a list's");
        }
    }

    fn patch(&mut self, view: &View<'a>, at: &str) -> Option<Patch> {
        let (strategy, key) = (
            view.get("x-kubernetes-patch-strategy"),
            view.get("x-kubernetes-patch-merge-key"),
        );
        if strategy.is_none() && key.is_none() {
            return None;
        }
        let mut patch = Patch {
            key: key.and_then(Value::as_str).filter(|key| !key.is_empty()).map(Into::into),
            ..Patch::default()
        };
        if key.is_some() && patch.key.is_none() {
            self.refuse(at, "x-kubernetes-patch-merge-key is a name");
        }
        match strategy {
            None => {}
            Some(Value::String(text)) => {
                for one in text.split(',') {
                    match one {
                        "merge" => patch.merge = true,
                        "replace" => patch.replace = true,
                        // What it tells clients to write, a patch says itself.
                        "retainKeys" => {}
                        _ => self.refuse(at, "x-kubernetes-patch-strategy is of merge, replace and retainKeys"),
                    }
                }
            }
            Some(_) => self.refuse(at, "x-kubernetes-patch-strategy is a text"),
        }
        if patch.merge && patch.replace {
            self.refuse(at, "x-kubernetes-patch-strategy is merge or replace, not both");
        }
        Some(patch)
    }

    fn limits(&mut self, view: &View<'a>, at: &str, node: &Node) -> Option<Limits> {
        let mut limits = Limits::default();
        let mut any = false;
        if view.get("enum").is_some_and(|values| !values.is_array()) {
            self.refuse(at, "enum is a list of values");
        }
        let mut values = listed(view);
        values.retain(|value| !value.is_null());
        if !self.afford(values.iter().map(|value| bytes_of(value)).sum()) {
            return None;
        }
        any |= !values.is_empty();
        limits.enumeration = values.into_iter().cloned().collect();
        if let Some(required) = view.get("required") {
            match required.as_array() {
                Some(names) if names.iter().all(Value::is_string) => {
                    if !self.afford(names.iter().map(bytes_of).sum()) {
                        return None;
                    }
                    any |= !names.is_empty();
                    limits.required = names.iter().filter_map(Value::as_str).map(Into::into).collect();
                }
                _ => self.refuse(at, "required is a list of names"),
            }
        }
        if let Some(text) = view.get("pattern") {
            limits.pattern = self.pattern(text, at);
            any |= limits.pattern.is_some();
        }
        for (key, into) in [
            ("minLength", &mut limits.min_length),
            ("maxLength", &mut limits.max_length),
            ("minItems", &mut limits.min_items),
            ("maxItems", &mut limits.max_items),
            ("minProperties", &mut limits.min_properties),
            ("maxProperties", &mut limits.max_properties),
        ] {
            let Some(value) = view.get(key) else { continue };
            *into = value.as_i64().filter(|n| *n >= 0);
            any |= into.is_some();
            if into.is_none() {
                self.refuse(at, &format!("{key} is a number that is not negative"));
            }
        }
        limits.unique = view.is("uniqueItems");
        let get = |key: &str| view.get(key);
        match numbers::Limits::read(get) {
            Ok(number) => {
                any |= number != numbers::Limits::default();
                limits.number = number;
            }
            Err(why) => self.refuse(at, &why),
        }
        if let Some(format) = view.get("format").and_then(Value::as_str) {
            match node.types.as_slice() {
                [] | [Type::String] => limits.format = Format::read(format),
                [Type::Integer] => limits.number.set_integer(format),
                [Type::Number] => limits.number.set_float(format),
                _ => {}
            }
            any |= limits.format.is_some() || limits.number != numbers::Limits::default();
        }
        if node.types == [Type::Integer] {
            limits.number.set_integer("");
            any = true;
        }
        (any || limits.unique).then_some(limits)
    }

    fn pattern(&mut self, text: &Value, at: &str) -> Option<(Box<str>, Regex)> {
        let Some(text) = text.as_str() else {
            self.refuse(at, "pattern is a text");
            return None;
        };
        if !self.afford(text.len()) {
            return None;
        }
        if let Some(regex) = self.patterns.get(text) {
            return Some((text.into(), regex.clone()));
        }
        if self.patterns.len() >= PATTERNS {
            self.refuse(at, &format!("has more than {PATTERNS} patterns"));
            return None;
        }
        let made = RegexBuilder::new(&pattern::translate(text))
            .size_limit(PATTERN)
            .dfa_size_limit(PATTERN)
            .build();
        match made {
            Ok(regex) => {
                self.patterns.insert(text.to_owned(), regex.clone());
                Some((text.into(), regex))
            }
            Err(error) => {
                // The library draws a picture over several lines; its last one says what is wrong.
                let why = error.to_string();
                let why = why.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
                let shown: String = text.chars().take(64).collect();
                self.refuse(at, &format!("pattern {shown:?} cannot be used: {why}"));
                None
            }
        }
    }

    /// A default that its own schema would refuse makes every object invalid that relies on it.
    fn default_of(&mut self, default: &Value, at: &str, node: &mut Node) {
        if !self.afford(bytes_of(default)) {
            return;
        }
        let mut value = default.clone();
        prune::inside(node, &mut value);
        fill::inside(node, &mut value);
        let refused = validate::value(node, &value, &Path::ROOT);
        if let Some(cause) = refused.first() {
            self.refuse(at, &format!("its default does not fit: {}: {}", cause.field, cause.message));
            return;
        }
        node.default = Some(Box::new(value));
    }
}

/// About as many bytes as a value takes.
fn bytes_of(value: &Value) -> usize {
    let below: usize = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(bytes_of).sum(),
        Value::Object(members) => members.iter().map(|(key, value)| key.len() + bytes_of(value)).sum(),
        _ => 0,
    };
    below.saturating_add(std::mem::size_of::<Value>())
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

/// The values of alternatives that are one value or a list of them each, such as schemars makes of an enumeration with described values.
fn sole_values(all: &[Value]) -> Option<Vec<&Value>> {
    let mut values = Vec::new();
    for one in all.iter().filter(|one| !is_null(one)) {
        let map = one.as_object()?;
        let known = |key: &String| ["const", "enum", "type"].contains(&key.as_str()) || SILENT.contains(&key.as_str());
        if !map.keys().all(known) {
            return None;
        }
        match (map.get("const"), map.get("enum")) {
            (Some(only), None) => values.push(only),
            (None, Some(Value::Array(some))) => values.extend(some),
            _ => return None,
        }
    }
    (!values.is_empty()).then_some(values)
}

/// The values that a schema lists.
fn listed<'a>(view: &View<'a>) -> Vec<&'a Value> {
    match (view.get("enum"), view.get("const")) {
        (Some(Value::Array(all)), _) => all.iter().collect(),
        (Some(_), _) => Vec::new(),
        (None, Some(only)) => vec![only],
        (None, None) => ["anyOf", "oneOf"]
            .into_iter()
            .find_map(|key| sole_values(view.get(key)?.as_array()?))
            .unwrap_or_default(),
    }
}

/// A type that goes without saying.
fn implied(view: &View<'_>, alternatives: Option<&Alternatives>) -> Option<Type> {
    if view.has("properties") || view.has("additionalProperties") || view.is("x-kubernetes-embedded-resource") {
        return Some(Type::Object);
    }
    if view.has("items") {
        return Some(Type::Array);
    }
    let listed = listed(view);
    let mut kinds = listed.into_iter().filter(|value| !value.is_null()).map(Type::of);
    if let Some(first) = kinds.next() {
        return first.filter(|kind| kinds.all(|other| other == Some(*kind)));
    }
    let alternatives = alternatives?;
    let all = if alternatives.any.is_empty() {
        &alternatives.one
    } else {
        &alternatives.any
    };
    let first = *all.first()?.types.first()?;
    all.iter().all(|one| one.types == [first]).then_some(first)
}
