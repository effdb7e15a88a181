//! Strategic merge patch: a merge patch that knows which lists are sets and which are maps (apimachinery `util/strategicpatch`).
//!
//! How a list is merged stands in the schema: `x-kubernetes-patch-strategy: merge`, with `x-kubernetes-patch-merge-key` where its items are
//! objects; where neither stands there, `x-kubernetes-list-type: set` and `map` say as much. All other lists are replaced. Metadata has its own:
//! owners by uid, finalizers as a set.
//!
//! What a patch says beside values: `$patch: replace|delete|merge` in an object, `$deleteFromPrimitiveList/NAME`, `$setElementOrder/NAME`, `$retainKeys`;
//! null takes away. Sentences are upstream's. Where the schema does not know a field, objects are merged and lists replaced; upstream gives up.
//! Items are found by a table, so the work is linear in document and patch.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::field::go_json;
use crate::schema::{List, Node, Schema};
use crate::status::Status;

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const ORDER: &str = "$setElementOrder";

/// Why a patch makes no sense.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("lists of lists are not supported")]
    ListOfLists,
    #[error("invalid patch format of {0}")]
    Format(&'static str),
    #[error("map: {0} does not contain declared merge key: {1}")]
    NoKey(String, String),
    #[error("unknown patch type: {0} in map: {1}")]
    Directive(String, String),
    #[error("expected a {0}, but received a {1}")]
    Type(&'static str, &'static str),
    #[error("list element types are not identical: {0}")]
    Mixed(String),
    #[error("no elements in any of the given slices")]
    Nothing,
    #[error("cannot merge lists without merge key for {0}")]
    NoMergeKey(String),
    #[error("merging lists cannot yet be specified in the patch")]
    MergeList,
    #[error("The order in patch list:\n{0}\n doesn't match $setElementOrder list:\n{1}\n")]
    Order(String, String),
}

/// What is known of an object whose members are merged.
#[derive(Debug, Clone, Copy)]
enum Shape<'a> {
    Root(Option<&'a Node>),
    Metadata,
    Node(&'a Node),
    Unknown,
}

/// How a member is merged.
#[derive(Debug, Default)]
struct How<'a> {
    merge: bool,
    replace: bool,
    /// What tells items apart; empty for scalars.
    keys: Vec<&'a str>,
}

pub(super) fn apply(patch: &Map<String, Value>, document: &mut Value, schema: Option<&Schema>) -> Result<(), Status> {
    let Some(original) = document.as_object() else {
        return Err(Status::bad_request("only an object can be patched strategically"));
    };
    let merged = merge_map(original.clone(), patch.clone(), Shape::Root(schema.map(Schema::root)));
    *document = Value::Object(merged.map_err(|wrong| match wrong {
        Wrong::ListOfLists => Status::unprocessable(),
        wrong => Status::bad_request(wrong.to_string()),
    })?);
    Ok(())
}

// === impl Shape ===

impl<'a> Shape<'a> {
    /// What stands under a member, and how it is merged.
    fn member(self, key: &str) -> (Shape<'a>, How<'a>) {
        let node = match self {
            Shape::Root(_) if key == "metadata" => return (Shape::Metadata, How::default()),
            Shape::Metadata => {
                let keys = if key == "ownerReferences" { vec!["uid"] } else { Vec::new() };
                let merge = ["ownerReferences", "finalizers"].contains(&key);
                return (
                    Shape::Unknown,
                    How {
                        merge,
                        keys,
                        ..How::default()
                    },
                );
            }
            Shape::Node(node) if node.is_embedded() && key == "metadata" => return (Shape::Metadata, How::default()),
            Shape::Root(Some(node)) | Shape::Node(node) => node.field(key),
            Shape::Root(None) | Shape::Unknown => None,
        };
        match node {
            Some(node) => (Shape::Node(node), How::of(node)),
            None => (Shape::Unknown, How::default()),
        }
    }

    fn items(self) -> Self {
        match self {
            Shape::Node(node) => node.items.as_deref().map_or(Shape::Unknown, Shape::Node),
            _ => Shape::Unknown,
        }
    }

    /// What upstream calls it in a sentence.
    fn name(self) -> &'static str {
        match self {
            Shape::Node(node) => node.type_name(),
            _ => "Struct",
        }
    }
}

// === impl How ===

