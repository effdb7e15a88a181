//! One version of a plugin: loaded once, called often.
//!
//! Loading inspects, compiles (or takes from the cache), links, and asks for the manifest; whatever does not fit is one sentence.
//! After that every call enters a fresh instance in a store of its own, under every limit, and leaves nothing behind. Dropping the
//! future of a call ends the guest wherever it is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger_manifest::{Backing, Collector, Each, Manifest};
use tokio::sync::Semaphore;
use wasmtime::component::InstancePre;

use crate::artifacts::ArtifactCache;
use crate::bindings::exports::outrigger::plugin::{collector, controller, describe, migrator, responder, self_test, strategy};
use crate::call::{Call, Granted};
use crate::capabilities::Capabilities;
use crate::compile::{CompileError, Origin, compile};
use crate::counters::Counts;
use crate::engine::Engine;
use crate::failure::{BadResult, CallError};
use crate::grants::Grants;
use crate::history::Failed;
use crate::inspect::{Inspection, Role, Unfit};
use crate::limits::Limits;
use crate::log::Level;
use crate::rows::{Collected, RowRules};
use crate::runner::{Runner, Ticket, enter};

/// How to load a plugin.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// What it may cost.
    pub limits: Limits,
    /// What the operator grants it.
    pub grants: Grants,
    /// Who answers its host calls.
    pub capabilities: Capabilities,
}

/// What an operator says of a plugin whose manifest is known.
#[derive(Debug, Clone, Default)]
pub struct Decided {
    /// What it is granted.
    pub grants: Grants,
    /// Who answers its host calls.
    pub capabilities: Capabilities,
    /// What it may cost from now on.
    pub limits: Limits,
}

/// Why a plugin was not loaded: one sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes are not a plugin for this host.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// It does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It imports a function that this host does not have, or with another type.
    #[error("the plugin does not link: {0}; build it with an SDK for contract {ours}", ours = outrigger_manifest::CONTRACT)]
    Link(String),
    /// `describe` failed.
    #[error("the plugin cannot describe itself: {0}")]
    Describe(#[source] CallError),
    /// What `describe` returned is not a manifest.
    #[error("the plugin's manifest is not valid: {0}")]
    Manifest(#[from] outrigger_manifest::Unfit),
    /// `describe` is no constant, so what it says cannot be relied on.
    #[error(
        "the plugin describes itself differently each time; its manifest must not depend on time, chance, or the order of a hash map"
    )]
    Fickle,
    /// The manifest is over its limit.
    #[error("the plugin's manifest has {bytes} bytes, the limit is {limit}")]
    ManifestTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The manifest and the exports disagree.
    #[error("{0}")]
    Inconsistent(String),
    /// The operator's configuration does not fit, or what is granted cannot be given.
    #[error("{0}")]
    Operator(String),
    /// The limits ask for more than the engine has.
    #[error("the plugin's memory limit of {wanted} bytes is over the engine's {most}; raise the engine's")]
    Limits {
        /// The plugin's limit.
        wanted: usize,
        /// The engine's.
        most: usize,
    },
}

/// A plugin, ready to be called. Cloning is cheap; all clones are one.
#[derive(Clone)]
pub struct Plugin(pub(crate) Arc<Loaded>);

/// A plugin that may be gone.
#[derive(Clone)]
pub struct WeakPlugin(Weak<Loaded>);

pub(crate) struct Loaded {
    pub(crate) runner: Runner,
    pub(crate) manifest: Manifest,
    pub(crate) exports: Exports,
    inspection: Inspection,
    origin: Origin,
    rules: BTreeMap<String, (Each, RowRules)>,
}

/// The exports that a component has; the rest of what it could have is absent.
pub(crate) struct Exports {
    pub(crate) collector: Option<collector::GuestIndices>,
    pub(crate) migrator: Option<migrator::GuestIndices>,
    pub(crate) responder: Option<responder::GuestIndices>,
    pub(crate) strategy: Option<strategy::GuestIndices>,
    pub(crate) controller: Option<controller::GuestIndices>,
    pub(crate) self_test: Option<self_test::GuestIndices>,
}

// === impl Plugin ===

