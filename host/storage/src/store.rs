//! Stores: bytes under keys, with one revision that only grows.
//!
//! What a plugin's stored resources live in. Three stores stand behind the one trait [`Store`]: [`memory`], for tests and for what may be
//! lost; [`embedded`], one file on one machine; [`etcd`], which replicas share. One conformance suite says for all of them what they promise:
//!
//! * Every write has a revision of its own, greater than all before it. An object's resourceVersion is the revision of its last write, a
//!   list's that of its moment: one positive integer, as clients since KEP-5504 expect.
//! * A write names what it expects to find ([`Expected`]) and changes nothing if it finds something else. What is acknowledged is
//!   durable (but for `memory`) and is seen by every read that begins afterwards.
//! * A watch tells each change behind a revision once, in order, or says that it cannot ([`StoreError::Compacted`]). It never
//!   leaves one out.
//! * The past is kept for a time and a size ([`Keep`]), and is then forgotten from its old end.
//!
//! Nothing here knows what an object is. The watch cache over a store is [`crate::kept`].

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod embedded;
pub mod etcd;
pub mod frame;
pub mod memory;
mod sequence;
pub mod stream;

use std::borrow::Borrow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::Key;

/// A place where objects are kept.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// One value as it is now: whatever was acknowledged before is seen.
    ///
    /// # Errors
    /// [`StoreError`], here and below; never [`StoreError::Conflict`].
    async fn get(&self, key: &ObjectKey) -> Result<Option<Stored>, StoreError>;

    /// Values of one resource, by the bytes of their keys.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] and [`StoreError::Future`] for a moment that is not known.
    async fn list(&self, of: &Prefix, page: &PageOf) -> Result<Page, StoreError>;

    /// Writes or removes one value. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] with what is there, if that is not what was expected: nothing has changed then.
    /// [`StoreError::Unknown`] if it may have happened or not.
    async fn write(&self, write: Write) -> Result<u64, StoreError>;

    /// All changes of one resource behind a revision, in their order, until the stream is dropped. The stream ends with an error, or
    /// when the store is closed. Of a revision that is yet to come nothing is told before it has.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if some of them are forgotten.
    async fn watch(&self, of: &Prefix, after: u64) -> Result<Changes, StoreError>;

    /// A revision with which every acknowledged write of this resource is seen. A watch that is open comes to it, by a change or by
    /// [`Told::Progress`].
    ///
    /// # Errors
    /// The store cannot be asked.
    async fn revision(&self, of: &Prefix) -> Result<u64, StoreError>;

    /// Whether this process alone writes to it: then a watch that has come to [`Store::revision`] knows all there is, and asking the store
    /// itself brings nothing more.
    fn is_local(&self) -> bool;

    /// The oldest revision at which this resource can be listed and watched from, as far as that is known without asking.
    fn oldest(&self) -> Option<u64>;

    /// Forgets the past up to and including a revision: lists at older ones and watches from before it are refused.
    ///
    /// # Errors
    /// [`StoreError::Future`], or the store cannot be asked.
    async fn compact(&self, revision: u64) -> Result<(), StoreError>;

    /// The resources that have objects, in the order of their bytes: what an export of everything walks through. A store that knows
    /// may add those that had some in the past that is kept.
    ///
    /// # Errors
    /// The store cannot be asked.
    async fn prefixes(&self) -> Result<Vec<Prefix>, StoreError>;
}

/// Names a resource: all its keys begin so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(Arc<str>);

/// Names one object: `GROUP/PLURAL/NAMESPACE/NAME`; the namespace is empty for what is cluster-scoped, the group for core.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Arc<str>);

/// A value and what the store knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its key.
    pub key: ObjectKey,
    /// The bytes.
    pub value: Bytes,
    /// The revision of its last write.
    pub revision: u64,
}

/// Which part of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageOf {
    /// Keys behind this one; from the first on if none.
    pub behind: Option<ObjectKey>,
    /// At most so many; 0 is all.
    pub limit: usize,
    /// As of this revision; now if none.
    pub at: Option<u64>,
}

/// A part of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The values.
    pub items: Vec<Stored>,
    /// The moment of the list.
    pub revision: u64,
    /// Whether there are more behind the last of them.
    pub more: bool,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Of which value.
    pub key: ObjectKey,
    /// What must be there.
    pub expected: Expected,
    /// What shall be there; none removes it.
    pub value: Option<Bytes>,
}

/// What a write expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// The value of this revision.
    At(u64),
}

/// One change of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its revision.
    pub revision: u64,
    /// Whose.
    pub key: ObjectKey,
    /// The value before it; none if it is new.
    pub before: Option<Stored>,
    /// The value since; none if it is gone.
    pub after: Option<Stored>,
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Changes, in the order of their revisions; never empty.
    Changes(Vec<Changed>),
    /// There are no more changes of this resource up to this revision.
    Progress(u64),
}

/// A watch.
pub type Changes = BoxStream<'static, Result<Told, StoreError>>;

