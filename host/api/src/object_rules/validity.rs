//! What is well-formed in an object's metadata (apimachinery `api/validation/objectmeta.go`, `meta/v1/validation`, `api/validate/content`).

use serde_json::{Map, Value, json};

use super::{FOREGROUND, ORPHAN, finalizer_set, finalizers, generation};
use crate::field;
use crate::names;
use crate::object::Object;
use crate::quote::Quoted;
use crate::selector::{label_key_errors, label_value_errors};
use crate::status::Cause;

/// Bytes of all annotations, keys and values (`TotalAnnotationSizeLimitB`).
const ANNOTATIONS: usize = 256 * 1024;
/// Bytes of the name of a field manager (`FieldManagerMaxLength`).
const MANAGER: usize = 128;
/// Bytes of a managed subresource (`MaxSubresourceNameLength`).
const SUBRESOURCE: usize = 256;
/// Characters of a namespace.
const LABEL: usize = 63;

/// Causes, and warnings, that are told of one object: as many as a schema's.
const CAUSES: usize = 256;
/// Causes that quote all owners.
const OWNERS: usize = 8;

const NAMESPACE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

/// What is wrong with the metadata of an object: name (a DNS subdomain), generateName, namespace, generation, labels, annotations, owners,
/// finalizers, managed fields (`ValidateObjectMeta`). The name has been generated already.
#[must_use]
pub fn validate(object: &Object, namespaced: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    let prefix = object.text("generateName");
    if !prefix.is_empty() {
        // A dash at the end is fine: letters follow. Upstream looks at the prefix without its last two characters and an `a`.
        let masked = match prefix.char_indices().rev().nth(1) {
            Some((at, _)) if prefix.ends_with('-') => format!("{}a", prefix.get(..at).unwrap_or_default()),
            _ => prefix.to_owned(),
        };
        for why in names::faults(&masked, "characters") {
            causes.push(field::invalid("metadata.generateName", &json!(prefix), &why));
        }
    }
    causes.extend(names::check(object.name()));
    causes.extend(rest(object, namespaced));
    causes.truncate(CAUSES);
    causes
}

/// The same of an object that is changed: its name is what it was, so it only has to fit into a path.
pub(super) fn validate_existing(object: &Object, namespaced: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (key, is_prefix) in [("generateName", true), ("name", false)] {
        let name = object.text(key);
        let at = format!("metadata.{key}");
        match name {
            "" if !is_prefix => causes.push(field::required(at, "name or generateName is required")),
            "." | ".." if !is_prefix => causes.push(field::invalid(at, &json!(name), &format!("may not be '{name}'"))),
            name => {
                for part in ["/", "%"].into_iter().filter(|part| name.contains(part)) {
                    causes.push(field::invalid(&at, &json!(name), &format!("may not contain '{part}'")));
                }
            }
        }
    }
    causes.extend(rest(object, namespaced));
    causes.truncate(CAUSES);
    causes
}

/// Finalizers that are new to the object and that their author should name better (apiextensions `validateKubeFinalizerName`).
#[must_use]
pub fn finalizer_warnings(object: &Object, old: Option<&Object>) -> Vec<String> {
    let was = old.map(finalizer_set).unwrap_or_default();
    let mut added: Vec<&str> = finalizers(object).filter(|one| !was.contains(one)).collect();
    added.sort_unstable();
    added.dedup();
    let mut warnings = Vec::new();
    for name in added {
        if warnings.len() >= CAUSES {
            break;
        }
        let mut warn = |why: &str| warnings.push(format!("metadata.finalizers: {}: {why}", Quoted(name)));
        label_key_errors(name).iter().for_each(|why| warn(why));
        if !name.contains('/') && ![ORPHAN, FOREGROUND, "kubernetes"].contains(&name) {
            let path = if name.contains('.') { " including a path (/)" } else { "" };
            warn(&format!(
                "prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
            ));
        }
    }
    warnings
}

fn rest(object: &Object, namespaced: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    match (namespaced, object.namespace()) {
        (true, "") => causes.push(field::required("metadata.namespace", "")),
        (true, name) => {
            for why in label_faults(name) {
                causes.push(field::invalid("metadata.namespace", &json!(name), &why));
            }
        }
        (false, "") => {}
        (false, _) => causes.push(field::forbidden("metadata.namespace", "not allowed on this type")),
    }
    if generation(object) < 0 {
        let why = "must be greater than or equal to 0";
        causes.push(field::invalid("metadata.generation", &generation(object).into(), why));
    }
    let map = |key: &str| object.metadata.get(key).and_then(Value::as_object);
    let list = |key: &str| object.metadata.get(key).and_then(Value::as_array).map(Vec::as_slice);
    if let Some(labels) = map("labels") {
        check_labels(labels, &mut causes);
    }
    if let Some(annotations) = map("annotations") {
        check_annotations(annotations, &mut causes);
    }
    check_owners(list("ownerReferences").unwrap_or_default(), &mut causes);
    check_finalizers(object, &mut causes);
    check_managed(list("managedFields").unwrap_or_default(), &mut causes);
    causes
}

