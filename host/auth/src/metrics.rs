//! How often callers are recognised and permitted, and at what cost, under the names that upstream's dashboards use (apiserver
//! `endpoints/filters/metrics.go`, `authentication/token/cache/stats.go`, `authenticatorfactory/metrics.go`).
//!
//! Series of fixed labels are found once, at the start: counting costs an atomic, timing a short lock. Nobody's name becomes a
//! label.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// `prometheus.DefBuckets`.
const DEFAULT_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Of reviews.
const REVIEW_BUCKETS: [f64; 8] = [0.25, 0.5, 0.7, 1.0, 1.5, 3.0, 5.0, 10.0];
/// User names that stand for themselves; the others are `email_id` or `other`.
const WELL_KNOWN: [&str; 5] = [
    "admin",
    "client",
    "kube_proxy",
    "kubelet",
    "system:serviceaccount:kube-system:default",
];

/// The series of this room.
#[derive(Debug)]
pub struct Metrics {
    users: [Counter; WELL_KNOWN.len()],
    email: Counter,
    other: Counter,
    authenticated: Outcome,
    authentication_failed: Outcome,
    authentication_error: Outcome,
    allowed: Outcome,
    no_opinion: Outcome,
    authorization_error: Outcome,
    hit: Outcome,
    miss: Outcome,
    fetched: Counter,
    fetch_failed: Counter,
    fetching: Gauge,
    blocked: Gauge,
    token_reviews: Reviewed,
    access_reviews: Reviewed,
}

/// How an authentication ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// As this user.
    Success(&'a str),
    /// Nobody objected and nobody knew the caller.
    Failure,
    /// Somebody objected.
    Error,
}

/// How an authorization ended. A cluster's "no" is `no-opinion`, as in upstream's delegated authorizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization {
    /// They may.
    Allowed,
    /// They may not.
    NoOpinion,
    /// Nobody knows.
    Error,
}

/// Which review was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Review {
    /// TokenReview.
    Token,
    /// SubjectAccessReview.
    Access,
}

/// A number that is one higher while this lives.
#[derive(Debug)]
pub(crate) struct Raised(Gauge);

#[derive(Debug)]
struct Outcome {
    count: Counter,
    took: Histogram,
}

#[derive(Debug)]
struct Reviewed {
    count: Family<Code, Counter>,
    took: Family<Code, Histogram, fn() -> Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct User {
    username: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: String,
}

// === impl Metrics ===

impl Metrics {
    /// Registers all families.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Arc<Self> {
        let filter: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let cache: fn() -> Histogram = || Histogram::new(DEFAULT_BUCKETS);
        let users = Family::<User, Counter>::default();
        let attempts = Family::<Ended, Counter>::default();
        let took = Family::<Ended, Histogram, fn() -> Histogram>::new_with_constructor(filter);
        let permits = Family::<Ended, Counter>::default();
        let permits_took = Family::<Ended, Histogram, fn() -> Histogram>::new_with_constructor(filter);
        let looked_up = Family::<State, Counter>::default();
        let looked_up_took = Family::<State, Histogram, fn() -> Histogram>::new_with_constructor(cache);
        let fetches = Family::<State, Counter>::default();
        let active = Family::<State, Gauge>::default();
        let user = |username| users.get_or_create_owned(&User { username });
        let authentication = |result| Outcome::of(&attempts, &took, &Ended { result });
        let authorization = |result| Outcome::of(&permits, &permits_took, &Ended { result });
        let lookup = |status| Outcome::of(&looked_up, &looked_up_took, &State { status });
        let metrics = Self {
            users: WELL_KNOWN.map(user),
            email: user("email_id"),
            other: user("other"),
            authenticated: authentication("success"),
            authentication_failed: authentication("failure"),
            authentication_error: authentication("error"),
            allowed: authorization("allowed"),
            no_opinion: authorization("no-opinion"),
            authorization_error: authorization("error"),
            hit: lookup("hit"),
            miss: lookup("miss"),
            fetched: fetches.get_or_create_owned(&State { status: "ok" }),
            fetch_failed: fetches.get_or_create_owned(&State { status: "error" }),
            fetching: active.get_or_create_owned(&State { status: "in_flight" }),
            blocked: active.get_or_create_owned(&State { status: "blocked" }),
            token_reviews: Reviewed::new(),
            access_reviews: Reviewed::new(),
        };
        registry.register(
            "authenticated_user_requests",
            "[ALPHA] Counter of authenticated requests broken out by username",
            users,
        );
        registry.register(
            "authentication_attempts",
            "[ALPHA] Counter of authenticated attempts",
            attempts,
        );
        registry.register(
            "authentication_duration_seconds",
            "[ALPHA] Authentication duration in seconds broken out by result",
            took,
        );
        let words = "[ALPHA] Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' or 'error'";
        registry.register("authorization_attempts", words, permits);
        registry.register(
            "authorization_duration_seconds",
            "[ALPHA] Authorization duration in seconds broken out by result",
            permits_took,
        );
        registry.register("authentication_token_cache_request", "[ALPHA] Lookups of tokens", looked_up);
        registry.register(
            "authentication_token_cache_request_duration_seconds",
            "[ALPHA] Duration of lookups of tokens",
            looked_up_took,
        );
        registry.register("authentication_token_cache_fetch", "[ALPHA] Reviews of tokens", fetches);
        registry.register(
            "authentication_token_cache_active_fetch_count",
            "[ALPHA] Reviews of tokens under way, and callers who wait for one",
            active,
        );
        metrics.token_reviews.register(registry, "apiserver_delegated_authn");
        metrics.access_reviews.register(registry, "apiserver_delegated_authz");
        Arc::new(metrics)
    }

