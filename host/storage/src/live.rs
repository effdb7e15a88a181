//! The live objects that a table's rows speak of.
//!
//! A row of a shadow table is worth what its object is worth: a pod that was deleted has no usage. So existence, labels and
//! selectors come from here at every read, and the row only adds its fields.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use outrigger_api::manifest::Shadow;

/// Labels of an object; objects with equal labels may share them.
pub type Labels = BTreeMap<String, String>;

/// Live objects by kind, namespace and name. Answers come from memory.
pub trait LiveIndex: Send + Sync {
    /// The labels of one object, if it exists; the namespace is empty for cluster-scoped kinds.
    fn labels(&self, of: Shadow, namespace: &str, name: &str) -> Option<Arc<Labels>>;
}

/// A world in which nothing lives.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

static UNLABELLED: LazyLock<Arc<Labels>> = LazyLock::new(Arc::default);

/// No labels, one copy for all.
#[must_use]
pub fn unlabelled() -> Arc<Labels> {
    Arc::clone(&UNLABELLED)
}

impl LiveIndex for Nothing {
    fn labels(&self, _of: Shadow, _namespace: &str, _name: &str) -> Option<Arc<Labels>> {
        None
    }
}