impl Plugin {
    /// Makes a plugin of a component's bytes.
    ///
    /// # Errors
    /// One sentence for each way of not fitting. Nothing of the plugin stays behind.
    pub async fn load(
        engine: &Engine,
        cache: Option<&ArtifactCache>,
        bytes: Bytes,
        options: LoadOptions,
    ) -> Result<Self, LoadError> {
        let LoadOptions {
            limits,
            grants,
            capabilities,
        } = options;
        let rest = limits.clone();
        let decided = |_: &Manifest| {
            Ok(Decided {
                grants,
                capabilities,
                limits: rest,
            })
        };
        Self::load_as(engine, cache, bytes, limits, decided).await
    }

    /// [`Plugin::load`] for an operator who decides by the manifest, which carries the plugin's name: `decide` says what is
    /// granted, who answers and what it may cost, once the manifest is known to be valid; or, in one sentence, why the plugin is not
    /// wanted as it is. Until then it is held to `limits`.
    ///
    /// # Errors
    /// As [`Plugin::load`].
    pub async fn load_as(
        engine: &Engine,
        cache: Option<&ArtifactCache>,
        bytes: Bytes,
        limits: Limits,
        decide: impl FnOnce(&Manifest) -> Result<Decided, String> + Send,
    ) -> Result<Self, LoadError> {
        within(engine, &limits)?;
        let (inspection, bytes) = inspect(bytes, limits.component_bytes).await?;
        let (component, origin) = compile(engine, cache, &inspection.digest, bytes, limits.compile_deadline).await?;
        let link = |e: wasmtime::Error| LoadError::Link(format!("{e:#}"));
        let pre = engine.linker().instantiate_pre(&component).map_err(link)?;
        let described = describe::GuestIndices::new(&pre).map_err(link)?;
        let exports = Exports::find(&pre, &inspection).map_err(link)?;

        // The name is not known before the manifest is; until then it is called by its digest.
        let nobody: Arc<str> = format!("sha256:{}", inspection.digest.get(..12).unwrap_or_default()).into();
        let limits = Arc::new(limits);
        let runner = Runner::new(
            engine.clone(),
            pre,
            nobody,
            limits,
            Granted::nothing(),
            &Capabilities::default(),
        );
        let manifest = describe(&runner, &described).await?;
        let requested = requested(&manifest)?;
        agree(&manifest, &inspection)?;

        let Decided {
            grants,
            capabilities,
            limits,
        } = decide(&manifest).map_err(LoadError::Operator)?;
        within(engine, &limits)?;
        let (size, limit) = (inspection.size, limits.component_bytes);
        if size > limit {
            return Err(LoadError::Unfit(Unfit::TooLarge { size, limit }));
        }
        let egress = Arc::new(Semaphore::new(limits.egress_in_flight.clamp(1, Semaphore::MAX_PERMITS)));
        let granted = Granted::new(requested, grants, manifest.series.as_slice().into(), &capabilities, egress);
        let Runner { engine, pre, .. } = runner;
        let limits = Arc::new(limits);
        let runner = Runner::new(engine, pre, manifest.name.as_str().into(), limits, granted, &capabilities);
        let rule = |c: &Collector| (c.name.clone(), (c.each, RowRules::new(&manifest, c)));
        let rules = manifest.collectors.iter().map(rule).collect();
        Ok(Self(Arc::new(Loaded {
            runner,
            manifest,
            inspection,
            origin,
            exports,
            rules,
        })))
    }

    /// What it says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// What its bytes say of it.
    #[must_use]
    pub fn inspection(&self) -> &Inspection {
        &self.0.inspection
    }

    /// Whether its code came from the cache.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// What it may use now: asked for by its manifest and granted by the operator.
    #[must_use]
    pub fn grants(&self) -> Grants {
        self.0.runner.granted.load().effective.clone()
    }

    /// Grants it something else from now on: calls that begin after this see the new grants, those under way keep theirs. Where lines go
    /// stays.
    pub fn regrant(&self, grants: Grants, capabilities: &Capabilities) {
        let granted = &self.0.runner.granted;
        let old = granted.load();
        let (requested, declared, egress) = (old.requested.clone(), old.declared.clone(), old.egress.clone());
        granted.store(Arc::new(Granted::new(requested, grants, declared, capabilities, egress)));
    }

    /// The configuration that it reads now; `{}` if it may read none.
    #[must_use]
    pub fn config(&self) -> Bytes {
        let granted = self.0.runner.granted.load();
        granted.config.clone().unwrap_or_else(|| Bytes::from_static(b"{}"))
    }

