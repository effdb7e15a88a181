//! Who may do this: one question to the cluster, one answer for everybody who is waiting.
//!
//! In order (apiserver `options/authorization.go`): `system:masters` may do everything; some paths are open to everybody; the
//! rest is asked through an [`AccessReviewer`] and remembered for a few seconds. A remembered permission costs one digest of
//! borrowed text and one lookup. A denial answers 403, a question without an answer 500; neither ever allows.

use std::sync::Arc;
use std::time::Duration;

use outrigger_api::identity::{Identity, MASTERS};
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::Status;

use crate::attributes::Attributes;
use crate::fingerprint::Fingerprints;
use crate::reviews::{AccessReviewer, Decision, Flights, NoAnswer};

/// Questions longer than this are asked each time: a cache should not hold what a caller can make as long as they please.
const MAX_CACHED: usize = 10_000;

/// Decides.
pub struct Authorizer {
    open: OpenPaths,
    delegated: Option<Delegated>,
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
        })
    }

    /// Whether the caller may do this.
    ///
    /// # Errors
    /// [`Refused`] for everything but a plain yes.
    pub async fn permit(&self, identity: &Identity, attributes: &Attributes<'_>) -> Result<(), Refused> {
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
                // The cause goes to the log; a caller is told no more than that there was no answer.
                tracing::error!(user = %identity.name, verb = %info.verb, path = %info.path, error = %why, "no answer on permission");
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
