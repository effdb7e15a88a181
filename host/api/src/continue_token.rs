//! Continue tokens: where the next page of a list starts (apiserver `storage/continue.go`).
//!
//! Opaque to clients, but upstream's very format, base64 of a small JSON document, so that tools that look inside find
//! what they know. A token names the resource version of its first page; a list that cannot be continued there answers
//! 410 with a token whose version is -1, which continues with what is there now.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::status::Status;

/// Where a page starts, and as of when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContinueToken {
    /// The version of the first page; `None` continues with what is there now.
    pub version: Option<u64>,
    /// The first key that may be on the page, relative to what is listed: `NAME` in a namespace or for a cluster-scoped
    /// resource, else `NAMESPACE/NAME`. Ends in a zero byte if it stands behind that name.
    pub start: String,
}

/// The wire's shape.
#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(default)]
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

const VERSION: &str = "meta.k8s.io/v1";

// === impl ContinueToken ===

impl ContinueToken {
    /// Continues behind `key`.
    #[must_use]
    pub fn behind(key: &str, version: u64) -> Self {
        Self {
            version: Some(version),
            start: format!("{key}\0"),
        }
    }

    /// As the client gets it.
    #[must_use]
    pub fn encode(&self) -> String {
        let document = Document {
            v: VERSION.into(),
            rv: self.version.map_or(-1, |v| i64::try_from(v).unwrap_or(i64::MAX)),
            start: self.start.clone(),
        };
        // Two strings and a number: this cannot fail.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&document).unwrap_or_default())
    }

    /// Reads what a client sends back.
    ///
    /// # Errors
    /// 400 for anything that [`ContinueToken::encode`] does not make, and for keys that would leave what is listed.
    pub fn decode(token: &str) -> Result<Self, Status> {
        let invalid = |why: &str| Status::bad_request(format!("invalid continue token: continue key is not valid{why}"));
        let json = URL_SAFE_NO_PAD.decode(token).map_err(|e| invalid(&format!(": {e}")))?;
        let document: Document = serde_json::from_slice(&json).map_err(|e| invalid(&format!(": {e}")))?;
        if document.v != VERSION {
            let sentence = "invalid continue token: continue key is not valid: server does not recognize this encoded version";
            return Err(Status::bad_request(format!("{sentence} {}", document.v)));
        }
        let version = match document.rv {
            0 => return Err(invalid(": incorrect encoded start resourceVersion (version meta.k8s.io/v1)")),
            rv => u64::try_from(rv).ok(),
        };
        if document.start.is_empty() {
            return Err(invalid(": encoded start key empty (version meta.k8s.io/v1)"));
        }
        let start = document.start.strip_prefix('/').unwrap_or(&document.start);
        // What Go's path.Clean would change.
        if start.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(invalid(&format!(": {}", document.start)));
        }
        Ok(Self {
            version,
            start: start.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for token in [
            ContinueToken::behind("shop/web", 7),
            ContinueToken::behind("web", u64::MAX >> 1),
            ContinueToken {
                version: None,
                start: "shop/web\0".into(),
            },
        ] {
            assert_eq!(ContinueToken::decode(&token.encode()), Ok(token));
        }
    }

    /// Made with upstream's `storage.EncodeContinue("/registry/pods/shop/web\x00", "/registry/pods/", 7)`.
    #[test]
    fn upstreams_format() {
        let token = ContinueToken::behind("shop/web", 7).encode();
        assert_eq!(
            token,
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6Nywic3RhcnQiOiJzaG9wL3dlYlx1MDAwMCJ9"
        );
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let made = |json: &str| URL_SAFE_NO_PAD.encode(json);
        for (token, why) in [
            ("???".to_owned(), "continue key is not valid: "),
            (made("nonsense"), "continue key is not valid: "),
            (
                made(r#"{"v":"v2","rv":1,"start":"a"}"#),
                "does not recognize this encoded version v2",
            ),
            (
                made(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#),
                "incorrect encoded start resourceVersion",
            ),
            (made(r#"{"v":"meta.k8s.io/v1","rv":1,"start":""}"#), "encoded start key empty"),
            (
                made(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../b"}"#),
                "continue key is not valid: ../b",
            ),
            (
                made(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"a//b"}"#),
                "continue key is not valid: a//b",
            ),
        ] {
            let status = ContinueToken::decode(&token).unwrap_err();
            assert_eq!(status.code, 400, "{token}");
            assert!(status.message.starts_with("invalid continue token: "), "{}", status.message);
            assert!(status.message.contains(why), "{}", status.message);
        }
    }
}
