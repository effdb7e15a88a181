//! What makes a manifest fit, beyond its types.
//!
//! It is read by somebody whose plugin was just refused, so every sentence names the field as the document spells it and
//! says what would fit, and all of them come at once. It promises that what passes can be served: names are valid in URLs and in
//! discovery, unique where Kubernetes wants them unique, and every collector fills tables that exist. It must never
//! depend on the host's state: the same manifest fits everywhere.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{Backing, Capability, Collector, Column, FREE, GRANTED, Manifest, Resource, Scope, Shadow, roles};

/// Why a manifest is refused; every sentence names the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit(pub Vec<String>);

/// The types that a column may have (OpenAPI; `date` as in a CRD's printer columns).
const COLUMN_TYPES: [&str; 5] = ["string", "integer", "number", "boolean", "date"];

/// What the host writes into every object itself.
const OF_THE_HOST: [&str; 3] = ["apiVersion", "kind", "metadata"];

// === impl Unfit ===

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.join("; "))
    }
}

impl std::error::Error for Unfit {}

// === impl Manifest ===

impl Manifest {
    /// All that types cannot say.
    ///
    /// # Errors
    /// See [`Manifest::read`].
    pub fn check(&self) -> Result<(), Unfit> {
        let mut wrong = Vec::new();
        if !is_dns_label(&self.name) {
            wrong.push(format!(
                "name: {:?} is not a DNS label (lower-case letters, digits and '-', at most 63)",
                self.name
            ));
        }
        if self.version.is_empty() {
            wrong.push("version: is empty".to_owned());
        }
        if self.config.as_ref().is_some_and(|schema| !schema.is_object()) {
            wrong.push("config: must be a JSON Schema, an object".to_owned());
        }
        check_capabilities(&self.capabilities, &mut wrong);
        check_resources(&self.resources, &mut wrong);
        check_collectors(&self.collectors, &self.resources, &mut wrong);
        roles::check(self, &mut wrong);
        if wrong.is_empty() { Ok(()) } else { Err(Unfit(wrong)) }
    }
}

/// RFC 1123 label, as Kubernetes checks names.
#[must_use]
pub fn is_dns_label(s: &str) -> bool {
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !s.is_empty() && s.len() <= 63 && s.starts_with(ok) && s.ends_with(ok) && s.chars().all(|c| ok(c) || c == '-')
}

/// RFC 1123 subdomain: labels joined by dots, at most 253 characters.
#[must_use]
pub fn is_dns_subdomain(s: &str) -> bool {
    s.len() <= 253 && s.split('.').all(is_dns_label)
}

fn check_capabilities(capabilities: &[Capability], wrong: &mut Vec<String>) {
    let mut seen = BTreeMap::new();
    for (i, c) in capabilities.iter().enumerate() {
        let at = format!("capabilities[{i}]");
        if !GRANTED.contains(&c.name.as_str()) && !FREE.contains(&c.name.as_str()) {
            wrong.push(format!(
                "{at}.name: {:?} is not a capability of this contract ({})",
                c.name,
                GRANTED.join(", ")
            ));
        }
        if let Some(other) = seen.insert(c.name.as_str(), i) {
            wrong.push(format!("{at}.name: {:?} is already capabilities[{other}]", c.name));
        }
        if c.reason.trim().is_empty() {
            wrong.push(format!("{at}.reason: is empty; it is what whoever grants it reads"));
        }
    }
}

