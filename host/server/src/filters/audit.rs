//! `Audit-ID`: taken from the request, or made, and always echoed (apiserver `endpoints/filters/audit_init.go`).

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The header.
pub const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// The request's id. The aggregator sends one, and it must stay the same to find a request in both logs.
#[must_use]
pub fn id(headers: &HeaderMap) -> HeaderValue {
    match headers.get(AUDIT_ID) {
        Some(id) if !id.is_empty() => id.clone(),
        _ => {
            let mut buffer = Uuid::encode_buffer();
            let text = Uuid::new_v4().hyphenated().encode_lower(&mut buffer);
            HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_or_made() {
        let with = |id: &str| HeaderMap::from_iter([(AUDIT_ID, HeaderValue::from_str(id).unwrap())]);
        assert_eq!(id(&with("abc")), "abc");
        for headers in [HeaderMap::new(), with("")] {
            assert!(Uuid::parse_str(id(&headers).to_str().unwrap()).is_ok());
        }
    }
}
