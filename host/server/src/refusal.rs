//! How a refusal leaves the house: a `Status` in the encoding that the client asked for, also before routing.

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode, Uri};
use outrigger_api::media::{Encoding, is_pretty};
use outrigger_api::query::Query;
use outrigger_api::status::Status;

use crate::call::Body;

/// What must be known of a request to answer it with a `Status` when the request itself is long gone.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) uri: Uri,
    accept: Option<HeaderValue>,
    agent: Option<HeaderValue>,
}

/// Goes with a refusal, for those who keep records of answers.
#[derive(Debug, Clone)]
pub(crate) struct Refusal(pub(crate) Status);

// === impl Client ===

impl Client {
    /// Remembers it; reference counts only.
    #[must_use]
    pub fn of(parts: &Parts) -> Self {
        Self {
            uri: parts.uri.clone(),
            accept: parts.headers.get(header::ACCEPT).cloned(),
            agent: parts.headers.get(header::USER_AGENT).cloned(),
        }
    }

    /// The answer that says no. `Retry-After` comes with a status that says when.
    #[must_use]
    pub fn refuse(&self, status: &Status) -> Response<Body> {
        let text = |value: &'_ Option<HeaderValue>| value.as_ref().and_then(|v| v.to_str().ok().map(str::to_owned));
        let query = Query::parse(self.uri.query().unwrap_or_default());
        let pretty = is_pretty(&query, text(&self.agent).as_deref());
        let encoding = Encoding::of_status(text(&self.accept).as_deref(), pretty);
        let mut response = Response::new(Body::from(status.to_bytes(encoding)));
        *response.status_mut() = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(encoding.content_type()));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(seconds) = status.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(Refusal(status.clone()));
        response
    }
}
