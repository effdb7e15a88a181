//! Who may do this: one question to the cluster, one answer for everybody who is waiting.
//!
//! In order (apiserver `options/authorization.go`): `system:masters` may do everything; some paths are open to everybody; the
//! rest is asked through an [`AccessReviewer`] and remembered for a few seconds. A remembered permission costs one digest of
//! borrowed text and one lookup. A denial answers 403, a question without an answer 500; neither ever allows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_api::identity::{Identity, MASTERS};
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::Status;

use crate::attributes::Attributes;
use crate::fingerprint::Fingerprints;
use crate::metrics::{Authorization, Metrics};
use crate::reviews::{AccessReviewer, Decision, Flights, NoAnswer};

/// Questions longer than this are asked each time: a cache should not hold what a caller can make as long as they please.
const MAX_CACHED: usize = 10_000;

/// Decides.
pub struct Authorizer {
    open: OpenPaths,
    delegated: Option<Delegated>,
    metrics: Option<Arc<Metrics>>,
}

/// What an operator may set.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--authorization-always-allow-paths`: exact, or prefixes that end in `*`.
    pub always_allow_paths: Vec<String>,
    /// `--authorization-webhook-cache-authorized-ttl`: how long a revoked permission may linger.
    pub allow_for: Duration,
    /// `--authorization-webhook-cache-unauthorized-ttl`: how long a new permission may take to be seen.
    pub deny_for: Duration,
    /// How long one review may take with all its retries.
    pub deadline: Duration,
    /// Answers kept.
    pub entries: u64,
}

/// Why a request may not go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refused {
    /// The cluster says no; its reason, maybe empty.
    #[error("denied: {0}")]
    Denied(Arc<str>),
    /// The cluster says nothing.
    #[error(transparent)]
    NoAnswer(#[from] Arc<NoAnswer>),
}

/// A path that cannot be always allowed.
#[derive(Debug, thiserror::Error)]
#[error("{0:?}: a * may only stand at the end of an always-allowed path")]
pub struct BadPath(String);

struct Delegated {
    reviewer: Arc<dyn AccessReviewer>,
    answers: Flights<Decision>,
    prints: Fingerprints,
}

#[derive(Debug, Default)]
struct OpenPaths {
    exact: Vec<String>,
    prefixes: Vec<String>,
}

// === impl Options ===

impl Default for Options {
    /// Upstream's defaults.
    fn default() -> Self {
        Self {
            always_allow_paths: vec!["/healthz".into(), "/readyz".into(), "/livez".into()],
            allow_for: Duration::from_secs(10),
            deny_for: Duration::from_secs(10),
            deadline: Duration::from_secs(10),
            entries: 8192,
        }
    }
}

// === impl Authorizer ===

impl Authorizer {
    /// Asks the cluster.
    ///
    /// # Errors
    /// [`BadPath`] for a `*` in the middle of an always-allowed path.
    pub fn delegated(reviewer: Arc<dyn AccessReviewer>, options: &Options) -> Result<Self, BadPath> {
        let (allow_for, deny_for) = (options.allow_for, options.deny_for);
        let answers = Flights::new(options.entries, options.deadline, move |decision| match decision {
            Decision::Allowed => allow_for,
            Decision::Denied(_) => deny_for,
        });
        let delegated = Delegated {
            reviewer,
            answers,
            prints: Fingerprints::new(),
        };
        Ok(Self {
            open: OpenPaths::new(&options.always_allow_paths)?,
            delegated: Some(delegated),
            metrics: None,
        })
    }

    /// Asks nobody (`outrigger run`): masters and open paths, nothing else.
    ///
    /// # Errors
    /// [`BadPath`] for a `*` in the middle of an always-allowed path.
    pub fn local(options: &Options) -> Result<Self, BadPath> {
        Ok(Self {
            open: OpenPaths::new(&options.always_allow_paths)?,
            delegated: None,
            metrics: None,
        })
    }

