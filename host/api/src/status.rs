//! `meta/v1 Status`: how every refusal reads, with upstream's words (apimachinery `api/errors/errors.go`).
//!
//! Inside a room errors are small enums; they become a [`Status`] in one place per room, and a `Status` becomes bytes in
//! the encoding that the client asked for, also before routing. The sentences are upstream's, letter by letter: clients
//! match on reasons and codes, people and dashboards on sentences.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

use crate::encode;
use crate::media::Encoding;
use crate::meta::TypeMeta;
use crate::protobuf;
use crate::quote::Quoted;
use crate::request_info::RequestInfo;

/// An answer that is not an object.
///
/// Serde reads and writes the wire's shape (`kind`, `apiVersion`, `metadata`, `status` …).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Document", from = "Document")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason such as `NotFound`; empty for none.
    pub reason: String,
    /// One sentence for a person.
    pub message: String,
    /// What it is about; boxed, because a Status is the error of many functions.
    pub details: Option<Box<Details>>,
    /// `metadata.continue`: where a list that has expired may go on, inconsistently; `None` for nothing.
    pub continue_token: Option<Box<str>>,
}

/// What a [`Status`] is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    /// Object name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind or plural resource, as upstream has it in each case.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// UID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Single causes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Ask again after so many seconds; becomes `Retry-After` too. 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

/// One cause of a [`Status`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// `FieldValueInvalid` …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// One sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Field path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// The wire's shape.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    kind: String,
    api_version: String,
    metadata: Metadata,
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Box<Details>>,
    #[serde(skip_serializing_if = "is_none")]
    code: u16,
}

/// `meta/v1 ListMeta` of a Status, as far as we write it.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    continue_token: Option<Box<str>>,
}

const KIND: TypeMeta<'static> = TypeMeta {
    api_version: "v1",
    kind: "Status",
};

const WELL: u16 = 200;
const SUCCESS: &str = "Success";

// === impl Status ===

