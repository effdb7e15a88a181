//! A bearer token as a WebSocket subprotocol (apiserver `authentication/request/websocket/protocol.go`).
//!
//! Browsers cannot set `Authorization` on a WebSocket, so they offer the token among the subprotocols, as
//! `base64url.bearer.authorization.k8s.io.TOKEN`. It is taken out of the header before anything else sees the request; at
//! least one other subprotocol must be left, since the server has to choose one and must never choose the token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{self, HeaderValue};
use http::{HeaderMap, HeaderName};

use crate::authenticate::Refusal;

const HEADER: HeaderName = header::SEC_WEBSOCKET_PROTOCOL;
const PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// The token that a WebSocket request carries; `None` if it is none or carries none.
pub(crate) fn token(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    if !is_websocket(headers) {
        return Ok(None);
    }
    let mut found = None;
    let mut others = false;
    for protocol in protocols(headers) {
        let Some(encoded) = protocol.strip_prefix(PREFIX) else {
            others = true;
            continue;
        };
        if found.is_some() {
            return Err(Refusal::Subprotocol("there are several tokens"));
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| Refusal::Subprotocol("the token is not base64url without padding"))?;
        found = Some(String::from_utf8(bytes).map_err(|_| Refusal::Subprotocol("the token is not UTF-8"))?);
    }
    match found.filter(|token| !token.is_empty()) {
        Some(_) if !others => Err(Refusal::Subprotocol("there is no other subprotocol to choose")),
        found => Ok(found),
    }
}

/// Removes tokens from the subprotocols.
pub(crate) fn strip(headers: &mut HeaderMap) {
    // Rarely there at all: one look-up.
    if !headers.contains_key(HEADER) || !protocols(headers).any(|p| p.starts_with(PREFIX)) {
        return;
    }
    let others: Vec<&str> = protocols(headers).filter(|p| !p.starts_with(PREFIX)).collect();
    match HeaderValue::from_str(&others.join(",")) {
        Ok(left) if !left.is_empty() => {
            headers.insert(HEADER, left);
        }
        _ => {
            headers.remove(HEADER);
        }
    }
}

/// Whether an upgrade to WebSocket is asked for (`wsstream.IsWebSocketRequest`).
fn is_websocket(headers: &HeaderMap) -> bool {
    let is = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    headers.get(header::UPGRADE).is_some_and(is)
        && headers
            .get_all(header::CONNECTION)
            .iter()
            .any(|value| value.to_str().is_ok_and(|v| v.to_ascii_lowercase().contains("upgrade")))
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(HEADER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "base64url.bearer.authorization.k8s.io.Z29vZA";

    fn request(upgrade: &str, connection: &str, protocols: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in [(header::UPGRADE, upgrade), (header::CONNECTION, connection)] {
            map.insert(name, value.parse().unwrap());
        }
        for value in protocols {
            map.append(HEADER, value.parse().unwrap());
        }
        map
    }

    /// The cases of apiserver `websocket/protocol_test.go`.
    #[test]
    fn tokens_are_found_and_never_passed_on() {
        type Row<'a> = (
            &'a str,
            &'a str,
            &'a str,
            &'a [&'a str],
            Result<Option<&'a str>, ()>,
            &'a [&'a str],
        );
        let both = "proto, base64url.bearer.authorization.k8s.io.Z29vZA";
        let bad = "proto, base64url.bearer.authorization.k8s.io.%%%";
        let rows: [Row<'_>; 11] = [
            (
                "beside another",
                "websocket",
                "Upgrade",
                &[both],
                Ok(Some("good")),
                &["proto"],
            ),
            (
                "in letters of any case",
                "WebSocket",
                "keep-alive, upgrade",
                &[both],
                Ok(Some("good")),
                &["proto"],
            ),
            (
                "in headers of their own",
                "websocket",
                "Upgrade",
                &[GOOD, "a, b"],
                Ok(Some("good")),
                &["a,b"],
            ),
            ("alone", "websocket", "Upgrade", &[GOOD], Err(()), &[]),
            ("twice", "websocket", "Upgrade", &[both, GOOD], Err(()), &["proto"]),
            ("not base64", "websocket", "Upgrade", &[bad], Err(()), &["proto"]),
            (
                "padded",
                "websocket",
                "Upgrade",
                &["proto, base64url.bearer.authorization.k8s.io.YWE="],
                Err(()),
                &["proto"],
            ),
            (
                "not UTF-8",
                "websocket",
                "Upgrade",
                &["proto, base64url.bearer.authorization.k8s.io._w"],
                Err(()),
                &["proto"],
            ),
            (
                "empty",
                "websocket",
                "Upgrade",
                &["proto, base64url.bearer.authorization.k8s.io."],
                Ok(None),
                &["proto"],
            ),
            (
                "none",
                "websocket",
                "Upgrade",
                &["v4.channel.k8s.io"],
                Ok(None),
                &["v4.channel.k8s.io"],
            ),
            ("no WebSocket", "h2c", "Upgrade", &[both], Ok(None), &["proto"]),
        ];
        for (name, upgrade, connection, given, want, left) in rows {
            let mut headers = request(upgrade, connection, given);
            let got = token(&headers);
            assert_eq!(got.as_ref().map(Option::as_deref).map_err(|_| ()), want, "{name}");
            strip(&mut headers);
            let after: Vec<&str> = headers.get_all(HEADER).iter().map(|v| v.to_str().unwrap()).collect();
            assert_eq!(after, left, "{name}");
        }
    }
}
