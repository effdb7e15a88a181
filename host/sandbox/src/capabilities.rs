//! What a plugin may ask of the host, and who answers.
//!
//! A capability is one interface of the contract. The manifest asks for it, the operator grants it, and only what both say is
//! effective ([`Grants`](crate::Grants)). Implementations come from outside as trait objects ([`Capabilities`]): this crate knows neither
//! Kubernetes nor credentials. Before a guest runs, the handles of what it was not granted are taken away, so a forgotten check
//! finds nothing to call.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;

use crate::bindings::outrigger::plugin::types::Error as WitError;
use crate::log::{LogSink, TracingLog};
use crate::series::SeriesGrant;

/// The contract's `types.error`, in both directions: what a host function answers instead of a result, and what a guest refuses
/// with. The text is one sentence for a person, without credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// Not granted, or not for this argument. Asking again is pointless.
    #[error("denied: {0}")]
    Denied(String),
    /// The arguments make no sense.
    #[error("invalid: {0}")]
    Invalid(String),
    /// What was asked for does not exist.
    #[error("not found: {0}")]
    NotFound(String),
    /// The state relied on has changed, or it exists already.
    #[error("conflict: {0}")]
    Conflict(String),
    /// No answer in time. Asking again is safe for reads.
    #[error("timeout: {0}")]
    Timeout(String),
    /// The answer or the argument is over a limit.
    #[error("too large: {0}")]
    TooLarge(String),
    /// A quota or rate is used up; ask again later.
    #[error("exhausted: {0}")]
    Exhausted(String),
    /// The other side cannot be reached or refused to answer; ask again later.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Anything else.
    #[error("failed: {0}")]
    Failed(String),
}

/// What the host's side of a capability may fail with.
pub type HostError = ContractError;

/// A capability of the contract, named as its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// Lines for the operator.
    Log,
    /// The operator's configuration for the plugin.
    Config,
    /// Summaries of kubelets.
    Kubelet,
    /// Time.
    Clock,
    /// Randomness.
    Random,
    /// Kubernetes objects.
    Objects,
    /// HTTP to granted hosts.
    Http,
    /// Small durable state.
    Kv,
    /// Events on objects.
    Events,
    /// The plugin's own series.
    Metrics,
    /// Secrets by name.
    Secrets,
}

/// Not the name of a capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a capability; the capabilities that can be granted are {}", grantable())]
pub struct UnknownCapability {
    /// What was given.
    pub name: String,
}

/// Kubelets of the cluster, as the host reaches them.
#[async_trait]
pub trait Kubelet: Send + Sync {
    /// `/stats/summary` of one node, as the kubelet sent it.
    ///
    /// # Errors
    /// Whatever the plugin shall be told. The sandbox itself turns an answer after `deadline` into `timeout`.
    async fn summary(&self, node: &str, only_cpu_and_memory: bool, deadline: Instant) -> Result<Bytes, HostError>;
}

/// Which Kubernetes objects: a resource as in a path, already known to be one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// API group; empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural name.
    pub resource: String,
    /// Subresource; empty for the object itself.
    pub subresource: String,
    /// Namespace; empty for what has none, and for a list over all.
    pub namespace: String,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPage {
    /// Objects as JSON, each with apiVersion and kind.
    pub items: Vec<Bytes>,
    /// Where the next page begins; empty after the last.
    pub next: String,
}

/// Kubernetes objects, under the plugin's own identity. What comes here was allowed by the plugin's rules; whether the identity may do
/// it is the cluster's to say.
///
/// `most` is the byte budget of an answer, and all answers after the call's deadline are the sandbox's `timeout`. Errors are whatever
/// the plugin shall be told: sentences without credentials.
#[async_trait]
pub trait Objects: Send + Sync {
    /// One object.
    async fn get(&self, of: &Target, name: &str, most: usize) -> Result<Bytes, HostError>;
    /// One page of at most `limit` objects.
    async fn list(&self, of: &Target, selector: &str, limit: u32, next: &str, most: usize) -> Result<ObjectPage, HostError>;
    /// Makes one; `name` is empty if the object leaves it to be generated.
    async fn create(&self, of: &Target, name: &str, object: Bytes, most: usize) -> Result<Bytes, HostError>;
    /// Replaces one.
    async fn update(&self, of: &Target, name: &str, object: Bytes, most: usize) -> Result<Bytes, HostError>;
    /// Changes one.
    async fn patch(&self, of: &Target, name: &str, kind: PatchKind, patch: Bytes, most: usize) -> Result<Bytes, HostError>;
    /// Removes one, in the background.
    async fn delete(&self, of: &Target, name: &str) -> Result<(), HostError>;
}