    /// Counts and times what [`Authorizer::permit`] decides.
    #[must_use]
    pub fn measured(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Whether the caller may make this request.
    ///
    /// # Errors
    /// [`Refused`] for everything but a plain yes.
    pub async fn permit(&self, identity: &Identity, attributes: &Attributes<'_>) -> Result<(), Refused> {
        let Some(metrics) = &self.metrics else {
            return self.decide(identity, attributes).await;
        };
        let started = Instant::now();
        let decided = self.decide(identity, attributes).await;
        let ended = match &decided {
            Ok(()) => Authorization::Allowed,
            Err(Refused::Denied(_)) => Authorization::NoOpinion,
            Err(Refused::NoAnswer(_)) => Authorization::Error,
        };
        metrics.authorized(ended, started.elapsed());
        decided
    }

    /// Whether somebody may do something, be it what the request is about or not (impersonation asks so).
    ///
    /// # Errors
    /// [`Refused`] for everything but a plain yes.
    pub async fn decide(&self, identity: &Identity, attributes: &Attributes<'_>) -> Result<(), Refused> {
        if identity.is_in(MASTERS) || self.is_open(attributes) {
            return Ok(());
        }
        let Some(delegated) = &self.delegated else {
            return Err(Refused::Denied("".into()));
        };
        match delegated.decide(identity, attributes).await? {
            Decision::Allowed => Ok(()),
            Decision::Denied(reason) => Err(Refused::Denied(reason)),
        }
    }

    /// Whether everybody may do this, whoever they are.
    #[must_use]
    pub fn is_open(&self, attributes: &Attributes<'_>) -> bool {
        !attributes.is_resource_request && self.open.contains(attributes.path)
    }
}

impl std::fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorizer")
            .field("open", &self.open)
            .field("delegated", &self.delegated.is_some())
            .finish()
    }
}

// === impl Refused ===

impl Refused {
    /// In upstream's words (`responsewriters.Forbidden`, `responsewriters.InternalError`).
    #[must_use]
    pub fn status(&self, identity: &Identity, info: &RequestInfo) -> Status {
        match self {
            Self::Denied(reason) => Status::forbidden(&identity.name, info, reason),
            Self::NoAnswer(why) => {
                // A caller is told no more than that there was no answer; the reviewer has said why, once for all of them.
                tracing::debug!(user = %identity.name, verb = %info.verb, path = %info.path, error = %why, "no answer on permission");
                Status::internal_error("the permission of this request could not be determined")
            }
        }
    }
}

// === impl Delegated ===

impl Delegated {
    async fn decide(&self, identity: &Identity, attributes: &Attributes<'_>) -> Result<Decision, Arc<NoAnswer>> {
        if attributes.size() >= MAX_CACHED {
            return self.answers.ask_alone(self.reviewer.review(identity, attributes)).await;
        }
        let key = attributes.fingerprint(&self.prints, identity);
        if let Some(known) = self.answers.known(&key).await {
            return Ok(known);
        }
        self.answers.ask(key, self.reviewer.review(identity, attributes)).await
    }
}

// === impl OpenPaths ===

impl OpenPaths {
    /// As `authorizer/path.NewAuthorizer`: a leading slash means nothing.
    fn new(paths: &[String]) -> Result<Self, BadPath> {
        let mut open = Self::default();
        for path in paths {
            let bare = path.strip_prefix('/').unwrap_or(path);
            match bare.strip_suffix('*') {
                Some(prefix) if !prefix.contains('*') => open.prefixes.push(prefix.to_owned()),
                None if !bare.contains('*') => open.exact.push(bare.to_owned()),
                _ => return Err(BadPath(path.clone())),
            }
        }
        Ok(open)
    }

