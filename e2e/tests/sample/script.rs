//! A case: requests in their order, each of which may use what came of those before it.
//!
//! In a path, a header or a body `{ns}` is the case's own namespace, and `{a:rv}`, `{a:uid}`, `{a:name}` and `{a:continue}` are
//! what the same server answered to the step that was kept as `a`.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use http::Method;
use outrigger_e2e::http::{Answer, Client, runtime};
use serde_json::{Value, json};

/// `flunders` of a case's namespace, in the version that sample-apiserver keeps.
pub(crate) const ALPHA: &str = "/apis/wardle.example.com/v1alpha1/namespaces/{ns}/flunders";
/// The same in the version that clients prefer, and that Outrigger keeps.
pub(crate) const BETA: &str = "/apis/wardle.example.com/v1beta1/namespaces/{ns}/flunders";
/// The cluster-scoped one.
pub(crate) const FISCHERS: &str = "/apis/wardle.example.com/v1alpha1/fischers";

pub(crate) const JSON: &str = "application/json";
pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const OPERATIONS: &str = "application/json-patch+json";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(crate) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
pub(crate) const PARTIAL: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
pub(crate) const PARTIAL_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Requests in their order.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Content,
    /// Under which name its answer is kept.
    pub(crate) kept: Option<&'static str>,
    /// It is begun here, and ends when it ends: a watch.
    pub(crate) meanwhile: bool,
    /// Numbers in messages differ from server to server.
    pub(crate) numbers: bool,
    /// Over HTTP/2, where an answer can come before the body has been sent.
    pub(crate) h2: bool,
    /// Bookmarks that say nothing but a version are compared, too.
    pub(crate) bookmarks: bool,
}

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Bytes(Bytes),
    Text(String),
    /// The answer that was kept under this name, with this merged into it (RFC 7386).
    Changed(&'static str, Value),
}

/// Answers of one server, by the name under which they are kept.
pub(crate) type Kept = BTreeMap<&'static str, Value>;

/// An object of a version, `v1alpha1` or `v1beta1`.
pub(crate) fn object(version: &str, kind: &str, rest: Value) -> Value {
    let mut whole = json!({"apiVersion": format!("wardle.example.com/{version}"), "kind": kind});
    merge(&mut whole, rest);
    whole
}

/// A Flunder of v1alpha1 with this name.
pub(crate) fn flunder(name: &str) -> Value {
    object("v1alpha1", "Flunder", json!({"metadata": {"name": name}}))
}

/// The same with more in it.
pub(crate) fn flunder_with(name: &str, more: Value) -> Value {
    let mut made = flunder(name);
    merge(&mut made, more);
    made
}

/// A Fischer whose name is the case's own.
pub(crate) fn fischer(name: &str) -> Value {
    object("v1alpha1", "Fischer", json!({"metadata": {"name": format!("{{ns}}-{name}")}}))
}

pub(crate) fn step(method: Method, name: impl Into<String>, path: impl Into<String>) -> Step {
    Step {
        name: name.into(),
        method,
        path: path.into(),
        headers: Vec::new(),
        body: Content::Bytes(Bytes::new()),
        kept: None,
        meanwhile: false,
        numbers: false,
        h2: false,
        bookmarks: false,
    }
}

pub(crate) fn get(name: impl Into<String>, path: impl Into<String>) -> Step {
    step(Method::GET, name, path)
}

pub(crate) fn post(name: impl Into<String>, path: impl Into<String>, body: &Value) -> Step {
    step(Method::POST, name, path).sends(JSON, body.to_string())
}

pub(crate) fn delete(name: impl Into<String>, path: impl Into<String>) -> Step {
    step(Method::DELETE, name, path)
}

/// PUT of what was kept, with changes.
pub(crate) fn put(name: impl Into<String>, path: impl Into<String>, kept: &'static str, changes: Value) -> Step {
    let mut step = step(Method::PUT, name, path).header("content-type", JSON);
    step.body = Content::Changed(kept, changes);
    step
}

pub(crate) fn patch(name: impl Into<String>, path: impl Into<String>, kind: &str, body: impl fmt::Display) -> Step {
    step(Method::PATCH, name, path).sends(kind, body.to_string())
}