    /// One authentication.
    pub fn authenticated(&self, ended: Authentication<'_>, took: Duration) {
        match ended {
            Authentication::Success(user) => {
                self.user(user).inc();
                self.authenticated.ended(took);
            }
            Authentication::Failure => self.authentication_failed.ended(took),
            Authentication::Error => self.authentication_error.ended(took),
        }
    }

    /// One authorization.
    pub fn authorized(&self, ended: Authorization, took: Duration) {
        match ended {
            Authorization::Allowed => self.allowed.ended(took),
            Authorization::NoOpinion => self.no_opinion.ended(took),
            Authorization::Error => self.authorization_error.ended(took),
        }
    }

    /// One question to kube-apiserver; no code if there was no answer.
    pub fn reviewed(&self, review: Review, code: Option<u16>, took: Duration) {
        let of = match review {
            Review::Token => &self.token_reviews,
            Review::Access => &self.access_reviews,
        };
        let code = Code {
            code: code.map_or_else(|| "<error>".to_owned(), |code| code.to_string()),
        };
        of.count.get_or_create(&code).inc();
        of.took.get_or_create(&code).observe(took.as_secs_f64());
    }

    /// One token looked up; `known` if its answer was remembered.
    pub(crate) fn looked_up(&self, known: bool, took: Duration) {
        let of = if known { &self.hit } else { &self.miss };
        of.ended(took);
    }

    /// A review of a token, while it runs; [`Metrics::fetched`] says how it ended.
    pub(crate) fn fetching(&self) -> Raised {
        Raised::new(&self.fetching)
    }

    /// A review of a token has ended.
    pub(crate) fn fetched(&self, answered: bool) {
        let of = if answered { &self.fetched } else { &self.fetch_failed };
        of.inc();
    }

    /// Somebody waits for a review of a token.
    pub(crate) fn blocked(&self) -> Raised {
        Raised::new(&self.blocked)
    }

    /// Few labels for many users (`compressUsername`).
    fn user(&self, name: &str) -> &Counter {
        let known = WELL_KNOWN.iter().zip(&self.users).find(|(known, _)| **known == name);
        match known {
            Some((_, counter)) => counter,
            None if name.contains('@') => &self.email,
            None => &self.other,
        }
    }
}

// === impl Raised ===

impl Raised {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}

// === impl Outcome ===

impl Outcome {
    fn of<L>(counts: &Family<L, Counter>, took: &Family<L, Histogram, fn() -> Histogram>, labels: &L) -> Self
    where
        L: Clone + std::hash::Hash + Eq,
    {
        Self {
            count: counts.get_or_create_owned(labels),
            took: took.get_or_create_owned(labels),
        }
    }

    fn ended(&self, took: Duration) {
        self.count.inc();
        self.took.observe(took.as_secs_f64());
    }
}

// === impl Reviewed ===

impl Reviewed {
    fn new() -> Self {
        Self {
            count: Family::default(),
            took: Family::new_with_constructor(|| Histogram::new(REVIEW_BUCKETS)),
        }
    }

    fn register(&self, registry: &mut Registry, prefix: &str) {
        let count = "[ALPHA] Number of HTTP requests partitioned by status code";
        registry.register(format!("{prefix}_request"), count, self.count.clone());
        let took = "[ALPHA] Request latency in seconds. Broken down by status code";
        registry.register(format!("{prefix}_request_duration_seconds"), took, self.took.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_upstreams_names_and_few_users() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let took = Duration::from_millis(1);
        for user in ["kubelet", "alice@example.com", "alice", "system:serviceaccount:x:y"] {
            metrics.authenticated(Authentication::Success(user), took);
        }
        metrics.authenticated(Authentication::Failure, took);
        metrics.authenticated(Authentication::Error, took);
        metrics.authorized(Authorization::NoOpinion, took);
        metrics.reviewed(Review::Token, None, took);
        metrics.reviewed(Review::Access, Some(201), took);
        metrics.looked_up(true, took);
        let waiting = metrics.blocked();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        drop(waiting);
        for line in [
            "authenticated_user_requests_total{username=\"kubelet\"} 1",
            "authenticated_user_requests_total{username=\"email_id\"} 1",
            "authenticated_user_requests_total{username=\"other\"} 2",
            "authentication_attempts_total{result=\"success\"} 4",
            "authentication_attempts_total{result=\"failure\"} 1",
            "authentication_attempts_total{result=\"error\"} 1",
            "authentication_duration_seconds_bucket{le=\"16.384\",result=\"success\"} 4",
            "authorization_attempts_total{result=\"no-opinion\"} 1",
            "authorization_duration_seconds_count{result=\"no-opinion\"} 1",
            "apiserver_delegated_authn_request_total{code=\"<error>\"} 1",
            "apiserver_delegated_authz_request_total{code=\"201\"} 1",
            "apiserver_delegated_authz_request_duration_seconds_bucket{le=\"0.25\",code=\"201\"} 1",
            "authentication_token_cache_request_total{status=\"hit\"} 1",
            "authentication_token_cache_active_fetch_count{status=\"blocked\"} 1",
            "authentication_token_cache_fetch_total{status=\"ok\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
