//! A host in memory, for a plugin's native tests.
//!
//! It answers what a test scripted and remembers what the plugin said. It is as strict as the real one where that catches
//! mistakes: a node without a scripted summary is not found, and state passes through its bytes between two ticks.
//!
//! Not in Wasm: a component must never answer itself.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;

use serde::Serialize;

use crate::{Clock, Collector, Config, Detail, Error, Kubelet, Level, Log, Row, collector};

/// What a node's kubelet will say, next first.
type Answers = VecDeque<Result<Vec<u8>, Error>>;

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
        self.config.clone().unwrap_or_else(|| Ok(b"{}".to_vec()))
    }
}

impl Kubelet for Host {
    fn summary(&self, node: &str, detail: Detail) -> Result<Vec<u8>, Error> {
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
