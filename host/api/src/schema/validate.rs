//! Does a value look as its schema says? (kube-openapi `validation/validate`, apiextensions `apiserver/validation`.)
//!
//! Upstream counts the checks that a value passes, because of alternatives none of which fits the one is told that fits best. The count here is the
//! same, check by check.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::numbers::is_integer;
use super::{Alternatives, Limits, List, NOWHERE, Node, OF_THE_HOST, Others, Path, Type};
use crate::field;
use crate::status::Cause;

/// Causes that are told of one object.
pub(super) const CAUSES: usize = 256;

/// What was found, and how many checks were passed.
#[derive(Debug, Default)]
struct Outcome {
    causes: Vec<Cause>,
    passed: u32,
}

/// With an old object: what stands there as it stood is not told (apiextensions `validation/ratcheting.go`).
pub(super) fn validate(root: &Node, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut outcome = Outcome::default();
    match object {
        Value::Object(members) => whole(root, members, object, old, &mut outcome),
        other => outcome.merge(check(root, other, old, &Path::ROOT)),
    }
    outcome.causes
}

/// The same of a value inside an object.
pub(super) fn value(node: &Node, value: &Value, path: &Path<'_>) -> Vec<Cause> {
    check(node, value, None, path).causes
}

/// The keys of a list that is a map, and its items by their values.
type Found<'a> = (&'a [Box<str>], HashMap<String, &'a Value>);

// === impl Outcome ===

impl Outcome {
    fn add(&mut self, cause: Cause) {
        if self.causes.len() < CAUSES && !self.causes.contains(&cause) {
            self.causes.push(cause);
        }
    }

    fn merge(&mut self, other: Self) {
        self.passed = self.passed.saturating_add(other.passed);
        if self.causes.is_empty() {
            self.causes = other.causes;
        } else {
            other.causes.into_iter().for_each(|cause| self.add(cause));
        }
    }

    fn pass(&mut self) {
        self.passed = self.passed.saturating_add(1);
    }

    fn is_valid(&self) -> bool {
        self.causes.is_empty()
    }
}

/// A whole object: what is the host's is not looked at.
fn whole(root: &Node, members: &Map<String, Value>, object: &Value, old: Option<&Value>, outcome: &mut Outcome) {
    if let Some(alternatives) = &root.alternatives {
        outcome.merge(choose(alternatives, object, &Path::ROOT));
    }
    fields(root, members, old, &Path::ROOT, true, outcome);
}

fn check(node: &Node, value: &Value, old: Option<&Value>, path: &Path<'_>) -> Outcome {
    let outcome = judge(node, value, old, path);
    if !outcome.is_valid() && old == Some(value) {
        return Outcome::default();
    }
    outcome
}

fn judge(node: &Node, value: &Value, old: Option<&Value>, path: &Path<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let limits = node.limits.as_deref();
    let Some(kind) = Type::of(value) else {
        if !node.nullable && !node.types.is_empty() {
            outcome.add(mistyped(node, "null", path));
        } else if let Some(limits) = limits.filter(|_| !node.nullable) {
            listed(limits, value, path, &mut outcome);
        }
        return outcome;
    };
    let format = limits.and_then(|limits| limits.format.as_ref());
    if !node.types.is_empty() || format.is_some() {
        match of_type(node, limits, kind, value, path) {
            Some(cause) => outcome.add(cause),
            None => outcome.pass(),
        }
        outcome.pass();
    }
    match &node.alternatives {
        Some(alternatives) => outcome.merge(choose(alternatives, value, path)),
        None => outcome.pass(),
    }
    outcome.pass();
    match value {
        Value::String(text) => {
            if let Some(cause) = limits.and_then(|limits| text_limits(limits, text, path)) {
                outcome.add(cause);
            }
            outcome.pass();
            if let Some(format) = format {
                if !format.fits(text) {
                    let why = format!(
                        "{} in body must be of type {}: {}",
                        path.text(),
                        format.name(),
                        crate::quote::Quoted(text)
                    );
                    outcome.add(field::type_invalid(path.cause(), value, &why));
                }
                outcome.pass();
            }
        }
        Value::Number(number) => {
            if let Some(limits) = limits {
                let mut causes = Vec::new();
                limits.number.check(number, path, &mut causes);
                causes.into_iter().for_each(|cause| outcome.add(cause));
            }
            outcome.pass();
            outcome.pass();
        }
        Value::Array(all) => {
            items(node, all, old, path, &mut outcome);
            outcome.pass();
            outcome.pass();
        }
        _ => {}
    }
    if let Some(limits) = limits {
        listed(limits, value, path, &mut outcome);
    }
    outcome.pass();
    if let Value::Object(members) = value {
        fields(node, members, old, path, false, &mut outcome);
        outcome.pass();
    }
    outcome.pass();
    outcome
}