fn check_resources(resources: &[Resource], wrong: &mut Vec<String>) {
    let mut plurals = BTreeMap::new();
    let mut kinds = BTreeMap::new();
    let mut spoken = BTreeMap::new();
    for (i, r) in resources.iter().enumerate() {
        let at = format!("resources[{i}]");
        check_resource(r, &at, wrong);
        // Rows name their table by the plural alone, so it is unique over all groups.
        if let Some(other) = plurals.insert(r.plural.as_str(), i) {
            wrong.push(format!("{at}.plural: {:?} is already resources[{other}]", r.plural));
        }
        if let Some(other) = kinds.insert((r.group.as_str(), r.kind.as_str()), i) {
            wrong.push(format!(
                "{at}.kind: {:?} is already resources[{other}] of the same group",
                r.kind
            ));
        }
        // Where two resources of a group share a short or singular name, kubectl takes one of them by chance.
        let singular = if r.singular.is_empty() {
            r.kind.to_ascii_lowercase()
        } else {
            r.singular.clone()
        };
        let names: BTreeSet<String> = r.short_names.iter().cloned().chain([singular, r.plural.clone()]).collect();
        for name in names {
            if let Some(other) = spoken.insert((r.group.as_str(), name.clone()), i)
                && resources.get(other).is_some_and(|o| o.plural != r.plural && o.kind != r.kind)
            {
                wrong.push(format!("{at}: {name:?} already names resources[{other}] of the same group"));
            }
        }
    }
}

fn check_resource(r: &Resource, at: &str, wrong: &mut Vec<String>) {
    if !is_dns_subdomain(&r.group) || !r.group.contains('.') {
        wrong.push(format!(
            "{at}.group: {:?} is not a DNS subdomain with a dot, such as \"harbor.example.com\"",
            r.group
        ));
    }
    if !is_dns_label(&r.plural) {
        wrong.push(format!("{at}.plural: {:?} is not a DNS label", r.plural));
    }
    if !r.singular.is_empty() && !is_dns_label(&r.singular) {
        wrong.push(format!("{at}.singular: {:?} is not a DNS label", r.singular));
    }
    for (field, names) in [("shortNames", &r.short_names), ("categories", &r.categories)] {
        for name in names.iter().filter(|name| !is_dns_label(name)) {
            wrong.push(format!("{at}.{field}: {name:?} is not a DNS label"));
        }
    }
    if !is_kind(&r.kind) {
        wrong.push(format!("{at}.kind: {:?} is not a kind in CamelCase", r.kind));
    }
    if r.versions.is_empty() {
        wrong.push(format!("{at}.versions: at least one is needed"));
    }
    let mut versions = BTreeSet::new();
    for v in &r.versions {
        if !is_dns_label(v) {
            wrong.push(format!("{at}.versions: {v:?} is not a version such as \"v1\" or \"v1beta1\""));
        }
        if !versions.insert(v) {
            wrong.push(format!("{at}.versions: {v:?} stands there twice"));
        }
    }
    check_deprecated(r, at, wrong);
    for (k, c) in r.columns.iter().enumerate() {
        check_column(c, &format!("{at}.columns[{k}]"), wrong);
    }
    match (&r.backing, r.scope) {
        (
            Backing::Table {
                shadow: Some(Shadow::Nodes),
            },
            Scope::Namespaced,
        ) => {
            wrong.push(format!(
                "{at}.backing.table.shadow: nodes have no namespace, so scope must be \"cluster\""
            ));
        }
        (
            Backing::Table {
                shadow: Some(Shadow::Pods),
            },
            Scope::Cluster,
        ) => {
            wrong.push(format!(
                "{at}.backing.table.shadow: pods live in namespaces, so scope must be \"namespaced\""
            ));
        }
        _ => {}
    }
    if let Some(schema) = &r.schema {
        check_schema(schema, &format!("{at}.schema"), wrong);
    }
    for (version, schema) in &r.schemas {
        let at = format!("{at}.schemas.{version}");
        if !r.is_stored() {
            wrong.push(format!(
                "{at}: only a stored resource looks different from version to version"
            ));
        }
        if !r.versions.contains(version) {
            wrong.push(format!("{at}: {version:?} is not one of the resource's versions"));
        }
        check_schema(schema, &at, wrong);
    }
}

