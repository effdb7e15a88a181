//! Two answers, field by field.
//!
//! Bodies become values first: JSON and YAML by their parsers, protobuf by upstream's own. Then what cannot be equal is replaced
//! by a word ([`clean`], or a rule of the caller's), and the trees are walked. Lists of named things are matched by name and lists of
//! words as sets, so that one more group or verb is one difference and not a shift of all that follows.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use http::HeaderMap;
use serde_json::Value;

use crate::http::Answer;
use crate::peer::Decoder;

/// One thing in which two answers differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aspect {
    /// Where: `status`, `header vary`, `body .message`.
    pub at: String,
    /// What Outrigger says there.
    pub ours: String,
    /// What upstream says there.
    pub theirs: String,
}

/// A body that has been read.
#[derive(Debug, Clone)]
pub struct Body {
    /// What it says; the events of a watch are an array.
    pub value: Value,
    /// How it is written.
    pub form: &'static str,
}

/// A body, or why it cannot be read.
pub type Read = Result<Body>;

/// Headers that say something about this answer alone.
const PASSING: [&str; 3] = ["date", "audit-id", "content-length"];

impl Aspect {
    /// A difference at this place.
    pub fn new(at: impl Into<String>, ours: impl Into<String>, theirs: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            ours: ours.into(),
            theirs: theirs.into(),
        }
    }
}

/// All differences of two answers to one request. `bodies` are theirs after whatever cannot be equal has become a word; without them only status
/// and headers are compared. Where the statuses differ, all the rest follows from it and is not compared.
#[must_use]
pub fn answers(ours: &Answer, theirs: &Answer, bodies: Option<(Read, Read)>) -> Vec<Aspect> {
    let mut found = Vec::new();
    if ours.status != theirs.status {
        found.push(Aspect::new("status", said(ours), said(theirs)));
        return found;
    }
    headers(&ours.headers, &theirs.headers, &mut found);
    if let Some((ours, theirs)) = bodies {
        both(ours, theirs, &mut found);
    }
    found
}

/// Status and what stands in a Status.
fn said(answer: &Answer) -> String {
    let text = answer.json().ok();
    let message = text.as_ref().and_then(|body| body.get("message")).and_then(Value::as_str);
    format!("{} {}", answer.status, message.unwrap_or_default())
}

fn headers(ours: &HeaderMap, theirs: &HeaderMap, found: &mut Vec<Aspect>) {
    let names: BTreeSet<&str> = ours.keys().chain(theirs.keys()).map(http::HeaderName::as_str).collect();
    for name in names {
        let all = |headers: &HeaderMap| -> String {
            let values: Vec<_> = headers
                .get_all(name)
                .iter()
                .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
                .collect();
            match name {
                _ if values.is_empty() => "-".to_owned(),
                _ if PASSING.contains(&name) => "present".to_owned(),
                "etag" => shape(&values.join(", ")),
                "expires" => "a time".to_owned(),
                _ => hashless(&values.join(", ")),
            }
        };
        let (ours, theirs) = (all(ours), all(theirs));
        if ours != theirs && name != "content-length" {
            found.push(Aspect::new(format!("header {name}"), ours, theirs));
        }
    }
}

/// What an ETag looks like.
fn shape(text: &str) -> String {
    let digits = |c: char| if c.is_ascii_hexdigit() && !c.is_lowercase() { 'X' } else { c };
    text.chars().map(digits).collect()
}

fn hashless(text: &str) -> String {
    match text.split_once("hash=") {
        Some((before, _)) => format!("{before}hash=…"),
        None => text.to_owned(),
    }
}

fn both(ours: Read, theirs: Read, found: &mut Vec<Aspect>) {
    let (ours, theirs) = match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        // Nobody can read it: there is nothing to tell them apart by.
        (Err(ours), Err(theirs)) if format!("{ours:#}") == format!("{theirs:#}") => return,
        (ours, theirs) => {
            let word = |read: Read| read.map_or_else(|reason| format!("{reason:#}"), |_| "readable".into());
            found.push(Aspect::new("body", word(ours), word(theirs)));
            return;
        }
    };
    if ours.form != theirs.form {
        found.push(Aspect::new("body's form", ours.form, theirs.form));
    }
    walk(".", &ours.value, &theirs.value, found);
}

/// A body as a tree.
///
/// # Errors
/// It is not what its content type says.
pub fn body(decoder: &Decoder, answer: &Answer) -> Read {
    let (value, form) = value(decoder, answer)?;
    Ok(Body { value, form })
}

fn value(decoder: &Decoder, answer: &Answer) -> Result<(Value, &'static str)> {
    let kind = answer
        .headers
        .get("content-type")
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let body = &answer.body;
    if body.is_empty() {
        return Ok((Value::Null, "empty"));
    }
    if kind.starts_with("application/vnd.kubernetes.protobuf") {
        return if kind.contains("stream=watch") {
            Ok((decoder.events(body)?, "frames"))
        } else {
            Ok((decoder.object(body)?, "protobuf"))
        };
    }
    if kind.starts_with("application/yaml") {
        return Ok((serde_saphyr::from_slice(body).context("not YAML")?, "YAML"));
    }
    if kind.starts_with("application/json") {
        let documents: Vec<Value> = serde_json::Deserializer::from_slice(body)
            .into_iter()
            .collect::<Result<_, _>>()
            .with_context(|| format!("not JSON: {}", answer.text()))?;
        let form = match (body.starts_with(b"{\n"), body.ends_with(b"\n")) {
            (true, true) => "indented JSON, a line's end",
            (true, false) => "indented JSON",
            (false, true) => "JSON, a line's end",
            (false, false) => "JSON",
        };
        let streamed = answer.headers.get("transfer-encoding").is_some()
            && documents.iter().all(|d| d.get("type").is_some() && d.get("object").is_some());
        let mut documents = documents;
        return Ok(match documents.pop() {
            Some(only) if documents.is_empty() && !streamed => (only, form),
            last => {
                documents.extend(last);
                (Value::Array(documents), form)
            }
        });
    }
    let lines = answer.text().lines().map(|line| Value::String(line.to_owned())).collect();
    Ok((Value::Array(lines), "text"))
}

