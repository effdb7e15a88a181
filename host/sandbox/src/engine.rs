//! The one engine of a process, and the one function that configures it.
//!
//! Compiling, serving, the command line and the benches all go through [`config`], so that compiled code crosses between them and
//! figures speak of what runs in production. The recipe was measured: a fresh instance and a call cost 46.9 µs with wasmtime's
//! defaults and 6.8 µs so. The gain is in what does not happen: no mapping and unmapping of memory, no page faults, no bookkeeping
//! for concurrency that plugins do not use.
//!
//! Instances live in a pool of address space reserved once. Where it cannot be reserved (39-bit machines, `ulimit -v`, some
//! sandboxes) the engine allocates on demand, and says so loudly: [`Engine::allocation`].
//!
//! Two clocks bound a guest. The epoch, raised by a plain thread every few milliseconds while guests run, makes it wait for its next
//! turn (see `turns`) and stops it at its deadline; a timer outside drops the whole store shortly after, should the guest sit in a host
//! call.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::call::Call;
use crate::clock::Clock;
use crate::compile::CompileError;
use crate::compiler::Compiler;
use crate::imports;
use crate::inspect::hex;
use crate::turns::Turns;

/// What an operator may choose about the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// Calls at once, of all plugins together. Default 128: twice what one plugin may have. Each slot reserves a few GiB of address space (not memory), and keeps at
    /// most `keep_resident_bytes` after use.
    pub slots: u32,
    /// The most memory that any plugin's limit may allow. Default 256 MiB.
    pub memory_bytes: usize,
    /// Memory of a slot that stays with the process between calls. Default 4 MiB: what a Rust guest touches.
    pub keep_resident_bytes: usize,
    /// Slots that may stay warm without being in use. Default 16; bounds what idle plugins hold to 16 × 4 MiB.
    pub warm_slots: u32,
    /// How often a running guest makes way for others, and how exact a deadline is. Default 2 ms; a shorter one costs more changes
    /// from guest to guest.
    pub tick: Duration,
    /// Guests that may compute at once, first short slices aside. Default 0: one less than there are cores, at least one, so that
    /// serving always has one.
    pub turns: usize,
    /// Compilations at once. Default 1: the compiler itself uses all cores.
    pub compilations: usize,
    /// Who compiles, if it shall not be this process: see [`Compiler`]. Default none.
    pub compiler: Option<Compiler>,
    /// Whether to try the pool. Default true; off for tests of the fallback.
    pub pooling: bool,
}

/// Where instances live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allocation {
    /// In a pool of so many slots.
    Pool {
        /// Calls at once.
        slots: u32,
    },
    /// Each in memory of its own: several times slower to start a call.
    OnDemand {
        /// Why there is no pool.
        reason: String,
    },
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The machine or the options do not fit; the whole chain of causes.
    #[error("the WebAssembly engine cannot start: {0}")]
    Config(String),
    /// No thread for the clock.
    #[error("the WebAssembly engine cannot start its clock: {0}")]
    Clock(#[source] std::io::Error),
}

/// The engine. Cloning is cheap; all clones are one.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

struct Shared {
    wasmtime: wasmtime::Engine,
    linker: Linker<Call>,
    allocation: Allocation,
    fingerprint: String,
    options: EngineOptions,
    slots: Arc<Semaphore>,
    compilers: Arc<Semaphore>,
    clock: Arc<Clock>,
    turns: Arc<Turns>,
}

// === impl EngineOptions ===

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            slots: 128,
            memory_bytes: 256 << 20,
            keep_resident_bytes: 4 << 20,
            warm_slots: 16,
            tick: Duration::from_millis(2),
            turns: 0,
            compilations: 1,
            compiler: None,
            pooling: true,
        }
    }
}

// === impl Engine ===

impl Engine {
    /// Starts the engine and its clock.
    ///
    /// # Errors
    /// The machine cannot run compiled WebAssembly at all. A machine without room for the pool is no error: see [`Engine::allocation`].
    pub fn new(options: &EngineOptions) -> Result<Self, EngineError> {
        let fail = |e: wasmtime::Error| EngineError::Config(format!("{e:#}"));
        let (wasmtime, allocation) = reserve(options).map_err(fail)?;
        if let Allocation::OnDemand { reason } = &allocation {
            tracing::warn!(
                reason,
                "no pool of instances: each call allocates and frees its memory, which is several times slower; give the process \
                 more address space"
            );
        }
        let linker = imports::linker(&wasmtime).map_err(fail)?;
        let turns = Arc::new(Turns::new(match options.turns {
            0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1)),
            turns => turns,
        }));
        let clock = Arc::new(Clock::default());
        clock
            .start(&wasmtime, turns.clone(), options.tick)
            .map_err(EngineError::Clock)?;
        let slots = usize::try_from(options.slots)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        Ok(Self(Arc::new(Shared {
            fingerprint: fingerprint(&wasmtime),
            wasmtime,
            linker,
            allocation,
            options: options.clone(),
            slots: Arc::new(Semaphore::new(slots)),
            compilers: Arc::new(Semaphore::new(options.compilations.max(1))),
            clock,
            turns,
        })))
    }

    /// Where instances live; show it to the operator.
    #[must_use]
    pub fn allocation(&self) -> &Allocation {
        &self.0.allocation
    }

    /// Names everything that compiled code depends on: the version of wasmtime, its configuration, the target and its CPU's features.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    /// What it was started with.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        &self.0.options
    }

    /// Calls that could start now, of all plugins together.
    #[must_use]
    pub fn free_slots(&self) -> usize {
        self.0.slots.available_permits()
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.0.wasmtime
    }

    pub(crate) fn linker(&self) -> &Linker<Call> {
        &self.0.linker
    }

    pub(crate) fn slots(&self) -> &Semaphore {
        &self.0.slots
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.0.turns
    }

    pub(crate) fn compilers(&self) -> &Arc<Semaphore> {
        &self.0.compilers
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.clock.end();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("allocation", &self.0.allocation)
            .field("fingerprint", &self.0.fingerprint)
            .finish_non_exhaustive()
    }
}

