//! Tables: rows that collectors fetch and requests read.
//!
//! A publication replaces all rows of one source (a collector and its target) and leaves the other sources' rows alone. A
//! reader takes a [`Snapshot`] and keeps it as long as it likes: the map is persistent, so a snapshot costs one pointer
//! and a publication only the rows that it changes. Reads never wait for writers.
//!
//! Rows grow old: each source says until when its rows may be served if nothing newer comes. Nobody removes them at that
//! moment; readers skip what has expired, and the next publication or [`Table::sweep`] takes it away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use imbl::OrdMap;

/// Names a row; ordered as upstream lists (namespace, then name, by bytes).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace; empty if cluster-scoped.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// What a collector knows of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Names the object.
    pub key: Key,
    /// When the object was made; the moment of its publication if unknown.
    pub created: Option<SystemTime>,
    /// The members of its JSON object but apiVersion, kind and metadata, **without the outer braces**; may be empty.
    pub fields: Box<[u8]>,
    /// The same fields in protobuf; empty if there are none.
    pub protobuf: Box<[u8]>,
    /// The cells of the columns after Name: a JSON array **without the outer brackets**; may be empty.
    pub cells: Box<[u8]>,
}

/// A row as a snapshot holds it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The row.
    pub row: Row,
    /// Whose it is.
    pub source: Arc<str>,
    /// When it was published.
    pub published: SystemTime,
    /// Until when it may be served.
    pub expires: SystemTime,
}

/// All rows at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    rows: OrdMap<Key, Arc<Entry>>,
    revision: u64,
}

/// One resource's rows.
#[derive(Debug, Default)]
pub struct Table {
    now: ArcSwap<Snapshot>,
    writers: Mutex<Sources>,
}

/// Which keys each source holds, so that a publication finds what it replaces.
#[derive(Debug, Default)]
struct Sources(HashMap<Arc<str>, Vec<Key>>);

// === impl Key ===

impl Key {
    /// A key; an empty namespace is a cluster-scoped object.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl std::fmt::Display for Key {
    /// `NAMESPACE/NAME`, or `NAME` if cluster-scoped, as upstream's `cache.MetaNamespaceKeyFunc`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// Grows with every change of the table; starts at 0.
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

    /// The rows of one namespace that may still be served at `now`, by name.
    pub fn iter_namespace<'a>(&'a self, namespace: &'a str, now: SystemTime) -> impl Iterator<Item = &'a Arc<Entry>> {
        let first = Key::new(namespace, "");
        self.rows
            .range(first..)
            .take_while(move |(k, _)| &*k.namespace == namespace)
            .map(|(_, e)| e)
            .filter(move |e| e.expires > now)
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

// === impl Table ===

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The rows as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.now.load_full()
    }

    /// Replaces all rows of `source`. They may be served for `keep` from `at` on.
    ///
    /// A key that another source holds as well (a pod's name that moved from node to node) goes to whoever published it
    /// last, unless it is this same source's own; when its holder withdraws it, the other's next publication brings it
    /// back. Of several rows with one key in `rows`, the last is kept.
    pub fn publish(&self, source: &Arc<str>, rows: Vec<Row>, at: SystemTime, keep: Duration) {
        let expires = at.checked_add(keep).unwrap_or(at);
        let mut sources = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.now.load();
        let mut next = before.rows.clone();
        let keys: Vec<Key> = rows.iter().map(|r| r.key.clone()).collect();
        let held = if keys.is_empty() {
            sources.0.remove(source)
        } else {
            sources.0.insert(source.clone(), keys)
        };
        for key in held.unwrap_or_default() {
            if next.get(&key).is_some_and(|e| e.source == *source) {
                next.remove(&key);
            }
        }
        for row in rows {
            let entry = Entry {
                row,
                source: source.clone(),
                published: at,
                expires,
            };
            next.insert(entry.row.key.clone(), Arc::new(entry));
        }
        self.now.store(Arc::new(Snapshot {
            rows: next,
            revision: before.revision.saturating_add(1),
        }));
    }

    /// Takes away all rows of `source`: its target is gone for good.
    pub fn withdraw(&self, source: &Arc<str>) {
        self.publish(source, Vec::new(), SystemTime::UNIX_EPOCH, Duration::ZERO);
    }

