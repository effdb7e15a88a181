//! Questions to kube-apiserver, as whoever holds the kubeconfig: each has a deadline, and each way to have no answer is told apart.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use kube::client::Body;
use outrigger_cluster::{Cluster, causes};
use serde::de::DeserializeOwned;

use crate::condition::Condition;

/// The largest document that is read: kube-apiserver's whole OpenAPI v2 is some megabytes.
const LARGEST: usize = 64 << 20;

/// kube-apiserver, and how long one question may take.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) deadline: Duration,
}

/// Whatever came back, of any status.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// How far the server's clock is ahead, in seconds, if it says what time it is.
    pub(crate) ahead: Option<i64>,
}

/// Why there is no document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    #[error("{0}")]
    Unreachable(String),
    #[error("401")]
    Unknown,
    #[error("403")]
    Denied,
    #[error("404")]
    NotFound,
    #[error("{0}{1}")]
    Status(StatusCode, String),
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
}

// === impl World ===

impl World {
    /// One GET, whatever the status.
    pub(crate) async fn get(&self, path: &str, accept: &str) -> Result<Answer, NoAnswer> {
        let request = Request::get(path)
            .header(header::ACCEPT, accept)
            .body(Body::empty())
            .map_err(|error| NoAnswer::Unreadable(error.to_string()))?;
        let exchange = async {
            let before = Timestamp::now();
            let answer = self
                .cluster
                .client
                .send(request)
                .await
                .map_err(|error| NoAnswer::Unreachable(causes(&error)))?;
            let ahead = ahead(answer.headers(), before, Timestamp::now());
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, LARGEST)
                .collect()
                .await
                .map_err(|error| NoAnswer::Unreadable(error.to_string()))?
                .to_bytes();
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body,
                ahead,
            })
        };
        tokio::time::timeout(self.deadline, exchange)
            .await
            .unwrap_or(Err(NoAnswer::Deadline(self.deadline)))
    }

    /// One GET of a JSON document.
    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, NoAnswer> {
        self.read_as(path, "application/json").await
    }

    pub(crate) async fn read_as<T: DeserializeOwned>(&self, path: &str, accept: &str) -> Result<T, NoAnswer> {
        self.get(path, accept).await?.document()
    }
}

// === impl Answer ===

impl Answer {
    /// The document of a 200.
    pub(crate) fn document<T: DeserializeOwned>(&self) -> Result<T, NoAnswer> {
        match self.status {
            StatusCode::OK => serde_json::from_slice(&self.body).map_err(|error| NoAnswer::Unreadable(error.to_string())),
            StatusCode::UNAUTHORIZED => Err(NoAnswer::Unknown),
            StatusCode::FORBIDDEN => Err(NoAnswer::Denied),
            StatusCode::NOT_FOUND => Err(NoAnswer::NotFound),
            other => Err(NoAnswer::Status(other, self.said())),
        }
    }

    /// `: WORDS`, of a Status or of plain text, short; or nothing.
    pub(crate) fn said(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Status {
            message: String,
        }
        let text = match serde_json::from_slice::<Status>(&self.body) {
            Ok(status) => status.message,
            Err(_) => String::from_utf8_lossy(self.body.get(..300).unwrap_or(&self.body)).into_owned(),
        };
        let short: String = text.trim().chars().take(300).collect();
        if short.is_empty() { short } else { format!(": {short}") }
    }
}

// === impl NoAnswer ===

impl NoAnswer {
    /// The row of a check that could not be made. `what` reads after "you may not": `get configmaps`.
    pub(crate) fn skip(&self, what: &str) -> Condition {
        match self {
            Self::Denied => Condition::NotPermitted { what: what.into() },
            other => Condition::NotAnswered {
                what: what.into(),
                why: other.to_string(),
            },
        }
    }
}

/// How far the clock that wrote `Date` is ahead of ours, in whole seconds: zero while it lies between question and answer,
/// give or take the second that the header cannot tell.
pub(crate) fn ahead(headers: &HeaderMap, before: Timestamp, after: Timestamp) -> Option<i64> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    let theirs = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second();
    let (before, after) = (before.as_second() - 1, after.as_second() + 1);
    Some(if theirs > after {
        theirs - after
    } else if theirs < before {
        theirs - before
    } else {
        0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_judged_by_the_time_between_question_and_answer() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        for (date, expected) in [
            ("Fri, 15 Jan 2027 08:00:00 GMT", Some(0)),
            ("Fri, 15 Jan 2027 08:00:04 GMT", Some(0)),
            ("Fri, 15 Jan 2027 08:01:04 GMT", Some(60)),
            ("Fri, 15 Jan 2027 07:58:59 GMT", Some(-60)),
            ("yesterday", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::DATE, date.parse().unwrap());
            assert_eq!(ahead(&headers, at(0), at(3)), expected, "{date}");
        }
        assert_eq!(ahead(&HeaderMap::new(), at(0), at(3)), None);
    }

    #[test]
    fn what_was_said_is_short() {
        let answer = |body: &str| Answer {
            status: StatusCode::SERVICE_UNAVAILABLE,
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            ahead: None,
        };
        assert_eq!(answer(r#"{"kind":"Status","message":"no"}"#).said(), ": no");
        assert_eq!(answer("service unavailable\n").said(), ": service unavailable");
        assert_eq!(answer("").said(), "");
        assert!(answer(&"x".repeat(9000)).said().len() < 400);
    }
}
