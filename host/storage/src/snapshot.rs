//! All rows of a table at one moment.

use std::sync::Arc;
use std::time::SystemTime;

use imbl::OrdMap;

use crate::{Entry, Key};

/// All rows at one moment; a persistent map, so that a clone costs a pointer.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub(crate) rows: OrdMap<Key, Arc<Entry>>,
    pub(crate) revision: u64,
    /// The revision of the last change: up to `revision` nothing has happened since.
    pub(crate) changed: u64,
}

// === impl Snapshot ===

impl Snapshot {
    /// Grows with every change of the table; the resource version of a list.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// One row that may still be served at `now`.
    #[must_use]
    pub fn get(&self, key: &Key, now: SystemTime) -> Option<&Arc<Entry>> {
        self.rows.get(key).filter(|e| e.expires > now)
    }

    /// All rows that may still be served at `now`, by namespace and name.
    pub fn iter(&self, now: SystemTime) -> impl Iterator<Item = &Arc<Entry>> {
        self.rows.values().filter(move |e| e.expires > now)
    }

    /// The same, from `first` on.
    pub fn iter_from(&self, first: Key, now: SystemTime) -> impl Iterator<Item = &Arc<Entry>> {
        self.rows.range(first..).map(|(_, e)| e).filter(move |e| e.expires > now)
    }

    /// The rows of one namespace that may still be served at `now`, by name.
    pub fn iter_namespace<'a>(&'a self, namespace: &'a str, now: SystemTime) -> impl Iterator<Item = &'a Arc<Entry>> {
        self.iter_from(Key::new(namespace, ""), now)
            .take_while(move |e| &*e.row.key.namespace == namespace)
    }

    /// Rows held, expired ones too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no row is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