    /// Takes away rows that have expired at `now`. Call now and then; readers skip them anyway.
    pub fn sweep(&self, now: SystemTime) {
        let mut sources = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.now.load();
        let expired: Vec<Key> = before
            .rows
            .iter()
            .filter(|(_, e)| e.expires <= now)
            .map(|(k, _)| k.clone())
            .collect();
        if expired.is_empty() {
            return;
        }
        let mut next = before.rows.clone();
        for key in &expired {
            if let Some(entry) = next.remove(key)
                && let Some(keys) = sources.0.get_mut(&entry.source)
            {
                keys.retain(|k| k != key);
                if keys.is_empty() {
                    sources.0.remove(&entry.source);
                }
            }
        }
        self.now.store(Arc::new(Snapshot {
            rows: next,
            revision: before.revision.saturating_add(1),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(60);

    fn row(namespace: &str, name: &str, fields: &str) -> Row {
        Row {
            key: Key::new(namespace, name),
            created: None,
            fields: fields.as_bytes().into(),
            protobuf: [].into(),
            cells: [].into(),
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn listed(table: &Table, now: SystemTime) -> Vec<String> {
        table
            .snapshot()
            .iter(now)
            .map(|e| format!("{} {}", e.row.key, std::str::from_utf8(&e.row.fields).unwrap()))
            .collect()
    }

    #[test]
    fn a_publication_replaces_its_own_source_only() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let table = Table::new();
        table.publish(&a, vec![row("ns", "2", "a2"), row("ns", "1", "a1")], at(0), KEEP);
        table.publish(&b, vec![row("ns", "3", "b3"), row("mt", "9", "b9")], at(0), KEEP);
        assert_eq!(listed(&table, at(1)), ["mt/9 b9", "ns/1 a1", "ns/2 a2", "ns/3 b3"]);
        table.publish(&a, vec![row("ns", "2", "a2'")], at(1), KEEP);
        assert_eq!(listed(&table, at(1)), ["mt/9 b9", "ns/2 a2'", "ns/3 b3"]);
        table.withdraw(&b);
        assert_eq!(listed(&table, at(1)), ["ns/2 a2'"]);
    }

    #[test]
    fn a_key_that_moves_between_sources_is_not_lost_and_not_doubled() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let table = Table::new();
        table.publish(&a, vec![row("ns", "web-0", "on a")], at(0), KEEP);
        table.publish(&b, vec![row("ns", "web-0", "on b")], at(1), KEEP);
        assert_eq!(listed(&table, at(2)), ["ns/web-0 on b"]);
        table.publish(&a, vec![], at(2), KEEP);
        assert_eq!(
            listed(&table, at(2)),
            ["ns/web-0 on b"],
            "a gave up what was no longer its own"
        );
    }

    #[test]
    fn rows_expire_and_are_swept() {
        let a: Arc<str> = "a".into();
        let table = Table::new();
        table.publish(&a, vec![row("", "n", "x")], at(0), KEEP);
        assert_eq!(listed(&table, at(59)), ["n x"]);
        assert!(listed(&table, at(60)).is_empty());
        assert_eq!(table.snapshot().len(), 1);
        table.sweep(at(60));
        assert!(table.snapshot().is_empty());
        assert!(table.writers.lock().unwrap().0.is_empty());
    }

    #[test]
    fn a_snapshot_stays_as_it_was() {
        let a: Arc<str> = "a".into();
        let table = Table::new();
        table.publish(&a, vec![row("", "n", "old")], at(0), KEEP);
        let before = table.snapshot();
        table.publish(&a, vec![row("", "n", "new")], at(0), KEEP);
        let key = Key::new("", "n");
        assert_eq!(&*before.get(&key, at(0)).unwrap().row.fields, b"old");
        assert_eq!(&*table.snapshot().get(&key, at(0)).unwrap().row.fields, b"new");
        assert!(table.snapshot().revision() > before.revision());
    }

    #[test]
    fn a_namespace_is_a_range() {
        let a: Arc<str> = "a".into();
        let table = Table::new();
        let rows = [("a", "z"), ("ab", "a"), ("ab", "b"), ("abc", "a")]
            .map(|(ns, n)| row(ns, n, ""))
            .into();
        table.publish(&a, rows, at(0), KEEP);
        let snapshot = table.snapshot();
        let names: Vec<_> = snapshot.iter_namespace("ab", at(0)).map(|e| e.row.key.to_string()).collect();
        assert_eq!(names, ["ab/a", "ab/b"]);
    }
}