impl<'a> How<'a> {
    fn of(node: &'a Node) -> Self {
        match (&node.patch, &node.list) {
            (Some(patch), _) => Self {
                merge: patch.merge,
                replace: patch.replace,
                keys: patch.key.iter().map(|key| &**key).collect(),
            },
            (None, List::Atomic) => Self::default(),
            (None, List::Set) => Self {
                merge: true,
                ..Self::default()
            },
            (None, List::Map(keys)) => Self {
                merge: true,
                replace: false,
                keys: keys.iter().map(|key| &**key).collect(),
            },
        }
    }
}

fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    shape: Shape<'_>,
) -> Result<Map<String, Value>, Wrong> {
    match patch.get(DIRECTIVE) {
        None => {}
        Some(Value::String(what)) if what == "replace" => {
            patch.shift_remove(DIRECTIVE);
            return Ok(patch);
        }
        Some(Value::String(what)) if what == "delete" => return Ok(Map::new()),
        Some(other) => return Err(unknown_directive(other, &patch)),
    }
    retain_keys(&mut original, &mut patch)?;
    let patch = set_orders(&mut original, patch, shape)?;
    // All at once: to take them out one by one moves the rest each time.
    if patch.values().any(Value::is_null) {
        original.retain(|key, _| !patch.get(key).is_some_and(Value::is_null));
    }
    let mut gone: HashSet<String> = HashSet::new();
    for (key, value) in patch {
        let deleted = if key.starts_with(DELETE_FROM) {
            let name = key.strip_prefix(DELETE_FROM).and_then(|rest| rest.strip_prefix('/'));
            Some(name.ok_or(Wrong::Format("primitive list"))?.to_owned())
        } else {
            None
        };
        let is_deletion = deleted.is_some();
        let key = deleted.unwrap_or(key);
        if value.is_null() {
            if is_deletion {
                gone.insert(key);
            }
            continue;
        }
        let (below, how) = shape.member(&key);
        let merged = match (original.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) if !is_deletion => Value::Object(if how.replace {
                new
            } else {
                merge_map(std::mem::take(old), new, below)?
            }),
            (Some(Value::Array(old)), Value::Array(new)) => {
                // Deletions are the same whatever the list's strategy is.
                let merges = how.merge || is_deletion;
                Value::Array(if merges {
                    merge_list(std::mem::take(old), new, below.items(), &how.keys, is_deletion)?
                } else {
                    new
                })
            }
            _ if is_deletion => continue,
            (Some(old), value) if is_scalar(old) && is_scalar(&value) => value,
            // What is new, or of another type, is taken as it is.
            (_, mut value) => {
                drop_nulls(&mut value);
                match without_directives(value) {
                    Some(value) => value,
                    None => {
                        gone.insert(key);
                        continue;
                    }
                }
            }
        };
        original.insert(key, merged);
    }
    if !gone.is_empty() {
        original.retain(|key, _| !gone.contains(key));
    }
    Ok(original)
}

fn is_scalar(value: &Value) -> bool {
    !value.is_object() && !value.is_array()
}

/// `$retainKeys`: only these stay, and the patch sets no others.
fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), Wrong> {
    let Some(retained) = patch.shift_remove(RETAIN) else {
        return Ok(());
    };
    let retained = retained.as_array().ok_or(Wrong::Format("retainKeys"))?;
    let kept: HashSet<&str> = retained.iter().filter_map(Value::as_str).collect();
    for (key, value) in &*patch {
        let speaks_of_lists = key.starts_with(DELETE_FROM) || key.starts_with(ORDER);
        if !value.is_null() && !speaks_of_lists && !kept.contains(key.as_str()) {
            return Err(Wrong::Format("retainKeys"));
        }
    }
    original.retain(|key, _| kept.contains(key.as_str()));
    Ok(())
}

