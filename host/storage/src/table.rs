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
use bytes::Bytes;
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
