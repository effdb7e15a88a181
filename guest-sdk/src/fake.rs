//! A host in memory, for a plugin's native tests.
//!
//! [`Host`] answers every capability: it says what a test scripted, keeps what the plugin stores, and remembers what it said. Around it
//! stand the host's parts of each role: [`Target`] ticks a collector, [`Responder`] and [`connect`] ask a responder, [`Store`] keeps
//! objects by a strategy; a controller is called as it is. All are as strict as the real one where that catches mistakes: a node without a
//! scripted summary is not found, state and objects pass through their bytes, a stale resourceVersion is a conflict.
//!
//! Not in Wasm: a component must never answer itself.

mod cluster;
mod request;
mod responder;
mod store;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde_json::Value;

use crate::{
    Clock, Cluster, Collector, Config, Detail, Error, EventKind, Events, Http, Kubelet, Kv, Level, Log, Metrics, Page, Random,
    Reference, Row, Secrets, collector, http,
};

#[doc(hidden)]
pub use request::Raw;
pub use request::{Body, Request, Stream, connect, connect_to};
pub use responder::Responder;
pub use store::{Refused, Store};

/// What a node's kubelet will say, next first.
type Answers = VecDeque<Result<Vec<u8>, Error>>;

/// The other side of the capability `http`.
type Server = Box<dyn Fn(&http::Request) -> Result<http::Response, Error>>;

/// A series with its labels in order.
type Labelled = (String, Vec<(String, String)>);

/// What the plugin sees.
///
/// ```
/// # use outrigger_sdk::prelude::*;
/// let host = fake::Host::new().answering("a", "1").answering("a", "2").refusing("b", Error::Timeout("10 s".into()));
/// assert_eq!(host.summary("a", Detail::Full).unwrap(), b"1");
/// assert_eq!(host.summary("a", Detail::Full).unwrap(), b"2");
/// assert_eq!(host.summary("a", Detail::Full).unwrap(), b"2", "the last one stays");
/// assert!(matches!(host.summary("b", Detail::Full), Err(Error::Timeout(_))));
/// ```
#[derive(Debug, Default)]
pub struct Host {
    summaries: RefCell<BTreeMap<String, Answers>>,
    asked: RefCell<Vec<(String, Detail)>>,
    config: Option<Result<Vec<u8>, Error>>,
    log: RefCell<Vec<(Level, String)>>,
    now: Cell<u64>,
    random: Cell<u64>,
    denied: BTreeSet<String>,
    objects: cluster::Objects,
    pages: BTreeMap<String, http::Response>,
    server: Option<Answering>,
    sent: RefCell<Vec<http::Request>>,
    kv: RefCell<BTreeMap<String, Vec<u8>>>,
    events: RefCell<Vec<Emitted>>,
    series: RefCell<BTreeMap<Labelled, f64>>,
    secrets: BTreeMap<String, Vec<u8>>,
}

struct Answering(Server);

/// An event that the plugin emitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// On what.
    pub on: Reference,
    /// Normal or Warning.
    pub kind: EventKind,
    /// For programs.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// One target of one collector, ticking: the host's part of a collector's life.
#[derive(Debug)]
pub struct Target<C> {
    name: String,
    state: Vec<u8>,
    collector: PhantomData<C>,
}

// === impl Host ===

impl Host {
    /// A host without nodes, with an empty configuration, at the beginning of time.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next answer of a node's kubelet. The last one is given again and again.
    #[must_use]
    pub fn answering(self, node: &str, summary: impl Into<Vec<u8>>) -> Self {
        self.answer(node, Ok(summary.into()))
    }

    /// The next answer of a node's kubelet is a refusal.
    #[must_use]
    pub fn refusing(self, node: &str, error: Error) -> Self {
        self.answer(node, Err(error))
    }

    /// The operator's configuration. A value that has no form in JSON is refused when the plugin asks.
    #[must_use]
    pub fn configured(self, config: &(impl Serialize + ?Sized)) -> Self {
        Self {
            config: Some(serde_json::to_vec(config).map_err(Error::from)),
            ..self
        }
    }

