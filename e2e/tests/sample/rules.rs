//! What no two servers have in common, as words: which uid, which version, some time. What stands between them is still compared.
//!
//! Versions of an object become their rank among all versions of it that the server showed in a case, so that "newer than", "the same" and
//! "older than" are compared while the numbers are not. Versions of lists and bookmarks become the newest version of an object that they are not
//! older than: other cases write at the same time. Uids become their rank among those of objects of this name.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD, Engine};
use outrigger_e2e::differential::compare::numberless;
use serde_json::{Map, Value};

use crate::script::Step;

/// What one server has shown in one case.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// Whose each version is.
    versions: BTreeMap<u64, String>,
    /// Whose each uid is.
    uids: Vec<(String, String)>,
    /// Names that the server has generated, and what stands for them.
    generated: BTreeMap<String, String>,
}

/// What stands between these in a message is the server's own: an object as it was patched, the version that it found.
const QUOTED: [(&str, &str); 3] = [
    ("Invalid value: \"{\\\"", "}\": "),
    ("ResourceVersion in the precondition (", ") does not"),
    ("ResourceVersion in record (", ")"),
];

/// Characters that a server puts behind a generateName.
const SUFFIX: usize = 5;

// === impl Shown ===

impl Shown {
    /// Looks at a body.
    pub(crate) fn look(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.look(item)),
            Value::Object(fields) => {
                if let Some(meta) = fields.get("metadata").and_then(Value::as_object) {
                    self.meet(meta);
                }
                fields.values().for_each(|value| self.look(value));
            }
            _ => {}
        }
    }

    fn meet(&mut self, meta: &Map<String, Value>) {
        let text = |key: &str| meta.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let Some(name) = text("name") else { return };
        let kept = name.len().saturating_sub(SUFFIX);
        if let (Some(prefix), Some(base)) = (text("generateName"), name.get(..kept))
            && !base.is_empty()
            && prefix.starts_with(base)
        {
            self.generated.insert(name.to_owned(), format!("{base}?????"));
        }
        if let Some(version) = text("resourceVersion").and_then(|version| version.parse::<u64>().ok()) {
            self.versions.insert(version, name.to_owned());
        }
        if let Some(uid) = text("uid").filter(|uid| !self.uids.iter().any(|(known, _)| known == uid)) {
            self.uids.push((uid.to_owned(), name.to_owned()));
        }
    }

    /// The body with words for whatever cannot be equal.
    pub(crate) fn clean(&self, step: &Step, value: Value) -> Value {
        match value {
            Value::Array(items) => {
                let told = |item: &Value| step.bookmarks || !is_plain_bookmark(item);
                let items = items.into_iter().filter(told);
                Value::Array(items.map(|item| self.clean(step, item)).collect())
            }
            Value::Object(fields) => {
                let order = fields.get("items").or(fields.get("rows")).and_then(order);
                let mut clean: Map<String, Value> = fields
                    .into_iter()
                    .map(|(key, value)| {
                        let value = match (&*key, value) {
                            ("metadata", Value::Object(meta)) => self.meta(step, meta),
                            ("message", Value::String(text)) if step.numbers => numberless(&self.words(&text)).into(),
                            (_, value) => self.clean(step, value),
                        };
                        (key, value)
                    })
                    .collect();
                clean.extend(order.map(|order| ("(order)".to_owned(), self.words(&order).into())));
                clean.into()
            }
            Value::String(text) => self.words(&text).into(),
            other => other,
        }
    }

    fn meta(&self, step: &Step, meta: Map<String, Value>) -> Value {
        let is_object = meta.get("name").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        let version = |text: String| match text.parse::<u64>() {
            Ok(0) | Err(_) => text,
            Ok(version) => self.rank(version, is_object),
        };
        let clean = meta.into_iter().map(|(key, value)| {
            let value = match (&*key, value) {
                ("resourceVersion", Value::String(text)) => version(text).into(),
                ("continue", Value::String(text)) if !text.is_empty() => self.token(&text),
                (_, value) => self.clean(step, value),
            };
            (key, value)
        });
        Value::Object(clean.collect())
    }

    fn rank(&self, version: u64, is_object: bool) -> String {
        let Some((_, name)) = self.versions.range(..=version).next_back() else {
            return "older than all".to_owned();
        };
        let rank = self.versions.range(..=version).filter(|(_, other)| *other == name).count();
        if is_object {
            format!("version {rank}")
        } else {
            let name = self.generated.get(name).unwrap_or(name);
            format!("not older than version {rank} of {name}")
        }
    }

    /// What a continue token says.
    fn token(&self, token: &str) -> Value {
        let bytes = BASE64_URL_SAFE_NO_PAD
            .decode(token)
            .or_else(|_| BASE64_STANDARD_NO_PAD.decode(token));
        let read = bytes
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Map<String, Value>>(&bytes).ok());
        let Some(mut said) = read else {
            return format!("an unreadable token {token}").into();
        };
        if let Some(version) = said.get("rv").and_then(Value::as_u64) {
            said.insert("rv".to_owned(), self.rank(version, false).into());
        }
        said.into()
    }

    fn words(&self, text: &str) -> String {
        if is_time(text) {
            return "a time".to_owned();
        }
        let mut text = text.to_owned();
        for (at, (uid, name)) in self.uids.iter().enumerate() {
            let rank = self.uids.iter().take(at + 1).filter(|(_, other)| other == name).count();
            text = text.replace(uid, &format!("uid {rank}"));
        }
        for (name, masked) in &self.generated {
            text = text.replace(name, masked);
        }
        for (before, after) in QUOTED {
            text = without(&text, before, after);
        }
        text
    }
}

