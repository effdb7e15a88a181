//! One event: a line of the log (apiserver `pkg/apis/audit/v1` `Event`), in JSON or in the one-line text of old.
//!
//! What does not change from stage to stage ([`Received`]) is shared by the events of a request.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use jiff::Timestamp;
use outrigger_api::identity::Identity;
use outrigger_api::quote::Quoted;
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::{Details, Status};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::level::{Level, Stage};
use crate::object::{Facts, Object};
use crate::source_ips::source_ips;

/// `User-Agent` beyond this is cut off.
const MAX_USER_AGENT: usize = 1024;
const CUT: &str = "...TRUNCATED";
/// Says that objects were left out because they are too large (`plugin/pkg/audit/truncate`).
const TRUNCATED: &str = "audit.k8s.io/truncated";

/// A request as it arrived.
#[derive(Debug)]
pub struct Received {
    /// Names the request in all logs.
    pub audit_id: String,
    /// Path and query.
    pub uri: String,
    /// The verb, or the lower-case method.
    pub verb: String,
    /// By whom; `None` for nobody.
    pub user: Option<Arc<Identity>>,
    /// From where.
    pub source_ips: Vec<IpAddr>,
    /// By what.
    pub user_agent: String,
    /// About what, if it is about a resource.
    pub object: Option<ObjectRef>,
    /// When.
    pub at: Timestamp,
}

/// What a request is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the meanings are RequestInfo's and ObjectMeta's, field by field")]
pub struct ObjectRef {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
}

/// How a request ended: `meta/v1 Status` with the fields that upstream copies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    metadata: Nothing,
    /// `Success`, `Failure`, or empty for an answer that is no Status.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub status: &'static str,
    /// One sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Machine-readable.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Details>>,
    /// HTTP status code.
    #[serde(skip_serializing_if = "is_zero")]
    pub code: u16,
}

/// An event.
#[derive(Debug, Clone)]
pub struct Event {
    /// How much it says.
    pub level: Level,
    /// When it is made.
    pub stage: Stage,
    /// The request.
    pub received: Arc<Received>,
    /// As whom, if not as themselves.
    pub impersonated: Option<Arc<Identity>>,
    /// The constraint under which that was allowed; empty for none.
    pub constraint: String,
    /// The answer; `None` while there is none.
    pub answer: Option<Answer>,
    /// What was sent. Its name and namespace complete the reference also at a level that does not show it.
    pub request_object: Option<Object>,
    /// What was answered.
    pub response_object: Option<Object>,
    /// When the stage was reached.
    pub at: Timestamp,
    /// What the rooms on the way had to say.
    pub annotations: BTreeMap<String, String>,
    /// Whether `managedFields` are left out of objects.
    pub omit_managed_fields: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Nothing {}

/// The line's shape; the order is upstream's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    kind: &'static str,
    api_version: &'static str,
    level: Level,
    #[serde(rename = "auditID")]
    audit_id: &'a str,
    stage: Stage,
    #[serde(rename = "requestURI")]
    request_uri: &'a str,
    verb: &'a str,
    user: User<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<User<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication_metadata: Option<Constraint<'a>>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "<[_]>::is_empty")]
    source_ips: &'a [IpAddr],
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<&'a ObjectRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<&'a Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_object: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_object: Option<&'a RawValue>,
    #[serde(serialize_with = "micro_time")]
    request_received_timestamp: Timestamp,
    #[serde(serialize_with = "micro_time")]
    stage_timestamp: Timestamp,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

#[derive(Default, Serialize)]
struct User<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<&'a BTreeMap<String, Vec<String>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Constraint<'a> {
    impersonation_constraint: &'a str,
}

// === impl Received ===

impl Received {
    /// From what is known at the door.
    #[must_use]
    pub fn new(
        audit_id: &str,
        uri: &http::Uri,
        headers: &HeaderMap,
        remote: IpAddr,
        info: &RequestInfo,
        user: Option<Arc<Identity>>,
        at: Timestamp,
    ) -> Self {
        let agent = headers
            .get(http::header::USER_AGENT)
            .map(|v| v.as_bytes())
            .unwrap_or_default();
        let user_agent = match agent.get(..MAX_USER_AGENT) {
            Some(start) if agent.len() > MAX_USER_AGENT => String::from_utf8_lossy(start).into_owned() + CUT,
            _ => String::from_utf8_lossy(agent).into_owned(),
        };
        Self {
            audit_id: audit_id.to_owned(),
            uri: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            verb: info.verb.clone(),
            user,
            source_ips: source_ips(headers, remote),
            user_agent,
            object: info.is_resource_request.then(|| ObjectRef {
                resource: info.resource.clone(),
                namespace: info.namespace.clone(),
                name: info.name.clone(),
                api_group: info.api_group.clone(),
                api_version: info.api_version.clone(),
                subresource: info.subresource.clone(),
                ..ObjectRef::default()
            }),
            at,
        }
    }
}

// === impl Answer ===

impl Answer {
    /// An answer that is not a Status.
    #[must_use]
    pub fn of_code(code: u16) -> Self {
        Self { code, ..Self::default() }
    }