/// The content types of patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Upstream's own, for its own types.
    StrategicMerge,
    /// Server-side apply.
    Apply,
}

/// HTTP to the outside. The host of a request was found on the plugin's list; where its name leads is judged here.
#[async_trait]
pub trait Http: Send + Sync {
    /// Sends one request, whose URI is absolute; the answer has at most `most` bytes.
    ///
    /// # Errors
    /// Whatever the plugin shall be told. An answer with an error's status is an answer.
    async fn send(
        &self,
        request: http::Request<Bytes>,
        most: usize,
        deadline: Instant,
    ) -> Result<http::Response<Bytes>, HostError>;
}

/// A plugin's own durable state.
#[async_trait]
pub trait Kv: Send + Sync {
    /// The value, or none.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, HostError>;
    /// Stores; durable when it returns. `exhausted` over the quota.
    async fn set(&self, key: &str, value: Bytes) -> Result<(), HostError>;
    /// Removes; fine if absent.
    async fn delete(&self, key: &str) -> Result<(), HostError>;
    /// Keys with a prefix, sorted, at most 1,000 after `after`.
    async fn keys(&self, prefix: &str, after: &str) -> Result<Vec<String>, HostError>;
}

/// The object that an event is about: core/v1's ObjectReference as far as events need it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectReference {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for what has none.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID, if known.
    pub uid: String,
    /// resourceVersion, if known.
    pub resource_version: String,
    /// A part of the object.
    pub field_path: String,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// What it is about.
    pub object: ObjectReference,
    /// Whether it is a `Warning`, and not `Normal`.
    pub warning: bool,
    /// In CamelCase, for machines.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Events on objects.
pub trait Events: Send + Sync {
    /// Takes an event to be sent, under the plugin's identity; does not wait.
    ///
    /// # Errors
    /// `exhausted` if it is over the rate or the queue is full.
    fn emit(&self, event: Event) -> Result<(), HostError>;
}

/// Secrets by name. Implementations print nothing of them.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The bytes of one; at most `most`.
    ///
    /// # Errors
    /// Whatever the plugin shall be told, without a part of the secret.
    async fn get(&self, name: &str, most: usize) -> Result<Bytes, HostError>;
}

/// Who answers a plugin's host calls. What is absent answers `unavailable`.
#[derive(Clone)]
pub struct Capabilities {
    /// Kubelet summaries.
    pub kubelet: Option<Arc<dyn Kubelet>>,
    /// The operator's configuration: one JSON document. `{}` if there is none.
    pub config: Bytes,
    /// Kubernetes objects.
    pub objects: Option<Arc<dyn Objects>>,
    /// HTTP to the outside.
    pub http: Option<Arc<dyn Http>>,
    /// Durable state.
    pub kv: Option<Arc<dyn Kv>>,
    /// Why there is no durable state, if there is none.
    pub no_kv: &'static str,
    /// Events on objects.
    pub events: Option<Arc<dyn Events>>,
    /// The plugin's own series; they outlive the version.
    pub series: Option<SeriesGrant>,
    /// Secrets.
    pub secrets: Option<Arc<dyn Secrets>>,
    /// Where the plugin's lines go.
    pub log: Arc<dyn LogSink>,
}

// === impl Capability ===

impl Capability {
    /// All of them, in the contract's order.
    pub const ALL: [Self; 11] = [
        Self::Log,
        Self::Config,
        Self::Kubelet,
        Self::Clock,
        Self::Random,
        Self::Objects,
        Self::Http,
        Self::Kv,
        Self::Events,
        Self::Metrics,
        Self::Secrets,
    ];

    /// The interface's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Config => "config",
            Self::Kubelet => "kubelet",
            Self::Clock => "clock",
            Self::Random => "random",
            Self::Objects => "objects",
            Self::Http => "http",
            Self::Kv => "kv",
            Self::Events => "events",
            Self::Metrics => "metrics",
            Self::Secrets => "secrets",
        }
    }

    /// Whether the operator must allow it.
    #[must_use]
    pub const fn needs_grant(self) -> bool {
        !matches!(self, Self::Log | Self::Clock | Self::Random)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|c| c.name() == name)
            .ok_or_else(|| UnknownCapability { name: name.to_owned() })
    }
}

fn grantable() -> String {
    Capability::ALL
        .into_iter()
        .filter(|c| c.needs_grant())
        .map(Capability::name)
        .collect::<Vec<_>>()
        .join(", ")
}

// === impl Target ===

