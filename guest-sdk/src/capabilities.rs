//! What a plugin may ask of its host: one trait per interface of `capabilities.wit` (that of `objects` is
//! [`Cluster`](crate::Cluster)).
//!
//! The names of all methods differ, so that each can be called on a [`Host`], which is all of them. A plugin takes `&impl Kubelet` or `&impl Host` and never learns who answers: the real host, or [`fake::Host`] in a test.
//! What it never calls it does not import. A capability that was not granted answers [`Error::Denied`]; it never traps.
//!
//! [`fake::Host`]: crate::fake::Host

use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Cluster, Error, Metadata, Object, Resource, http, object};

/// Every capability that this SDK binds. What is added to the contract is added here, so a plugin's tests use
/// [`fake::Host`](crate::fake::Host) and not an implementation of their own.
///
/// ```
/// # use outrigger_sdk::prelude::*;
/// /// Greets in the operator's words, and counts.
/// fn greet(host: &impl Host) -> Result<String, Error> {
///     host.metric_add("greetings", &[], 1.0)?;
///     host.config::<String>()
/// }
/// let host = fake::Host::new().configured("hello");
/// assert_eq!(greet(&host).unwrap(), "hello");
/// assert_eq!(host.metric("greetings", &[]), Some(1.0));
/// ```
pub trait Host: Log + Config + Kubelet + Clock + Random + Cluster + Http + Kv + Events + Metrics + Secrets {}

impl<T: Log + Config + Kubelet + Clock + Random + Cluster + Http + Kv + Events + Metrics + Secrets> Host for T {}

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

/// Randomness from the host. Needs no grant.
///
/// ```
/// # use outrigger_sdk::prelude::*;
/// fn token(host: &impl Random) -> String {
///     host.random(8).iter().map(|byte| format!("{byte:02x}")).collect()
/// }
/// assert_eq!(token(&fake::Host::new()).len(), 16);
/// ```
pub trait Random {
    /// So many bytes, at most 4 KiB at once.
    fn random(&self, count: u32) -> Vec<u8>;
}

/// HTTP to the hosts that the manifest names and the operator grants.
pub trait Http {
    /// Sends one request. An answer of any status is an answer; [`Response::ok`](http::Response::ok) makes errors of those that are.
    ///
    /// # Errors
    /// [`Error::Denied`] without a grant, or for an address that nobody may reach; [`Error::Timeout`], [`Error::TooLarge`],
    /// [`Error::Unavailable`] and [`Error::Exhausted`] as it goes.
    ///
    /// ```
    /// # use outrigger_sdk::prelude::*;
    /// fn title(host: &impl Http, id: u32) -> Result<String, Error> {
    ///     host.send(http::Request::get(format!("https://api.example.com/books/{id}")))?.ok()?.json()
    /// }
    /// let host = fake::Host::new().serving("https://api.example.com/books/7", 200, r#""Moby-Dick""#);
    /// assert_eq!(title(&host, 7).unwrap(), "Moby-Dick");
    /// ```
    fn send(&self, request: http::Request) -> Result<http::Response, Error>;
}

/// Small durable state of the plugin, with a quota.
///
/// ```
/// # use outrigger_sdk::prelude::*;
/// fn visits(host: &impl Kv) -> Result<u64, Error> {
///     let last = host.kv_get("visits")?.map_or(Ok(0), |bytes| serde_json::from_slice(&bytes))?;
///     host.kv_set("visits", (last + 1).to_string().as_bytes())?;
///     Ok(last + 1)
/// }
/// let host = fake::Host::new();
/// assert_eq!((visits(&host), visits(&host)), (Ok(1), Ok(2)));
/// ```
pub trait Kv {
    /// The value, if there is one.
    ///
    /// # Errors
    /// [`Error::Denied`] without a grant.
    fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>, Error>;

    /// Stores a value; it is durable when this returns.
    ///
    /// # Errors
    /// [`Error::Denied`] without a grant; [`Error::Exhausted`] over the quota.
    fn kv_set(&self, key: &str, value: &[u8]) -> Result<(), Error>;

    /// Removes a key; fine if it is not there.
    ///
    /// # Errors
    /// [`Error::Denied`] without a grant.
    fn kv_delete(&self, key: &str) -> Result<(), Error>;

    /// The keys with this prefix, sorted, at most 1,000 of those after `after`.
    ///
    /// # Errors
    /// [`Error::Denied`] without a grant.
    fn kv_keys(&self, prefix: &str, after: &str) -> Result<Vec<String>, Error>;
}

