//! Lists that are sets or maps have no item twice (apiextensions `schema/listtype`).

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{List, Node, Others, Path};
use crate::field;
use crate::status::Cause;

/// The most that are told; the caller keeps fewer.
const CAUSES: usize = super::validate::CAUSES;

pub(super) fn validate(root: &Node, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    walk(root, object, &Path::ROOT, &mut causes);
    causes
}

fn walk(node: &Node, value: &Value, path: &Path<'_>, causes: &mut Vec<Cause>) {
    if causes.len() >= CAUSES {
        return;
    }
    match value {
        Value::Array(items) => {
            match &node.list {
                List::Atomic => {}
                List::Set => repeated(items.iter().cloned(), path, causes),
                List::Map(keys) => by_keys(items, keys, path, causes),
            }
            if let Some(each) = &node.items {
                for (i, item) in items.iter().enumerate() {
                    walk(each, item, &path.index(i), causes);
                }
            }
        }
        Value::Object(members) => {
            if let Others::Each(each) = &node.others {
                for (key, value) in members.iter().filter(|(key, _)| !path.is_of_the_host(key)) {
                    walk(each, value, &path.key(key), causes);
                }
            }
            for (name, field) in &node.properties {
                if let Some(value) = members.get(&**name) {
                    walk(field, value, &path.field(name), causes);
                }
            }
        }
        _ => {}
    }
}

fn by_keys(items: &[Value], keys: &[Box<str>], path: &Path<'_>, causes: &mut Vec<Cause>) {
    let odd = |item: &Value| !item.is_object() && !item.is_null();
    if let Some((i, item)) = items.iter().enumerate().find(|(_, item)| odd(item)) {
        let why = "must be an object for an array of list-type map";
        causes.push(field::invalid(path.index(i).cause(), item, why));
        return;
    }
    let key_of = |item: &Value| {
        let mut of = Map::new();
        for key in keys {
            if let Some(value) = item.get(&**key) {
                of.insert(key.to_string(), value.clone());
            }
        }
        Value::Object(of)
    };
    repeated(items.iter().map(key_of), path, causes);
}

/// Tells each value that is there before, once, at its second place.
fn repeated(values: impl Iterator<Item = Value>, path: &Path<'_>, causes: &mut Vec<Cause>) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (i, value) in values.enumerate() {
        let times = seen.entry(field::go_json(&value)).or_default();
        *times += 1;
        if *times == 2 && causes.len() < CAUSES {
            causes.push(field::duplicate(path.index(i).cause(), &value));
        }
    }
}
