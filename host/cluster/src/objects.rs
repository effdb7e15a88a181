//! Kubernetes objects for plugins: one request, one answer, bytes as they are.
//!
//! What may be asked was decided before; here a request gets its path, its persona and its bounds, and what kube-apiserver answers
//! becomes bytes or one of few facts. Objects are not parsed, only framed: items of a list get apiVersion and kind where kube-apiserver
//! leaves them out, so that an object reads the same however it was asked for. Reads of what is watched for the same persona anyway come
//! from that cache.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use outrigger_api::manifest::ResourceName;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::causes::causes;
use crate::followed::{Found, Watched};
use crate::persona::Persona;

/// A resource in a path. All parts are known to be what they say: none holds a `/`.
#[derive(Debug, Clone, Copy)]
pub struct ObjectPath<'a> {
    /// API group; empty for core.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Plural name.
    pub resource: &'a str,
    /// Subresource; empty for none.
    pub subresource: &'a str,
    /// Namespace; empty for none, or for all.
    pub namespace: &'a str,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Objects as JSON, with apiVersion and kind.
    pub items: Vec<Bytes>,
    /// Where the next page begins; empty after the last.
    pub next: String,
}

/// Why there is no object. Sentences are kube-apiserver's own where it gave one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// 403: RBAC says no.
    #[error("{0}")]
    Denied(String),
    /// 404.
    #[error("{0}")]
    NotFound(String),
    /// 409, or 410 for a list that has moved on.
    #[error("{0}")]
    Conflict(String),
    /// 400, 405, 406, 415, 422: the request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// 413, or an answer over the budget.
    #[error("{0}")]
    TooLarge(String),
    /// 429.
    #[error("{0}")]
    Exhausted(String),
    /// 504.
    #[error("{0}")]
    Timeout(String),
    /// Nobody answers, or not with an answer.
    #[error("{0}")]
    Unavailable(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// Objects as one plugin may see them.
pub struct PluginObjects {
    /// `None`: the host itself.
    persona: Option<Persona>,
    client: Client,
    watched: Arc<Watched>,
    plugin: String,
    /// `fieldManager` of what it writes.
    manager: String,
    /// Whether it was said that the host may not act for this persona.
    said: AtomicBool,
}

/// A Status, as far as it is passed on.
#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawList<'a> {
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(default)]
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ListMeta {
    r#continue: String,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
}

/// The most bytes of a refusal that are read.
const REFUSAL: usize = 64 << 10;
/// The most bytes of a sentence that is passed on.
const SENTENCE: usize = 1024;

// === impl PluginObjects ===

impl PluginObjects {
    /// Objects as `persona` sees them, or as the host does without one, for the plugin of this name; `client` is the host's own.
    #[must_use]
    pub fn new(client: &Client, watched: Arc<Watched>, persona: Option<Persona>, plugin: &str) -> Self {
        Self {
            client: persona
                .as_ref()
                .map_or_else(|| client.clone(), |persona| persona.client(client)),
            persona,
            watched,
            plugin: plugin.to_owned(),
            manager: format!("outrigger-plugin-{plugin}"),
            said: AtomicBool::new(false),
        }
    }

    /// One object; from memory if it is watched for this persona.
    ///
    /// # Errors
    /// See [`ObjectError`], here and below.
    pub async fn get(&self, of: ObjectPath<'_>, name: &str, most: usize) -> Result<Bytes, ObjectError> {
        if of.subresource.is_empty() {
            let resource = ResourceName::new(of.group, of.version, of.resource);
            match self.watched.get(&self.plugin, &resource, of.namespace, name) {
                Found::Object(object) if object.len() <= most => return Ok(object),
                Found::Object(object) => return Err(too_large(object.len(), most)),
                Found::Nothing => {
                    return Err(ObjectError::NotFound(format!("{} {name:?} not found", of.resource)));
                }
                Found::Unknown => {}
            }
        }
        self.ask(Method::GET, &of.to(Some(name)), None, Bytes::new(), most).await
    }

    /// One page.
    ///
    /// # Errors
    /// As [`PluginObjects::get`].
    pub async fn list(
        &self,
        of: ObjectPath<'_>,
        selector: &str,
        limit: u32,
        next: &str,
        most: usize,
    ) -> Result<Page, ObjectError> {
        let mut path = of.to(None);
        // Writing to a String cannot fail.
        let _ = write!(path, "?limit={limit}");
        for (name, value) in [("labelSelector", selector), ("continue", next)] {
            if !value.is_empty() {
                let _ = write!(path, "&{name}={}", escaped(value));
            }
        }
        let answer = self.ask(Method::GET, &path, None, Bytes::new(), most).await?;
        page(&answer)
    }