/// What is wrong with the type.
fn of_type(node: &Node, limits: Option<&Limits>, kind: Type, value: &Value, path: &Path<'_>) -> Option<Cause> {
    let is = |wanted: Type| match (wanted, value) {
        (Type::Number, Value::Number(_)) => true,
        (Type::Integer, Value::Number(number)) => kind == Type::Integer || is_integer(number),
        (wanted, _) => wanted == kind,
    };
    if node.types.is_empty() || node.types.iter().any(|wanted| is(*wanted)) {
        return None;
    }
    // What is neither text nor list is told the format that it should have had, and its own.
    let formatted = limits.and_then(|limits| match &limits.format {
        Some(format) => Some(format.name()),
        None => limits.number.format(),
    });
    match formatted.filter(|_| !matches!(kind, Type::String | Type::Array)) {
        Some(wanted) => {
            let own = match kind {
                Type::Integer => "int64",
                Type::Number => "float64",
                _ => "",
            };
            let why = format!("{} in body must be of type {wanted}: \"{own}\"", path.text());
            Some(field::type_invalid(path.cause(), &Value::from(own), &why))
        }
        None => Some(mistyped(node, kind.name(), path)),
    }
}

fn mistyped(node: &Node, own: &str, path: &Path<'_>) -> Cause {
    let names: Vec<&str> = node.types.iter().map(|kind| kind.name()).collect();
    let why = format!("{} in body must be of type {}: \"{own}\"", path.text(), names.join(","));
    field::type_invalid(path.cause(), &Value::from(own), &why)
}

fn listed(limits: &Limits, value: &Value, path: &Path<'_>, outcome: &mut Outcome) {
    let same = |one: &Value| match (one, value) {
        // 1 and 1.0 are one number.
        (Value::Number(a), Value::Number(b)) => a == b || (a.as_f64() == b.as_f64() && a.is_f64() != b.is_f64()),
        (one, value) => one == value,
    };
    if limits.enumeration.is_empty() || limits.enumeration.iter().any(same) {
        return;
    }
    let values: Vec<String> = limits
        .enumeration
        .iter()
        .map(|one| match one {
            Value::String(text) => text.clone(),
            other => field::go_json(other),
        })
        .collect();
    outcome.add(field::not_supported(path.cause(), value, values.iter().map(String::as_str)));
}

/// The first limit that a text breaks; upstream tells no more than one.
fn text_limits(limits: &Limits, text: &str, path: &Path<'_>) -> Option<Cause> {
    let invalid = |why: String| field::invalid(path.cause(), &Value::from(text), &format!("{} in body {why}", path.text()));
    if limits.max_length.is_some() || limits.min_length.is_some() {
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if let Some(most) = limits.max_length.filter(|most| length > *most) {
            return Some(field::too_long(path.cause(), most));
        }
        if let Some(least) = limits.min_length.filter(|least| length < *least) {
            return Some(invalid(format!("should be at least {least} chars long")));
        }
    }
    let (text_of, regex) = limits.pattern.as_ref()?;
    (!regex.is_match(text)).then(|| invalid(format!("should match '{text_of}'")))
}

fn items(node: &Node, items: &[Value], old: Option<&Value>, path: &Path<'_>, outcome: &mut Outcome) {
    if let Some(each) = &node.items {
        let before = by_keys(node, old);
        for (i, item) in items.iter().enumerate() {
            let old = before
                .as_ref()
                .and_then(|(keys, items)| items.get(&key_of(item, keys)).copied());
            outcome.merge(check(each, item, old, &path.index(i)));
        }
    }
    let Some(limits) = &node.limits else { return };
    let size = i64::try_from(items.len()).unwrap_or(i64::MAX);
    if let Some(least) = limits.min_items.filter(|least| size < *least) {
        let why = format!("{} in body should have at least {least} items", path.text());
        outcome.add(field::invalid(path.cause(), &size.into(), &why));
    }
    if let Some(most) = limits.max_items.filter(|most| size > *most) {
        outcome.add(field::too_many(path.cause(), items.len(), most));
    }
    if limits.unique {
        let mut seen = std::collections::HashSet::with_capacity(items.len());
        if !items.iter().all(|item| seen.insert(field::go_json(item))) {
            let why = format!("{} in body shouldn't contain duplicates", path.text());
            outcome.add(field::invalid(path.cause(), &Value::from(""), &why));
        }
    }
}