/// What no two servers have in common becomes a word: versions, tokens, hashes and, if need be, numbers in messages.
#[must_use]
pub fn clean(value: Value, numbers: bool) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(|item| clean(item, numbers)).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| {
                    let value = match (&*name, value) {
                        ("resourceVersion", Value::String(v)) if v.parse::<u64>().is_ok_and(|v| v > 0) => "a version".into(),
                        ("continue", Value::String(v)) if !v.is_empty() => "a token".into(),
                        ("serverRelativeURL", Value::String(v)) => hashless(&v).into(),
                        ("message", Value::String(v)) if numbers => numberless(&v).into(),
                        (_, value) => clean(value, numbers),
                    };
                    (name, value)
                })
                .collect(),
        ),
        other => other,
    }
}

/// The text with `#` for each number.
#[must_use]
pub fn numberless(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            c => out.push(c),
        }
    }
    out
}

fn walk(at: &str, ours: &Value, theirs: &Value, found: &mut Vec<Aspect>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let at = format!("{}.{name}", at.trim_end_matches('.'));
                either(&at, a.get(name), b.get(name), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if !a.is_empty() || !b.is_empty() => {
            if let (Some(a), Some(b)) = (words(a), words(b)) {
                let (first, second): (BTreeSet<_>, BTreeSet<_>) = (a.iter().collect(), b.iter().collect());
                for only in first.difference(&second) {
                    found.push(Aspect::new(format!("body {at}[{only}]"), "present", "-"));
                }
                for only in second.difference(&first) {
                    found.push(Aspect::new(format!("body {at}[{only}]"), "-", "present"));
                }
                if first == second && a != b {
                    found.push(Aspect::new(format!("body {at} order"), a.join(" "), b.join(" ")));
                }
            } else if let (Some(a), Some(b)) = (named(a), named(b)) {
                let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for name in names {
                    either(&format!("{at}[{name}]"), a.get(name).copied(), b.get(name).copied(), found);
                }
            } else {
                if a.len() != b.len() {
                    found.push(Aspect::new(format!("body {at} length"), compact(ours), compact(theirs)));
                }
                for (index, (a, b)) in a.iter().zip(b).enumerate() {
                    walk(&format!("{at}[{index}]"), a, b, found);
                }
            }
        }
        (a, b) if a == b => {}
        (a, b) => found.push(Aspect::new(format!("body {at}"), compact(a), compact(b))),
    }
}

fn either(at: &str, ours: Option<&Value>, theirs: Option<&Value>, found: &mut Vec<Aspect>) {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => walk(at, ours, theirs, found),
        (Some(ours), None) => found.push(Aspect::new(format!("body {at}"), compact(ours), "-")),
        (None, Some(theirs)) => found.push(Aspect::new(format!("body {at}"), "-", compact(theirs))),
        (None, None) => {}
    }
}

fn words(items: &[Value]) -> Option<Vec<&str>> {
    items.iter().map(Value::as_str).collect()
}

/// Items by whatever names them, if all have different names.
fn named(items: &[Value]) -> Option<BTreeMap<String, &Value>> {
    let key = |item: &Value| {
        let part = |path: &str| item.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let one = ["/name", "/groupVersion", "/version", "/resource", "/reason"]
            .iter()
            .find_map(|path| part(path));
        let meta = part("/metadata/name").map(|name| match part("/metadata/namespace") {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name,
        });
        meta.or(one)
    };
    let named: BTreeMap<String, &Value> = items.iter().filter_map(|item| Some((key(item)?, item))).collect();
    (named.len() == items.len()).then_some(named)
}

fn compact(value: &Value) -> String {
    value.to_string()
}

#[test]
fn one_more_is_one_difference() {
    use serde_json::json;
    for (name, ours, theirs, expected) in [
        (
            "equal",
            json!({"a": [1, {"b": null}]}),
            json!({"a": [1, {"b": null}]}),
            vec![],
        ),
        ("another value", json!({"a": 1}), json!({"a": 2}), vec!["body .a"]),
        ("one more field", json!({"a": 1, "b": 1}), json!({"a": 1}), vec!["body .b"]),
        (
            "one more word",
            json!({"verbs": ["get"]}),
            json!({"verbs": ["create", "get"]}),
            vec!["body .verbs[create]"],
        ),
        (
            "one more of the named",
            json!([{"name": "a"}, {"name": "b", "x": 1}]),
            json!([{"name": "b", "x": 1}]),
            vec!["body .[a]"],
        ),
        (
            "an array for null",
            json!({"rows": []}),
            json!({"rows": null}),
            vec!["body .rows"],
        ),
        ("order of words", json!(["a", "b"]), json!(["b", "a"]), vec!["body . order"]),
    ] {
        let mut found = Vec::new();
        walk(".", &ours, &theirs, &mut found);
        let at: Vec<_> = found.iter().map(|a| &*a.at).collect();
        assert_eq!(at, expected, "{name}");
    }
}