/// Events on objects, for `kubectl describe` and `kubectl events`; the host drops duplicates and limits their rate.
pub trait Events {
    /// Records one event. `reason` is one word in CamelCase, for programs; `message` is for people.
    ///
    /// # Errors
    /// [`Error::Denied`] without a grant; [`Error::Invalid`] for an object without a name or a kind.
    ///
    /// ```
    /// # use outrigger_sdk::prelude::*;
    /// # #[derive(Resource, Serialize, Deserialize, JsonSchema)]
    /// # #[resource(group = "library.example.com", version = "v1", plural = "books")]
    /// # struct Book {}
    /// let (host, book) = (fake::Host::new(), Object::named("main", "moby-dick", Book {}));
    /// host.emit(&Reference::to(&book), EventKind::Warning, "Overdue", "it should have been back by Monday").unwrap();
    /// assert_eq!(host.emitted()[0].reason, "Overdue");
    /// ```
    fn emit(&self, on: &Reference, kind: EventKind, reason: &str, message: &str) -> Result<(), Error>;
}

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// All is well.
    Normal,
    /// Somebody should look.
    Warning,
}

/// An object that is spoken of: core/v1 `ObjectReference`.
///
/// ```
/// # use outrigger_sdk::{Metadata, Reference};
/// let map = Reference::new("v1", "ConfigMap", &Metadata::named("main", "settings"));
/// assert_eq!((map.kind.as_str(), map.name.as_str()), ("ConfigMap", "settings"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reference {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Empty if cluster-scoped.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Which of all that ever had this name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Which state of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
}

/// The plugin's own series, which its manifest declares; shown as `outrigger_plugin_PLUGIN_NAME`.
///
/// ```
/// # use outrigger_sdk::prelude::*;
/// use outrigger_sdk::manifest::Series;
///
/// fn about() -> Manifest {
///     let lent = Series::counter("lent", "Books that were lent.").label("shelf");
///     manifest!().name("library").needs("metrics", "counts what is lent").series(lent)
/// }
///
/// fn lend(host: &impl Metrics, shelf: &str) -> Result<(), Error> {
///     host.metric_add("lent", &[("shelf", shelf)], 1.0)
/// }
/// let host = fake::Host::new();
/// lend(&host, "a").unwrap();
/// lend(&host, "a").unwrap();
/// assert_eq!(host.metric("lent", &[("shelf", "a")]), Some(2.0));
/// # assert_eq!(about().check(), Ok(()));
/// ```
pub trait Metrics {
    /// Adds to a counter.
    ///
    /// # Errors
    /// [`Error::Denied`] without a grant; [`Error::Invalid`] for what the manifest does not declare, or a number below zero;
    /// [`Error::Exhausted`] for one set of labels too many.
    fn metric_add(&self, name: &str, labels: &[(&str, &str)], by: f64) -> Result<(), Error>;

    /// Sets a gauge.
    ///
    /// # Errors
    /// As [`metric_add`](Self::metric_add).
    fn metric_set(&self, name: &str, labels: &[(&str, &str)], to: f64) -> Result<(), Error>;
}

/// Secrets that are granted by name. Where they come from is the operator's to say; never log one.
///
/// ```
/// # use outrigger_sdk::prelude::*;
/// fn books(host: &(impl Http + Secrets)) -> Result<Vec<String>, Error> {
///     let token = String::from_utf8(host.secret("token")?).map_err(|_| Error::failed("the token is no text"))?;
///     host.send(http::Request::get("https://api.example.com/books").header("Authorization", format!("Bearer {token}")))?.ok()?.json()
/// }
/// let host = fake::Host::new().knowing("token", "s3cret").serving("https://api.example.com/books", 200, r#"["moby-dick"]"#);
/// assert_eq!(books(&host).unwrap(), ["moby-dick"]);
/// assert!(matches!(books(&fake::Host::new()), Err(Error::Denied(_))));
/// ```
pub trait Secrets {
    /// The bytes of the secret that the operator knows by this name.
    ///
    /// # Errors
    /// [`Error::Denied`] for a name that was not asked for or not granted.
    fn secret(&self, name: &str) -> Result<Vec<u8>, Error>;
}

// === impl Reference ===

impl Reference {
    /// An object of any kind.
    #[must_use]
    pub fn new(api_version: impl Into<String>, kind: impl Into<String>, metadata: &Metadata) -> Self {
        Self {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
        }
    }

    /// An object of a type of the plugin's own.
    #[must_use]
    pub fn to<T: Resource>(object: &Object<T>) -> Self {
        Self::new(object::api_version(T::GROUP, T::VERSION), T::KIND, &object.metadata)
    }
}

// === impl EventKind ===

impl EventKind {
    /// As events.k8s.io says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}