    /// The client went away before there was an answer; upstream's words.
    #[must_use]
    pub fn closed_early() -> Self {
        Self {
            status: "Success",
            message: "Connection closed early".into(),
            code: 200,
            ..Self::default()
        }
    }

    /// The request panicked; upstream's words.
    #[must_use]
    pub fn panicked(with: &str) -> Self {
        Self {
            status: "Failure",
            message: format!("APIServer panic'd: {with}"),
            reason: "InternalError".into(),
            code: 500,
            ..Self::default()
        }
    }
}

impl From<&Status> for Answer {
    fn from(status: &Status) -> Self {
        Self {
            metadata: Nothing {},
            status: if status.code < 400 { "Success" } else { "Failure" },
            message: status.message.clone(),
            reason: status.reason.clone(),
            details: status.details.clone(),
            code: status.code,
        }
    }
}

// === impl Event ===

impl Event {
    /// One line of JSON, ended by a newline.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let received = &*self.received;
        let mut annotations = std::borrow::Cow::Borrowed(&self.annotations);
        let mut object_of = |object: &Option<Object>, from: Level| {
            let object = object.as_ref().filter(|_| self.level >= from)?;
            if object.is_too_large() {
                annotations.to_mut().insert(TRUNCATED.into(), "true".into());
            }
            object.json(self.omit_managed_fields)
        };
        let request_object = object_of(&self.request_object, Level::Request);
        let response_object = object_of(&self.response_object, Level::RequestResponse);
        let facts = self.request_object.as_ref().and_then(Object::facts);
        let object_ref = match (&received.object, facts) {
            (Some(object), Some(facts)) => Some(std::borrow::Cow::Owned(object.completed(facts))),
            (Some(object), None) => Some(std::borrow::Cow::Borrowed(object)),
            (None, _) => None,
        };
        let line = Line {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: self.level,
            audit_id: &received.audit_id,
            stage: self.stage,
            request_uri: &received.uri,
            verb: &received.verb,
            user: received.user.as_deref().map(User::of).unwrap_or_default(),
            impersonated_user: self.impersonated.as_deref().map(User::of),
            authentication_metadata: (!self.constraint.is_empty()).then_some(Constraint {
                impersonation_constraint: &self.constraint,
            }),
            source_ips: &received.source_ips,
            user_agent: &received.user_agent,
            object_ref: object_ref.as_deref(),
            response_status: self.answer.as_ref(),
            request_object: request_object.as_deref(),
            response_object: response_object.as_deref(),
            request_received_timestamp: received.at,
            stage_timestamp: self.at,
            annotations: &annotations,
        };
        // Texts, numbers and maps with text keys: this cannot fail.
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Without its objects, and saying so.
    #[must_use]
    pub fn truncated(mut self) -> Self {
        self.request_object = None;
        self.response_object = None;
        self.annotations.insert(TRUNCATED.into(), "true".into());
        self
    }

