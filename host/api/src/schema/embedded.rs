//! Objects inside an object (`x-kubernetes-embedded-resource`): type and metadata as those of any other (apiextensions `schema/objectmeta`).

use serde_json::{Value, json};

use super::{Node, Others, Path};
use crate::field;
use crate::object::Object;
use crate::object_rules;
use crate::status::Cause;

const LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

pub(super) fn validate(root: &Node, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    // The root itself is judged by whoever knows its type.
    walk(root, object, &Path::ROOT, &mut causes);
    causes
}

fn walk(node: &Node, value: &Value, path: &Path<'_>, causes: &mut Vec<Cause>) {
    if causes.len() >= super::validate::CAUSES {
        return;
    }
    match value {
        Value::Object(members) => {
            if node.embedded {
                embedded(value, path, causes);
            }
            if let Others::Each(each) = &node.others {
                for (key, value) in members
                    .iter()
                    .filter(|(key, _)| !path.is_of_the_host(key) && !node.properties.contains_key(key.as_str()))
                {
                    walk(each, value, &path.key(key), causes);
                }
            }
            for (name, field) in &node.properties {
                if let Some(value) = members.get(&**name) {
                    walk(field, value, &path.field(name), causes);
                }
            }
        }
        Value::Array(items) => {
            let Some(each) = &node.items else { return };
            for (i, item) in items.iter().enumerate() {
                walk(each, item, &path.index(i), causes);
            }
        }
        _ => {}
    }
}

fn embedded(value: &Value, path: &Path<'_>, causes: &mut Vec<Cause>) {
    for key in ["apiVersion", "kind"] {
        let at = path.field(key).cause();
        match value.get(key) {
            None => causes.push(field::required(at, "")),
            Some(Value::String(text)) if text.is_empty() => {
                causes.push(field::invalid(at, &json!(""), "must not be empty"));
            }
            Some(text @ Value::String(version)) if key == "apiVersion" => {
                if version.matches('/').count() > 1 {
                    causes.push(field::invalid(
                        at,
                        text,
                        &format!("unexpected GroupVersion string: {version}"),
                    ));
                }
            }
            Some(text @ Value::String(kind)) => {
                let faults = label_faults(&kind.to_lowercase());
                if !faults.is_empty() {
                    let why = format!("may have mixed case, but should otherwise match: {}", faults.join(","));
                    causes.push(field::invalid(at, text, &why));
                }
            }
            Some(other) => causes.push(field::invalid(at, other, "must be a string")),
        }
    }
    let Some(metadata) = value.get("metadata") else { return };
    let at = path.field("metadata").cause();
    match Object::of(&json!({ "metadata": metadata })) {
        Ok(mut object) => {
            if object.name().is_empty() {
                // An embedded object needs none.
                object.set("name", "fakename");
            }
            let namespaced = !object.namespace().is_empty();
            for mut cause in object_rules::validate_embedded(&object, namespaced) {
                let below = cause.field.strip_prefix("metadata").unwrap_or_default();
                cause.field = format!("{at}{below}");
                causes.push(cause);
            }
        }
        Err(why) => causes.push(field::invalid(at, metadata, &why.to_string())),
    }
}

fn label_faults(name: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if name.len() > 63 {
        faults.push("must be no more than 63 characters".to_owned());
    }
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    let starts = bytes.first().is_some_and(u8::is_ascii_lowercase);
    let ends = bytes.last().is_some_and(|b| inner(*b));
    if !(starts && ends && bytes.iter().all(|b| inner(*b) || *b == b'-')) {
        faults.push(LABEL.to_owned());
    }
    faults
}