    fn contains(&self, path: &str) -> bool {
        let bare = path.strip_prefix('/').unwrap_or(path);
        self.exact.iter().any(|p| p == bare) || self.prefixes.iter().any(|p| bare.starts_with(p.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use tokio::sync::Semaphore;

    use super::*;

    /// Answers as told, counts the questions, and answers none before there is a permit.
    struct Cluster {
        asked: AtomicUsize,
        gate: Semaphore,
        answer: Answers,
    }

    type Answers = fn(&Identity, &Attributes<'_>) -> Result<Decision, Box<dyn Error + Send + Sync>>;

    impl Cluster {
        fn new(answer: Answers) -> Arc<Self> {
            Arc::new(Self {
                asked: AtomicUsize::new(0),
                gate: Semaphore::new(0),
                answer,
            })
        }

        fn open(self: Arc<Self>) -> Arc<Self> {
            self.gate.add_permits(Semaphore::MAX_PERMITS);
            self
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    #[async_trait]
    impl AccessReviewer for Cluster {
        async fn review(
            &self,
            identity: &Identity,
            attributes: &Attributes<'_>,
        ) -> Result<Decision, Box<dyn Error + Send + Sync>> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let _permit = self.gate.acquire().await?;
            (self.answer)(identity, attributes)
        }
    }

    fn user(name: &str, groups: &[&str]) -> Identity {
        Identity {
            name: name.into(),
            uid: String::new(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            extra: std::collections::BTreeMap::new(),
        }
    }

    fn list_pods(name: &str) -> Attributes<'_> {
        Attributes {
            is_resource_request: true,
            verb: "list",
            resource: "pods",
            name,
            ..Attributes::default()
        }
    }

    fn path(path: &str) -> Attributes<'_> {
        Attributes {
            verb: "get",
            path,
            ..Attributes::default()
        }
    }

    fn asking(cluster: &Arc<Cluster>, options: &Options) -> Arc<Authorizer> {
        Arc::new(Authorizer::delegated(Arc::clone(cluster) as Arc<dyn AccessReviewer>, options).unwrap())
    }

    #[tokio::test]
    async fn a_thousand_equal_questions_are_one_review() {
        let cluster = Cluster::new(|_, _| Ok(Decision::Allowed));
        let authorizer = asking(&cluster, &Options::default());
        let questions: Vec<_> = (0..1000)
            .map(|_| {
                let authorizer = Arc::clone(&authorizer);
                tokio::spawn(async move { authorizer.permit(&user("bob", &["a"]), &list_pods("")).await })
            })
            .collect();
        while cluster.asked() == 0 {
            tokio::task::yield_now().await;
        }
        let cluster = cluster.open();
        for question in questions {
            question.await.unwrap().unwrap();
        }
        assert_eq!(cluster.asked(), 1);
        for (who, what) in [("eve", ""), ("bob", "x")] {
            authorizer.permit(&user(who, &["a"]), &list_pods(what)).await.unwrap();
        }
        authorizer.permit(&user("bob", &["b"]), &list_pods("")).await.unwrap();
        assert_eq!(
            cluster.asked(),
            4,
            "another user, another object, another group: other questions"
        );
    }

    #[tokio::test]
    async fn who_goes_away_takes_nobody_along() {
        let cluster = Cluster::new(|_, _| Ok(Decision::Allowed));
        let authorizer = asking(&cluster, &Options::default());
        let ask = || {
            let authorizer = Arc::clone(&authorizer);
            tokio::spawn(async move { authorizer.permit(&user("bob", &[]), &list_pods("")).await })
        };
        let first = ask();
        while cluster.asked() == 0 {
            tokio::task::yield_now().await;
        }
        let second = ask();
        tokio::task::yield_now().await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let cluster = cluster.open();
        second.await.unwrap().unwrap();
        assert_eq!(cluster.asked(), 2);
    }

    #[tokio::test]
    async fn answers_are_remembered_and_errors_are_not() {
        type Row = (
            &'static str,
            fn(&Identity, &Attributes<'_>) -> Result<Decision, Box<dyn Error + Send + Sync>>,
            u16,
            usize,
        );
        let rows: [Row; 3] = [
            ("allowed", |_, _| Ok(Decision::Allowed), 200, 1),
            ("denied", |_, _| Ok(Decision::Denied("RBAC: no".into())), 403, 1),
            ("failed", |_, _| Err("connection refused".into()), 500, 3),
        ];
        for (name, answer, code, reviews) in rows {
            let cluster = Cluster::new(answer).open();
            let authorizer = asking(&cluster, &Options::default());
            let info = RequestInfo {
                is_resource_request: true,
                verb: "list".into(),
                resource: "pods".into(),
                api_group: "metrics.k8s.io".into(),
                ..RequestInfo::default()
            };
            let bob = user("bob", &[]);
            for _ in 0..3 {
                let got = authorizer.permit(&bob, &Attributes::from(&info)).await;
                let status = got.as_ref().err().map(|refused| refused.status(&bob, &info));
                assert_eq!(status.as_ref().map_or(200, |s| s.code), code, "{name}");
                if let Some(Status { message, .. }) = status {
                    assert!(!message.contains("connection refused"), "{message}");
                    assert_eq!(message.contains("RBAC: no"), code == 403, "{message}");
                }
            }
            assert_eq!(cluster.asked(), reviews, "{name}");
        }
    }

    #[tokio::test]
    async fn each_answer_lives_as_long_as_its_kind() {
        for (name, allow_for, deny_for, who, reviews) in [
            ("allow at once forgotten", 0, 60, "good", 2),
            ("deny at once forgotten", 60, 0, "bad", 2),
            ("allow kept", 60, 0, "good", 1),
            ("deny kept", 0, 60, "bad", 1),
        ] {
            let cluster = Cluster::new(|identity, _| {
                Ok(if identity.name == "good" {
                    Decision::Allowed
                } else {
                    Decision::Denied("".into())
                })
            })
            .open();
            let (allow_for, deny_for) = (Duration::from_secs(allow_for), Duration::from_secs(deny_for));
            let authorizer = asking(
                &cluster,
                &Options {
                    allow_for,
                    deny_for,
                    ..Options::default()
                },
            );
            for _ in 0..2 {
                assert_eq!(
                    authorizer.permit(&user(who, &[]), &list_pods("")).await.is_ok(),
                    who == "good",
                    "{name}"
                );
            }
            assert_eq!(cluster.asked(), reviews, "{name}");
        }
    }

    #[tokio::test]
    async fn long_questions_are_asked_each_time() {
        let cluster = Cluster::new(|_, _| Ok(Decision::Allowed)).open();
        let authorizer = asking(&cluster, &Options::default());
        let long = "x".repeat(MAX_CACHED);
        for _ in 0..2 {
            authorizer.permit(&user("bob", &[]), &list_pods(&long)).await.unwrap();
        }
        assert_eq!(cluster.asked(), 2);
    }

    #[tokio::test]
    async fn a_review_that_never_ends_refuses() {
        let cluster = Cluster::new(|_, _| Ok(Decision::Allowed));
        let authorizer = asking(
            &cluster,
            &Options {
                deadline: Duration::from_millis(5),
                ..Options::default()
            },
        );
        for attributes in [list_pods(""), list_pods(&"x".repeat(MAX_CACHED))] {
            let refused = authorizer.permit(&user("bob", &[]), &attributes).await.unwrap_err();
            assert!(
                matches!(&refused, Refused::NoAnswer(why) if matches!(**why, NoAnswer::Deadline(_))),
                "{refused:?}"
            );
        }
    }

    #[tokio::test]
    async fn masters_and_open_paths_ask_nobody() {
        let cluster = Cluster::new(|_, _| Ok(Decision::Denied("".into()))).open();
        let options = Options {
            always_allow_paths: vec!["/healthz".into(), "/readyz".into(), "open/*".into()],
            ..Options::default()
        };
        let delegated = asking(&cluster, &options);
        let local = Arc::new(Authorizer::local(&options).unwrap());
        let nobody = Identity::anonymous();
        for authorizer in [&delegated, &local] {
            let before = cluster.asked();
            authorizer
                .permit(&user("root", &["a", MASTERS]), &list_pods(""))
                .await
                .unwrap();
            for open in ["/healthz", "/readyz", "healthz", "/open/", "/open/x/y"] {
                authorizer.permit(&nobody, &path(open)).await.unwrap();
            }
            assert_eq!(cluster.asked(), before);
            for shut in ["/healthz/ping", "/healthzz", "/", "/open", "/metrics", "//healthz"] {
                assert!(authorizer.permit(&nobody, &path(shut)).await.is_err(), "{shut}");
            }
            let resource = Attributes {
                path: "/healthz",
                ..list_pods("")
            };
            assert!(
                authorizer.permit(&nobody, &resource).await.is_err(),
                "open paths are no resources"
            );
        }
        for bad in ["/a*b", "/*/b", "/**"] {
            let options = Options {
                always_allow_paths: vec![bad.into()],
                ..Options::default()
            };
            assert!(Authorizer::local(&options).is_err(), "{bad}");
        }
    }
}
