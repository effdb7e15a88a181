//! The Wasm engine: the only crate that knows wasmtime.
//!
//! It turns bytes into a [`Plugin`] and calls it. What it promises: a guest sees nothing but what its operator granted, costs no more
//! than its [`Limits`], leaves nothing behind from one call to the next, and whatever it does ends as one [`CallError`] with one
//! sentence. What it must never do: trust anything that a guest returned, run compiled code that it did not compile itself, or
//! let a guest hold a thread.
//!
//! Read `engine` for how instances are made so fast, `capabilities` for what a guest may ask, `plugin` for the life of a call,
//! `rows` for what a result must be.
//!
//! ```no_run
//! # async fn example(bytes: bytes::Bytes) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use outrigger_sandbox::{ArtifactCache, Engine, EngineOptions, LoadOptions, Plugin};
//!
//! let engine = Engine::new(&EngineOptions::default())?;
//! let cache = ArtifactCache::open("/var/cache/outrigger")?;
//! let plugin = Plugin::load(&engine, Some(&cache), bytes, LoadOptions::default()).await?;
//! let first = plugin.collect("nodes", "node-1", &[], Duration::from_secs(5)).await?;
//! let second = plugin.collect("nodes", "node-1", &first.state, Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```

mod artifacts;
mod aside;
mod bindings;
mod call;
mod capabilities;
mod clock;
mod compile;
mod compiler;
mod counters;
mod engine;
mod failure;
mod grants;
mod history;
mod imports;
mod inspect;
mod limits;
mod limits_spec;
mod log;
mod plugin;
mod requests;
mod roles;
mod rows;
mod runner;
mod series;
mod slices;
mod stdio;
mod turns;

pub use artifacts::{ArtifactCache, CacheError};
pub use capabilities::{
    Capabilities, Capability, ContractError, Event, Events, HostError, Http, Kubelet, Kv, ObjectPage, ObjectReference, Objects,
    PatchKind, Secrets, Target, UnknownCapability,
};
pub use compile::{CompileError, Origin};
pub use compiler::{Compiler, REFUSED, compile_for_parent};
pub use counters::{CapabilityCounts, Counts};
pub use engine::{Allocation, Engine, EngineError, EngineOptions};
pub use failure::{BadResult, CallError, Panic, TrapKind, TrapReport};
pub use grants::{
    BadGrants, BadHost, CapabilityGrants, Grants, GrantsFile, HostPattern, HttpGrant, IdentityGrant, KvGrant, MetricsGrant,
    Plain, PluginGrant, SecretKey, SecretSource,
};
pub use history::Failed;
pub use inspect::{Inspection, Role, Unfit};
pub use limits::Limits;
pub use limits_spec::{LimitsSpec, Size, Span, TooMuch};
pub use log::{Level, LogLine, LogSink, Source, TracingLog};
pub use plugin::{Decided, LoadError, LoadOptions, Plugin, WeakPlugin};
pub use requests::{FieldError, Input, Remarks, Request, Sink};
pub use roles::{Admitted, Answered, Ask, Outcome};
pub use rows::{BadRow, Collected, Complaint, Complaints, GuestRow};
pub use series::{Family, Series, SeriesGrant};
