//! The named schemas of both documents, in OpenAPI v3's form: upstream's for metadata and scales, and for each kind that is served
//! its own and its list's.
//!
//! Upstream's stand in `apimachinery.json`, word for word as kube-apiserver 1.36 publishes them, so that merging finds
//! them equal and keeps one. Kinds are named as those of CustomResourceDefinitions: group reversed, version, kind
//! (apiextensions-apiserver `gvkToModelName`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::sanitise::{description, sanitise};
use crate::discovery::{ServedGroup, ServedResource};

/// What a reference in v3 starts with.
pub(super) const REFERENCE: &str = "#/components/schemas/";

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const GVK: &str = "x-kubernetes-group-version-kind";

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// The definitions' names of a resource in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub kind: String,
    pub list: String,
    /// Of the documents of its subresources, by name.
    pub parts: BTreeMap<String, String>,
}

/// All definitions, by name.
pub(super) struct Definitions {
    schemas: BTreeMap<String, Value>,
    names: BTreeMap<(String, String, String), Names>,
    /// Kinds that are somebody's: each may be on one definition only.
    taken: BTreeSet<(String, String, String)>,
}

// === impl Definitions ===

impl Definitions {
    pub(super) fn of(groups: &[ServedGroup]) -> Self {
        let mut all = Self {
            schemas: upstream(),
            names: BTreeMap::new(),
            taken: BTreeSet::new(),
        };
        for kind in all.schemas.values().filter_map(|s| s.get(GVK)?.as_array()).flatten() {
            let part = |key: &str| kind.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            all.taken.insert((part("group"), part("version"), part("kind")));
        }
        let served = || {
            let versions = groups
                .iter()
                .flat_map(|g| g.versions.iter().map(move |v| (g.name.as_str(), v)));
            versions.flat_map(|(group, v)| v.resources.iter().map(move |r| (group, v.version.as_str(), r)))
        };
        // Kinds first, all of them: where one kind is named like the list of another, the kind keeps the name.
        let mut kinds = Vec::new();
        for (group, version, served) in served() {
            let kind = &served.resource.kind;
            kinds.push(all.add(group, version, kind, |gvk| object(served, gvk)));
        }
        for ((group, version, served), kind) in served().zip(kinds) {
            let list = format!("{}List", served.resource.kind);
            let list = all.add(group, version, &list, |gvk| list_of(&served.resource.kind, &kind, gvk));
            let at = (group.to_owned(), version.to_owned(), served.resource.plural.clone());
            let mut parts = BTreeMap::new();
            for part in &served.resource.subresources {
                let own = served.kind_of(part);
                let name = if let Some((group, version)) = served.foreign(part) {
                    format!("io.k8s.api.{group}.{version}.{own}")
                } else if own == served.resource.kind {
                    kind.clone()
                } else {
                    let mut of = served.clone();
                    own.clone_into(&mut of.resource.kind);
                    of.resource.schema = None;
                    of.resource.description.clear();
                    all.add(group, version, own, |gvk| object(&of, gvk))
                };
                parts.insert(part.name.clone(), name);
            }
            all.names.insert(at, Names { kind, list, parts });
        }
        all
    }

    /// What a resource's definitions are called.
    pub(super) fn names(&self, group: &str, version: &str, plural: &str) -> Option<&Names> {
        self.names.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// These definitions and all that they refer to.
    pub(super) fn closure<'a>(&self, roots: impl IntoIterator<Item = &'a str>) -> BTreeMap<&str, &Value> {
        let mut found = BTreeMap::new();
        let mut open: Vec<&str> = roots
            .into_iter()
            .filter_map(|r| self.schemas.get_key_value(r))
            .map(|(name, _)| name.as_str())
            .collect();
        while let Some(name) = open.pop() {
            let Some((name, schema)) = self.schemas.get_key_value(name) else {
                continue;
            };
            if found.insert(name.as_str(), schema).is_none() {
                references(schema, &mut open);
            }
        }
        found
    }

