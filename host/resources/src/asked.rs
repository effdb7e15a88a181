//! A request as the verbs see it, whatever stands behind its resource.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use outrigger_api::body::Body;
use outrigger_api::identity::Identity;
use outrigger_api::query::Query;
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::Status;
use outrigger_api::write_options::DeleteOptions;
use outrigger_catalog::Served;
use outrigger_sandbox::Request;

use crate::read::Read;

/// A request.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// What stands behind the resource.
    pub served: &'a Arc<Served>,
    /// What is wanted.
    pub info: &'a RequestInfo,
    /// The URL's query.
    pub query: &'a Query,
    /// `Accept`.
    pub accept: Option<&'a str>,
    /// A person reads the answer.
    pub pretty: bool,
    /// The HTTP method.
    pub method: &'a str,
    /// `Content-Type` of the body.
    pub content_type: Option<&'a str>,
    /// The body; empty for verbs that have none, and for a stream.
    pub body: &'a Bytes,
    /// Who asks.
    pub caller: &'a Identity,
    /// Ties the request to the audit log.
    pub audit_id: &'a str,
    /// What is left of the request's time.
    pub deadline: Duration,
    /// Takes what the caller should know though the request succeeds.
    pub warn: &'a (dyn Fn(&str) + Send + Sync),
    /// Says whether the caller may do something else besides.
    pub permission: &'a dyn Permission,
}

/// Whether the caller of a request may do what he did not ask for in so many words: make what he wanted to replace.
#[async_trait]
pub trait Permission: Send + Sync {
    /// Whether he may make this other request.
    ///
    /// # Errors
    /// The Status to refuse it with.
    async fn check(&self, info: &RequestInfo) -> Result<(), Status>;
}

/// Query parameters that are the host's to read, of every verb but a stream's.
const OWN: [&str; 19] = [
    "allowWatchBookmarks",
    "continue",
    "dryRun",
    "fieldManager",
    "fieldSelector",
    "fieldValidation",
    "force",
    "gracePeriodSeconds",
    "includeObject",
    "labelSelector",
    "limit",
    "orphanDependents",
    "pretty",
    "propagationPolicy",
    "resourceVersion",
    "resourceVersionMatch",
    "timeout",
    "timeoutSeconds",
    "watch",
];

// === impl Asked ===

impl<'a> Asked<'a> {
    pub(crate) fn read(&self) -> Read<'a> {
        Read::new(self.served, self.info, self.query, self.accept, self.pretty)
    }

    /// How something is to be deleted: the body says it, or the query.
    pub(crate) fn delete_options(&self) -> Result<DeleteOptions, Status> {
        let json = if self.body.is_empty() {
            Vec::new()
        } else {
            let body = Body::read(self.content_type, self.body)?;
            serde_json::to_vec(&body.value).map_err(Status::internal_error)?
        };
        DeleteOptions::read(self.query, &json)
    }

    /// What a guest may know of the request.
    pub(crate) fn facts(&self, verb: &str, name: &str, dry_run: bool) -> Request {
        let info = self.info;
        let host = verb != "connect";
        let parameters = self.query.pairs().filter(|(key, _)| !(host && OWN.contains(key)));
        Request {
            verb: verb.to_owned(),
            group: info.api_group.clone(),
            version: info.api_version.clone(),
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            namespace: info.namespace.clone(),
            name: name.to_owned(),
            user: self.caller.name.clone(),
            groups: self.caller.groups.clone(),
            dry_run,
            parameters: parameters.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            label_selector: info.label_selector.clone(),
            field_selector: info.field_selector.clone(),
            audit_id: self.audit_id.to_owned(),
            ..Request::default()
        }
    }
}

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").field("info", self.info).finish_non_exhaustive()
    }
}
