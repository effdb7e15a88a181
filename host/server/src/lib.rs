//! The door: listener, TLS, the filter chain in upstream's order, health, its own metrics. What is behind it is an [`Endpoint`].
//!
//! A connection is accepted and handed to a task of its own ([`listener`]); its requests walk through the [`chain`] and, if
//! nothing refuses them, reach the [`Endpoint`] as a [`Call`] whose caller is known and permitted. Every refusal on the way is
//! a `meta/v1 Status` in the encoding that the client asked for ([`refusal`]).
//!
//! A vanished client cancels its request: the future of [`Endpoint::answer`] is dropped. What must not stop halfway (a write
//! that has begun) belongs in a task of the endpoint's own.

pub mod audit;
pub mod authority;
pub mod bundle;
pub mod ca;
pub mod call;
pub mod certificates;
pub mod chain;
pub mod connection;
mod documents;
pub mod exposition;
pub mod filters;
pub mod health;
mod http_log;
pub mod listener;
pub mod metrics;
pub mod named;
pub mod observation;
mod private_key;
pub mod process;
pub mod publication;
pub mod refusal;
pub mod routes;
pub mod shared_ca;
mod stream_task;
pub mod suites;
pub mod tls;
pub mod traces;
mod version;
pub mod warnings;
mod websocket;

pub use audit::Audit;
pub use authority::Authority;
pub use bundle::Bundle;
pub use ca::{Ca, Pems};
pub use call::{Body, Call, Endpoint, read};
pub use certificates::{Certificates, Named, Source};
pub use chain::{Chain, ChainParts, Document, Limits, OwnStream};
pub use connection::{Connection, Handover};
pub use filters::optional::Optional;
pub use health::Health;
pub use listener::{Drained, GO_MAX_STREAMS, Server, ServerOptions};
pub use metrics::{DeprecatedApi, Metrics};
pub use observation::Observation;
pub use publication::{Clock, Publication};
pub use refusal::Client;
pub use routes::Routes;
pub use shared_ca::{Held, Published, Safe, SharedCa, SharedCaOptions, Written};
pub use suites::{MinVersion, Suites};
pub use tls::{Tls, TlsOptions};
pub use traces::Tracer;
pub use warnings::Warnings;
