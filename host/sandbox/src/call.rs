//! What belongs to one call: the data of its store.
//!
//! Made fresh, dropped with the store, so nothing of one call is left for the next. It holds the meters (memory, tables), the
//! deadline, what it spent at the CPU, the granted handles, the log and the WASI context, which has no authority at all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger_manifest::Series;
use tokio::sync::Semaphore;
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::capabilities::{Capabilities, Capability, Events, Http, Kubelet, Kv, Objects, Secrets};
use crate::counters::Counters;
use crate::engine::Engine;
use crate::failure::Panic;
use crate::grants::Grants;
use crate::limits::Limits;
use crate::log::{CallLog, Level, PluginLog, Source};
use crate::requests::Remarks;
use crate::series::SeriesGrant;
use crate::slices::{self, Tick};
use crate::stdio::Lines;

/// The handles that a plugin was granted, and nothing else: what is not here cannot be called. Swapped whole when grants change; a call
/// keeps what it began with.
pub(crate) struct Granted {
    /// What is effective: requested by the manifest and granted by the operator.
    pub(crate) effective: Grants,
    /// What the manifest asks for, to say whose fault a denial is.
    pub(crate) requested: Grants,
    pub(crate) config: Option<Bytes>,
    pub(crate) kubelet: Option<Arc<dyn Kubelet>>,
    pub(crate) objects: Option<Arc<dyn Objects>>,
    pub(crate) http: Option<Arc<dyn Http>>,
    /// Places for requests to the outside.
    pub(crate) egress: Arc<Semaphore>,
    pub(crate) kv: Option<Arc<dyn Kv>>,
    pub(crate) no_kv: &'static str,
    pub(crate) events: Option<Arc<dyn Events>>,
    pub(crate) series: Option<SeriesGrant>,
    /// The series that the manifest declares.
    pub(crate) declared: Arc<[Series]>,
    pub(crate) secrets: Option<Arc<dyn Secrets>>,
}

/// The data of one call's store.
pub(crate) struct Call {
    wasi: WasiCtx,
    table: ResourceTable,
    pub(crate) meter: Meter,
    pub(crate) granted: Arc<Granted>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) plugin: Arc<str>,
    /// The one node that this call may ask for; any if absent.
    pub(crate) node: Option<Arc<str>>,
    pub(crate) deadline: Instant,
    /// What it has spent at the CPU.
    pub(crate) spent: slices::Shared,
    /// Bytes that host functions may still answer.
    pub(crate) answers_left: usize,
    pub(crate) log: Arc<Mutex<CallLog>>,
    pub(crate) panic: Option<Panic>,
    pub(crate) remarks: Remarks,
    /// Whether the instance is made and the guest's own function was entered.
    pub(crate) started: bool,
}

/// Counts memory and tables over all instances of the store; wasmtime's own limits are per memory.
pub(crate) struct Meter {
    limits: Arc<Limits>,
    memory: usize,
    elements: usize,
    /// What was asked for when memory was refused.
    pub(crate) memory_refused: Option<usize>,
    /// What was asked for when table elements were refused.
    pub(crate) elements_refused: Option<usize>,
}

/// What a store is opened with.
pub(crate) struct Opening<'a> {
    pub(crate) limits: &'a Arc<Limits>,
    pub(crate) granted: Arc<Granted>,
    pub(crate) counters: &'a Arc<Counters>,
    pub(crate) log: &'a Arc<PluginLog>,
    pub(crate) plugin: &'a Arc<str>,
    pub(crate) call: Arc<str>,
    pub(crate) node: Option<Arc<str>>,
    pub(crate) deadline: Instant,
    pub(crate) spent: slices::Shared,
}

// === impl Granted ===

impl Granted {
    /// Nothing at all.
    pub(crate) fn nothing() -> Self {
        Self::new(
            Grants::none(),
            Grants::none(),
            Arc::new([]),
            &Capabilities::default(),
            Arc::new(Semaphore::new(0)),
        )
    }

