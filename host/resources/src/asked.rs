//! A request as the verbs see it, whatever stands behind its resource.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_api::identity::Identity;
use outrigger_api::query::Query;
use outrigger_api::request_info::RequestInfo;
use outrigger_catalog::Served;

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
}

// === impl Asked ===

impl<'a> Asked<'a> {
    pub(crate) fn read(&self) -> Read<'a> {
        Read::new(self.served, self.info, self.query, self.accept, self.pretty)
    }
}

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").field("info", self.info).finish_non_exhaustive()
    }
}