    /// Makes one.
    ///
    /// # Errors
    /// As [`PluginObjects::get`].
    pub async fn create(&self, of: ObjectPath<'_>, name: &str, object: Bytes, most: usize) -> Result<Bytes, ObjectError> {
        // What is created below an object stands in that object's path: bindings, evictions.
        let path = of.to((!of.subresource.is_empty()).then_some(name));
        self.ask(Method::POST, &self.managed(path), Some(JSON), object, most).await
    }

    /// Replaces one.
    ///
    /// # Errors
    /// As [`PluginObjects::get`].
    pub async fn update(&self, of: ObjectPath<'_>, name: &str, object: Bytes, most: usize) -> Result<Bytes, ObjectError> {
        let path = self.managed(of.to(Some(name)));
        self.ask(Method::PUT, &path, Some(JSON), object, most).await
    }

    /// Changes one.
    ///
    /// # Errors
    /// As [`PluginObjects::get`].
    pub async fn patch(
        &self,
        of: ObjectPath<'_>,
        name: &str,
        content_type: &str,
        patch: Bytes,
        most: usize,
    ) -> Result<Bytes, ObjectError> {
        let path = self.managed(of.to(Some(name)));
        self.ask(Method::PATCH, &path, Some(content_type), patch, most).await
    }

    /// Removes one, in the background.
    ///
    /// # Errors
    /// As [`PluginObjects::get`].
    pub async fn delete(&self, of: ObjectPath<'_>, name: &str) -> Result<(), ObjectError> {
        let path = of.to(Some(name)) + "?propagationPolicy=Background";
        // The answer is a Status or the object as it was; either way it is not passed on.
        match self.ask(Method::DELETE, &path, None, Bytes::new(), REFUSAL).await {
            Ok(_) | Err(ObjectError::TooLarge(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn managed(&self, path: String) -> String {
        format!("{path}?fieldManager={}", self.manager)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
        most: usize,
    ) -> Result<Bytes, ObjectError> {
        let mut request = Request::builder().method(method).uri(path).header(ACCEPT, JSON);
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let request = request
            .body(Body::from(Vec::from(body)))
            .map_err(|e| ObjectError::Invalid(format!("the request cannot be made: {e}")))?;
        let answer = self
            .client
            .send(request)
            .await
            .map_err(|e| ObjectError::Unavailable(format!("kube-apiserver does not answer: {}", causes(&e))))?;
        let code = answer.status();
        if code.is_success() {
            return whole(answer.into_body(), most).await;
        }
        let body = whole(answer.into_body(), REFUSAL).await.unwrap_or_default();
        let error = refusal(code, &body);
        self.notice(&error);
        Err(error)
    }

    /// That the host may not impersonate is the operator's to mend, and said to the operator once.
    fn notice(&self, error: &ObjectError) {
        let ObjectError::Denied(why) = error else { return };
        if why.contains("cannot impersonate") && !self.said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                user = self.persona.as_ref().map(Persona::user),
                "this host may not act for a plugin: {why}; let its account impersonate that user (deploy/metrics/base/rbac.yaml has the rule)"
            );
        }
    }
}

const JSON: &str = "application/json";

impl std::fmt::Debug for PluginObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginObjects")
            .field("persona", &self.persona)
            .finish_non_exhaustive()
    }
}

// === impl ObjectPath ===

impl ObjectPath<'_> {
    /// The path of the collection, or of one object in it.
    fn to(&self, name: Option<&str>) -> String {
        let mut path = match self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        if !self.namespace.is_empty() {
            path = path + "/namespaces/" + self.namespace;
        }
        path = path + "/" + self.resource;
        if let Some(name) = name {
            path = path + "/" + &escaped(name);
            if !self.subresource.is_empty() {
                path = path + "/" + self.subresource;
            }
        }
        path
    }
}

/// What kube-apiserver's refusal means to a plugin.
pub(crate) fn refusal(code: StatusCode, body: &[u8]) -> ObjectError {
    let message = serde_json::from_slice::<Status>(body).map(|s| s.message).unwrap_or_default();
    let said: String = message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SENTENCE)
        .collect();
    let sentence = if said.is_empty() {
        format!("kube-apiserver answered {}", code.as_u16())
    } else {
        said
    };
    match code.as_u16() {
        403 => ObjectError::Denied(sentence),
        404 => ObjectError::NotFound(sentence),
        409 | 410 => ObjectError::Conflict(sentence),
        400 | 405 | 406 | 415 | 422 => ObjectError::Invalid(sentence),
        413 => ObjectError::TooLarge(sentence),
        429 => ObjectError::Exhausted(sentence),
        504 => ObjectError::Timeout(sentence),
        // Who the host is, is not the plugin's business.
        401 => ObjectError::Unavailable("kube-apiserver does not know who this host is".into()),
        500..=599 => ObjectError::Unavailable(sentence),
        _ => ObjectError::Failed(sentence),
    }
}