impl Status {
    /// Any failure; the constructors below have upstream's words for the usual ones.
    #[must_use]
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            details: None,
            continue_token: None,
        }
    }

    /// 400 BadRequest.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }

    /// 401 Unauthorized, as apiserver's authentication filter words it.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized")
    }

    /// 403 Forbidden: this user, this request (apiserver `responsewriters.ForbiddenStatusError`). `reason` is the
    /// authorizer's; empty for none.
    #[must_use]
    pub fn forbidden(user: &str, info: &RequestInfo, reason: &str) -> Self {
        let who = format!("User {} cannot {}", Quoted(user), info.verb);
        let what = if info.is_resource_request {
            let resource = match info.subresource.as_str() {
                "" => info.resource.clone(),
                sub => format!("{}/{sub}", info.resource),
            };
            let place = match info.namespace.as_str() {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace {}", Quoted(namespace)),
            };
            format!(
                "{who} resource {} in API group {} {place}",
                Quoted(&resource),
                Quoted(&info.api_group)
            )
        } else {
            format!("{who} path {}", Quoted(&info.path))
        };
        // Upstream takes care that the sentence never looks like HTML.
        let mut sentence = what.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        if !reason.is_empty() {
            sentence = format!("{sentence}: {reason}");
        }
        let message = match (group_resource(&info.api_group, &info.resource), info.name.as_str()) {
            (of, _) if of.is_empty() => format!("forbidden: {sentence}"),
            (of, "") => format!("{of} is forbidden: {sentence}"),
            (of, name) => format!("{of} {} is forbidden: {sentence}", Quoted(name)),
        };
        Self::failure(403, "Forbidden", message).about(&info.api_group, &info.resource, &info.name)
    }

    /// 404 NotFound: no such object. The group is empty for core.
    #[must_use]
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} not found", group_resource(group, resource), Quoted(name));
        Self::failure(404, "NotFound", message).about(group, resource, name)
    }

    /// 404 NotFound: no such path, group, version, resource or subresource.
    #[must_use]
    pub fn generic_not_found() -> Self {
        Self::failure(404, "NotFound", "the server could not find the requested resource").about("", "", "")
    }

    /// 405 MethodNotAllowed: the resource does not have this verb.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::failure(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .about("", "", "")
    }

    /// 405 MethodNotAllowed with the action named; what a watch gets where there is none (`action` is `watch`).
    #[must_use]
    pub fn method_not_supported(group: &str, resource: &str, action: &str) -> Self {
        let of = group_resource(group, resource);
        let message = format!("{action} is not supported on resources of kind {}", Quoted(&of));
        Self::failure(405, "MethodNotAllowed", message).about(group, resource, "")
    }

    /// 406 NotAcceptable: only these media types can be had.
    #[must_use]
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        Self::failure(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {}", accepted.join(", ")),
        )
    }

    /// 403 Forbidden by whoever stands behind the resource, in his own sentence (`errors.NewForbidden`).
    #[must_use]
    pub fn denied(group: &str, resource: &str, name: &str, sentence: &str) -> Self {
        let of = group_resource(group, resource);
        let message = match name {
            "" => format!("{of} is forbidden: {sentence}"),
            name => format!("{of} {} is forbidden: {sentence}", Quoted(name)),
        };
        Self::failure(403, "Forbidden", message).about(group, resource, name)
    }

    /// 409 AlreadyExists.
    #[must_use]
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} already exists", group_resource(group, resource), Quoted(name));
        Self::failure(409, "AlreadyExists", message).about(group, resource, name)
    }

    /// 409 AlreadyExists: no name that was tried is free (`errors.NewGenerateNameConflict`).
    #[must_use]
    pub fn no_free_name(group: &str, resource: &str, name: &str) -> Self {
        let mut status = Self::already_exists(group, resource, name).retry(1);
        status.message += ", the server was not able to generate a unique name for the object";
        status
    }

    /// 409 Conflict: the object is not as the caller thinks.
    #[must_use]
    pub fn conflict(group: &str, resource: &str, name: &str, sentence: impl Display) -> Self {
        let of = group_resource(group, resource);
        let message = format!("Operation cannot be fulfilled on {of} {}: {sentence}", Quoted(name));
        Self::failure(409, "Conflict", message).about(group, resource, name)
    }

    /// 413 RequestEntityTooLarge, with a sentence.
    #[must_use]
    pub fn too_large(sentence: impl Display) -> Self {
        Self::failure(413, "RequestEntityTooLarge", format!("Request entity too large: {sentence}"))
    }

    /// 429 TooManyRequests, with a sentence (`errors.NewTooManyRequests`).
    #[must_use]
    pub fn exhausted(sentence: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::failure(429, "TooManyRequests", sentence).retry(retry_after_seconds)
    }

    /// 422 Invalid: a JSON patch that does not fit the object. Upstream says no more than this (`errors.NewGenericServerResponse`).
    #[must_use]
    pub fn unprocessable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::failure(422, "Invalid", message).about("", "", "")
    }

    /// 200 Success: the object is gone (apiserver `registry/generic/registry/store.go` `finalizeDelete`).
    #[must_use]
    pub fn deleted(group: &str, resource: &str, name: &str, uid: &str) -> Self {
        let mut status = Self::failure(200, "", "").about(group, resource, name);
        if let Some(details) = &mut status.details {
            details.uid = uid.into();
        }
        status
    }

    /// 410 Gone.
    #[must_use]
    pub fn gone(message: impl Into<String>) -> Self {
        Self::failure(410, "Gone", message)
    }

    /// 410 Expired: that resource version or page is too old; list again.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }

    /// 410 Expired: the page's version is no longer kept; with a token that goes on with what is there now
    /// (apiserver `etcd3/errors.go`).
    #[must_use]
    pub fn expired_page(go_on: String) -> Self {
        let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
        Self {
            continue_token: Some(go_on.into()),
            ..Self::expired(message)
        }
    }

    /// 413 RequestEntityTooLarge; upstream says `limit is 3145728`.
    #[must_use]
    pub fn request_entity_too_large(limit: u64) -> Self {
        Self::failure(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}"),
        )
    }

    /// 415 UnsupportedMediaType: only these can be read.
    #[must_use]
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let list = accepted.join(", ");
        let message = format!("the body of the request was in an unknown format - accepted media types include: {list}");
        Self::failure(415, "UnsupportedMediaType", message)
    }

    /// 422 Invalid: one cause per field. `kind` is the kind, not the resource.
    #[must_use]
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let mut message = format!("{} {} is invalid", group_resource(group, kind), Quoted(name));
        let mut sentences: Vec<String> = Vec::with_capacity(causes.len());
        for cause in &causes {
            let sentence = format!("{}: {}", cause.field, cause.message);
            if !sentences.contains(&sentence) {
                sentences.push(sentence);
            }
        }
        match sentences.as_slice() {
            [] => {}
            [one] => message = format!("{message}: {one}"),
            many => message = format!("{message}: [{}]", many.join(", ")),
        }
        let mut status = Self::failure(422, "Invalid", message).about(group, kind, name);
        if let Some(details) = &mut status.details {
            details.causes = causes;
        }
        status
    }

    /// 429 TooManyRequests, as apiserver's max-in-flight filter words it.
    #[must_use]
    pub fn too_many_requests(retry_after_seconds: u32) -> Self {
        Self::failure(429, "TooManyRequests", "Too many requests, please try again later.").retry(retry_after_seconds)
    }

    /// 500 InternalError. The sentence reaches the client: it must not hold what only operators may know.
    #[must_use]
    pub fn internal_error(error: impl Display) -> Self {
        let mut status = Self::failure(500, "InternalError", format!("Internal error occurred: {error}"));
        let cause = Cause {
            message: error.to_string(),
            ..Cause::default()
        };
        status.details = Some(Box::new(Details {
            causes: vec![cause],
            ..Details::default()
        }));
        status
    }

    /// 503 ServiceUnavailable; 0 seconds for no Retry-After.
    #[must_use]
    pub fn service_unavailable(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let status = Self::failure(503, "ServiceUnavailable", message);
        if retry_after_seconds == 0 {
            status
        } else {
            status.retry(retry_after_seconds)
        }
    }

    /// 504 Timeout: the answer was not ready in time; whether the operation was done is unknown.
    #[must_use]
    pub fn timeout(message: impl Display, retry_after_seconds: u32) -> Self {
        Self::failure(504, "Timeout", format!("Timeout: {message}")).retry(retry_after_seconds)
    }

    /// 504 Timeout, as apiserver's timeout filter words it.
    #[must_use]
    pub fn gateway_timeout() -> Self {
        Self::timeout("request did not complete within the allotted timeout", 0)
    }

    /// 504 Timeout: that version is not reached yet (apiserver `storage.NewTooLargeResourceVersionError`). 0 seconds for
    /// no Retry-After.
    #[must_use]
    pub fn too_large_resource_version(wanted: u64, current: u64, retry_after_seconds: u32) -> Self {
        let sentence = format!("Too large resource version: {wanted}, current: {current}");
        let mut status = Self::timeout(sentence, retry_after_seconds);
        status.details.get_or_insert_default().causes = vec![Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        }];
        status
    }

    /// The `Retry-After` that belongs in the header.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        self.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0)
    }

    /// The document in the client's encoding; which one that is, [`Encoding::of_status`] says.
    #[must_use]
    pub fn to_bytes(&self, encoding: Encoding) -> Vec<u8> {
        if encoding == Encoding::Protobuf {
            return protobuf::envelope(KIND, &prost::Message::encode_to_vec(&wire::Status::from(self)));
        }
        // A Status has string keys and plain values only: neither step can fail, and if one did, a client is better
        // off with a short answer than with none.
        serde_json::to_vec(self)
            .ok()
            .and_then(|json| encode::text(json, encoding).ok())
            .unwrap_or_else(|| br#"{"kind":"Status","apiVersion":"v1","status":"Failure"}"#.to_vec())
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let details = Details {
            name: name.into(),
            group: group.into(),
            kind: kind.into(),
            ..Details::default()
        };
        self.details = Some(Box::new(details));
        self
    }

    fn retry(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

// === impl Document ===

impl From<Status> for Document {
    fn from(status: Status) -> Self {
        // What went well has no code: upstream's store does not fill it in.
        let well = status.code == WELL;
        Self {
            status: if well { SUCCESS } else { "Failure" }.into(),
            code: if well { 0 } else { status.code },
            reason: status.reason,
            message: status.message,
            details: status.details,
            metadata: Metadata {
                continue_token: status.continue_token,
            },
            ..Self::default()
        }
    }
}

impl From<Document> for Status {
    fn from(document: Document) -> Self {
        Self {
            code: if document.status == SUCCESS { WELL } else { document.code },
            reason: document.reason,
            message: document.message,
            details: document.details,
            continue_token: document.metadata.continue_token,
        }
    }
}

impl Default for Document {
    fn default() -> Self {
        Self {
            kind: KIND.kind.into(),
            api_version: KIND.api_version.into(),
            metadata: Metadata::default(),
            status: "Failure".into(),
            message: String::new(),
            reason: String::new(),
            details: None,
            code: 0,
        }
    }
}

/// `schema.GroupResource.String`: `nodes.metrics.k8s.io`, or `pods` for core.
fn group_resource(group: &str, resource: &str) -> String {
    if group.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}.{group}")
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if passes a reference"
)]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if passes a reference"
)]
fn is_none(code: &u16) -> bool {
    *code == 0
}

