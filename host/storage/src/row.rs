//! Rows, and what a table knows of each.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use outrigger_api::cells::Found;
use outrigger_api::kept::{parts, write};
use outrigger_api::object::{NotAnObject, Object};

use crate::Labels;
use crate::interned::Interned;
use crate::live::unlabelled;

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
    pub fields: Bytes,
    /// The same fields in protobuf; empty if there are none.
    pub protobuf: Box<[u8]>,
    /// The cells of the columns after Name: a JSON array **without the outer brackets**; may be empty.
    pub cells: Box<[u8]>,
    /// Its metadata, if its author wrote it; else the host knows it (name, creation, labels of the object that the row speaks of).
    pub meta: Option<Box<Meta>>,
}

/// Metadata that a row's author wrote. The resource version that readers see is the table's all the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// Its labels.
    pub labels: Arc<Labels>,
    /// All but name, namespace, resourceVersion and labels: finished JSON members without braces. With `kept` the labels are
    /// among them.
    pub json: Bytes,
    /// The same fields of `ObjectMeta` in protobuf.
    pub protobuf: Box<[u8]>,
    /// The author's own resource version; empty if he has none.
    pub version: Box<str>,
    /// Of a row that is kept in a store: the API version in which it is kept. Its protobuf is made when somebody asks.
    pub kept: Option<Arc<str>>,
}

/// A row as a snapshot holds it.
#[derive(Debug)]
pub struct Entry {
    /// The row.
    pub row: Row,
    /// Whose it is.
    pub source: Arc<str>,
    /// When it was published as it is now; a publication that changes nothing leaves this alone.
    pub published: SystemTime,
    /// Until when it may be served.
    pub expires: SystemTime,
    /// The table's revision of its last change: its resource version.
    pub revision: u64,
    /// The labels of its object when it was published; `None` if there was no such object then, and watchers do not know of
    /// the row.
    pub labels: Option<Arc<Labels>>,
    /// Since which revision watchers know of it without a break.
    pub(crate) appeared: u64,
    /// Since which revision it has these labels.
    pub(crate) relabelled: u64,
    /// What columns have found in it, for whoever prints it next. A row that brings its cells has no need of it.
    pub found: ArcSwapOption<Found>,
}

/// The source of rows that a store keeps.
static KEPT: LazyLock<Arc<str>> = LazyLock::new(|| "store".into());
/// When they expire: in some thousand years.
static NEVER: LazyLock<SystemTime> = LazyLock::new(|| UNIX_EPOCH + Duration::from_secs(1 << 37));

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

// === impl Row ===

impl Row {
    /// The row of an object as it is kept: its parts are pieces of the document's bytes. A document that was not written by
    /// [`outrigger_api::kept::write`] is first written as that does it.
    ///
    /// # Errors
    /// It is no object of this key.
    pub fn of(key: Key, document: &Bytes, interned: &Interned) -> Result<Self, NotAnObject> {
        let (document, parts) = match parts(document, &key.namespace, &key.name)? {
            Some(parts) => (document.clone(), parts),
            None => {
                let mut object = Object::read(document)?;
                object.set("name", &key.name);
                object.set("namespace", &key.namespace);
                let document = Bytes::from(write(&object).into_boxed_slice());
                let parts = parts(&document, &key.namespace, &key.name)?;
                (
                    document,
                    parts.ok_or(NotAnObject::Metadata("name".to_owned(), "that of its key"))?,
                )
            }
        };
        Ok(Self {
            key,
            created: None,
            meta: Some(Box::new(Meta {
                labels: interned.labels(parts.labels),
                json: document.slice(parts.meta),
                protobuf: [].into(),
                version: "".into(),
                kept: Some(interned.version(&parts.api_version)),
            })),
            fields: document.slice(parts.fields),
            protobuf: [].into(),
            cells: [].into(),
        })
    }

    /// The API version in which it is kept, if it is.
    #[must_use]
    pub fn kept_version(&self) -> Option<&Arc<str>> {
        self.meta.as_ref()?.kept.as_ref()
    }
}

// === impl Entry ===

impl Entry {
    /// A row that a store keeps, since this revision.
    #[must_use]
    pub fn kept(row: Row, revision: u64) -> Self {
        let labels = row.meta.as_ref().map(|meta| Arc::clone(&meta.labels));
        Self {
            row,
            source: Arc::clone(&KEPT),
            published: UNIX_EPOCH,
            expires: *NEVER,
            revision,
            labels: Some(labels.unwrap_or_else(unlabelled)),
            appeared: revision,
            relabelled: revision,
            found: ArcSwapOption::empty(),
        }
    }

    /// When the object was made, as far as anybody knows.
    #[must_use]
    pub fn created(&self) -> SystemTime {
        self.row.created.unwrap_or(self.published)
    }

    /// Whether watchers know of it.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.labels.is_some()
    }
}
