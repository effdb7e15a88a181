//! What every call goes through, whatever it calls: a slot, a store, two clocks, and a verdict.
//!
//! A call takes a slot of its plugin and one of the engine, first come first served, so the pool is never asked for what it does not
//! have. How long a queue may be and how long one may stand in it is bounded. All of it lives in the caller's future: dropping that
//! gives the slots back and ends the guest.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::aside::{Asides, Subject, Turned};
use crate::bindings::outrigger::plugin::types::Error as WitError;
use crate::call::{Call, Granted, Opening};
use crate::capabilities::{Capabilities, ContractError};
use crate::counters::{Counters, Counts, Gauge};
use crate::engine::Engine;
use crate::failure::{BadResult, CallError, Remains};
use crate::history::History;
use crate::limits::Limits;
use crate::log::PluginLog;
use crate::requests::Remarks;
use crate::slices::{self, Meter, Seat};
use crate::turns::Account;

/// What it takes to run a plugin's calls, also before its manifest is known.
pub(crate) struct Runner {
    pub(crate) engine: Engine,
    pub(crate) pre: InstancePre<Call>,
    pub(crate) name: Arc<str>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) granted: ArcSwap<Granted>,
    pub(crate) log: Arc<PluginLog>,
    pub(crate) counters: Arc<Counters>,
    slots: Semaphore,
    account: Arc<Account>,
    pub(crate) asides: Asides,
    pub(crate) history: History,
}

/// The right to run one call.
struct Admission<'a> {
    _own: SemaphorePermit<'a>,
    _engine: SemaphorePermit<'a>,
    _in_flight: Gauge<'a>,
}

/// A call as it is known to logs and errors, and when it must be over.
pub(crate) struct Ticket {
    /// Such as `collect nodes/node-1`.
    pub(crate) call: String,
    node: Option<Arc<str>>,
    after: Duration,
    deadline: Instant,
}

/// What the timer and the engine made of a call.
type Outcome<T> = Result<(Store<Call>, wasmtime::Result<T>), tokio::time::error::Elapsed>;

/// A store with the one instance in it. It goes into a call's work and comes back with its result.
pub(crate) struct Entered {
    pub(crate) store: Store<Call>,
    pub(crate) instance: Instance,
}

/// How long the outer timer waits after the deadline: the epoch's own stop, which knows where the guest was, comes first.
const GRACE: Duration = Duration::from_millis(250);

// === impl Runner ===

impl Runner {
    pub(crate) fn new(
        engine: Engine,
        pre: InstancePre<Call>,
        name: Arc<str>,
        limits: Arc<Limits>,
        granted: Granted,
        capabilities: &Capabilities,
    ) -> Self {
        let log = Arc::new(PluginLog::new(name.clone(), capabilities.log.clone(), limits.clone()));
        let slots = Semaphore::new(limits.calls_in_flight.clamp(1, Semaphore::MAX_PERMITS));
        let granted = ArcSwap::from_pointee(granted);
        let account = engine.turns().account(&name);
        Self {
            account,
            engine,
            pre,
            name,
            limits,
            granted,
            log,
            counters: Arc::default(),
            asides: Asides::default(),
            history: History::default(),
            slots,
        }
    }

    /// Runs `work` in a fresh instance, in its turn and within the ticket's time; whatever comes of it, the store is gone then.
    /// The one way into a guest.
    pub(crate) async fn call<T, W>(&self, ticket: &Ticket, work: impl FnOnce(Entered) -> W) -> Result<(T, Remarks), CallError>
    where
        W: Future<Output = (Store<Call>, wasmtime::Result<T>)>,
    {
        let _place = self.admit(ticket).await?;
        let (engine, limits) = (&self.engine, &self.limits);
        let meter = Arc::new(Meter::new(limits.cpu_time, limits.call_deadline, engine.options().tick));
        let run = async {
            let mut store = self.store(ticket, meter.clone());
            match self.enter(&mut store).await {
                Ok(instance) => work(Entered { store, instance }).await,
                Err(error) => (store, Err(error)),
            }
        };
        let seat = Seat::new(engine.clock(), engine.turns(), &self.account, &self.counters, &meter);
        let outcome = tokio::time::timeout_at(ticket.last(), slices::run(seat, run)).await;
        self.settle(ticket, &meter, outcome)
    }