    /// The wall clock, in nanoseconds since 1970.
    #[must_use]
    pub fn at(self, nanoseconds: u64) -> Self {
        self.now.set(nanoseconds);
        self
    }

    /// Time passes.
    pub fn pass(&self, nanoseconds: u64) {
        self.now.set(self.now.get().saturating_add(nanoseconds));
    }

    /// What the plugin logged, oldest first.
    #[must_use]
    pub fn logged(&self) -> Vec<(Level, String)> {
        self.log.borrow().clone()
    }

    /// What the plugin asked of kubelets, oldest first.
    #[must_use]
    pub fn asked(&self) -> Vec<(String, Detail)> {
        self.asked.borrow().clone()
    }

    /// The operator did not grant this capability, by its interface's name: `http`, `objects` …
    #[must_use]
    pub fn denying(mut self, capability: &str) -> Self {
        self.denied.insert(capability.to_owned());
        self
    }

    /// The cluster has this object; it gets a uid, a resourceVersion and a creationTimestamp. What is no object, or is there already, is
    /// left out.
    ///
    /// ```
    /// # use outrigger_sdk::prelude::*;
    /// # use outrigger_sdk::serde_json::{Value, json};
    /// let pods = Target::new("", "v1", "pods").namespace("main");
    /// let host = fake::Host::new().holding(&pods, json!({"metadata": {"name": "web", "labels": {"app": "web"}}}));
    /// assert_eq!(host.objects(pods.clone()).list::<Value>("app=web").unwrap().len(), 1);
    /// assert!(matches!(host.denying("objects").objects(pods).get::<Value>("web"), Err(Error::Denied(_))));
    /// ```
    #[must_use]
    pub fn holding(self, of: &crate::Target, object: impl Into<Value>) -> Self {
        let _ = self.objects.create(of, object.into(), self.now.get());
        self
    }

    /// This URL answers so, whatever the method.
    #[must_use]
    pub fn serving(mut self, url: &str, status: u16, body: impl Into<Vec<u8>>) -> Self {
        self.pages.insert(url.to_owned(), http::Response::new(status, body));
        self
    }

    /// All other requests are answered by this function.
    ///
    /// ```
    /// # use outrigger_sdk::prelude::*;
    /// let host = fake::Host::new().answering_http(|request| match request.method.as_str() {
    ///     "GET" => Ok(http::Response::new(200, "[]")),
    ///     _ => Err(Error::Timeout("10 s".into())),
    /// });
    /// assert_eq!(host.send(http::Request::get("https://api.example.com/")).unwrap().status, 200);
    /// assert!(host.send(http::Request::delete("https://api.example.com/a")).is_err());
    /// assert_eq!(host.sent()[1].method, "DELETE");
    /// ```
    #[must_use]
    pub fn answering_http(self, server: impl Fn(&http::Request) -> Result<http::Response, Error> + 'static) -> Self {
        Self {
            server: Some(Answering(Box::new(server))),
            ..self
        }
    }

    /// The plugin's store has this value.
    #[must_use]
    pub fn keeping(self, key: &str, value: impl Into<Vec<u8>>) -> Self {
        self.kv.borrow_mut().insert(key.to_owned(), value.into());
        self
    }

    /// The operator knows this secret.
    #[must_use]
    pub fn knowing(mut self, name: &str, secret: impl Into<Vec<u8>>) -> Self {
        self.secrets.insert(name.to_owned(), secret.into());
        self
    }

    /// The requests that the plugin sent, oldest first.
    #[must_use]
    pub fn sent(&self) -> Vec<http::Request> {
        self.sent.borrow().clone()
    }

    /// The keys of the plugin's store, sorted.
    #[must_use]
    pub fn kept(&self) -> Vec<String> {
        self.kv.borrow().keys().cloned().collect()
    }

