//! The live objects that a table's rows speak of.
//!
//! A row of a shadow table is worth what its object is worth: a pod that was deleted has no usage. So existence, labels and
//! selectors come from here at every read, and the row only adds its fields.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_api::manifest::Shadow;

/// What is known of a live object: no more than reads need.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Live {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Live objects by kind, namespace and name. Answers come from memory.
pub trait LiveIndex: Send + Sync {
    /// One object; the namespace is empty for cluster-scoped kinds.
    fn get(&self, of: Shadow, namespace: &str, name: &str) -> Option<Arc<Live>>;

    /// Whether the first list of that kind is in.
    fn synced(&self, of: Shadow) -> bool;
}
