//! What stands behind the filters: one trait, and what it is given.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError};
use outrigger_api::identity::Identity;
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::Status;
use outrigger_auth::{Attributes, Authorizer};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audit::Notebook;
use crate::connection::Handover;
use crate::filters::body::MAX_BYTES;
use crate::warnings::Warnings;

/// Bodies of requests and responses.
pub type Body = axum::body::Body;

/// Answers everything that is not health, metrics or version, after all filters.
#[async_trait]
pub trait Endpoint: Send + Sync + 'static {
    /// Whether it knows by now what it serves. Until it does, callers get 503 and never 404: one 404 on `/openapi/v3` makes
    /// kube-apiserver take the server for a legacy one.
    fn ready(&self) -> bool;

    /// Whether this resource (or subresource) is served. Only such names become labels of metrics: a caller must not be able
    /// to make series by inventing resources. Asked when a combination is seen first, not for each request.
    fn serves(&self, info: &RequestInfo) -> bool;

    /// Whether a request stays open beyond those that stay open everywhere: a stream of a subresource. Not asked for requests without a
    /// subresource.
    fn stays_open(&self, info: &RequestInfo) -> bool {
        let _ = info;
        false
    }

    /// Answers. Refusals are a `Status` here too; [`crate::Client::refuse`] writes one.
    async fn answer(&self, call: Call) -> Response<Body>;
}

/// A request whose caller is known and permitted.
#[derive(Debug)]
pub struct Call {
    /// What is wanted.
    pub info: RequestInfo,
    /// By whom.
    pub identity: Arc<Identity>,
    /// Method, URI, headers. `Authorization` and all headers that claim an identity are gone.
    pub parts: Parts,
    /// The body, cut off at 3 MiB; [`read`] reads it.
    pub body: Body,
    /// When the caller gets 504. `None` for watches and other long-running requests.
    pub deadline: Option<Instant>,
    /// Cancelled when the server drains. The filters end the bodies of long-running requests then; who waits for something
    /// else should watch this.
    pub draining: CancellationToken,
    /// What the caller should know though the request succeeds.
    pub warnings: Warnings,
    /// The request's event in the audit log.
    pub audit: Notebook,
    /// The `Audit-ID`.
    pub audit_id: String,
    /// For what turns out to need another permission.
    pub permission: Permission,
    /// For an answer that makes something else of the connection.
    pub handover: Handover,
}

/// What else a caller may do than what he was permitted already.
#[derive(Clone)]
pub struct Permission {
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) identity: Arc<Identity>,
}

#[async_trait]
impl outrigger_resources::Permission for Permission {
    async fn check(&self, info: &RequestInfo) -> Result<(), Status> {
        let outcome = self.authorizer.permit(&self.identity, &Attributes::from(info)).await;
        outcome.map_err(|refused| refused.status(&self.identity, info))
    }
}

impl std::fmt::Debug for Permission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permission")
            .field("of", &self.identity.name)
            .finish_non_exhaustive()
    }
}

/// Reads a request's body whole.
///
/// # Errors
/// 413 beyond 3 MiB; 400 if the client breaks off.
pub async fn read(body: Body) -> Result<Bytes, Status> {
    match body.collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if is_too_long(&error) => Err(Status::request_entity_too_large(MAX_BYTES)),
        Err(error) => Err(Status::bad_request(format!("the body could not be read: {error}"))),
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