    /// The events that the plugin emitted, oldest first.
    #[must_use]
    pub fn emitted(&self) -> Vec<Emitted> {
        self.events.borrow().clone()
    }

    /// The value of one of the plugin's series, if it was ever written.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.series.borrow().get(&labelled(name, labels)).copied()
    }

    fn granted(&self, capability: &str) -> Result<(), Error> {
        if self.denied.contains(capability) {
            return Err(Error::Denied(format!(
                "the operator has not granted the capability {capability}"
            )));
        }
        Ok(())
    }

    fn answer(self, node: &str, answer: Result<Vec<u8>, Error>) -> Self {
        self.summaries
            .borrow_mut()
            .entry(node.to_owned())
            .or_default()
            .push_back(answer);
        self
    }
}

impl Log for Host {
    fn write(&self, level: Level, message: &str) {
        self.log.borrow_mut().push((level, message.to_owned()));
    }
}

impl Config for Host {
    fn document(&self) -> Result<Vec<u8>, Error> {
        self.granted("config")?;
        self.config.clone().unwrap_or_else(|| Ok(b"{}".to_vec()))
    }
}

impl Kubelet for Host {
    fn summary(&self, node: &str, detail: Detail) -> Result<Vec<u8>, Error> {
        self.granted("kubelet")?;
        self.asked.borrow_mut().push((node.to_owned(), detail));
        let mut summaries = self.summaries.borrow_mut();
        let answers = summaries.get_mut(node);
        let next = answers.and_then(|answers| {
            if answers.len() > 1 {
                answers.pop_front()
            } else {
                answers.front().cloned()
            }
        });
        next.unwrap_or_else(|| Err(Error::NotFound(format!("no node {node:?}"))))
    }
}

impl Clock for Host {
    fn now(&self) -> u64 {
        self.now.get()
    }

    fn monotonic(&self) -> u64 {
        self.now.get()
    }
}

/// The same bytes in every run of a test.
impl Random for Host {
    fn random(&self, count: u32) -> Vec<u8> {
        let next = || {
            // A counter through an odd multiplier: all bytes occur, none is secret.
            self.random.set(self.random.get() + 1);
            self.random.get().wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]
        };
        (0..count.min(4096)).map(|_| next()).collect()
    }
}

impl Cluster for Host {
    fn get_object(&self, of: &crate::Target, name: &str) -> Result<Vec<u8>, Error> {
        self.granted("objects")?;
        Ok(serde_json::to_vec(&self.objects.get(of, name)?)?)
    }

    fn list_objects(&self, of: &crate::Target, label_selector: &str, limit: u32, after: &str) -> Result<Page, Error> {
        self.granted("objects")?;
        self.objects.list(of, label_selector, limit, after)
    }

    fn create_object(&self, of: &crate::Target, object: &[u8]) -> Result<Vec<u8>, Error> {
        self.granted("objects")?;
        Ok(serde_json::to_vec(&self.objects.create(
            of,
            document(object)?,
            self.now.get(),
        )?)?)
    }

    fn update_object(&self, of: &crate::Target, object: &[u8]) -> Result<Vec<u8>, Error> {
        self.granted("objects")?;
        Ok(serde_json::to_vec(&self.objects.update(of, document(object)?)?)?)
    }

    fn patch_object(&self, of: &crate::Target, name: &str, content_type: &str, patch: &[u8]) -> Result<Vec<u8>, Error> {
        self.granted("objects")?;
        let patched = self.objects.patch(of, name, content_type, &document(patch)?)?;
        Ok(serde_json::to_vec(&patched)?)
    }

    fn delete_object(&self, of: &crate::Target, name: &str) -> Result<(), Error> {
        self.granted("objects")?;
        self.objects.delete(of, name, self.now.get())
    }
}

fn document(bytes: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(bytes).map_err(|e| Error::Invalid(format!("not JSON: {e}")))
}