/// Items are matched by name when they are compared; this keeps their order.
fn order(items: &Value) -> Option<String> {
    let name = |item: &Value| {
        let name = item.pointer("/metadata/name").or(item.pointer("/object/metadata/name"));
        name.and_then(Value::as_str).map(str::to_owned)
    };
    let names: Option<Vec<String>> = items.as_array()?.iter().map(name).collect();
    Some(names?.join(" "))
}

fn is_plain_bookmark(event: &Value) -> bool {
    event.get("type").and_then(Value::as_str) == Some("BOOKMARK")
        && event.pointer("/object/metadata/annotations").is_none()
        && event.pointer("/object/rows/0/object/metadata/annotations").is_none()
}

/// The text without what stands between the first `before` and the last `after` in each part that begins so.
fn without(text: &str, before: &str, after: &str) -> String {
    let mut parts = text.split(before);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(before);
        out.push('…');
        out.push_str(part.rfind(after).and_then(|end| part.get(end..)).unwrap_or(part));
    }
    out
}

fn is_time(text: &str) -> bool {
    text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()
}

#[test]
fn relations_stay() {
    use serde_json::json;
    let mut shown = Shown::default();
    let object = |version: &str| json!({"metadata": {"name": "a", "uid": "u-1", "resourceVersion": version}});
    let list = json!({"metadata": {"resourceVersion": "9"}, "items": [object("7")]});
    let step = crate::script::get("", "");
    for body in [&object("5"), &object("7"), &list] {
        shown.look(body);
    }
    assert_eq!(
        shown.clean(&step, list),
        json!({
            "metadata": {"resourceVersion": "not older than version 2 of a"}, "(order)": "a",
            "items": [{"metadata": {"name": "a", "uid": "uid 1", "resourceVersion": "version 2"}}],
        })
    );
    for (text, want) in [
        (
            r#"patch: Invalid value: "{\"a\":1}": no"#,
            r#"patch: Invalid value: "{\"…}": no"#,
        ),
        (
            "does not match the ResourceVersion in record (12). The",
            "does not match the ResourceVersion in record (…). The",
        ),
        (r#"name: Invalid value: "{": no"#, r#"name: Invalid value: "{": no"#),
    ] {
        assert_eq!(shown.words(text), want);
    }
    let made = json!({"metadata": {"name": "gen-abcde", "generateName": "gen-", "creationTimestamp": "2026-01-01T00:00:00Z"}});
    shown.look(&made);
    assert_eq!(
        shown.clean(&step, made),
        json!({"metadata": {"name": "gen-?????", "generateName": "gen-", "creationTimestamp": "a time"}})
    );
}
