//! What a plugin may ask of its host: one trait per interface of `capabilities.wit`.
//!
//! A plugin takes `&impl Kubelet` or `&impl Host` and never learns who answers: the real host, or [`fake::Host`] in a test.
//! What it never calls it does not import. A capability that was not granted answers [`Error::Denied`]; it never traps.
//!
//! [`fake::Host`]: crate::fake::Host

use std::fmt::Display;

use serde::de::DeserializeOwned;

use crate::Error;

/// Every capability that this SDK binds. What is added to the contract is added here, so a plugin's tests use
/// [`fake::Host`](crate::fake::Host) and not an implementation of their own.
pub trait Host: Log + Config + Kubelet + Clock {}

impl<T: Log + Config + Kubelet + Clock> Host for T {}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Wakes somebody.
    Error,
    /// Looks wrong.
    Warn,
    /// Happened.
    Info,
    /// Wanted by a developer.
    Debug,
}

/// Lines for the operator, under the plugin's name, cut to the plugin's log rate. Needs no grant.
pub trait Log {
    /// Writes one line. Never fails: what is over the rate is counted and dropped.
    fn write(&self, level: Level, message: &str);

    /// Somebody has to act.
    fn error(&self, message: impl Display) {
        self.write(Level::Error, &message.to_string());
    }

    /// Something looks wrong.
    fn warn(&self, message: impl Display) {
        self.write(Level::Warn, &message.to_string());
    }

    /// Something happened.
    fn info(&self, message: impl Display) {
        self.write(Level::Info, &message.to_string());
    }

    /// A developer wants to know.
    fn debug(&self, message: impl Display) {
        self.write(Level::Debug, &message.to_string());
    }
}

/// The operator's configuration for this plugin.
pub trait Config {
    /// The JSON document, valid against the manifest's `config` schema; `{}` if the operator gave none.
    ///
    /// # Errors
    /// [`Error::Denied`] without a grant.
    fn document(&self) -> Result<Vec<u8>, Error>;

    /// The document as a type. Fields that an operator may leave out want `#[serde(default)]`.
    ///
    /// # Errors
    /// As [`document`](Config::document), and [`Error::Invalid`] if it does not fit the type.
    fn config<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.document()?).map_err(|e| Error::Invalid(format!("the configuration does not fit: {e}")))
    }
}

/// How much of a summary is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Detail {
    /// The cheap half: without file systems, network and process counts.
    CpuAndMemory,
    /// All of it.
    Full,
}

/// The kubelets of the cluster. The host holds addresses, credentials, timeouts and the response cap.
pub trait Kubelet {
    /// `/stats/summary` of one node as the kubelet sent it (JSON, `stats/v1alpha1.Summary`). A collector with
    /// [`Each::Node`](crate::Each::Node) may ask for its own target only.
    ///
    /// # Errors
    /// [`Error::Denied`] without a grant or for another node; [`Error::NotFound`] for a node that the cluster does not have;
    /// [`Error::Timeout`], [`Error::TooLarge`] and [`Error::Unavailable`] as the kubelet answers.
    fn summary(&self, node: &str, detail: Detail) -> Result<Vec<u8>, Error>;
}

/// Wall and monotonic time. Needs no grant.
pub trait Clock {
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    fn now(&self) -> u64;

    /// Nanoseconds since some fixed point of the host's process.
    fn monotonic(&self) -> u64;
}