    /// A handle that does not keep it.
    #[must_use]
    pub fn downgrade(&self) -> WeakPlugin {
        WeakPlugin(Arc::downgrade(&self.0))
    }

    /// What it may cost.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.runner.limits
    }

    /// How it failed lately: the oldest of the last five first.
    #[must_use]
    pub fn failures(&self) -> Vec<Failed> {
        self.0.runner.history.read()
    }

    /// What is set aside now, such as `get ships`, and how long yet.
    #[must_use]
    pub fn set_aside(&self) -> Vec<(String, Duration)> {
        let all = self.0.runner.asides.now(Instant::now());
        all.into_iter().map(|one| (one.what, one.retry_after)).collect()
    }

    /// What it did so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.runner.counts()
    }

    /// One tick of the collector `name` for one target (a node's name; empty for `each: once`), in at most `deadline` and the
    /// plugin's own limit, waiting for a slot included. Dropping the future ends the guest.
    ///
    /// # Errors
    /// Everything that keeps the tick from a result; the old state is still good. Rows that are not good are no error: see
    /// [`Collected::complaints`].
    pub async fn collect(&self, name: &str, target: &str, state: &[u8], deadline: Duration) -> Result<Collected, CallError> {
        let Loaded {
            runner, exports, rules, ..
        } = &*self.0;
        let (Some(indices), Some((each, rules))) = (&exports.collector, rules.get(name)) else {
            return Err(CallError::NoSuchCollector {
                plugin: runner.name.to_string(),
                collector: name.to_owned(),
            });
        };
        let node = (*each == Each::Node).then(|| Arc::from(target));
        let slash = if target.is_empty() { "" } else { "/" };
        let ticket = Ticket::new(
            format!("collect {name}{slash}{target}"),
            node,
            deadline.min(runner.limits.tick_deadline),
        );
        let outcome = async {
            let called = runner.call(&ticket, |entered| {
                enter!(entered, indices, |guest, store| guest
                    .call_collect(store, name, target, state)
                    .await)
            });
            let (found, remarks) = called.await?;
            let found = found.map_err(|e| runner.refused(&ticket, e, remarks))?;
            rules.check(found, &runner.limits).map_err(|why| runner.bad(&ticket, why))
        };
        let collected = runner.count(&ticket, outcome.await)?;
        if !collected.complaints.is_empty() {
            runner
                .counters
                .rows_refused
                .fetch_add(collected.complaints.count as u64, Ordering::Relaxed);
            runner.log.host(&ticket.call, Level::Warn, &collected.complaints.to_string());
        }
        Ok(collected)
    }

    /// Carries one target's state of the collector `name` over from schema `old`, within the plugin's own deadline; `None` if the
    /// plugin does not know how, and the state starts empty.
    ///
    /// # Errors
    /// Everything that keeps the call from a result; the state then starts empty, too.
    pub async fn migrate(&self, name: &str, old: u32, state: &[u8]) -> Result<Option<Vec<u8>>, CallError> {
        let Loaded {
            runner, exports, rules, ..
        } = &*self.0;
        let Some(indices) = &exports.migrator else { return Ok(None) };
        if !rules.contains_key(name) {
            return Err(CallError::NoSuchCollector {
                plugin: runner.name.to_string(),
                collector: name.to_owned(),
            });
        }
        let ticket = Ticket::new(format!("migrate {name}"), None, runner.limits.call_deadline);
        let outcome = async {
            let called = runner.call(&ticket, |entered| {
                enter!(entered, indices, |guest, store| guest
                    .call_migrate(store, name, old, state)
                    .await)
            });
            let (state, remarks) = called.await?;
            let state = state.map_err(|e| runner.refused(&ticket, e, remarks))?;
            let (bytes, limit) = (state.len(), runner.limits.state_bytes);
            if bytes > limit {
                Err(runner.bad(&ticket, BadResult::State { bytes, limit }))
            } else {
                Ok(state)
            }
        };
        runner.count(&ticket, outcome.await).map(Some)
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loaded { runner, inspection, .. } = &*self.0;
        f.debug_struct("Plugin")
            .field("name", &runner.name)
            .field("digest", &inspection.digest)
            .finish_non_exhaustive()
    }
}

