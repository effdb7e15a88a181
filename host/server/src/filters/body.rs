//! Request bodies end at 3 MiB (apiserver `MaxRequestBodyBytes`).

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::Limited;
use outrigger_api::status::Status;

use crate::call::Body;

/// What etcd takes, doubled, as upstream reasons.
pub const MAX_BYTES: u64 = 3 * 1024 * 1024;

/// Cuts a body off behind the limit.
///
/// # Errors
/// 413 at once if the client announces more. A body without a length answers 413 where it is read.
pub fn limited<B>(headers: &HeaderMap, body: B) -> Result<Body, Status>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.is_end_stream() {
        return Ok(Body::empty());
    }
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|l| l.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BYTES) {
        return Err(Status::request_entity_too_large(MAX_BYTES));
    }
    Ok(Body::new(Limited::new(
        body,
        usize::try_from(MAX_BYTES).unwrap_or(usize::MAX),
    )))
}
