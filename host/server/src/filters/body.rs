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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_without_a_length_is_cut_off_where_it_is_read() {
        for (mebibytes, want) in [(0, Ok(0)), (1, Ok(1 << 20)), (3, Ok(3 << 20)), (4, Err(413))] {
            let chunks = (0..mebibytes).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![0; 1 << 20])));
            let body = limited(&HeaderMap::new(), Body::from_stream(futures::stream::iter(chunks))).unwrap();
            let got = crate::call::read(body).await;
            assert_eq!(got.map(|b| b.len()).map_err(|status| status.code), want, "{mebibytes} MiB");
        }
        let broken = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]);
        let broken = limited(&HeaderMap::new(), Body::from_stream(broken)).unwrap();
        assert_eq!(crate::call::read(broken).await.unwrap_err().code, 400);
    }
}
