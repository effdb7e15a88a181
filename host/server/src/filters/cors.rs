//! Cross-origin requests of browsers (apiserver `server/filters/cors.go`). Off unless origins are given.
//!
//! An allowed origin gets the headers on whatever answer its request gets, and a preflight (OPTIONS) is answered with 204 before
//! anybody asks who is calling: browsers send no credentials with it. Other origins get nothing, which a browser takes for a no.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use regex::RegexSet;

use crate::call::Body;

const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE, PATCH"),
    ),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, X-Requested-With, If-Modified-Since",
        ),
    ),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Date")),
    (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")),
];

/// Whom browsers may let in.
#[derive(Debug)]
pub struct Cors {
    allowed: RegexSet,
}

/// A pattern that `--cors-allowed-origins` does not take; words of apiserver's `validateCorsAllowedOriginList`.
#[derive(Debug, thiserror::Error)]
pub enum BadOrigin {
    /// An empty one would allow everybody.
    #[error("empty value in --cors-allowed-origins, help: {HELP}")]
    Empty,
    /// No regular expression.
    #[error("--cors-allowed-origins has an invalid regular expression: {0}, help: {HELP}")]
    Invalid(#[source] regex::Error),
    /// `example.com` would allow `example.com.evil.org` (CVE-2022-1996).
    #[error(
        "--cors-allowed-origins has an invalid regular expression: regular expression does not pin to start/end of host in the \
         origin header, help: {HELP}"
    )]
    NotPinned,
}

const HELP: &str = "each expression must match the entire hostname: anchor it to the start with '^' or include the '//' prefix, and \
                    anchor it to the end with '$' or include the ':' port separator suffix, as in '//example\\.com(:|$)'";

// === impl Cors ===

impl Cors {
    /// Of `--cors-allowed-origins`; `None` for no patterns, which is off.
    ///
    /// # Errors
    /// [`BadOrigin`] for the first pattern that is not safe.
    pub fn new(patterns: &[String]) -> Result<Option<Self>, BadOrigin> {
        for pattern in patterns {
            if pattern.is_empty() {
                return Err(BadOrigin::Empty);
            }
            regex::Regex::new(pattern).map_err(BadOrigin::Invalid)?;
            let pinned = |marks: [&str; 2]| marks.iter().any(|mark| pattern.contains(mark));
            if !pinned(["^", "//"]) || !pinned(["$", ":"]) {
                return Err(BadOrigin::NotPinned);
            }
        }
        if patterns.is_empty() {
            return Ok(None);
        }
        let allowed = RegexSet::new(patterns).map_err(BadOrigin::Invalid)?;
        Ok(Some(Self { allowed }))
    }

    /// The origin, if the request names one and it is allowed.
    #[must_use]
    pub fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN).filter(|origin| !origin.is_empty())?;
        origin
            .to_str()
            .is_ok_and(|text| self.allowed.is_match(text))
            .then(|| origin.clone())
    }
}

/// Tells a browser that this origin may see the answer.
pub fn mark(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.extend(HEADERS);
}

/// The answer to a preflight; [`mark`] completes it.
#[must_use]
pub fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(list: &[&str]) -> Vec<String> {
        list.iter().map(|p| (*p).to_owned()).collect()
    }

    /// The cases of apiserver `cors_test.go`, with patterns that pass the validation.
    #[test]
    fn origins() {
        type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a [&'a str]);
        let rows: [Row<'_>; 5] = [
            (
                "a match",
                &["//example\\.com(:|$)"],
                &["http://example.com", "https://example.com:443"],
                &[],
            ),
            (
                "no match",
                &["^https?://example\\.com(:|$)"],
                &[],
                &["http://not-allowed.com", "not-allowed.com", "example.com", ""],
            ),
            (
                "several patterns",
                &["^https://not-matching\\.com$", "//example\\.com(:|$)"],
                &["http://example.com"],
                &["http://matching.com"],
            ),
            ("any", &["^.*$"], &["http://example.com", "example.com"], &[]),
            (
                "the end is pinned (CVE-2022-1996)",
                &["//example\\.com(:|$)"],
                &["http://example.com", "http://example.com:8080"],
                &[
                    "http://example.com.hacker.org",
                    "http://example.com.hacker.org:8080",
                    "http://hacker-example.com",
                ],
            ),
        ];
        for (name, list, yes, no) in rows {
            let cors = Cors::new(&patterns(list)).unwrap().unwrap();
            for (origins, want) in [(yes, true), (no, false)] {
                for origin in origins {
                    let headers = HeaderMap::from_iter([(header::ORIGIN, origin.parse().unwrap())]);
                    assert_eq!(cors.origin(&headers).is_some(), want, "{name}: {origin}");
                }
            }
            assert!(cors.origin(&HeaderMap::new()).is_none(), "{name}: no origin");
        }
    }

    /// The cases of apiserver `server_run_options_test.go` (`TestValidateCorsAllowedOriginList`).
    #[test]
    fn patterns_must_be_pinned() {
        for (list, fine) in [
            (&[][..], true),
            (&["^http://foo.example.com$"], true),
            (&["//example.com$"], true),
            (&["//example.com:"], true),
            (&["//(example|sample)\\.com(:|$)"], true),
            (&["^https://example\\.com(:|$)", "//x$"], true),
            (&["example.com"], false),
            (&["^example.com"], false),
            (&["example.com$"], false),
            (&["//example.com"], false),
            (&[""], false),
            (&["^http://ok.com$", ".*"], false),
            (&["^[$"], false),
        ] {
            assert_eq!(Cors::new(&patterns(list)).is_ok(), fine, "{list:?}");
        }
        assert!(Cors::new(&[]).unwrap().is_none(), "no patterns: off");
    }
}