/// `meta/v1` in protobuf (generated.proto).
mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Status {
        #[prost(message, optional, tag = "1")]
        pub(super) metadata: Option<ListMeta>,
        #[prost(string, tag = "2")]
        pub(super) status: String,
        #[prost(string, tag = "3")]
        pub(super) message: String,
        #[prost(string, tag = "4")]
        pub(super) reason: String,
        #[prost(message, optional, tag = "5")]
        pub(super) details: Option<Details>,
        #[prost(int32, tag = "6")]
        pub(super) code: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ListMeta {
        #[prost(string, tag = "3")]
        pub(super) continue_token: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Details {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) group: String,
        #[prost(string, tag = "3")]
        pub(super) kind: String,
        #[prost(message, repeated, tag = "4")]
        pub(super) causes: Vec<Cause>,
        #[prost(int32, tag = "5")]
        pub(super) retry_after_seconds: i32,
        #[prost(string, tag = "6")]
        pub(super) uid: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Cause {
        #[prost(string, tag = "1")]
        pub(super) reason: String,
        #[prost(string, tag = "2")]
        pub(super) message: String,
        #[prost(string, tag = "3")]
        pub(super) field: String,
    }

    impl From<&super::Status> for Status {
        fn from(status: &super::Status) -> Self {
            Self {
                metadata: Some(ListMeta {
                    continue_token: status.continue_token.as_deref().unwrap_or_default().to_owned(),
                }),
                status: if status.code == super::WELL {
                    super::SUCCESS
                } else {
                    "Failure"
                }
                .into(),
                message: status.message.clone(),
                reason: status.reason.clone(),
                details: status.details.as_deref().map(Details::from),
                code: if status.code == super::WELL { 0 } else { status.code.into() },
            }
        }
    }

    impl From<&super::Details> for Details {
        fn from(details: &super::Details) -> Self {
            let cause = |c: &super::Cause| Cause {
                reason: c.reason.clone(),
                message: c.message.clone(),
                field: c.field.clone(),
            };
            Self {
                name: details.name.clone(),
                group: details.group.clone(),
                kind: details.kind.clone(),
                causes: details.causes.iter().map(cause).collect(),
                retry_after_seconds: details.retry_after_seconds.try_into().unwrap_or(i32::MAX),
                uid: details.uid.clone(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPACT: Encoding = Encoding::Json { pretty: false };

    fn json(status: &Status) -> String {
        String::from_utf8(status.to_bytes(COMPACT)).unwrap()
    }

    fn request(verb: &str, group: &str, resource: &str, sub: &str, namespace: &str, name: &str) -> RequestInfo {
        RequestInfo {
            is_resource_request: true,
            verb: verb.into(),
            api_group: group.into(),
            resource: resource.into(),
            subresource: sub.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..RequestInfo::default()
        }
    }

    #[test]
    fn refusals_are_byte_for_byte_upstreams() {
        // Made with apimachinery and apiserver 0.36 (ErrorToAPIStatus, encoding/json).
        let path = RequestInfo {
            verb: "get".into(),
            path: "/x".into(),
            ..RequestInfo::default()
        };
        let nodes = request("list", "metrics.k8s.io", "nodes", "", "", "");
        let log = request("get", "", "pods", "log", "ns", "p");
        let why = "no & never";
        for (status, want) in [
            (
                Status::not_found("metrics.k8s.io", "nodes", "x"),
                r#""message":"nodes.metrics.k8s.io \"x\" not found","reason":"NotFound","details":{"name":"x","group":"metrics.k8s.io","kind":"nodes"},"code":404}"#,
            ),
            (
                Status::not_found("", "pods", "x"),
                r#""message":"pods \"x\" not found","reason":"NotFound","details":{"name":"x","kind":"pods"},"code":404}"#,
            ),
            (
                Status::forbidden("u<1>", &nodes, why),
                r#""message":"nodes.metrics.k8s.io is forbidden: User \"u\u0026lt;1\u0026gt;\" cannot list resource \"nodes\" in API group \"metrics.k8s.io\" at the cluster scope: no \u0026 never","reason":"Forbidden","details":{"group":"metrics.k8s.io","kind":"nodes"},"code":403}"#,
            ),
            (
                Status::forbidden("u<1>", &log, why),
                r#""message":"pods \"p\" is forbidden: User \"u\u0026lt;1\u0026gt;\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"ns\": no \u0026 never","reason":"Forbidden","details":{"name":"p","kind":"pods"},"code":403}"#,
            ),
            (
                Status::forbidden("u", &path, ""),
                r#""message":"forbidden: User \"u\" cannot get path \"/x\"","reason":"Forbidden","details":{},"code":403}"#,
            ),
            (
                Status::method_not_supported("metrics.k8s.io", "nodes", "watch"),
                r#""message":"watch is not supported on resources of kind \"nodes.metrics.k8s.io\"","reason":"MethodNotAllowed","details":{"group":"metrics.k8s.io","kind":"nodes"},"code":405}"#,
            ),
            (
                Status::generic_not_found(),
                r#""message":"the server could not find the requested resource","reason":"NotFound","details":{},"code":404}"#,
            ),
            (
                Status::method_not_allowed(),
                r#""message":"the server does not allow this method on the requested resource","reason":"MethodNotAllowed","details":{},"code":405}"#,
            ),
            (
                Status::internal_error("boom"),
                r#""message":"Internal error occurred: boom","reason":"InternalError","details":{"causes":[{"message":"boom"}]},"code":500}"#,
            ),
            (
                Status::too_many_requests(1),
                r#""message":"Too many requests, please try again later.","reason":"TooManyRequests","details":{"retryAfterSeconds":1},"code":429}"#,
            ),
            (
                Status::gateway_timeout(),
                r#""message":"Timeout: request did not complete within the allotted timeout","reason":"Timeout","details":{},"code":504}"#,
            ),
            (
                Status::request_entity_too_large(3_145_728),
                r#""message":"Request entity too large: limit is 3145728","reason":"RequestEntityTooLarge","code":413}"#,
            ),
            (
                Status::service_unavailable("later", 0),
                r#""message":"later","reason":"ServiceUnavailable","code":503}"#,
            ),
            (
                Status::unsupported_media_type(&["application/json"]),
                r#""message":"the body of the request was in an unknown format - accepted media types include: application/json","reason":"UnsupportedMediaType","code":415}"#,
            ),
            (
                Status::unauthorized(),
                r#""message":"Unauthorized","reason":"Unauthorized","code":401}"#,
            ),
            (
                Status::expired("too old"),
                r#""message":"too old","reason":"Expired","code":410}"#,
            ),
            (Status::gone("gone"), r#""message":"gone","reason":"Gone","code":410}"#),
            (
                Status::already_exists("h", "ships", "a"),
                r#""message":"ships.h \"a\" already exists","reason":"AlreadyExists","details":{"name":"a","group":"h","kind":"ships"},"code":409}"#,
            ),
            (
                Status::conflict("h", "ships", "a", "no"),
                r#""message":"Operation cannot be fulfilled on ships.h \"a\": no","reason":"Conflict","details":{"name":"a","group":"h","kind":"ships"},"code":409}"#,
            ),
            (
                Status::denied("h", "ships", "", "no"),
                r#""message":"ships.h is forbidden: no","reason":"Forbidden","details":{"group":"h","kind":"ships"},"code":403}"#,
            ),
            (
                Status::failure(500, "", "failed listing"),
                r#""message":"failed listing","code":500}"#,
            ),
        ] {
            let want = format!("{{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{{}},\"status\":\"Failure\",{want}\n");
            assert_eq!(json(&status), want);
            assert_eq!(serde_json::from_str::<Status>(&want).unwrap(), status);
        }
    }

    #[test]
    fn what_is_deleted_is_a_success() {
        let status = Status::deleted("h", "ships", "a", "u");
        assert_eq!(
            String::from_utf8(status.to_bytes(Encoding::Json { pretty: false })).unwrap(),
            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Success\",\"details\":{\"name\":\"a\",\"group\":\"h\",\
             \"kind\":\"ships\",\"uid\":\"u\"}}\n"
        );
        let back: Status = serde_json::from_slice(&status.to_bytes(Encoding::Json { pretty: false })).unwrap();
        assert_eq!(back, status);
    }

    #[test]
    fn an_invalid_object_names_each_field() {
        let cause = |field: &str| Cause {
            reason: "FieldValueRequired".into(),
            message: "Required value".into(),
            field: field.into(),
        };
        for (causes, want) in [
            (vec![], r#"Ship.harbor.example.com "a" is invalid"#),
            (
                vec![cause("spec.x")],
                r#"Ship.harbor.example.com "a" is invalid: spec.x: Required value"#,
            ),
            (
                vec![cause("spec.x"), cause("spec.y"), cause("spec.x")],
                r#"Ship.harbor.example.com "a" is invalid: [spec.x: Required value, spec.y: Required value]"#,
            ),
        ] {
            let status = Status::invalid("harbor.example.com", "Ship", "a", causes.clone());
            assert_eq!((status.code, status.message.as_str()), (422, want));
            assert_eq!(status.details.unwrap().causes, causes);
        }
    }

    #[test]
    fn a_status_comes_in_every_encoding() {
        let status = Status::service_unavailable("starting", 5);
        assert_eq!(status.retry_after(), Some(5));
        assert_eq!(Status::bad_request("x").retry_after(), None);
        assert_eq!(
            String::from_utf8(status.to_bytes(Encoding::Yaml)).unwrap(),
            "apiVersion: v1\ncode: 503\ndetails:\n  retryAfterSeconds: 5\nkind: Status\nmessage: starting\nmetadata: {}\n\
             reason: ServiceUnavailable\nstatus: Failure\n"
        );
        assert_eq!(
            String::from_utf8(status.to_bytes(Encoding::Json { pretty: true })).unwrap(),
            "{\n  \"kind\": \"Status\",\n  \"apiVersion\": \"v1\",\n  \"metadata\": {},\n  \"status\": \"Failure\",\n  \
             \"message\": \"starting\",\n  \"reason\": \"ServiceUnavailable\",\n  \"details\": {\n    \
             \"retryAfterSeconds\": 5\n  },\n  \"code\": 503\n}"
        );
        let envelope = protobuf::open(&status.to_bytes(Encoding::Protobuf)).unwrap();
        let kind = envelope.type_meta.unwrap();
        assert_eq!((kind.api_version.as_str(), kind.kind.as_str()), ("v1", "Status"));
        let message: wire::Status = prost::Message::decode(envelope.raw.as_slice()).unwrap();
        assert_eq!(
            (message.code, message.status.as_str(), message.reason.as_str()),
            (503, "Failure", "ServiceUnavailable")
        );
        assert_eq!(message.details.unwrap().retry_after_seconds, 5);
    }
}