// === impl WeakPlugin ===

impl WeakPlugin {
    /// The plugin, if somebody keeps it.
    #[must_use]
    pub fn upgrade(&self) -> Option<Plugin> {
        self.0.upgrade().map(Plugin)
    }
}

impl fmt::Debug for WeakPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakPlugin").finish_non_exhaustive()
    }
}

fn within(engine: &Engine, limits: &Limits) -> Result<(), LoadError> {
    let (wanted, most) = (limits.memory_bytes, engine.options().memory_bytes);
    if wanted > most {
        return Err(LoadError::Limits { wanted, most });
    }
    Ok(())
}

/// Inspection reads and validates every byte, which takes milliseconds for large components: not on a thread that serves.
async fn inspect(bytes: Bytes, limit: usize) -> Result<(Inspection, Bytes), LoadError> {
    let work = move || Inspection::within(&bytes, limit).map(|found| (found, bytes));
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| CompileError::Failed(e.to_string()))?
        .map_err(LoadError::Unfit)
}

fn requested(manifest: &Manifest) -> Result<Grants, LoadError> {
    Grants::asked(manifest).map_err(|e| LoadError::Inconsistent(format!("the plugin's manifest is not valid: capabilities: {e}")))
}

/// What is declared is exported, and what is exported is declared.
fn agree(manifest: &Manifest, inspection: &Inspection) -> Result<(), LoadError> {
    let backed = |by: fn(&Backing) -> bool| manifest.resources.iter().any(|r| by(&r.backing));
    for (role, what, declared) in [
        (Role::Collector, "collectors", !manifest.collectors.is_empty()),
        (Role::Controller, "controllers", !manifest.controllers.is_empty()),
        (
            Role::Responder,
            "virtual resources",
            backed(|b| matches!(b, Backing::Virtual { .. })),
        ),
        (
            Role::Strategy,
            "stored resources",
            backed(|b| matches!(b, Backing::Stored { .. })),
        ),
    ] {
        let why = match (declared, inspection.roles.contains(&role)) {
            (true, false) => {
                format!(
                    "the manifest declares {what}, but the component does not export the role {role}; use the SDK's `plugin!`"
                )
            }
            (false, true) => format!("the component exports the role {role}, but the manifest declares no {what}"),
            _ => continue,
        };
        return Err(LoadError::Inconsistent(why));
    }
    Ok(())
}

// === impl Exports ===

impl Exports {
    fn find(pre: &InstancePre<Call>, inspection: &Inspection) -> wasmtime::Result<Self> {
        let plays = |role| inspection.roles.contains(&role);
        Ok(Self {
            collector: plays(Role::Collector)
                .then(|| collector::GuestIndices::new(pre))
                .transpose()?,
            migrator: inspection.migrates.then(|| migrator::GuestIndices::new(pre)).transpose()?,
            responder: plays(Role::Responder)
                .then(|| responder::GuestIndices::new(pre))
                .transpose()?,
            strategy: plays(Role::Strategy).then(|| strategy::GuestIndices::new(pre)).transpose()?,
            controller: plays(Role::Controller)
                .then(|| controller::GuestIndices::new(pre))
                .transpose()?,
            self_test: inspection
                .tests_itself
                .then(|| self_test::GuestIndices::new(pre))
                .transpose()?,
        })
    }
}

/// Asks for the manifest, twice: discovery would change with every restart of a host whose plugin answers by chance.
async fn describe(runner: &Runner, indices: &describe::GuestIndices) -> Result<Manifest, LoadError> {
    let json = described(runner, indices).await?;
    let (bytes, limit) = (json.len(), runner.limits.manifest_bytes);
    if bytes > limit {
        return Err(LoadError::ManifestTooLarge { bytes, limit });
    }
    if described(runner, indices).await? != json {
        return Err(LoadError::Fickle);
    }
    Ok(Manifest::read(&json)?)
}

async fn described(runner: &Runner, indices: &describe::GuestIndices) -> Result<Vec<u8>, LoadError> {
    let ticket = Ticket::new("describe".to_owned(), None, runner.limits.describe_deadline);
    let called = runner.call(&ticket, |entered| {
        enter!(entered, indices, |guest, store| guest.call_describe(store).await)
    });
    let (json, _) = called.await.map_err(LoadError::Describe)?;
    Ok(json)
}