/// The bounds of the text are those of a CRD's `deprecationWarning`.
fn check_deprecated(r: &Resource, at: &str, wrong: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (k, d) in r.deprecated.iter().enumerate() {
        let at = format!("{at}.deprecated[{k}]");
        if !r.versions.contains(&d.version) {
            wrong.push(format!("{at}.version: {:?} is not one of the resource's versions", d.version));
        }
        if !seen.insert(&d.version) {
            wrong.push(format!("{at}.version: {:?} stands there twice", d.version));
        }
        if d.warning.chars().count() > 256 || d.warning.chars().any(char::is_control) {
            wrong.push(format!(
                "{at}.warning: must have at most 256 characters and no control characters"
            ));
        }
        if !d.removed_release.is_empty() && !is_release(&d.removed_release) {
            wrong.push(format!(
                "{at}.removedRelease: {:?} is not MAJOR.MINOR, such as \"1.4\"",
                d.removed_release
            ));
        }
    }
}

fn is_release(text: &str) -> bool {
    let number = |n: &str| !n.is_empty() && n.len() <= 5 && n.bytes().all(|b| b.is_ascii_digit());
    text.split_once('.')
        .is_some_and(|(major, minor)| number(major) && number(minor))
}

fn check_column(c: &Column, at: &str, wrong: &mut Vec<String>) {
    if c.name.trim().is_empty() {
        wrong.push(format!("{at}.name: is empty"));
    }
    if !COLUMN_TYPES.contains(&c.kind.as_str()) {
        wrong.push(format!("{at}.type: {:?} is none of {}", c.kind, COLUMN_TYPES.join(", ")));
    }
    if c.priority < 0 {
        wrong.push(format!("{at}.priority: must not be negative"));
    }
}

/// The host puts this schema into documents of its own, where a reference has nothing to point at.
fn check_schema(schema: &Value, at: &str, wrong: &mut Vec<String>) {
    let Some(object) = schema.as_object() else {
        wrong.push(format!("{at}: must be an object"));
        return;
    };
    if object.get("type").is_some_and(|t| t != "object") {
        wrong.push(format!("{at}.type: must be \"object\""));
    }
    if let Some(properties) = object.get("properties").and_then(Value::as_object) {
        for name in OF_THE_HOST.iter().filter(|name| properties.contains_key(**name)) {
            wrong.push(format!("{at}.properties.{name}: is written by the host and must be absent"));
        }
    }
    if has_reference(schema) {
        wrong.push(format!("{at}: has a $ref; schemas must be inlined"));
    }
}

/// True if a schema refers to another. A *property* called `$ref` holds a schema, not a text, so it does not count.
fn has_reference(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields.get("$ref").is_some_and(Value::is_string) || fields.values().any(has_reference),
        Value::Array(items) => items.iter().any(has_reference),
        _ => false,
    }
}

fn check_collectors(collectors: &[Collector], resources: &[Resource], wrong: &mut Vec<String>) {
    let mut names = BTreeMap::new();
    for (i, c) in collectors.iter().enumerate() {
        let at = format!("collectors[{i}]");
        if !is_dns_label(&c.name) {
            wrong.push(format!("{at}.name: {:?} is not a DNS label", c.name));
        }
        if let Some(other) = names.insert(c.name.as_str(), i) {
            wrong.push(format!("{at}.name: {:?} is already collectors[{other}]", c.name));
        }
        if c.interval_seconds == 0 {
            wrong.push(format!("{at}.intervalSeconds: must be at least 1"));
        }
        if c.keep_seconds != 0 && c.keep_seconds < c.interval_seconds {
            wrong.push(format!(
                "{at}.keepSeconds: {} is less than one interval, so rows would vanish between ticks",
                c.keep_seconds
            ));
        }
        if c.fills.is_empty() {
            wrong.push(format!("{at}.fills: at least one table is needed"));
        }
        for f in &c.fills {
            let is_table = |r: &&Resource| matches!(r.backing, Backing::Table { .. });
            if !resources.iter().filter(is_table).any(|r| &r.plural == f) {
                wrong.push(format!("{at}.fills: {f:?} is not a table in resources"));
            }
        }
    }
}