/// The recipe. The only place that builds a [`Config`].
fn config(options: &EngineOptions, pooled: bool) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(false)
        .memory_init_cow(true)
        // Host functions run on what the stack has beyond the guest's part; ours are shallow.
        .max_wasm_stack(512 << 10)
        .async_stack_size(2 << 20)
        // In code, so that no environment variable changes what a report says.
        .wasm_backtrace_max_frames(NonZeroUsize::new(32))
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        // Proposals that no plugin needs; most of the engine's advisories are in them.
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        .wasm_component_model(true)
        .shared_memory(false);
    // Registering unwind tables is quadratic in musl, and our traps do not need them.
    if cfg!(target_env = "musl") {
        config.native_unwind_info(false);
    }
    config.allocation_strategy(if pooled {
        InstanceAllocationStrategy::Pooling(pool(options))
    } else {
        InstanceAllocationStrategy::OnDemand
    });
    config
}

fn pool(options: &EngineOptions) -> PoolingAllocationConfig {
    let slots = options.slots;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_stacks(slots)
        // A component has one memory, two tables and about four core instances; composed ones have more, and then fewer fit.
        .total_memories(slots.saturating_mul(2))
        .total_tables(slots.saturating_mul(4))
        .total_core_instances(slots.saturating_mul(8))
        .max_memories_per_component(8)
        .max_tables_per_component(32)
        .max_core_instances_per_component(256)
        .max_memory_size(options.memory_bytes)
        .table_elements(20_000)
        .linear_memory_keep_resident(options.keep_resident_bytes)
        .table_keep_resident(64 << 10)
        .max_unused_warm_slots(options.warm_slots)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Reserves the pool. The probe is the reservation itself: nothing else knows what the machine gives.
fn reserve(options: &EngineOptions) -> wasmtime::Result<(wasmtime::Engine, Allocation)> {
    let reason = if options.pooling {
        match wasmtime::Engine::new(&config(options, true)) {
            Ok(engine) => return Ok((engine, Allocation::Pool { slots: options.slots })),
            Err(e) => format!("{e:#}"),
        }
    } else {
        "switched off".to_owned()
    };
    // What is wrong with the configuration itself fails here as well, and is an error.
    let engine = wasmtime::Engine::new(&config(options, false))?;
    Ok((engine, Allocation::OnDemand { reason }))
}

/// An engine that compiles for the others of this recipe and runs nothing, and its fingerprint.
pub(crate) fn compiling() -> Result<(wasmtime::Engine, String), CompileError> {
    let engine = wasmtime::Engine::new(&config(&EngineOptions::default(), false));
    let engine = engine.map_err(|e| CompileError::Failed(format!("{e:#}")))?;
    let fingerprint = fingerprint(&engine);
    Ok((engine, fingerprint))
}

fn fingerprint(engine: &wasmtime::Engine) -> String {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut sha = Sha(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut sha);
    std::env::consts::ARCH.hash(&mut sha);
    let mut name = hex(&sha.0.finalize());
    name.truncate(16);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_back_loudly_when_the_address_space_is_too_small() {
        // 200,000 slots of several GiB are more than any 48-bit machine has.
        let engine = Engine::new(&EngineOptions {
            slots: 200_000,
            ..EngineOptions::default()
        })
        .unwrap();
        assert!(
            matches!(engine.allocation(), Allocation::OnDemand { reason } if !reason.is_empty()),
            "{:?}",
            engine.allocation()
        );
    }

    #[test]
    fn compiled_code_fits_every_engine_of_the_recipe() {
        let pooled = Engine::new(&EngineOptions::default()).unwrap();
        let alone = Engine::new(&EngineOptions {
            pooling: false,
            slots: 3,
            ..EngineOptions::default()
        })
        .unwrap();
        assert_eq!(pooled.allocation(), &Allocation::Pool { slots: 128 });
        assert_eq!(pooled.fingerprint(), alone.fingerprint());
        let code = pooled.wasmtime().precompile_component(b"\0asm\x0d\0\x01\0").unwrap();
        assert_eq!(
            wasmtime::Engine::detect_precompiled(&code),
            Some(wasmtime::Precompiled::Component)
        );
    }

    #[test]
    fn the_clock_ends_with_the_engine() {
        let engine = Engine::new(&EngineOptions {
            pooling: false,
            tick: Duration::from_millis(1),
            ..EngineOptions::default()
        })
        .unwrap();
        let weak = engine.wasmtime().weak();
        drop(engine);
        let until = std::time::Instant::now() + Duration::from_secs(5);
        // The thread holds a strong handle for an instant at a time.
        while weak.upgrade().is_some() && std::time::Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(weak.upgrade().is_none());
    }
}