fn too_large(bytes: usize, most: usize) -> ObjectError {
    ObjectError::TooLarge(format!("the answer has {bytes} bytes, {most} are left to this call"))
}

async fn whole(mut body: Body, most: usize) -> Result<Bytes, ObjectError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| ObjectError::Unavailable(format!("kube-apiserver broke off: {}", causes(&e))))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > most {
                return Err(ObjectError::TooLarge(format!(
                    "the answer has more than the {most} bytes that are left to this call"
                )));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

fn page(list: &[u8]) -> Result<Page, ObjectError> {
    let list: RawList<'_> = serde_json::from_slice(list)
        .map_err(|e| ObjectError::Unavailable(format!("kube-apiserver answered with what is not a list: {e}")))?;
    let kind = list.kind.strip_suffix("List").unwrap_or(&list.kind);
    let items = list.items.unwrap_or_default();
    Ok(Page {
        items: items.iter().map(|item| typed(item.get(), &list.api_version, kind)).collect(),
        next: list.metadata.r#continue,
    })
}

/// The object with apiVersion and kind, which lists of built-in resources leave out.
fn typed(item: &str, api_version: &str, kind: &str) -> Bytes {
    let has = serde_json::from_str::<Kind<'_>>(item).is_ok_and(|k| k.kind.is_some());
    let rest = item.trim_start().strip_prefix('{').map(str::trim_start);
    match rest {
        Some(rest) if !has && !kind.is_empty() => {
            let comma = if rest.starts_with('}') { "" } else { "," };
            // Both are names without anything to escape; they come from kube-apiserver's own frame.
            let head = serde_json::json!({"apiVersion": api_version, "kind": kind}).to_string();
            let head = head.strip_suffix('}').unwrap_or(&head);
            format!("{head}{comma}{rest}").into()
        }
        _ => item.to_owned().into(),
    }
}

/// As a part of a path or a query.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_upstreams() {
        let of = |group, resource, subresource, namespace| ObjectPath {
            group,
            version: "v1",
            resource,
            subresource,
            namespace,
        };
        for (path, name, want) in [
            (of("", "pods", "", "x"), Some("a"), "/api/v1/namespaces/x/pods/a"),
            (of("", "pods", "", ""), None, "/api/v1/pods"),
            (
                of("apps", "deployments", "scale", "x"),
                Some("a"),
                "/apis/apps/v1/namespaces/x/deployments/a/scale",
            ),
            (of("", "nodes", "", ""), Some("node-1"), "/api/v1/nodes/node-1"),
            (
                of("rbac.authorization.k8s.io", "clusterroles", "", ""),
                Some("system:a b?c"),
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Aa%20b%3Fc",
            ),
        ] {
            assert_eq!(path.to(name), want);
        }
    }

    #[test]
    fn refusals_become_facts() {
        let body = |message: &str| format!(r#"{{"kind":"Status","message":"{message}"}}"#);
        for (code, want) in [
            (403, ObjectError::Denied("no".into())),
            (404, ObjectError::NotFound("no".into())),
            (409, ObjectError::Conflict("no".into())),
            (410, ObjectError::Conflict("no".into())),
            (422, ObjectError::Invalid("no".into())),
            (429, ObjectError::Exhausted("no".into())),
            (503, ObjectError::Unavailable("no".into())),
            (504, ObjectError::Timeout("no".into())),
            (418, ObjectError::Failed("no".into())),
        ] {
            assert_eq!(
                refusal(StatusCode::from_u16(code).unwrap(), body("no").as_bytes()),
                want,
                "{code}"
            );
        }
        let plain = refusal(StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(plain, ObjectError::Unavailable("kube-apiserver answered 502".into()));
        let unknown = refusal(StatusCode::UNAUTHORIZED, body("token abc is wrong").as_bytes());
        assert!(!unknown.to_string().contains("abc"), "{unknown}");
    }

    #[test]
    fn items_of_a_list_say_what_they_are() {
        let list = br#"{"kind":"PodList","apiVersion":"v1","metadata":{"continue":"next"},"items":[
            {"metadata":{"name":"a"}}, {"kind":"Ship","apiVersion":"harbor.example.com/v1"}, {}]}"#;
        let page = page(list).unwrap();
        assert_eq!(page.next, "next");
        assert_eq!(
            page.items,
            [
                r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}"#,
                r#"{"kind":"Ship","apiVersion":"harbor.example.com/v1"}"#,
                r#"{"apiVersion":"v1","kind":"Pod"}"#
            ]
        );
        assert!(super::page(b"nonsense").is_err());
    }
}