fn fields(node: &Node, members: &Map<String, Value>, old: Option<&Value>, path: &Path<'_>, is_root: bool, outcome: &mut Outcome) {
    let limits = node.limits.as_deref();
    let before = |key: &str| old.and_then(|old| old.get(key));
    let is_ours = |key: &str| !(is_root && OF_THE_HOST.contains(&key));
    if let Some(limits) = limits {
        let size = i64::try_from(members.len()).unwrap_or(i64::MAX);
        if let Some(least) = limits.min_properties.filter(|least| size < *least) {
            let why = format!("{} in body should have at least {least} properties", path.text());
            outcome.add(field::invalid(path.cause(), &size.into(), &why));
        }
        if let Some(most) = limits.max_properties.filter(|most| size > *most) {
            outcome.add(field::too_many(path.cause(), members.len(), most));
        }
    }
    match &node.others {
        Others::Unsaid => {}
        Others::Refused => {
            for key in members
                .keys()
                .filter(|key| is_ours(key) && !node.properties.contains_key(key.as_str()))
            {
                let why = format!("{}.{key} in body is a forbidden property", path.text());
                outcome.add(field::invalid(path.cause(), &Value::from(key.as_str()), &why));
            }
        }
        Others::Each(each) => {
            for (key, value) in members
                .iter()
                .filter(|(key, _)| is_ours(key) && !node.properties.contains_key(key.as_str()))
            {
                outcome.merge(check(each, value, before(key), &path.field(key)));
            }
        }
    }
    for (name, field) in &node.properties {
        if let Some(value) = members.get(&**name) {
            outcome.merge(check(field, value, before(name), &path.field(name)));
        }
    }
    for name in limits.into_iter().flat_map(|limits| &limits.required) {
        if !members.contains_key(&**name) {
            outcome.add(field::required(path.field(name).cause(), ""));
        }
    }
}

/// The items that a list had, by what tells them apart; only those of a map can be found again.
fn by_keys<'a>(node: &'a Node, old: Option<&'a Value>) -> Option<Found<'a>> {
    let (List::Map(keys), Some(Value::Array(old))) = (&node.list, old) else {
        return None;
    };
    Some((keys, old.iter().map(|item| (key_of(item, keys), item)).collect()))
}

fn key_of(item: &Value, keys: &[Box<str>]) -> String {
    let values = keys
        .iter()
        .map(|key| item.get(&**key).map(field::go_json).unwrap_or_default());
    values.collect::<Vec<_>>().join(",")
}

/// Inside alternatives what was is not looked at.
fn choose(alternatives: &Alternatives, value: &Value, path: &Path<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    // What is wrong with all alternatives together has no field upstream.
    let refuse = |outcome: &mut Outcome, what: &str| {
        let why = format!("{} {what}", crate::quote::Quoted(&path.text()));
        outcome.add(field::invalid(NOWHERE, &Value::from(""), &why));
    };
    if !alternatives.any.is_empty() {
        let mut best: Option<Outcome> = None;
        let mut fits = false;
        for one in &alternatives.any {
            let found = judge(one, value, None, path);
            fits = found.is_valid();
            if fits || best.as_ref().is_none_or(|best| found.passed > best.passed) {
                best = Some(found);
            }
            if fits {
                break;
            }
        }
        if !fits {
            refuse(&mut outcome, "must validate at least one schema (anyOf)");
        }
        outcome.merge(best.unwrap_or_default());
    }
    if !alternatives.one.is_empty() {
        let mut best: Option<Outcome> = None;
        let mut fitting = 0_usize;
        for one in &alternatives.one {
            let found = judge(one, value, None, path);
            if found.is_valid() {
                fitting += 1;
                if fitting == 1 {
                    best = Some(found);
                }
            } else if fitting == 0 && best.as_ref().is_none_or(|best| found.passed > best.passed) {
                best = Some(found);
            }
        }
        match fitting {
            0 => refuse(
                &mut outcome,
                "must validate one and only one schema (oneOf). Found none valid",
            ),
            1 => {}
            many => {
                let what = format!("must validate one and only one schema (oneOf). Found {many} valid alternatives");
                refuse(&mut outcome, &what);
                best = None;
            }
        }
        outcome.merge(best.unwrap_or_default());
    }
    if !alternatives.all.is_empty() {
        let mut fitting = 0_usize;
        for one in &alternatives.all {
            let found = judge(one, value, None, path);
            fitting += usize::from(found.is_valid());
            outcome.merge(found);
        }
        match fitting {
            n if n == alternatives.all.len() => {}
            0 => refuse(&mut outcome, "must validate all the schemas (allOf). None validated"),
            _ => refuse(&mut outcome, "must validate all the schemas (allOf)"),
        }
    }
    if let Some(not) = &alternatives.not
        && judge(not, value, None, path).is_valid()
    {
        refuse(&mut outcome, "must not validate the schema (not)");
    }
    outcome.pass();
    outcome
}
