//! What an audit log says, and which requests it says it of: `audit.k8s.io/v1`, as types and functions without I/O.
//!
//! A [`Policy`] decides once per request how much is said ([`Level`]) and when ([`Stage`]); an [`Event`] is one line. Both are
//! upstream's (apiserver `pkg/apis/audit`, `pkg/audit`), field by field, so that whatever reads kube-apiserver's log reads ours.
//! Queues, files and rotation are the server's.

pub mod event;
pub mod level;
pub mod object;
pub mod policy;
pub mod source_ips;
mod validation;

pub use event::{Answer, Event, ObjectRef, Received};
pub use level::{Level, Stage, Stages};
pub use object::{Media, Object};
pub use policy::{BadPolicy, Policy, Verdict};
pub use source_ips::source_ips;