fn check_labels(labels: &Map<String, Value>, causes: &mut Vec<Cause>) {
    const AT: &str = "metadata.labels";
    for (key, value) in labels {
        if causes.len() >= CAUSES {
            return;
        }
        causes.extend(label_key_errors(key).iter().map(|why| field::invalid(AT, &json!(key), why)));
        let text = value.as_str().unwrap_or_default();
        causes.extend(label_value_errors(text).iter().map(|why| field::invalid(AT, value, why)));
    }
}

fn check_annotations(annotations: &Map<String, Value>, causes: &mut Vec<Cause>) {
    const AT: &str = "metadata.annotations";
    let mut bytes = 0_usize;
    for (key, value) in annotations {
        if causes.len() < CAUSES {
            let faults = label_key_errors(&key.to_lowercase());
            causes.extend(faults.iter().map(|why| field::invalid(AT, &json!(key), why)));
        }
        bytes = bytes
            .saturating_add(key.len())
            .saturating_add(value.as_str().map_or(0, str::len));
    }
    if bytes > ANNOTATIONS {
        causes.push(field::too_long(AT, i64::try_from(ANNOTATIONS).unwrap_or(i64::MAX)));
    }
}

fn check_owners(owners: &[Value], causes: &mut Vec<Cause>) {
    const AT: &str = "metadata.ownerReferences";
    let (mut first, mut more) = (String::new(), 0);
    for owner in owners {
        if causes.len() >= CAUSES {
            return;
        }
        let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let (group, version) = match api_version.matches('/').count() {
            0 => ("", api_version),
            1 => api_version.split_once('/').unwrap_or_default(),
            _ => ("", ""),
        };
        if version.is_empty() {
            let at = format!("{AT}.apiVersion");
            causes.push(field::invalid(at, &json!(api_version), "version must not be empty"));
        }
        for key in ["kind", "name", "uid"] {
            if text(key).is_empty() {
                causes.push(field::invalid(format!("{AT}.{key}"), &json!(""), "must not be empty"));
            }
        }
        if (group, version, kind) == ("", "v1", "Event") {
            causes.push(written(
                AT,
                &owner_json(owner),
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            let name = format!("{kind}/{}", text("name"));
            if first.is_empty() {
                first = name;
            } else if more < OWNERS {
                more += 1;
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                );
                let all: Vec<String> = owners.iter().map(owner_json).collect();
                causes.push(written(AT, &format!("[{}]", all.join(",")), &why));
            }
        }
    }
}

fn check_finalizers(object: &Object, causes: &mut Vec<Cause>) {
    const AT: &str = "metadata.finalizers";
    for name in finalizers(object) {
        if causes.len() >= CAUSES {
            return;
        }
        causes.extend(label_key_errors(name).iter().map(|why| field::invalid(AT, &json!(name), why)));
    }
    let has = |name: &str| finalizers(object).any(|one| one == name);
    if has(ORPHAN) && has(FOREGROUND) {
        let all = object.metadata.get("finalizers").unwrap_or(&Value::Null);
        let why = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        causes.push(field::invalid(AT, all, &why));
    }
}

fn check_managed(entries: &[Value], causes: &mut Vec<Cause>) {
    for (i, entry) in entries.iter().enumerate() {
        if causes.len() >= CAUSES {
            return;
        }
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let at = |key: &str| format!("metadata.managedFields[{i}].{key}");
        if !["Apply", "Update"].contains(&text("operation")) {
            let why = "must be `Apply` or `Update`";
            causes.push(field::invalid(at("operation"), &json!(text("operation")), why));
        }
        if !["", "FieldsV1"].contains(&text("fieldsType")) {
            causes.push(field::invalid(
                at("fieldsType"),
                &json!(text("fieldsType")),
                "must be `FieldsV1`",
            ));
        }
        let manager = text("manager");
        if manager.len() > MANAGER {
            causes.push(field::too_long(at("manager"), i64::try_from(MANAGER).unwrap_or(i64::MAX)));
        }
        for (position, c) in manager.char_indices().filter(|(_, c)| c.is_control()) {
            let why = format!("invalid character U+{:04X} (at position {position})", u32::from(c));
            causes.push(field::invalid(at("manager"), &json!(manager), &why));
        }
        if text("subresource").len() > SUBRESOURCE {
            causes.push(field::too_long(
                at("subresource"),
                i64::try_from(SUBRESOURCE).unwrap_or(i64::MAX),
            ));
        }
    }
}

/// A cause whose value is written already.
fn written(at: &str, value: &str, why: &str) -> Cause {
    let mut value = value.to_owned();
    field::shorten(&mut value);
    Cause {
        reason: "FieldValueInvalid".into(),
        message: format!("Invalid value: {value}: {why}"),
        field: at.into(),
    }
}

/// An owner as Go writes its struct: members in their order, names always, flags if they are there.
fn owner_json(owner: &Value) -> String {
    let mut out = String::from("{");
    for key in ["apiVersion", "kind", "name", "uid"] {
        let text = owner.get(key).cloned().unwrap_or_else(|| json!(""));
        out.push_str(&format!("\"{key}\":{},", field::go_json(&text)));
    }
    for key in ["controller", "blockOwnerDeletion"] {
        if let Some(flag) = owner.get(key).filter(|flag| !flag.is_null()) {
            out.push_str(&format!("\"{key}\":{},", field::go_json(flag)));
        }
    }
    out.pop();
    out.push('}');
    out
}

/// What keeps a text from being a DNS label.
fn label_faults(name: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if name.len() > LABEL {
        faults.push(format!("must be no more than {LABEL} characters"));
    }
    if name.contains('.') && names::is_subdomain(name) {
        faults.push("must not contain dots".to_owned());
    } else if name.contains('.') || !names::is_subdomain(name) {
        faults.push(NAMESPACE.to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(metadata: Value) -> Object {
        Object::of(&json!({ "metadata": metadata })).unwrap()
    }

    #[test]
    fn annotations_are_bounded_in_all() {
        for (bytes, want) in [
            (ANNOTATIONS - 1, None),
            (ANNOTATIONS, Some("Too long: may not be more than 262144 bytes")),
        ] {
            let annotated = object(json!({"name": "a", "annotations": {"a": "x".repeat(bytes)}}));
            let causes = validate(&annotated, false);
            assert_eq!(causes.first().map(|cause| cause.message.as_str()), want);
        }
    }

    /// Work, or an answer, that grows with the square of this would not end.
    #[test]
    fn much_metadata_is_judged_in_time_and_not_all_of_it_is_told() {
        let many = |what: fn(usize) -> Value| -> Value { (0..100_000).map(what).collect::<Vec<_>>().into() };
        let owner = |n: usize| json!({"apiVersion": "v1", "kind": "K", "name": format!("o{n}"), "uid": n.to_string(), "controller": true});
        for (name, metadata) in [
            ("owners", json!({"name": "a", "ownerReferences": many(owner)})),
            ("bad owners", json!({"name": "a", "ownerReferences": many(|_| json!({}))})),
            ("bad finalizers", json!({"name": "a", "finalizers": many(|_| json!(""))})),
            (
                "bad managed fields",
                json!({"name": "a", "managedFields": many(|_| json!({}))}),
            ),
            (
                "bad labels",
                json!({"name": "a", "labels": (0..100_000).map(|n| (format!("{n} "), json!(""))).collect::<Map<_, _>>()}),
            ),
        ] {
            let causes = validate(&object(metadata), false);
            let bytes: usize = causes.iter().map(|cause| cause.message.len()).sum();
            assert!(
                (1..=CAUSES).contains(&causes.len()) && bytes < 2 << 20,
                "{name}: {} causes of {bytes} bytes",
                causes.len()
            );
        }
        let held = object(json!({"name": "a", "finalizers": many(|n| json!(format!("f{n}")))}));
        assert_eq!(finalizer_warnings(&held, None).len(), CAUSES);
        assert_eq!(finalizer_warnings(&held, Some(&held)), Vec::<String>::new());
        let dying = json!({"name": "a", "resourceVersion": "1", "deletionTimestamp": "2026-01-02T00:00:00Z", "finalizers": held.metadata["finalizers"]});
        assert_eq!(
            super::super::update::validate(&object(dying.clone()), &object(dying), false),
            []
        );
    }

    #[test]
    fn the_name_of_what_exists_only_has_to_fit_into_a_path() {
        for (name, want) in [
            ("A_b", None),
            ("..", Some("may not be '..'")),
            ("a/b", Some("may not contain '/'")),
            ("a%b", Some("may not contain '%'")),
        ] {
            let causes = validate_existing(&object(json!({"name": name})), false);
            let got = causes.first().and_then(|cause| cause.message.rsplit(": ").next());
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn finalizers_that_could_be_named_better_are_warned_of() {
        let held = object(json!({"finalizers": ["orphan", "kubernetes", "example.com/a", "example.com", "mine", "mine", "a b"]}));
        let warnings = finalizer_warnings(&held, None);
        let tail = "to avoid accidental conflicts with other finalizer writers";
        assert_eq!(warnings.len(), 4, "{warnings:?}");
        assert!(
            warnings[0].starts_with(r#"metadata.finalizers: "a b": name part must consist of"#),
            "{warnings:?}"
        );
        assert_eq!(
            warnings[1..],
            [
                format!(r#"metadata.finalizers: "a b": prefer a domain-qualified finalizer name {tail}"#),
                format!(
                    r#"metadata.finalizers: "example.com": prefer a domain-qualified finalizer name including a path (/) {tail}"#
                ),
                format!(r#"metadata.finalizers: "mine": prefer a domain-qualified finalizer name {tail}"#),
            ]
        );
        assert_eq!(finalizer_warnings(&held, Some(&held)), Vec::<String>::new());
    }
}