    /// One line of text, ended by a newline (`audit.EventString`); times in UTC.
    #[must_use]
    pub fn to_text(&self) -> String {
        let received = &*self.received;
        let quoted = |list: &[String]| list.iter().map(|g| Quoted(g).to_string()).collect::<Vec<_>>().join(",");
        let user = received.user.as_deref().filter(|u| !u.name.is_empty());
        let groups = match user {
            Some(user) if !user.groups.is_empty() => quoted(&user.groups),
            _ => "<none>".to_owned(),
        };
        let (as_user, as_groups) = match self.impersonated.as_deref() {
            Some(other) => (other.name.as_str(), quoted(&other.groups)),
            None => ("<self>", "<lookup>".to_owned()),
        };
        let namespace = received
            .object
            .as_ref()
            .map(|o| o.namespace.as_str())
            .filter(|n| !n.is_empty());
        let code = self
            .answer
            .as_ref()
            .map_or_else(|| "<deferred>".to_owned(), |a| a.code.to_string());
        let ip = received
            .source_ips
            .first()
            .map_or_else(|| "<unknown>".to_owned(), ToString::to_string);
        format!(
            "{} AUDIT: id={} stage={} ip={} method={} user={} groups={} as={} asgroups={} user-agent={} namespace={} uri={} response=\"{code}\"\n",
            received.at,
            Quoted(&received.audit_id),
            Quoted(self.stage.name()),
            Quoted(&ip),
            Quoted(&received.verb),
            Quoted(user.map_or("<none>", |u| u.name.as_str())),
            Quoted(&groups),
            Quoted(as_user),
            Quoted(&as_groups),
            Quoted(&received.user_agent),
            Quoted(namespace.unwrap_or("<none>")),
            Quoted(&received.uri),
        )
    }