/// `$setElementOrder`: these lists are merged and put in order here; returns what the patch says beside them.
fn set_orders(
    original: &mut Map<String, Value>,
    patch: Map<String, Value>,
    shape: Shape<'_>,
) -> Result<Map<String, Value>, Wrong> {
    if !patch.keys().any(|key| key.starts_with(ORDER)) {
        return Ok(patch);
    }
    let (orders, mut patch): (Map<_, _>, Map<_, _>) = patch.into_iter().partition(|(key, _)| key.starts_with(ORDER));
    let mut done: HashSet<&str> = HashSet::new();
    for (directive, order) in &orders {
        let Value::Array(order) = order else {
            return Err(Wrong::Type("[]interface {}", go_type(order)));
        };
        let key = directive.strip_prefix(ORDER).and_then(|rest| rest.strip_prefix('/'));
        let key = key.ok_or(Wrong::Format("setElementOrder list"))?;
        let list = |map: &Map<String, Value>| match map.get(key) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items.clone())),
            Some(other) => Err(Wrong::Type("[]interface {}", go_type(other))),
        };
        let (old, new) = (list(original)?, list(&patch)?);
        let (below, how) = shape.member(key);
        check_order(new.as_deref().unwrap_or_default(), order, &how.keys)?;
        let (was, given) = (old.clone().unwrap_or_default(), new.clone().unwrap_or_default());
        let merged = match (old, new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => new.into_iter().filter_map(without_directives).collect(),
            (Some(old), Some(new)) if how.merge => merge_list(old, new, below.items(), &how.keys, false)?,
            (Some(_), Some(new)) => new,
        };
        element_type(&was, &given)?;
        let sorted = in_order(merged, order, &was, &how.keys)?;
        original.insert(key.to_owned(), Value::Array(sorted));
        done.insert(key);
    }
    patch.retain(|key, _| !done.contains(key.as_str()));
    Ok(patch)
}

/// The patch's items stand in the order that it asks for itself.
fn check_order(new: &[Value], order: &[Value], keys: &[&str]) -> Result<(), Wrong> {
    if new.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut wanted = order.iter();
    for item in new {
        let Some(map) = item.as_object() else {
            if keys.is_empty() {
                if !wanted.any(|one| one == item) {
                    return Err(Wrong::Order(go_text_list(new), go_text_list(order)));
                }
                continue;
            }
            return Err(Wrong::Type("map[string]interface {}", go_type(item)));
        };
        if map.contains_key(DIRECTIVE) {
            continue;
        }
        let own = key_of(item, keys)?;
        let mut found = false;
        for one in wanted.by_ref() {
            if key_of(one, keys)? == own {
                found = true;
                break;
            }
        }
        if !found {
            return Err(Wrong::Order(go_text_list(new), go_text_list(order)));
        }
    }
    Ok(())
}

fn merge_list(old: Vec<Value>, new: Vec<Value>, items: Shape<'_>, keys: &[&str], is_deletion: bool) -> Result<Vec<Value>, Wrong> {
    if old.is_empty() && new.is_empty() {
        return Ok(old);
    }
    if !element_type(&old, &new)? {
        if is_deletion {
            let gone: HashSet<String> = new.iter().map(go_json).collect();
            return Ok(old.into_iter().filter(|item| !gone.contains(&go_json(item))).collect());
        }
        let mut seen = HashSet::new();
        let all = old.iter().chain(&new).filter(|item| seen.insert(go_json(item)));
        let merged: Vec<Value> = all.cloned().collect();
        return in_order(merged, &new, &old, &[]);
    }
    if keys.is_empty() {
        return Err(Wrong::NoMergeKey(items.name().to_owned()));
    }
    let (mut old, new) = special(old, new, keys)?;
    let was: Vec<Value> = old.iter().map(|item| keys_only(item, keys)).collect();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (i, item) in old.iter().enumerate() {
        if let Ok(key) = key_of(item, keys) {
            places.entry(key).or_insert(i);
        }
    }
    for item in &new {
        let key = key_of(item, keys)?;
        let place = places.get(&key).copied();
        match (place.and_then(|place| old.get_mut(place)), item) {
            (Some(Value::Object(there)), Value::Object(map)) => {
                *there = merge_map(std::mem::take(there), map.clone(), items)?;
            }
            _ => {
                places.insert(key, old.len());
                old.push(item.clone());
            }
        }
    }
    in_order(old, &new, &was, keys)
}

/// Items that are directives: deletes what they delete; with a `replace` among them the patch's other items are all there is.
fn special(mut old: Vec<Value>, new: Vec<Value>, keys: &[&str]) -> Result<(Vec<Value>, Vec<Value>), Wrong> {
    let mut plain = Vec::with_capacity(new.len());
    let mut gone = HashSet::new();
    let mut replaces = false;
    for item in new {
        let directive = item.get(DIRECTIVE);
        match directive.map(|directive| directive.as_str().unwrap_or_default()) {
            None => plain.push(item),
            Some("delete") => {
                gone.insert(key_of(&item, keys)?);
            }
            Some("replace") => replaces = true,
            Some("merge") => return Err(Wrong::MergeList),
            Some(_) => {
                let map = item.as_object().cloned().unwrap_or_default();
                return Err(unknown_directive(directive.unwrap_or(&Value::Null), &map));
            }
        }
    }
    if replaces {
        return Ok((plain, Vec::new()));
    }
    if !gone.is_empty() {
        old.retain(|item| key_of(item, keys).map_or(true, |key| !gone.contains(&key)));
    }
    Ok((old, plain))
}

