//! What a schema does not know goes (apiextensions `schema/pruning`).

use serde_json::Value;

use super::{Node, OF_THE_HOST, Others, Part, Path, Type};
use crate::object::unknown_members;

/// Paths that are told.
const FINDINGS: usize = 100;

pub(super) fn prune(root: &Node, object: &mut Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(root, object, &Path::ROOT, true, &mut found);
    found.sort_unstable();
    found
}

/// The same of a value that is not a whole object.
pub(super) fn inside(node: &Node, value: &mut Value) {
    walk(node, value, &Path::ROOT, false, &mut Vec::new());
}

fn walk(node: &Node, value: &mut Value, path: &Path<'_>, is_root: bool, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            let mut unknown: Vec<String> = Vec::new();
            for (key, value) in members.iter_mut() {
                if (is_root || node.embedded) && OF_THE_HOST.contains(&key.as_str()) {
                    if !is_root && key == "metadata" {
                        prune_metadata(value, &path.field(key), found);
                    }
                    continue;
                }
                match (node.properties.get(key.as_str()), &node.others) {
                    (Some(field), _) => walk(field, value, &path.field(key), false, found),
                    (None, Others::Each(each)) => walk(each, value, &path.field(key), false, found),
                    (None, _) if node.open => {}
                    (None, _) => unknown.push(key.clone()),
                }
            }
            if !unknown.is_empty() {
                tell(&unknown, path, found);
                members.retain(|key, _| {
                    let keeps = (is_root || node.embedded) && OF_THE_HOST.contains(&key.as_str());
                    keeps || node.field(key).is_some()
                });
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                match &node.items {
                    Some(each) => walk(each, item, &path.index(i), false, found),
                    // A list that says nothing of its items has any; where no list is said, it knows nothing.
                    None if node.open || node.types.contains(&Type::Array) => return,
                    None => walk(&Node::default(), item, &path.index(i), false, found),
                }
            }
        }
        _ => {}
    }
}

/// An embedded object's metadata keeps what `ObjectMeta` knows.
fn prune_metadata(metadata: &mut Value, path: &Path<'_>, found: &mut Vec<String>) {
    let Some(members) = metadata.as_object_mut() else { return };
    let unknown: Vec<String> = unknown_members(members).map(str::to_owned).collect();
    if !unknown.is_empty() {
        tell(&unknown, path, found);
        members.retain(|key, _| !unknown.contains(key));
    }
}

fn tell(unknown: &[String], path: &Path<'_>, found: &mut Vec<String>) {
    let room = FINDINGS.saturating_sub(found.len());
    found.extend(unknown.iter().take(room).map(|key| {
        Path {
            parent: Some(path),
            part: Part::Field(key),
        }
        .text()
    }));
}