    /// Waits for a slot of the plugin and one of the engine.
    async fn admit(&self, ticket: &Ticket) -> Result<Admission<'_>, CallError> {
        let take = async || {
            // The plugin's own first: one that is slow must not sit on slots of the engine.
            let own = self.slots.acquire().await.ok()?;
            let engine = self.engine.slots().acquire().await.ok()?;
            Some((own, engine))
        };
        let free = self.slots.try_acquire().ok().zip(self.engine.slots().try_acquire().ok());
        let taken = match free {
            Some(taken) => Some(taken),
            None => {
                let waiting = Gauge::up(&self.counters.waiting);
                if waiting.now() > self.limits.calls_waiting as u64 {
                    None
                } else {
                    tokio::time::timeout_at(ticket.deadline.into(), take()).await.ok().flatten()
                }
            }
        };
        let (own, engine) = taken.ok_or_else(|| CallError::Busy {
            plugin: self.name.to_string(),
            waiting: self.waiting(),
        })?;
        Ok(Admission {
            _own: own,
            _engine: engine,
            _in_flight: Gauge::up(&self.counters.in_flight),
        })
    }

    /// A store for this call.
    fn store(&self, ticket: &Ticket, spent: slices::Shared) -> Store<Call> {
        let opening = Opening {
            limits: &self.limits,
            granted: self.granted.load_full(),
            counters: &self.counters,
            log: &self.log,
            plugin: &self.name,
            call: ticket.call.as_str().into(),
            node: ticket.node.clone(),
            deadline: ticket.deadline,
            spent,
        };
        opening.store(&self.engine)
    }

    /// A fresh instance in it.
    async fn enter(&self, store: &mut Store<Call>) -> wasmtime::Result<Instance> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        store.data_mut().started = true;
        Ok(instance)
    }

    /// Ends the store, and says what became of the call.
    fn settle<T>(&self, ticket: &Ticket, meter: &Meter, outcome: Outcome<T>) -> Result<(T, Remarks), CallError> {
        let (plugin, after) = (self.name.to_string(), ticket.after);
        let (store, error) = match outcome {
            Ok((store, Ok(value))) => return Ok((value, store.into_data().remarks)),
            Ok((store, Err(error))) => (store, error),
            // It never had a turn: others have been before it all the time.
            Err(_) if !meter.ran() => {
                return Err(CallError::Busy {
                    plugin,
                    waiting: self.waiting(),
                });
            }
            // It did not even yield to be stopped: it waited for the host.
            Err(_) => {
                return Err(CallError::Deadline {
                    plugin,
                    call: ticket.call.clone(),
                    after,
                    frames: Vec::new(),
                });
            }
        };
        let call = store.into_data();
        let remains = Remains {
            plugin: &self.name,
            call: &ticket.call,
            after,
            cpu: meter.over().then_some(self.limits.cpu_time),
            memory: call.meter.memory_over(),
            table: call.meter.elements_over(),
            waiting: self.waiting(),
            started: call.started,
            panic: call.panic,
        };
        Err(remains.judge(&error))
    }

    /// The guest's own refusal, with the fields that it blamed.
    pub(crate) fn refused(&self, ticket: &Ticket, error: WitError, remarks: Remarks) -> CallError {
        let error = ContractError::from_guest(error);
        CallError::Refused {
            plugin: self.name.to_string(),
            call: ticket.call.clone(),
            error,
            fields: remarks.fields,
        }
    }

    /// A result that cannot be used.
    pub(crate) fn bad(&self, ticket: &Ticket, why: BadResult) -> CallError {
        CallError::BadResult {
            plugin: self.name.to_string(),
            call: ticket.call.clone(),
            why,
        }
    }

    /// Does a call that somebody waits for, unless calls like it are set aside; counts it, and remembers how it failed.
    pub(crate) async fn guarded<T>(
        &self,
        subject: &Subject,
        ticket: &Ticket,
        work: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        if let Err(refused) = self.asides.admit(subject, Instant::now()) {
            let error = CallError::SetAside {
                plugin: self.name.to_string(),
                call: refused.what,
                failures: refused.failures,
                retry_after: refused.retry_after,
            };
            self.counters.failed(&error);
            return Err(error);
        }
        let outcome = self.count(ticket, work.await);
        let turned = match &outcome {
            Err(error) if error.is_failure() => self.asides.failed(subject, Instant::now(), fastrand::f64()),
            // It did not run: nothing is known of it.
            Err(CallError::Busy { .. }) => Vec::new(),
            _ => self.asides.answered(subject),
        };
        for turned in turned {
            match turned {
                Turned::Aside(what) => {
                    let why = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
                    tracing::warn!(plugin = %self.name, "{what} keeps failing and is set aside, answered 503 and tried now and then: {why}");
                }
                Turned::Back(what) => tracing::info!(plugin = %self.name, "{what} works again"),
            }
        }
        outcome
    }

    /// Counts how a call ended, and remembers how it failed.
    pub(crate) fn count<T>(&self, ticket: &Ticket, outcome: Result<T, CallError>) -> Result<T, CallError> {
        match &outcome {
            Ok(_) => _ = self.counters.succeeded.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                self.counters.failed(error);
                if error.is_failure() {
                    self.history.keep(&ticket.call, error.reason(), error);
                }
            }
        }
        outcome
    }

    pub(crate) fn counts(&self) -> Counts {
        let lines = self.log.written.load(Ordering::Relaxed);
        let lines_dropped = self.log.dropped.load(Ordering::Relaxed);
        Counts {
            lines,
            lines_dropped,
            aside: self.asides.now(Instant::now()).len() as u64,
            ..self.counters.read()
        }
    }

    fn waiting(&self) -> usize {
        usize::try_from(self.counters.waiting.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }
}

// === impl Ticket ===

impl Ticket {
    /// A call that must be over after so long, beginning now. A `node` is the only one that it may ask for.
    pub(crate) fn new(call: String, node: Option<Arc<str>>, after: Duration) -> Self {
        // No call takes a day; an endless one would have no moment to end at.
        let after = after.min(Duration::from_secs(86_400));
        Self {
            call,
            node,
            after,
            deadline: Instant::now() + after,
        }
    }

    /// When the store is dropped, whatever the guest does.
    pub(crate) fn last(&self) -> tokio::time::Instant {
        (self.deadline + GRACE).into()
    }
}

// === impl Entered ===

/// Calls one export of an entered instance: the body of a call's work.
macro_rules! enter {
    ($entered:ident, $indices:expr, |$guest:ident, $store:ident| $call:expr) => {
        async move {
            let $crate::runner::Entered { mut store, instance } = $entered;
            let result = async {
                let $guest = $indices.load(&mut store, &instance)?;
                let $store = &mut store;
                $call
            }
            .await;
            (store, result)
        }
    };
}

pub(crate) use enter;
