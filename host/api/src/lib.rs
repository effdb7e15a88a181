//! Pure wire rules: what Kubernetes says on the wire, as types and functions without I/O.
//!
//! This room knows nobody. Everything here can be tested with a table of inputs and answers, and each rule names where it
//! comes from upstream.

pub mod body;
pub mod cells;
pub mod continue_token;
pub mod discovery;
pub mod encode;
pub mod field;
pub mod identity;
pub mod json;
pub mod json_path;
pub mod kept;
pub mod list_options;
pub mod media;
pub mod message;
pub mod meta;
pub mod names;
pub mod object;
pub mod object_rules;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod query;
pub mod quote;
pub mod request_info;
pub mod scale;
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
pub mod time;
pub mod watch;
pub mod write_options;

/// The manifest of a plugin, shared with the SDK.
pub use outrigger_manifest as manifest;