pub(crate) fn merge(target: &mut Value, change: Value) {
    let Value::Object(change) = change else {
        *target = change;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in change {
        match value {
            Value::Null => drop(target.as_object_mut().and_then(|fields| fields.remove(&key))),
            value => merge(&mut target[key], value),
        }
    }
}

// === impl Case ===

impl Case {
    pub(crate) fn new(name: impl Into<String>, steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            name: name.into(),
            steps: steps.into_iter().collect(),
        }
    }

    /// What its namespace is called.
    pub(crate) fn namespace(&self) -> String {
        let plain = |c: char| if c.is_ascii_lowercase() { c } else { '-' };
        let name: String = self.name.to_ascii_lowercase().chars().map(plain).collect();
        name.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
    }
}

// === impl Step ===

impl Step {
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn accept(self, value: &str) -> Self {
        self.header("accept", value)
    }

    pub(crate) fn sends(mut self, kind: &str, body: impl Into<String>) -> Self {
        self.body = Content::Text(body.into());
        if kind.is_empty() {
            self
        } else {
            self.header("content-type", kind)
        }
    }

    pub(crate) fn bytes(mut self, kind: &str, body: impl Into<Bytes>) -> Self {
        self.body = Content::Bytes(body.into());
        self.header("content-type", kind)
    }

    pub(crate) fn kept(mut self, name: &'static str) -> Self {
        self.kept = Some(name);
        self
    }

    pub(crate) fn meanwhile(mut self) -> Self {
        self.meanwhile = true;
        self
    }

    pub(crate) fn numbers(mut self) -> Self {
        self.numbers = true;
        self
    }

    pub(crate) fn h2(mut self) -> Self {
        self.h2 = true;
        self
    }

    pub(crate) fn bookmarks(mut self) -> Self {
        self.bookmarks = true;
        self
    }

    /// Sends it, now, with everything filled in.
    pub(crate) fn ask(&self, client: &Client, namespace: &str, kept: &Kept) -> Result<Answer> {
        let path = filled(&self.path, namespace, kept);
        let headers: Vec<(&str, String)> = self.headers.iter().map(|(n, v)| (*n, filled(v, namespace, kept))).collect();
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, &**v)).collect();
        let body = match &self.body {
            Content::Bytes(bytes) => bytes.clone(),
            Content::Text(text) => filled(text, namespace, kept).into(),
            Content::Changed(name, changes) => {
                let mut object = kept.get(name).with_context(|| format!("nothing is kept as {name}"))?.clone();
                merge(
                    &mut object,
                    serde_json::from_str(&filled(&changes.to_string(), namespace, kept))?,
                );
                object.to_string().into()
            }
        };
        if !self.h2 {
            return client.request(self.method.clone(), &path, &headers, body);
        }
        runtime().block_on(async {
            let connection = client.connect().await?;
            connection.send(self.method.clone(), &path, &headers, body).await
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        for (name, value) in &self.headers {
            write!(f, " -H '{name}: {value}'")?;
        }
        match &self.body {
            Content::Bytes(bytes) if bytes.is_empty() => Ok(()),
            Content::Bytes(bytes) => write!(f, " {} bytes", bytes.len()),
            Content::Text(text) if text.len() > 300 => write!(f, " {} bytes", text.len()),
            Content::Text(text) => write!(f, " {text}"),
            Content::Changed(name, changes) => write!(f, " what {name} was, with {changes}"),
        }
    }
}

fn filled(text: &str, namespace: &str, kept: &Kept) -> String {
    let mut text = text.replace("{ns}", namespace);
    for (name, value) in kept {
        for (short, path) in [
            ("rv", "/metadata/resourceVersion"),
            ("uid", "/metadata/uid"),
            ("name", "/metadata/name"),
            ("continue", "/metadata/continue"),
        ] {
            if let Some(value) = value.pointer(path).and_then(Value::as_str) {
                text = text.replace(&format!("{{{name}:{short}}}"), value);
            }
        }
    }
    text
}

/// A continue token of this server's form for another place: `rv` may be a filled-in one.
pub(crate) fn token(json: &Value) -> String {
    BASE64_STANDARD.encode(json.to_string()).trim_end_matches('=').to_owned()
}