impl Target {
    /// A resource by its parts, `plural` with its subresource if it has one (`ships/status`); refused if a part could not stand in a
    /// path as what it is.
    ///
    /// # Errors
    /// One sentence.
    pub fn new(group: &str, version: &str, plural: &str, namespace: &str) -> Result<Self, String> {
        let (resource, subresource) = plural.split_once('/').map_or((plural, ""), |(r, s)| (r, s));
        let is_word = |s: &str| {
            s.len() <= 63 && !s.is_empty() && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let wrong = |what: &str, text: &str| Err(format!("{:?} is not {what}", crate::log::visible(text, 64)));
        if !(group.is_empty() || outrigger_manifest::is_dns_subdomain(group)) {
            return wrong("an API group", group);
        }
        if !is_word(version) {
            return wrong("an API version", version);
        }
        if !is_word(resource) || !(subresource.is_empty() && !plural.contains('/') || is_word(subresource)) {
            return wrong("a resource, or a resource with its subresource", plural);
        }
        if !(namespace.is_empty() || outrigger_manifest::is_dns_label(namespace)) {
            return wrong("a namespace", namespace);
        }
        Ok(Self {
            group: group.into(),
            version: version.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
        })
    }

    /// The resource as RBAC names it.
    #[must_use]
    pub fn plural(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            sub => format!("{}/{sub}", self.resource),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plural())?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match self.namespace.as_str() {
            "" => Ok(()),
            namespace => write!(f, " in namespace {namespace}"),
        }
    }
}

// === impl PatchKind ===

impl PatchKind {
    /// By the content type; none if it is not a patch's.
    #[must_use]
    pub fn of(content_type: &str) -> Option<Self> {
        [Self::Json, Self::Merge, Self::StrategicMerge, Self::Apply]
            .into_iter()
            .find(|kind| kind.content_type() == content_type)
    }

    /// The content type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::StrategicMerge => "application/strategic-merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}

// === impl Capabilities ===

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            kubelet: None,
            config: Bytes::from_static(b"{}"),
            objects: None,
            http: None,
            kv: None,
            no_kv: "this host keeps no state",
            events: None,
            series: None,
            secrets: None,
            log: Arc::new(TracingLog),
        }
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Configuration may hold what nobody should read in a log.
        f.debug_struct("Capabilities")
            .field("kubelet", &self.kubelet.is_some())
            .finish_non_exhaustive()
    }
}

// === impl ContractError ===

impl From<ContractError> for WitError {
    fn from(e: ContractError) -> Self {
        match e {
            ContractError::Denied(s) => Self::Denied(s),
            ContractError::Invalid(s) => Self::Invalid(s),
            ContractError::NotFound(s) => Self::NotFound(s),
            ContractError::Conflict(s) => Self::Conflict(s),
            ContractError::Timeout(s) => Self::Timeout(s),
            ContractError::TooLarge(s) => Self::TooLarge(s),
            ContractError::Exhausted(s) => Self::Exhausted(s),
            ContractError::Unavailable(s) => Self::Unavailable(s),
            ContractError::Failed(s) => Self::Failed(s),
        }
    }
}

impl ContractError {
    /// What a guest said, fit for logs: one line, without control characters, not longer than a sentence needs.
    pub(crate) fn from_guest(e: WitError) -> Self {
        let tidy = |s: String| crate::log::visible(&s, SENTENCE);
        match e {
            WitError::Denied(s) => Self::Denied(tidy(s)),
            WitError::Invalid(s) => Self::Invalid(tidy(s)),
            WitError::NotFound(s) => Self::NotFound(tidy(s)),
            WitError::Conflict(s) => Self::Conflict(tidy(s)),
            WitError::Timeout(s) => Self::Timeout(tidy(s)),
            WitError::TooLarge(s) => Self::TooLarge(tidy(s)),
            WitError::Exhausted(s) => Self::Exhausted(tidy(s)),
            WitError::Unavailable(s) => Self::Unavailable(tidy(s)),
            WitError::Failed(s) => Self::Failed(tidy(s)),
        }
    }
}

/// The most bytes of a sentence that a guest hands us.
pub(crate) const SENTENCE: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_agree_with_the_contract() {
        let wit = include_str!("../../../guest-sdk/wit/capabilities.wit");
        let interfaces: Vec<&str> = wit
            .lines()
            .filter_map(|l| l.strip_prefix("interface "))
            .filter_map(|l| l.strip_suffix(" {"))
            .collect();
        assert_eq!(interfaces, Capability::ALL.map(Capability::name));
        for c in Capability::ALL {
            assert_eq!(c.name().parse(), Ok(c));
        }
        let wrong = "kublet".parse::<Capability>().unwrap_err().to_string();
        assert!(wrong.contains("\"kublet\"") && wrong.contains("kubelet"), "{wrong}");
    }
}
