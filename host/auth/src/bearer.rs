//! Identity from a bearer token, by TokenReview (apiserver `authentication/token/cache`).
//!
//! A token is reviewed once for everybody who shows it at the same time, and its answer remembered for a few seconds, whether
//! yes or no. The token itself is never kept: the cache knows it by a digest.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::{HeaderMap, header};
use outrigger_api::identity::Identity;

use crate::authenticate::Refusal;
use crate::fingerprint::Fingerprints;
use crate::metrics::Metrics;
use crate::reviews::Flights;
use crate::websocket;

/// Asks whose token this is (a TokenReview).
#[async_trait]
pub trait TokenReviewer: Send + Sync + 'static {
    /// One review, retried as the implementor sees fit; `None` if the token is nobody's. The token must not be logged.
    ///
    /// # Errors
    /// Anything that is not an answer.
    async fn review(&self, token: &str) -> Result<Option<Identity>, Box<dyn Error + Send + Sync>>;
}

/// Reviews tokens through a [`TokenReviewer`].
pub struct Bearer {
    reviewer: Arc<dyn TokenReviewer>,
    answers: Flights<Option<Arc<Identity>>>,
    prints: Fingerprints,
    metrics: Option<Arc<Metrics>>,
}

/// What an operator may set.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--authentication-token-webhook-cache-ttl`, for yes and for no.
    pub good_for: Duration,
    /// How long one review may take with all its retries.
    pub deadline: Duration,
    /// Answers kept.
    pub entries: u64,
}

// === impl Options ===

impl Default for Options {
    /// Upstream's defaults.
    fn default() -> Self {
        Self {
            good_for: Duration::from_secs(10),
            deadline: Duration::from_secs(10),
            entries: 8192,
        }
    }
}

// === impl Bearer ===

impl Bearer {
    /// Reviews through a reviewer.
    #[must_use]
    pub fn new(reviewer: Arc<dyn TokenReviewer>, options: &Options) -> Self {
        let good_for = options.good_for;
        let answers = Flights::new(options.entries, options.deadline, move |_| good_for);
        Self {
            reviewer,
            answers,
            prints: Fingerprints::new(),
            metrics: None,
        }
    }

    /// Counts and times what happens here.
    pub(crate) fn measured(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Whose token the request carries; `None` if it carries none.
    pub(crate) async fn identify(&self, headers: &HeaderMap) -> Result<Option<Arc<Identity>>, Refusal> {
        match token(headers) {
            Some(token) => self.owner(token).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whose token the request carries as a WebSocket subprotocol; `None` if it carries none.
    pub(crate) async fn identify_websocket(&self, headers: &HeaderMap) -> Result<Option<Arc<Identity>>, Refusal> {
        match websocket::token(headers)? {
            Some(token) => self.owner(&token).await.map(Some),
            None => Ok(None),
        }
    }

    async fn owner(&self, token: &str) -> Result<Arc<Identity>, Refusal> {
        let started = self.metrics.as_ref().map(|metrics| (metrics, Instant::now()));
        let mut key = self.prints.start();
        key.text(token);
        let key = key.finish();
        let known = self.answers.known(&key).await;
        if let Some((metrics, started)) = started
            && known.is_some()
        {
            metrics.looked_up(true, started.elapsed());
        }
        let answer = match known {
            Some(known) => Ok(known),
            None => {
                let _waiting = self.metrics.as_ref().map(|metrics| metrics.blocked());
                let answer = self.answers.ask(key, self.review(token)).await;
                if let Some((metrics, started)) = started {
                    metrics.looked_up(false, started.elapsed());
                }
                answer
            }
        };
        match answer {
            Ok(Some(identity)) => Ok(identity),
            Ok(None) => Err(Refusal::BadToken),
            Err(no_answer) => Err(Refusal::NoReview(no_answer)),
        }
    }

    async fn review(&self, token: &str) -> Result<Option<Arc<Identity>>, Box<dyn Error + Send + Sync>> {
        let _under_way = self.metrics.as_ref().map(|metrics| metrics.fetching());
        let reviewed = self.reviewer.review(token).await;
        if let Some(metrics) = &self.metrics {
            metrics.fetched(reviewed.is_ok());
        }
        Ok(reviewed?.map(|identity| Arc::new(identity.authenticated())))
    }
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bearer").finish_non_exhaustive()
    }
}

/// The token of `Authorization: Bearer TOKEN`; anything else is another way of authenticating and none of ours.
fn token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let mut parts = value.trim().splitn(3, ' ');
    let (scheme, token) = (parts.next()?, parts.next()?);
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_token() {
        for (value, want) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("  Bearer abc ", Some("abc")),
            ("Bearer abc def", Some("abc")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearer  abc", None),
            ("Basic abc", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            assert_eq!(token(&headers), want, "{value:?}");
        }
        assert_eq!(token(&HeaderMap::new()), None);
    }
}