/// Puts items in order: those that `order` names as it names them, the others as they were, and where both were there before, as they stood to
/// one another.
fn in_order(items: Vec<Value>, order: &[Value], was: &[Value], keys: &[&str]) -> Result<Vec<Value>, Wrong> {
    let places = |list: &[Value]| -> Result<HashMap<String, usize>, Wrong> {
        let mut places = HashMap::with_capacity(list.len());
        for (i, item) in list.iter().enumerate() {
            places.entry(key_of(item, keys)?).or_insert(i);
        }
        Ok(places)
    };
    let (asked, before) = (places(order)?, places(was)?);
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for item in items {
        let key = key_of(&item, keys)?;
        let place = before.get(&key).copied();
        match asked.get(&key) {
            Some(rank) => named.push((*rank, place, item)),
            None => others.push((place, item)),
        }
    }
    named.sort_by_key(|(rank, _, _)| *rank);
    others.sort_by_key(|(place, _)| place.unwrap_or(usize::MAX));
    let mut sorted = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let other_first = match (others.peek(), named.peek()) {
            (None, None) => return Ok(sorted),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some((Some(other), _)), Some((_, Some(place), _))) => other < place,
            (Some(_), Some(_)) => false,
        };
        if other_first {
            sorted.extend(others.next().map(|(_, item)| item));
        } else {
            sorted.extend(named.next().map(|(_, _, item)| item));
        }
    }
}

/// Whether all items are objects; all have to be of one type, and none is a list.
fn element_type(old: &[Value], new: &[Value]) -> Result<bool, Wrong> {
    let mut types = old.iter().chain(new).map(go_type);
    let first = types.next().ok_or(Wrong::Nothing)?;
    if first == LIST {
        return Err(Wrong::ListOfLists);
    }
    if types.any(|other| other != first) {
        return Err(Wrong::Mixed(format!("[{} {}]", go_text_list(old), go_text_list(new))));
    }
    Ok(first == MAP)
}

/// What tells an item apart from the others: itself, or the values under its keys.
fn key_of(item: &Value, keys: &[&str]) -> Result<String, Wrong> {
    let Some((first, more)) = keys.split_first() else {
        return Ok(go_json(item));
    };
    let Value::Object(map) = item else {
        return Err(Wrong::Type(MAP, go_type(item)));
    };
    let value = map.get(*first);
    let value = value.ok_or_else(|| Wrong::NoKey(go_text_map(map), (*first).to_owned()))?;
    let mut key = go_json(value);
    for name in more {
        key.push(',');
        key.push_str(&map.get(*name).map(go_json).unwrap_or_default());
    }
    Ok(key)
}

/// An item as far as it is told apart; one that cannot be is kept whole, for the sentence.
fn keys_only(item: &Value, keys: &[&str]) -> Value {
    if keys.first().is_none_or(|key| item.get(*key).is_none()) {
        return item.clone();
    }
    let member = |key: &&str| Some(((*key).to_owned(), item.get(*key)?.clone()));
    Value::Object(keys.iter().filter_map(member).collect())
}

/// Takes members that are null out of every object.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The value without what is a directive in it; nothing if it is one itself.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => {
            let kept = map
                .into_iter()
                .filter_map(|(key, value)| Some((key, without_directives(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(without_directives).collect())),
        value => Some(value),
    }
}

fn unknown_directive(directive: &Value, map: &Map<String, Value>) -> Wrong {
    Wrong::Directive(go_text(directive), go_text_map(map))
}

const MAP: &str = "map[string]interface {}";
const LIST: &str = "[]interface {}";

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => LIST,
        Value::Object(_) => MAP,
    }
}

/// As Go's `%v` prints it.
fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => crate::field::go_number(number),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(items) => go_text_list(items),
        Value::Object(map) => go_text_map(map),
    }
}

fn go_text_list(items: &[Value]) -> String {
    let items: Vec<String> = items.iter().map(go_text).collect();
    format!("[{}]", items.join(" "))
}

fn go_text_map(map: &Map<String, Value>) -> String {
    let mut members: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", go_text(value))).collect();
    members.sort_unstable();
    format!("map[{}]", members.join(" "))
}