    fn add(&mut self, group: &str, version: &str, kind: &str, schema: impl FnOnce(Option<Value>) -> Value) -> String {
        let reversed = match group {
            "" => "io.k8s.api.core".to_owned(),
            _ => group.rsplit('.').collect::<Vec<_>>().join("."),
        };
        let plain = format!("{reversed}.{version}.{kind}");
        let mut name = plain.clone();
        let mut n = 1;
        while self.schemas.contains_key(&name) {
            n += 1;
            name = format!("{plain}_{n}");
        }
        let first = self.taken.insert((group.to_owned(), version.to_owned(), kind.to_owned()));
        let gvk = first.then(|| json!([{ "group": group, "kind": kind, "version": version }]));
        self.schemas.insert(name.clone(), schema(gvk));
        name
    }
}

/// kube-apiserver's definitions of apimachinery.
fn upstream() -> BTreeMap<String, Value> {
    #[expect(clippy::expect_used, reason = "a file of this crate, read by every test")]
    serde_json::from_str(include_str!("apimachinery.json")).expect("apimachinery.json holds schemas by name")
}

fn references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            into.extend(
                map.get("$ref")
                    .and_then(Value::as_str)
                    .and_then(|r| r.strip_prefix(REFERENCE)),
            );
            map.values().for_each(|v| references(v, into));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, into)),
        _ => {}
    }
}

fn reference(name: &str) -> Value {
    json!([{ "$ref": format!("{REFERENCE}{name}") }])
}

/// The schema of a kind: the plugin's fields with the host's own three.
fn object(served: &ServedResource, gvk: Option<Value>) -> Value {
    let own = served
        .resource
        .schema
        .as_ref()
        .map_or_else(|| sanitise(&Value::Bool(true)), sanitise)
        .schema;
    let mut properties = Map::new();
    properties.insert("apiVersion".into(), json!({ "description": API_VERSION, "type": "string" }));
    properties.insert("kind".into(), json!({ "description": KIND, "type": "string" }));
    properties.insert(
        "metadata".into(),
        json!({ "description": METADATA, "default": {}, "allOf": reference(OBJECT_META) }),
    );
    let mut schema = Map::new();
    schema.insert("type".into(), "object".into());
    let own = match own {
        Value::Object(own) => own,
        _ => Map::new(),
    };
    for (key, value) in own {
        match (key.as_str(), value) {
            ("properties", Value::Object(fields)) => properties.extend(fields.into_iter().map(|(k, v)| (k, quantities(v)))),
            (_, value) => {
                schema.insert(key, value);
            }
        }
    }
    if !served.resource.description.is_empty() {
        schema.insert("description".into(), description(&served.resource.description).into());
    }
    schema.insert("properties".into(), properties.into());
    if let Some(gvk) = gvk {
        schema.insert(GVK.into(), gvk);
    }
    schema.into()
}

/// Strings of format `quantity` become upstream's Quantity, so that clients see the type that they know.
fn quantities(schema: Value) -> Value {
    let Value::Object(mut schema) = schema else { return schema };
    if schema.get("format").and_then(Value::as_str) == Some("quantity") {
        let mut quantity = Map::new();
        quantity.extend(schema.remove("description").map(|d| ("description".to_owned(), d)));
        quantity.insert("allOf".into(), reference(QUANTITY));
        return quantity.into();
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(key) {
            *inner = quantities(inner.take());
        }
    }
    if let Some(Value::Object(fields)) = schema.get_mut("properties") {
        fields.values_mut().for_each(|field| *field = quantities(field.take()));
    }
    schema.into()
}

fn list_of(kind: &str, definition: &str, gvk: Option<Value>) -> Value {
    let mut schema = json!({
        "description": format!("{kind}List is a list of {kind}"),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": { "description": API_VERSION, "type": "string" },
            "items": {
                "description": format!("List of {kind} objects."),
                "type": "array",
                "items": { "default": {}, "allOf": reference(definition) },
            },
            "kind": { "description": KIND, "type": "string" },
            "metadata": { "description": LIST_METADATA, "default": {}, "allOf": reference(LIST_META) },
        },
    });
    if let (Some(gvk), Some(schema)) = (gvk, schema.as_object_mut()) {
        schema.insert(GVK.into(), gvk);
    }
    schema
}
