//! Identity from a bearer token, by TokenReview (apiserver `authentication/token/cache`).
//!
//! A token is reviewed once for everybody who shows it at the same time, and its answer remembered for a few seconds, whether
//! yes or no. The token itself is never kept: the cache knows it by a digest.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, header};
use outrigger_api::identity::Identity;

use crate::authenticate::Refusal;
use crate::fingerprint::Fingerprints;
use crate::reviews::Flights;

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
        }
    }

    /// Whose token the request carries; `None` if it carries none.
    pub(crate) async fn identify(&self, headers: &HeaderMap) -> Result<Option<Arc<Identity>>, Refusal> {
        let Some(token) = token(headers) else { return Ok(None) };
        let mut key = self.prints.start();
        key.text(token);
        let review = async {
            Ok(self
                .reviewer
                .review(token)
                .await?
                .map(|identity| Arc::new(identity.authenticated())))
        };
        match self.answers.ask(key.finish(), review).await {
            Ok(Some(identity)) => Ok(Some(identity)),
            Ok(None) => Err(Refusal::BadToken),
            Err(no_answer) => Err(Refusal::NoReview(no_answer)),
        }
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
