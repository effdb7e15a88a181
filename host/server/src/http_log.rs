//! One line per request at `-v=3`, in upstream's words (apiserver `server/httplog`): `HTTP verb= URI= latency= userAgent= audit-ID=
//! srcIP= resp=`. Below that verbosity a request pays for one comparison.

use std::net::SocketAddr;
use std::time::Duration;

use http::header::{HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{Method, Uri};
use outrigger_api::time::go_duration;

use crate::traces::short;

/// The target of the lines; the binary lets it through at `-v=3`.
pub(crate) const TARGET: &str = "outrigger_http";

/// A line that is written when the answer is complete.
#[derive(Debug)]
pub(crate) struct Line {
    method: Method,
    uri: Uri,
    agent: Option<HeaderValue>,
    audit_id: HeaderValue,
    remote: SocketAddr,
}

// === impl Line ===

impl Line {
    /// Nothing, unless somebody reads it.
    pub(crate) fn begin(parts: &Parts, audit_id: &HeaderValue, remote: SocketAddr) -> Option<Self> {
        tracing::enabled!(target: TARGET, tracing::Level::INFO).then(|| Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            agent: parts.headers.get(USER_AGENT).cloned(),
            audit_id: audit_id.clone(),
            remote,
        })
    }

    pub(crate) fn end(&self, code: u16, latency: Duration, verb: Option<&str>) {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        tracing::info!(
            target: TARGET,
            verb = verb.unwrap_or(self.method.as_str()),
            URI = self.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str),
            latency = go_duration(latency),
            userAgent = self.agent.as_ref().map(text).unwrap_or_default(),
            "audit-ID" = short(&text(&self.audit_id)),
            srcIP = %self.remote,
            resp = code,
            "HTTP"
        );
    }
}