impl Http for Host {
    fn send(&self, request: http::Request) -> Result<http::Response, Error> {
        self.granted("http")?;
        if let Some(wrong) = request.wrong {
            return Err(wrong);
        }
        let answer = match (self.pages.get(&request.url), &self.server) {
            (Some(page), _) => Ok(page.clone()),
            (None, Some(Answering(server))) => server(&request),
            (None, None) => Err(Error::Unavailable(format!("nothing answers at {}", request.url))),
        };
        self.sent.borrow_mut().push(request);
        answer
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a function")
    }
}

impl Kv for Host {
    fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.granted("kv")?;
        Ok(self.kv.borrow().get(key).cloned())
    }

    fn kv_set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.granted("kv")?;
        self.kv.borrow_mut().insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn kv_delete(&self, key: &str) -> Result<(), Error> {
        self.granted("kv")?;
        self.kv.borrow_mut().remove(key);
        Ok(())
    }

    fn kv_keys(&self, prefix: &str, after: &str) -> Result<Vec<String>, Error> {
        self.granted("kv")?;
        let kv = self.kv.borrow();
        let wanted = kv.keys().filter(|k| k.starts_with(prefix) && k.as_str() > after);
        Ok(wanted.take(1000).cloned().collect())
    }
}

impl Events for Host {
    fn emit(&self, on: &Reference, kind: EventKind, reason: &str, message: &str) -> Result<(), Error> {
        self.granted("events")?;
        if on.kind.is_empty() || on.name.is_empty() || reason.is_empty() {
            return Err(Error::Invalid("an event has a kind, a name and a reason".to_owned()));
        }
        self.events.borrow_mut().push(Emitted {
            on: on.clone(),
            kind,
            reason: reason.to_owned(),
            message: message.to_owned(),
        });
        Ok(())
    }
}

impl Metrics for Host {
    fn metric_add(&self, name: &str, labels: &[(&str, &str)], by: f64) -> Result<(), Error> {
        self.granted("metrics")?;
        if by.is_nan() || by < 0.0 {
            return Err(Error::Invalid(format!("{name}: a counter only grows, and not by {by}")));
        }
        *self.series.borrow_mut().entry(labelled(name, labels)).or_default() += by;
        Ok(())
    }

    fn metric_set(&self, name: &str, labels: &[(&str, &str)], to: f64) -> Result<(), Error> {
        self.granted("metrics")?;
        self.series.borrow_mut().insert(labelled(name, labels), to);
        Ok(())
    }
}

fn labelled(name: &str, labels: &[(&str, &str)]) -> Labelled {
    let mut labels: Vec<_> = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    labels.sort();
    (name.to_owned(), labels)
}

impl Secrets for Host {
    fn secret(&self, name: &str) -> Result<Vec<u8>, Error> {
        self.granted("secrets")?;
        let known = self.secrets.get(name).cloned();
        known.ok_or_else(|| Error::Denied(format!("the operator has not granted the secret {name:?}")))
    }
}

// === impl Target ===

impl<C: Collector> Target<C> {
    /// A target that was never collected: a node's name, or an empty text for [`Each::Once`](crate::Each::Once).
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: Vec::new(),
            collector: PhantomData,
        }
    }

    /// One tick. As in the host, the new state is kept only if it succeeds.
    ///
    /// # Errors
    /// What the collector answered.
    pub fn tick(&mut self, host: &impl crate::Host) -> Result<Vec<Row>, Error> {
        let collected = collector::run::<C>(host, &self.name, self.state.clone())?;
        self.state = collected.state;
        Ok(collected.rows)
    }

    /// The state as the host keeps it.
    #[must_use]
    pub fn state(&self) -> &[u8] {
        &self.state
    }

    /// Puts the target where a test wants it, or where no plugin should be: damaged bytes.
    #[must_use]
    pub fn with_state(self, state: impl Into<Vec<u8>>) -> Self {
        Self {
            state: state.into(),
            ..self
        }
    }
}
