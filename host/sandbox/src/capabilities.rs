//! What a plugin may ask of the host, and who answers.
//!
//! A capability is one interface of the contract. The manifest asks for it, the operator grants it, and only what both say is
//! effective ([`Grants`]). Implementations come from outside as trait objects ([`Capabilities`]): this crate knows neither
//! Kubernetes nor credentials. Before a guest runs, the handles of what it was not granted are taken away, so a forgotten check
//! finds nothing to call.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;

use crate::bindings::outrigger::plugin::types::Error as WitError;
use crate::log::{LogSink, TracingLog};

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

/// A set of capabilities. What needs no grant is always in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(BTreeSet<Capability>);

/// Kubelets of the cluster, as the host reaches them.
#[async_trait]
pub trait Kubelet: Send + Sync {
    /// `/stats/summary` of one node, as the kubelet sent it.
    ///
    /// # Errors
    /// Whatever the plugin shall be told. The sandbox itself turns an answer after `deadline` into `timeout`.
    async fn summary(&self, node: &str, only_cpu_and_memory: bool, deadline: Instant) -> Result<Bytes, HostError>;
}

/// Who answers a plugin's host calls. What is absent answers `unavailable`.
#[derive(Clone)]
pub struct Capabilities {
    /// Kubelet summaries.
    pub kubelet: Option<Arc<dyn Kubelet>>,
    /// The operator's configuration: one JSON document. `{}` if there is none.
    pub config: Bytes,
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

    /// Whether this version of the host has an implementation; the others answer `unavailable` even when granted.
    #[must_use]
    pub const fn is_served(self) -> bool {
        matches!(self, Self::Log | Self::Config | Self::Kubelet | Self::Clock | Self::Random)
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

// === impl Grants ===

impl Grants {
    /// Nothing but what needs no grant.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything: for tests and a developer's own machine.
    #[must_use]
    pub fn all() -> Self {
        Capability::ALL.into_iter().collect()
    }

    /// Reads names as an operator writes them.
    ///
    /// # Errors
    /// The first name that is not a capability.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownCapability> {
        names.into_iter().map(str::parse).collect()
    }

    /// Whether it may be used.
    #[must_use]
    pub fn allows(&self, capability: Capability) -> bool {
        !capability.needs_grant() || self.0.contains(&capability)
    }

    /// What both say.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }

    /// The capabilities in it that need a grant, in order.
    pub fn iter(&self) -> impl Iterator<Item = Capability> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<Capability> for Grants {
    fn from_iter<I: IntoIterator<Item = Capability>>(all: I) -> Self {
        Self(all.into_iter().filter(|c| c.needs_grant()).collect())
    }
}

// === impl Capabilities ===

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            kubelet: None,
            config: Bytes::from_static(b"{}"),
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

    #[test]
    fn grants_hold_only_what_needs_one() {
        assert!(Grants::none().allows(Capability::Log) && !Grants::none().allows(Capability::Kubelet));
        assert_eq!(
            Grants::from_names(["log", "kubelet"]).unwrap().iter().collect::<Vec<_>>(),
            [Capability::Kubelet]
        );
        let both = Grants::from_names(["kubelet", "kv"])
            .unwrap()
            .and(&Grants::from_names(["kv", "http"]).unwrap());
        assert_eq!(both, Grants::from_names(["kv"]).unwrap());
    }
}
