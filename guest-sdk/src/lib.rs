//! Write an Outrigger plugin in Rust.
//!
//! A plugin is a function from what it may see to what it shows; the host does the rest. So the SDK is small: traits for
//! the roles that a plugin can play, traits for the capabilities that it may use, and [`plugin!`], which exports what a plugin
//! implements and nothing else. The capabilities have two sides: the real host in a component, and [`fake::Host`] natively, so a plugin is
//! tested by `cargo test`, without Wasm and without a cluster. `docs/plugins.md` goes from an empty crate to a served API.
//!
//! | role | traits | for |
//! |---|---|---|
//! | collector | [`Collector`], [`Migrator`] | data that lives elsewhere, fetched on a schedule into tables |
//! | [responder] | [`Get`], [`List`], [`Create`], [`Update`], [`Delete`]; [`Part`], [`UpdatePart`], [`Connect`] | objects computed on demand |
//! | strategy | [`Strategy`] | the rules of objects that the host keeps |
//! | controller | [`Controller`] | what brings the world in step with objects |
//!
//! # A collector
//!
//! ```
//! use outrigger_sdk::prelude::*;
//!
//! /// How long each node has been up.
//! struct Uptime;
//!
//! impl Collector for Uptime {
//!     const NAME: &'static str = "uptime";
//!     const EACH: Each = Each::Node;
//!     const INTERVAL_SECONDS: u32 = 60;
//!     const FILLS: &'static [&'static str] = &["uptimes"];
//!     type State = ();
//!
//!     fn collect(host: &impl Kubelet, node: &str, _: ()) -> Result<Collected<()>, Error> {
//!         let summary: serde_json::Value = serde_json::from_slice(&host.summary(node, Detail::CpuAndMemory)?)?;
//!         let since = &summary["node"]["startTime"];
//!         Ok(Collected::empty().row(Row::of("uptimes").name(node).fields(&serde_json::json!({"since": since})).cells(&[since])))
//!     }
//! }
//!
//! fn about() -> Manifest {
//!     manifest!().needs("kubelet", "reads each node's start time").resource(
//!         Resource::table("Uptime", "uptimes", Scope::Cluster).group("uptime.example.com").version("v1").column(Column::date("Up")),
//!     )
//! }
//!
//! plugin! { manifest: about, collectors: [Uptime] }
//!
//! # fn main() {
//! let host = fake::Host::new().answering("node-1", r#"{"node": {"startTime": "2026-11-21T09:54:03Z"}}"#);
//! let rows = fake::Target::<Uptime>::new("node-1").tick(&host).unwrap();
//! assert_eq!(rows[0].cells_json(), r#"["2026-11-21T09:54:03Z"]"#);
//! # assert_eq!(Plugin::manifest().check(), Ok(()));
//! # }
//! ```
//!
//! # A responder
//!
//! [`derive(Resource)`](macro@Resource) makes a kind of a struct; each verb is a trait, and those that it implements are offered.
//!
//! ```
//! use outrigger_sdk::prelude::*;
//!
//! /// A note that somebody left.
//! #[derive(Debug, PartialEq, Resource, Serialize, Deserialize, JsonSchema)]
//! #[resource(group = "notes.example.com", version = "v1", plural = "notes")]
//! struct Note {
//!     /// What it says.
//!     text: String,
//! }
//!
//! impl Get for Note {
//!     fn get(host: &impl Host, request: &Request<'_>) -> Result<Object<Self>, Error> {
//!         let text = host.kv_get(&request.name())?.ok_or_else(|| request.not_found())?;
//!         let text = String::from_utf8(text).map_err(Error::failed)?;
//!         Ok(Object::named(request.namespace(), request.name(), Note { text }))
//!     }
//! }
//!
//! fn about() -> Manifest {
//!     manifest!().name("notes").needs("kv", "keeps the notes")
//! }
//!
//! plugin! { manifest: about, responders: [Note] }
//!
//! # fn main() {
//! let host = fake::Host::new().keeping("shopping", "milk");
//! let notes = fake::Responder::<Note>::new().namespace("main");
//! assert_eq!(notes.get(&host, "shopping").unwrap().text, "milk");
//! assert!(matches!(notes.get(&host, "x"), Err(Error::NotFound(_))));
//! # assert_eq!(Plugin::manifest().check(), Ok(()));
//! # }
//! ```
//!
//! What the SDK promises: a component exports exactly the roles that its plugin implements, and imports exactly the
//! capabilities whose methods it calls (and the error type of the contract, and what Rust's std wants of WASI, which the
//! host answers with no authority); a panic reaches the operator with message and place. What a plugin must not count on: memory
//! between calls (each call enters a fresh instance; keep [`State`]), files, sockets, the environment.

/// The page's code, as tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/plugins.md")]
pub struct PluginsMd;

mod capabilities;
mod cluster;
mod collector;
mod controller;
mod error;
pub mod http;
mod object;
mod plugin;
#[doc(hidden)]
pub mod probe;
pub mod quantity;
mod request;
pub mod responder;
mod row;
mod schema;
mod state;
mod strategy;
pub mod time;

#[cfg(not(target_arch = "wasm32"))]
pub mod fake;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;

pub use outrigger_manifest as manifest;
pub use outrigger_manifest::Each;
pub use {schemars, serde, serde_json};

pub use capabilities::{
    Clock, Config, Detail, EventKind, Events, Host, Http, Kubelet, Kv, Level, Log, Metrics, Random, Reference, Secrets,
};
pub use cluster::{Client, Cluster, Page, Target};
pub use collector::{Collected, Collector, Migrator};
pub use controller::{Controller, Key, Outcome};
pub use error::Error;
pub use object::{Metadata, Object, OwnerReference, Resource};
pub use outrigger_sdk_macros::Resource;
pub use plugin::{BUILT_WITH, Plugin};
#[doc(hidden)]
pub use plugin::{
    BUILT_WITH_BYTES as __BUILT_WITH, admit as __admit, asks as __asks, collect as __collect, convert as __convert,
    converts as __converts, migrate as __migrate, responding as __responding, stored as __stored, with_part as __with_part,
    with_stream as __with_stream,
};
pub use request::{FieldError, Objects, Reader, Request, Writer};
pub use responder::{Connect, Create, Delete, Get, List, Part, Update, UpdatePart};
pub use row::Row;
pub use schema::{config_schema, schema_of};
pub use state::{Bytes, State};
pub use strategy::{Admission, Admitted, AdmittedBytes, Operation, Strategy};

/// What a plugin usually writes with.
pub mod prelude {
    #[cfg(not(target_arch = "wasm32"))]
    pub use crate::fake;
    pub use crate::{
        Admission, Admitted, Bytes, Clock, Cluster, Collected, Collector, Config, Connect, Controller, Create, Delete, Detail,
        Each, Error, EventKind, Events, FieldError, Get, Host, Http, Key, Kubelet, Kv, Level, List, Log, Metadata, Metrics,
        Migrator, Object, Objects, Operation, Outcome, Part, Random, Reader, Reference, Request, Row, Secrets, State, Strategy,
        Target, Update, UpdatePart, Writer, http, manifest, plugin, quantity, schema_of, time,
    };
    // By its methods only: `plugin!` names a struct so.
    pub use crate::Plugin as _;
    // By its methods and consts only: the name is that of the manifest's builder, and of the derive.
    pub use crate::object::Resource as _;
    pub use outrigger_manifest::{Column, Manifest, Resource, Scope, Shadow};
    pub use outrigger_sdk_macros::Resource;
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
}