fn is_kind(s: &str) -> bool {
    s.len() <= 63 && s.starts_with(|c: char| c.is_ascii_uppercase()) && s.chars().all(|c| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A manifest that fits, with one value changed or removed.
    fn with(pointer: &str, value: Value) -> Result<Manifest, Unfit> {
        let mut document = json!({
            "name": "harbor", "version": "1.0.0",
            "capabilities": [{"name": "kubelet", "reason": "reads the tide"}, {"name": "log", "reason": "says so"}],
            "config": {"type": "object"},
            "resources": [
                {"group": "harbor.example.com", "versions": ["v1", "v1beta1"], "plural": "ships", "singular": "ship", "kind": "Ship",
                 "deprecated": [{"version": "v1beta1", "warning": "use v1", "removedRelease": "1.4"}],
                 "scope": "cluster", "shortNames": ["sh"], "categories": ["all"], "backing": {"table": {"shadow": "nodes"}},
                 "columns": [{"name": "Tonnage", "type": "integer", "priority": 1}],
                 "schema": {"type": "object", "properties": {"tonnage": {"type": "integer"}}}},
                {"group": "harbor.example.com", "versions": ["v1"], "plural": "crews", "kind": "Crew", "scope": "namespaced",
                 "backing": {"table": {}}}
            ],
            "collectors": [{"name": "tide", "each": "node", "intervalSeconds": 15, "fills": ["ships", "crews"]},
                           {"name": "moon", "each": "once", "intervalSeconds": 60, "fills": ["crews"]}]
        });
        if !pointer.is_empty() {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            match document.pointer_mut(parent).unwrap() {
                Value::Object(o) => drop(o.insert(field.to_owned(), value)),
                Value::Array(a) => a[field.parse::<usize>().unwrap()] = value,
                other => panic!("{other}"),
            }
        }
        Manifest::read(document.to_string().as_bytes())
    }

    #[test]
    fn what_fits_passes_and_survives_a_round_trip() {
        let manifest = with("", Value::Null).unwrap();
        let again = Manifest::read(&serde_json::to_vec(&manifest).unwrap()).unwrap();
        assert_eq!(manifest, again);
    }

    #[test]
    fn each_thing_that_does_not_fit_is_said_by_its_field() {
        let long = "a".repeat(64);
        let table = [
            ("/name", json!("Harbor"), "name: \"Harbor\" is not a DNS label"),
            ("/name", json!(long), "is not a DNS label"),
            ("/version", json!(""), "version: is empty"),
            ("/config", json!("none"), "config: must be a JSON Schema"),
            ("/nmae", json!("x"), "unknown field `nmae`"),
            (
                "/capabilities/0/name",
                json!("kublet"),
                "capabilities[0].name: \"kublet\" is not a capability",
            ),
            (
                "/capabilities/1/name",
                json!("kubelet"),
                "capabilities[1].name: \"kubelet\" is already capabilities[0]",
            ),
            (
                "/resources/0/deprecated/0/version",
                json!("v2"),
                "resources[0].deprecated[0].version: \"v2\" is not one of the resource's versions",
            ),
            (
                "/resources/0/deprecated",
                json!([{"version": "v1"}, {"version": "v1"}]),
                "resources[0].deprecated[1].version: \"v1\" stands there twice",
            ),
            (
                "/resources/0/deprecated/0/warning",
                json!("a\nb"),
                "resources[0].deprecated[0].warning: must have at most 256 characters and no control characters",
            ),
            (
                "/resources/0/deprecated/0/removedRelease",
                json!("v1.4"),
                "resources[0].deprecated[0].removedRelease: \"v1.4\" is not MAJOR.MINOR",
            ),
            ("/capabilities/0/reason", json!(" "), "capabilities[0].reason: is empty"),
            (
                "/resources/0/group",
                json!("apps"),
                "resources[0].group: \"apps\" is not a DNS subdomain with a dot",
            ),
            ("/resources/0/group", json!("harbor..com"), "resources[0].group"),
            (
                "/resources/0/plural",
                json!("Ships"),
                "resources[0].plural: \"Ships\" is not a DNS label",
            ),
            (
                "/resources/1/plural",
                json!("ships"),
                "resources[1].plural: \"ships\" is already resources[0]",
            ),
            (
                "/resources/1/kind",
                json!("Ship"),
                "resources[1].kind: \"Ship\" is already resources[0]",
            ),
            (
                "/resources/1/shortNames",
                json!(["sh"]),
                "resources[1]: \"sh\" already names resources[0]",
            ),
            (
                "/resources/1/singular",
                json!("ships"),
                "resources[1]: \"ships\" already names resources[0]",
            ),
            ("/resources/0/shortNames", json!(["s h"]), "resources[0].shortNames: \"s h\""),
            ("/resources/0/categories", json!(["All"]), "resources[0].categories: \"All\""),
            ("/resources/0/singular", json!("-"), "resources[0].singular: \"-\""),
            (
                "/resources/0/kind",
                json!("ship"),
                "resources[0].kind: \"ship\" is not a kind",
            ),
            ("/resources/0/kind", json!(""), "resources[0].kind: \"\" is not a kind"),
            ("/resources/0/versions", json!([]), "resources[0].versions: at least one"),
            ("/resources/0/versions", json!(["V1"]), "resources[0].versions: \"V1\""),
            (
                "/resources/0/versions",
                json!(["v1", "v1"]),
                "resources[0].versions: \"v1\" stands there twice",
            ),
            ("/resources/0/scope", json!("namespaced"), "nodes have no namespace"),
            ("/resources/0/backing/table/shadow", json!("pods"), "pods live in namespaces"),
            (
                "/resources/0/columns/0/type",
                json!("text"),
                "resources[0].columns[0].type: \"text\" is none of",
            ),
            (
                "/resources/0/columns/0/name",
                json!(""),
                "resources[0].columns[0].name: is empty",
            ),
            (
                "/resources/0/columns/0/priority",
                json!(-1),
                "resources[0].columns[0].priority",
            ),
            ("/resources/0/schema", json!([]), "resources[0].schema: must be an object"),
            ("/resources/0/schema/type", json!("string"), "resources[0].schema.type"),
            (
                "/resources/0/schema/properties/kind",
                json!({}),
                "resources[0].schema.properties.kind",
            ),
            (
                "/resources/0/schema/properties/x",
                json!({"$ref": "#/y"}),
                "resources[0].schema: has a $ref",
            ),
            ("/collectors/0/name", json!("Tide"), "collectors[0].name: \"Tide\""),
            (
                "/collectors/1/name",
                json!("tide"),
                "collectors[1].name: \"tide\" is already collectors[0]",
            ),
            (
                "/collectors/0/intervalSeconds",
                json!(0),
                "collectors[0].intervalSeconds: must be at least 1",
            ),
            (
                "/collectors/0/keepSeconds",
                json!(14),
                "collectors[0].keepSeconds: 14 is less than one interval",
            ),
            ("/collectors/0/fills", json!([]), "collectors[0].fills: at least one"),
            (
                "/collectors/0/fills",
                json!(["boats"]),
                "collectors[0].fills: \"boats\" is not a table",
            ),
        ];
        for (pointer, value, expected) in table {
            match with(pointer, value.clone()) {
                Ok(_) => panic!("{pointer} = {value} fits"),
                Err(unfit) => assert!(unfit.to_string().contains(expected), "{pointer} = {value}: {unfit}"),
            }
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let unfit = Manifest::new("X", "").check().unwrap_err();
        assert_eq!(unfit.0.len(), 2, "{unfit}");
    }

    #[test]
    fn a_property_called_ref_is_not_a_reference() {
        assert!(!has_reference(&json!({"properties": {"$ref": {"type": "string"}}})));
        assert!(has_reference(&json!({"items": [{"$ref": "#/definitions/x"}]})));
    }

    #[test]
    fn dns_names() {
        let (label, subdomain) = (
            "a".repeat(63),
            ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join("."),
        );
        for (name, as_label, as_subdomain) in [
            ("a", true, true),
            ("a-1", true, true),
            ("a.b", false, true),
            ("", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("a..b", false, false),
            ("A", false, false),
            ("ä", false, false),
            (&label, true, true),
            (&subdomain, false, true),
            (&format!("{subdomain}e"), false, false),
        ] {
            assert_eq!(
                (is_dns_label(name), is_dns_subdomain(name)),
                (as_label, as_subdomain),
                "{name:?}"
            );
        }
    }
}
