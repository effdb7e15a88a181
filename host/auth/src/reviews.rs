//! Questions to kube-apiserver: what they are, how they fail, and the cache that asks each of them once.
//!
//! A burst of requests from one user asks the same question many times. Upstream sends every one of them to kube-apiserver
//! (`plugin/pkg/authorizer/webhook` has no singleflight); here the first asks and the others wait for its answer. Whatever is
//! not a plain "allowed" (an error, a conditional answer, a deadline) refuses. Errors are never remembered.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use moka::Expiry;
use moka::future::Cache;
use outrigger_api::identity::Identity;

use crate::attributes::Attributes;
use crate::fingerprint::Fingerprint;

/// Asks whether somebody may do something (a SubjectAccessReview).
#[async_trait]
pub trait AccessReviewer: Send + Sync + 'static {
    /// One review, retried as the implementor sees fit; the caller puts a deadline on the whole.
    ///
    /// # Errors
    /// Anything that is not an answer.
    async fn review(&self, identity: &Identity, attributes: &Attributes<'_>) -> Result<Decision, Box<dyn Error + Send + Sync>>;
}

/// The answer to one question. A conditional answer (KEP-5681) or one with an evaluation error and no "allowed" is a denial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// `status.allowed` is true, unconditionally.
    Allowed,
    /// Anything else, with `status.reason`; may be empty.
    Denied(Arc<str>),
}

/// Why a question got no answer. All of these refuse the request, none of them allows it.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// kube-apiserver did not answer in time; asking again is safe.
    #[error("the review took longer than {0:?}")]
    Deadline(Duration),
    /// The question could not be asked, or what came back was no answer.
    #[error("the review failed: {0}")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

/// Answers by fingerprint: each good for as long as it says, each asked once at a time.
pub(crate) struct Flights<V> {
    answers: Cache<Fingerprint, V>,
    deadline: Duration,
}

/// How long an answer is good for.
struct GoodFor<V>(Box<dyn Fn(&V) -> Duration + Send + Sync>);

// === impl Flights ===

impl<V: Clone + Send + Sync + 'static> Flights<V> {
    /// At most `entries` answers, each kept as long as `good_for` says; a question may take `deadline`.
    pub(crate) fn new(entries: u64, deadline: Duration, good_for: impl Fn(&V) -> Duration + Send + Sync + 'static) -> Self {
        let answers = Cache::builder()
            .max_capacity(entries)
            .expire_after(GoodFor(Box::new(good_for)))
            .build();
        Self { answers, deadline }
    }

    /// A remembered answer.
    pub(crate) async fn known(&self, key: &Fingerprint) -> Option<V> {
        self.answers.get(key).await
    }

    /// The answer of the one who asks first. If they go away before it comes, the next in line asks.
    pub(crate) async fn ask<F>(&self, key: Fingerprint, question: F) -> Result<V, Arc<NoAnswer>>
    where
        F: Future<Output = Result<V, Box<dyn Error + Send + Sync>>>,
    {
        self.answers.try_get_with(key, self.in_time(question)).await
    }

    /// An answer that nobody shares and nobody remembers.
    pub(crate) async fn ask_alone<F>(&self, question: F) -> Result<V, Arc<NoAnswer>>
    where
        F: Future<Output = Result<V, Box<dyn Error + Send + Sync>>>,
    {
        self.in_time(question).await.map_err(Arc::new)
    }

    async fn in_time<F>(&self, question: F) -> Result<V, NoAnswer>
    where
        F: Future<Output = Result<V, Box<dyn Error + Send + Sync>>>,
    {
        match tokio::time::timeout(self.deadline, question).await {
            Ok(answer) => answer.map_err(NoAnswer::Failed),
            Err(_elapsed) => Err(NoAnswer::Deadline(self.deadline)),
        }
    }
}

impl<V> std::fmt::Debug for Flights<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flights")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl<V> Expiry<Fingerprint, V> for GoodFor<V> {
    fn expire_after_create(&self, _key: &Fingerprint, value: &V, _created: Instant) -> Option<Duration> {
        Some((self.0)(value))
    }

    fn expire_after_update(&self, _key: &Fingerprint, value: &V, _updated: Instant, _left: Option<Duration>) -> Option<Duration> {
        Some((self.0)(value))
    }
}