/// How much of the past is kept. What is beyond either is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// For how long. etcd's is upstream's `--etcd-compaction-interval`, 5 minutes.
    pub time: Duration,
    /// Bytes of old values, about.
    pub bytes: usize,
}

/// Why a store cannot do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A write did not find what it expected.
    #[error("{key} is not as it was expected to be")]
    Conflict {
        /// Of which value.
        key: ObjectKey,
        /// What is there instead.
        current: Option<Stored>,
    },
    /// The past is forgotten up to `oldest`.
    #[error("too old resource version: {asked} ({oldest})")]
    Compacted {
        /// What was asked for.
        asked: u64,
        /// The oldest that can be asked for.
        oldest: u64,
    },
    /// The revision is yet to come.
    #[error("too large resource version: {asked}, current: {current}")]
    Future {
        /// What was asked for.
        asked: u64,
        /// The store's.
        current: u64,
    },
    /// A value is larger than the store takes.
    #[error("a value of {size} bytes is larger than the {limit} that are stored")]
    TooLarge {
        /// Its bytes.
        size: usize,
        /// The most.
        limit: usize,
    },
    /// There is no room left. Reading goes on.
    #[error("the store is full: {0}")]
    Full(String),
    /// It cannot be reached or does not answer; nothing has changed. Asking again is right.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// A write may have happened or not.
    #[error("it is not known whether the write has happened: {0}")]
    Unknown(String),
    /// Another process has it.
    #[error("{path:?} is in use by another process; each host needs a folder of its own")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// What is there cannot be trusted. Nothing was guessed, nothing was written.
    #[error("{path:?} is damaged ({why}); restore a backup, or move it away to begin empty")]
    Damaged {
        /// The file, or the key.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// It was written by a newer host.
    #[error("{path:?} was written by a newer version (format {found}, this one knows {known}); it has not been touched")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// It was closed.
    #[error("the store is closed")]
    Closed,
}

// === impl Keep ===

impl Default for Keep {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(300),
            bytes: 64 << 20,
        }
    }
}

// === impl Prefix ===

impl Prefix {
    /// All objects of a resource.
    #[must_use]
    pub fn of(group: &str, plural: &str) -> Self {
        Self(format!("{group}/{plural}/").into())
    }

    /// The resource as `PLURAL.GROUP`, or `PLURAL` in core.
    #[must_use]
    pub fn resource(&self) -> String {
        match self.0.trim_end_matches('/').split_once('/') {
            Some(("", plural)) => plural.to_owned(),
            Some((group, plural)) => format!("{plural}.{group}"),
            None => self.0.to_string(),
        }
    }

    /// Its text, which ends in a slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A prefix as [`Prefix::as_str`] says it; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        matches!(&*parts, [_, plural, ""] if !plural.is_empty()).then(|| Self(text.into()))
    }

    /// One of its objects.
    #[must_use]
    pub fn object(&self, key: &Key) -> ObjectKey {
        ObjectKey(format!("{}{}/{}", self.0, key.namespace, key.name).into())
    }

    /// Which of its objects a key names; `None` if it is none of them.
    #[must_use]
    pub fn key(&self, key: &ObjectKey) -> Option<Key> {
        let (namespace, name) = key.0.strip_prefix(&*self.0)?.split_once('/')?;
        (!name.is_empty() && !name.contains('/')).then(|| Key::new(namespace, name))
    }
}

// === impl ObjectKey ===

impl ObjectKey {
    /// A key as it stands in a store; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        matches!(&*parts, [_, plural, _, name] if !plural.is_empty() && !name.is_empty()).then(|| Self(text.into()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The resource that it belongs to.
    #[must_use]
    pub fn prefix(&self) -> Prefix {
        Prefix(self.prefix_str().into())
    }

    /// The same without a copy.
    pub(crate) fn prefix_str(&self) -> &str {
        let end = self.0.match_indices('/').nth(1).map_or(self.0.len(), |(at, _)| at + 1);
        self.0.get(..end).unwrap_or_default()
    }
}

/// By its bytes, as a key is compared.
impl Borrow<str> for Prefix {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_objects() {
        for (group, plural, key, text) in [
            (
                "g.example.com",
                "ships",
                Key::new("sea", "vega"),
                "g.example.com/ships/sea/vega",
            ),
            ("g.example.com", "ports", Key::new("", "oslo"), "g.example.com/ports//oslo"),
            ("", "things", Key::new("n", "a.b"), "/things/n/a.b"),
        ] {
            let prefix = Prefix::of(group, plural);
            let object = prefix.object(&key);
            assert_eq!(object.as_str(), text);
            assert_eq!(object.prefix(), prefix);
            assert_eq!(prefix.key(&object), Some(key));
            assert_eq!(ObjectKey::parse(text), Some(object));
        }
        for text in ["", "g/ships", "g/ships/n", "g/ships/n/", "g//n/a", "g/ships/n/a/b"] {
            assert_eq!(ObjectKey::parse(text), None, "{text}");
        }
        let other = Prefix::of("g", "shipsandmore").object(&Key::new("n", "a"));
        assert_eq!(Prefix::of("g", "ships").key(&other), None);
    }
}
