//! How long a request may take (apiserver `endpoints/filters/request_deadline.go`, `server/filters/timeout.go`).
//!
//! `?timeout=` is a Go duration. Nothing, zero, or more than the server's own limit means that limit. Long-running requests
//! have none: there `timeout` is the handler's business.
//!
//! Writes of one object end after 34 s at the latest (apiserver `endpoints/handlers/rest.go` `requestTimeoutUpperBound`), whatever
//! the server's limit is. Lists and `deletecollection`, which may have much to do, have the server's limit alone.

use std::time::Duration;

use http::Uri;
use outrigger_api::query::Query;
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::Status;
use outrigger_api::time::parse_go_duration;

/// The most that a write of one object may take.
const WRITE: Duration = Duration::from_secs(34);

/// What a request is given, and what it is told when that is over.
///
/// # Errors
/// 400 for a timeout that is no duration.
pub fn of_request(info: &RequestInfo, uri: &Uri, limit: Duration) -> Result<(Duration, Late), Status> {
    let given = of(uri, limit)?;
    let writes = info.is_resource_request && matches!(info.verb.as_str(), "create" | "update" | "patch" | "delete");
    Ok(if writes && given > WRITE {
        (WRITE, Late::Write)
    } else {
        (given, Late::Request)
    })
}

/// Which limit was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// The request's own or the server's.
    Request,
    /// That of writes.
    Write,
}

// === impl Late ===

impl Late {
    /// In the words of the filter, or of the handler that has the shorter limit.
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Self::Request => Status::gateway_timeout(),
            Self::Write => Status::timeout(
                "request did not complete within requested timeout - context deadline exceeded",
                0,
            ),
        }
    }
}

/// What the request and the server say.
///
/// # Errors
/// 400 for a timeout that is no duration.
fn of(uri: &Uri, limit: Duration) -> Result<Duration, Status> {
    // Most requests say nothing; they should not pay for a parsed query.
    let Some(query) = uri.query().filter(|q| q.contains("timeout")) else {
        return Ok(limit);
    };
    let query = Query::parse(query);
    let Some(text) = query.first("timeout").filter(|t| !t.is_empty()) else {
        return Ok(limit);
    };
    let wanted = parse_go_duration(text)
        .map_err(|why| Status::bad_request(format!("invalid timeout specified in the request URL - time: {why}")))?;
    Ok(match wanted {
        Some(wanted) if wanted < limit => wanted,
        _ => limit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn timeouts() {
        for (query, want) in [
            ("", LIMIT),
            ("?x=1", LIMIT),
            ("?timeout=", LIMIT),
            ("?timeoutSeconds=5", LIMIT),
            ("?timeout=0", LIMIT),
            ("?timeout=0s", LIMIT),
            ("?timeout=-5s", LIMIT),
            ("?timeout=61s", LIMIT),
            ("?timeout=1h", LIMIT),
            ("?timeout=34s", Duration::from_secs(34)),
            ("?a=b&timeout=1.5s&timeout=2s", Duration::from_millis(1500)),
            ("?timeout=1m", LIMIT),
            ("?timeout=59s999ms", Duration::from_millis(59_999)),
            ("?timeout=.5s", Duration::from_millis(500)),
            ("?timeout=%2B3s", Duration::from_secs(3)),
            ("?timeout=10%C2%B5s", Duration::from_micros(10)),
        ] {
            assert_eq!(of(&format!("/apis{query}").parse().unwrap(), LIMIT), Ok(want), "{query}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_in_gos_words() {
        for (text, want) in [
            ("abc", r#"time: invalid duration "abc""#),
            ("5", r#"time: missing unit in duration "5""#),
            ("5x", r#"time: unknown unit "x" in duration "5x""#),
            ("1s5", r#"time: missing unit in duration "1s5""#),
            (".", r#"time: invalid duration ".""#),
            ("-", r#"time: invalid duration "-""#),
            ("9999999h", r#"time: invalid duration "9999999h""#),
            ("99999999999999999999s", r#"time: invalid duration "99999999999999999999s""#),
        ] {
            let refused = of(&format!("/apis?timeout={text}").parse().unwrap(), LIMIT).unwrap_err();
            assert_eq!(refused.code, 400, "{text}");
            assert_eq!(
                refused.message,
                format!("invalid timeout specified in the request URL - {want}")
            );
        }
    }

    #[test]
    fn writes_of_one_object_end_earlier() {
        let seconds = Duration::from_secs;
        let minute = (seconds(60), Late::Request);
        let capped = (seconds(34), Late::Write);
        for (method, path, want) in [
            ("POST", "/apis/g/v1/namespaces/n/things", capped),
            ("PUT", "/apis/g/v1/things/a", capped),
            ("PATCH", "/apis/g/v1/things/a/status", capped),
            ("DELETE", "/apis/g/v1/things/a", capped),
            ("DELETE", "/apis/g/v1/things", minute),
            ("GET", "/apis/g/v1/things/a", minute),
            ("GET", "/apis/g/v1/things", minute),
            ("POST", "/somewhere", minute),
            ("PUT", "/apis/g/v1/things/a?timeout=40s", capped),
            ("PUT", "/apis/g/v1/things/a?timeout=34s", (seconds(34), Late::Request)),
            ("PUT", "/apis/g/v1/things/a?timeout=5s", (seconds(5), Late::Request)),
        ] {
            let (method, uri) = (method.parse().unwrap(), path.parse().unwrap());
            let info = RequestInfo::parse(&method, &uri).unwrap();
            assert_eq!(of_request(&info, &uri, LIMIT).unwrap(), want, "{method} {path}");
        }
        assert_eq!(
            Late::Write.status().message,
            "Timeout: request did not complete within requested timeout - context deadline exceeded"
        );
    }
}