    /// Bytes of objects that it holds.
    #[must_use]
    pub fn size(&self) -> usize {
        let of = |o: &Option<Object>| o.as_ref().map_or(0, Object::size);
        of(&self.request_object) + of(&self.response_object)
    }
}

// === impl ObjectRef ===

impl ObjectRef {
    /// What the URL does not say, the object says.
    fn completed(&self, facts: Facts) -> Self {
        let first = |mine: &String, other: String| if mine.is_empty() { other } else { mine.clone() };
        Self {
            namespace: first(&self.namespace, facts.namespace),
            name: first(&self.name, facts.name),
            uid: first(&self.uid, facts.uid),
            resource_version: first(&self.resource_version, facts.resource_version),
            ..self.clone()
        }
    }
}

// === impl User ===

impl<'a> User<'a> {
    fn of(identity: &'a Identity) -> Self {
        Self {
            username: &identity.name,
            uid: &identity.uid,
            groups: &identity.groups,
            extra: Some(&identity.extra).filter(|e| !e.is_empty()),
        }
    }
}

/// `meta/v1 MicroTime`.
fn micro_time<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
}
fn is_zero(code: &u16) -> bool {
    *code == 0
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Method;

    use super::*;
    use crate::object::Media;

    fn event(uri: &str, user: Option<Identity>) -> Event {
        let uri: http::Uri = uri.parse().unwrap();
        let info = RequestInfo::parse(&Method::POST, &uri).unwrap();
        let headers = HeaderMap::from_iter([(http::header::USER_AGENT, "kubectl".parse().unwrap())]);
        let at = "2026-11-21T10:00:00.1234567Z".parse().unwrap();
        let remote = "127.0.0.1".parse().unwrap();
        let received = Received::new("an-id", &uri, &headers, remote, &info, user.map(Arc::new), at);
        Event {
            level: Level::Metadata,
            stage: Stage::ResponseComplete,
            received: Arc::new(received),
            impersonated: None,
            constraint: String::new(),
            answer: Some(Answer::of_code(201)),
            request_object: None,
            response_object: None,
            at,
            annotations: BTreeMap::new(),
            omit_managed_fields: false,
        }
    }

    fn alice() -> Identity {
        Identity {
            name: "alice".into(),
            uid: "7".into(),
            groups: vec!["g\"1".into(), "g2".into()],
            extra: BTreeMap::from([("k".into(), vec!["v".into()])]),
        }
    }

    fn json(text: &str) -> Option<Object> {
        Some(Object {
            pieces: vec![Bytes::copy_from_slice(text.as_bytes())],
            media: Media::Json,
            gzip: false,
        })
    }

    #[test]
    fn a_line_has_upstreams_fields_in_upstreams_order() {
        let mut event = event("/apis/g.io/v1/namespaces/a/things?x=1", Some(alice()));
        event
            .annotations
            .insert("authorization.k8s.io/decision".into(), "allow".into());
        event.impersonated = Some(Arc::new(Identity::anonymous()));
        event.request_object = json(r#"{"metadata":{"name":"n","namespace":"b","uid":"u","resourceVersion":"5"}}"#);
        event.response_object = json("{}");
        let line = |event: &Event| String::from_utf8(event.to_json()).unwrap();
        assert_eq!(
            line(&event),
            concat!(
                r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"an-id","stage":"ResponseComplete","#,
                r#""requestURI":"/apis/g.io/v1/namespaces/a/things?x=1","verb":"create","#,
                r#""user":{"username":"alice","uid":"7","groups":["g\"1","g2"],"extra":{"k":["v"]}},"#,
                r#""impersonatedUser":{"username":"system:anonymous","groups":["system:unauthenticated"]},"#,
                r#""sourceIPs":["127.0.0.1"],"userAgent":"kubectl","#,
                r#""objectRef":{"resource":"things","namespace":"a","name":"n","uid":"u","apiGroup":"g.io","apiVersion":"v1","resourceVersion":"5"},"#,
                r#""responseStatus":{"metadata":{},"code":201},"#,
                r#""requestReceivedTimestamp":"2026-11-21T10:00:00.123456Z","stageTimestamp":"2026-11-21T10:00:00.123456Z","#,
                r#""annotations":{"authorization.k8s.io/decision":"allow"}}"#,
                "\n"
            )
        );
        event.level = Level::Request;
        assert!(line(&event).contains(r#""requestObject":{"metadata":"#) && !line(&event).contains("responseObject"));
        event.level = Level::RequestResponse;
        assert!(line(&event).contains(r#""responseObject":{},"#));
        let small = line(&event.truncated());
        assert!(
            !small.contains("Object\":{\"meta") && small.contains(r#""audit.k8s.io/truncated":"true""#),
            "{small}"
        );
    }

    #[test]
    fn answers_are_upstreams() {
        let mut event = event("/healthz", None);
        for (answer, want) in [
            (
                Answer::from(&Status::not_found("g.io", "things", "x")),
                r#"{"metadata":{},"status":"Failure","message":"things.g.io \"x\" not found","reason":"NotFound","details":{"name":"x","group":"g.io","kind":"things"},"code":404}"#,
            ),
            (
                Answer::closed_early(),
                r#"{"metadata":{},"status":"Success","message":"Connection closed early","code":200}"#,
            ),
            (
                Answer::panicked("x"),
                r#"{"metadata":{},"status":"Failure","message":"APIServer panic'd: x","reason":"InternalError","code":500}"#,
            ),
        ] {
            event.answer = Some(answer);
            let line = String::from_utf8(event.to_json()).unwrap();
            assert!(line.contains(&format!(r#""responseStatus":{want},"#)), "{line}");
            assert!(line.contains(r#""user":{},"#) && !line.contains("objectRef"), "{line}");
        }
    }

    #[test]
    fn the_old_text_is_upstreams() {
        let plain = event("/api/v1/namespaces/default/pods", Some(alice()));
        assert_eq!(
            plain.to_text(),
            "2026-11-21T10:00:00.1234567Z AUDIT: id=\"an-id\" stage=\"ResponseComplete\" ip=\"127.0.0.1\" method=\"create\" user=\"alice\" \
             groups=\"\\\"g\\\\\\\"1\\\",\\\"g2\\\"\" as=\"<self>\" asgroups=\"<lookup>\" user-agent=\"kubectl\" namespace=\"default\" \
             uri=\"/api/v1/namespaces/default/pods\" response=\"201\"\n"
        );
        let mut nobody = event("/x", None);
        nobody.answer = None;
        assert!(nobody.to_text().contains("user=\"<none>\" groups=\"<none>\""));
        assert!(
            nobody
                .to_text()
                .ends_with("namespace=\"<none>\" uri=\"/x\" response=\"<deferred>\"\n")
        );
    }

    #[test]
    fn a_long_user_agent_is_cut() {
        let uri: http::Uri = "/x".parse().unwrap();
        let info = RequestInfo::parse(&Method::GET, &uri).unwrap();
        for (length, want) in [(1024, 1024), (1025, 1024 + CUT.len())] {
            let headers = HeaderMap::from_iter([(http::header::USER_AGENT, "a".repeat(length).parse().unwrap())]);
            let remote = "127.0.0.1".parse().unwrap();
            let received = Received::new("", &uri, &headers, remote, &info, None, Timestamp::UNIX_EPOCH);
            assert_eq!(received.user_agent.len(), want);
        }
    }
}
