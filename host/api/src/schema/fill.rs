//! What is not there and has a default is filled in (apiextensions `schema/defaulting`).
//!
//! A null where none is allowed counts as not there: with a default it becomes it, without one it goes. Defaults that stand inside a value that is
//! not there itself are not filled in.

use serde_json::Value;

use super::{Node, OF_THE_HOST};

pub(super) fn fill(root: &Node, object: &mut Value) {
    walk(root, object, true);
}

/// The same of a value that is not a whole object.
pub(super) fn inside(node: &Node, value: &mut Value) {
    walk(node, value, false);
}

fn walk(node: &Node, value: &mut Value, is_root: bool) {
    let known = |key: &str| {
        let ours = !(is_root && OF_THE_HOST.contains(&key));
        node.field(key).filter(|_| ours)
    };
    match value {
        Value::Object(members) => {
            let gone = |key: &str, value: &Value| {
                value.is_null()
                    && node
                        .field(key)
                        .is_some_and(|field| field.refuses_null() && field.default.is_none())
            };
            if members.iter().any(|(key, value)| gone(key, value)) {
                members.retain(|key, value| !gone(key, value));
            }
            for (name, field) in &node.properties {
                let Some(default) = &field.default else { continue };
                let there = members
                    .get(&**name)
                    .is_some_and(|value| !(value.is_null() && field.refuses_null()));
                if !there {
                    members.insert(name.to_string(), Value::clone(default));
                }
            }
            for (key, value) in members {
                let Some(field) = known(key) else { continue };
                replace_null(field, value);
                inside(field, value);
            }
        }
        Value::Array(items) => {
            let Some(each) = &node.items else { return };
            for item in items {
                replace_null(each, item);
                inside(each, item);
            }
        }
        _ => {}
    }
}

fn replace_null(node: &Node, value: &mut Value) {
    if let Some(default) = node.default.as_ref().filter(|_| value.is_null() && node.refuses_null()) {
        *value = Value::clone(default);
    }
}