    /// What of these handles is effective.
    pub(crate) fn new(
        requested: Grants,
        granted: Grants,
        declared: Arc<[Series]>,
        handles: &Capabilities,
        egress: Arc<Semaphore>,
    ) -> Self {
        let effective = requested.and(&granted);
        fn held<T: Clone>(effective: &Grants, of: Capability, handle: &Option<T>) -> Option<T> {
            handle.clone().filter(|_| effective.allows(of))
        }
        Self {
            config: effective.allows(Capability::Config).then(|| handles.config.clone()),
            kubelet: held(&effective, Capability::Kubelet, &handles.kubelet),
            objects: held(&effective, Capability::Objects, &handles.objects),
            http: held(&effective, Capability::Http, &handles.http),
            egress,
            kv: held(&effective, Capability::Kv, &handles.kv),
            no_kv: handles.no_kv,
            events: held(&effective, Capability::Events, &handles.events),
            series: held(&effective, Capability::Metrics, &handles.series),
            declared,
            secrets: held(&effective, Capability::Secrets, &handles.secrets),
            effective,
            requested,
        }
    }
}

// === impl Opening ===

impl Opening<'_> {
    /// A store for one call, with every limit set and the clock armed.
    pub(crate) fn store(self, engine: &Engine) -> Store<Call> {
        let limits = self.limits;
        let log = Arc::new(Mutex::new(CallLog::new(self.log.clone(), self.call)));
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let call = Call {
            wasi: WasiCtxBuilder::new()
                .stdout(Lines::new(Source::Stdout, log.clone()))
                .stderr(Lines::new(Source::Stderr, log.clone()))
                .allow_tcp(false)
                .allow_udp(false)
                .allow_ip_name_lookup(false)
                .max_random_size(1 << 16)
                .build(),
            table,
            meter: Meter {
                limits: limits.clone(),
                memory: 0,
                elements: 0,
                memory_refused: None,
                elements_refused: None,
            },
            granted: self.granted,
            counters: self.counters.clone(),
            plugin: self.plugin.clone(),
            node: self.node,
            deadline: self.deadline,
            spent: self.spent,
            answers_left: limits.answer_bytes,
            log,
            panic: None,
            remarks: Remarks::default(),
            started: false,
        };
        let mut store = Store::new(engine.wasmtime(), call);
        store.limiter(|call| &mut call.meter);
        store.set_hostcall_fuel(limits.hostcall_bytes);
        store.set_max_component_handles(limits.handles);
        // At a tick of the epoch the guest makes way for other tasks, and goes on with its next turn; past its deadline, or without
        // any CPU time left, it does not come back.
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            let call = store.data();
            if Instant::now() >= call.deadline {
                return Ok(UpdateDeadline::Interrupt);
            }
            Ok(match call.spent.tick() {
                Tick::Stop => UpdateDeadline::Interrupt,
                Tick::GoOn => UpdateDeadline::Continue(1),
                Tick::MakeWay => UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())),
            })
        });
        store
    }
}

// === impl Call ===

impl Call {
    /// Until when a host function may take: a tenth of what is left, at most 100 ms, stays for the guest to handle the error.
    pub(crate) fn host_deadline(&self) -> Instant {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let reserve = (left / 10).min(Duration::from_millis(100));
        self.deadline.checked_sub(reserve).unwrap_or(self.deadline)
    }

    /// What the guest holds handles of.
    pub(crate) fn handles(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    pub(crate) fn write(&self, level: Level, source: Source, message: &str) {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(level, source, message);
    }
}

impl WasiView for Call {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

// === impl Meter ===

impl Meter {
    /// The refused growth and its limit, for the report.
    pub(crate) fn memory_over(&self) -> Option<(usize, usize)> {
        self.memory_refused.map(|wanted| (wanted, self.limits.memory_bytes))
    }

    pub(crate) fn elements_over(&self) -> Option<(usize, usize)> {
        self.elements_refused.map(|wanted| (wanted, self.limits.table_elements))
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.memory.saturating_add(desired.saturating_sub(current));
        // `maximum` is the guest's own or the pool's; above it the growth fails whatever we say.
        let fits = wanted <= self.limits.memory_bytes && maximum.is_none_or(|m| desired <= m);
        if fits {
            self.memory = wanted;
        } else {
            self.memory_refused = Some(wanted);
        }
        Ok(fits)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.elements.saturating_add(desired.saturating_sub(current));
        let fits = wanted <= self.limits.table_elements && maximum.is_none_or(|m| desired <= m);
        if fits {
            self.elements = wanted;
        } else {
            self.elements_refused = Some(wanted);
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        self.limits.tables
    }

    fn memories(&self) -> usize {
        self.limits.memories
    }
}
