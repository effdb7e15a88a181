//! `Strict-Transport-Security` (apiserver `server/filters/hsts.go`). Off unless directives are given.

use http::HeaderMap;
use http::header::{self, HeaderValue};

/// The header as it is sent.
#[derive(Debug)]
pub struct Hsts(HeaderValue);

/// A directive that `--strict-transport-security-directives` does not take; words of apiserver's `validateHSTSDirectives`.
#[derive(Debug, thiserror::Error)]
pub enum BadDirective {
    /// Nothing between two commas.
    #[error("empty value in strict-transport-security-directives")]
    Empty,
    /// Something else than the three.
    #[error(
        "--strict-transport-security-directives invalid, allowed values: max-age=expireTime, includeSubDomains, preload. see \
         https://tools.ietf.org/html/rfc6797#section-6.1 for more information"
    )]
    Unknown,
}

// === impl Hsts ===

impl Hsts {
    /// Of the flag's directives; `None` for none, which is off.
    ///
    /// # Errors
    /// [`BadDirective`] for the first that browsers would not understand.
    pub fn new(directives: &[String]) -> Result<Option<Self>, BadDirective> {
        for directive in directives {
            if directive.trim().is_empty() {
                return Err(BadDirective::Empty);
            }
            let mut parts = directive.split('=');
            let max_age = (parts.next(), parts.next().is_some(), parts.next()) == (Some("max-age"), true, None);
            if !max_age && directive != "includeSubDomains" && directive != "preload" {
                return Err(BadDirective::Unknown);
            }
        }
        if directives.is_empty() {
            return Ok(None);
        }
        let value = HeaderValue::from_str(&directives.join("; ")).map_err(|_| BadDirective::Unknown)?;
        Ok(Some(Self(value)))
    }

    /// Puts the header on an answer that has none.
    pub fn mark(&self, headers: &mut HeaderMap) {
        headers
            .entry(header::STRICT_TRANSPORT_SECURITY)
            .or_insert_with(|| self.0.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives() {
        for (list, want) in [
            (&[][..], Ok(None)),
            (&["max-age=31536000"], Ok(Some("max-age=31536000"))),
            (
                &["max-age=31536000", "includeSubDomains", "preload"],
                Ok(Some("max-age=31536000; includeSubDomains; preload")),
            ),
            (&["max-age=1=2"], Err(())),
            (&["max-age"], Err(())),
            (&["maxage=1"], Err(())),
            (&["includesubdomains"], Err(())),
            (&["max-age=1", ""], Err(())),
            (&[" "], Err(())),
        ] {
            let list: Vec<String> = list.iter().map(|d| (*d).to_owned()).collect();
            let got = Hsts::new(&list).map_err(|_| ());
            let got = got.as_ref().map(|h| h.as_ref().map(|h| h.0.to_str().unwrap()));
            assert_eq!(got, want.as_ref().copied(), "{list:?}");
        }
        let hsts = Hsts::new(&["max-age=1".into()]).unwrap().unwrap();
        let mut own = HeaderMap::from_iter([(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=9"))]);
        hsts.mark(&mut own);
        assert_eq!(own[header::STRICT_TRANSPORT_SECURITY], "max-age=9", "an answer's own stays");
    }
}
