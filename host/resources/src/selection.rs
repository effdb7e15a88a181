//! Which objects a list or a watch is about.

use std::sync::Arc;
use std::time::SystemTime;

use outrigger_api::list_options::ListOptions;
use outrigger_api::request_info::RequestInfo;
use outrigger_api::selector::{FieldSelector, LabelSelector};
use outrigger_api::watch::EventType;
use outrigger_storage::{Before, Change, Entry, Key, Labels, Snapshot};

/// What the client wants to know of.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) namespace: Box<str>,
    /// Of a watch on one name: `/watch/` paths have it.
    pub(crate) name: Box<str>,
    pub(crate) fields: FieldSelector,
    pub(crate) labels: LabelSelector,
}

/// Some of the objects that are selected.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) entries: Vec<Arc<Entry>>,
    /// Where the next begin; `None` if these are the last.
    pub(crate) next: Option<Key>,
}

/// The labels that a row had are no longer known, so nobody can say whether a selector took it.
pub(crate) struct Forgotten;

// === impl Selection ===

impl Selection {
    pub(crate) fn new(info: &RequestInfo, options: ListOptions) -> Self {
        Self {
            namespace: info.namespace.as_str().into(),
            name: info.name.as_str().into(),
            fields: options.field_selector,
            labels: options.label_selector,
        }
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.namespace.is_empty() && self.is_whole()
    }

    /// Whether it selects all of its namespace.
    pub(crate) fn is_whole(&self) -> bool {
        self.name.is_empty() && self.fields.is_empty() && self.labels.is_empty()
    }

    fn names(&self, key: &Key) -> bool {
        (self.namespace.is_empty() || *self.namespace == *key.namespace)
            && (self.name.is_empty() || *self.name == *key.name)
            && self.fields.matches(&key.namespace, &key.name)
    }

    pub(crate) fn takes(&self, key: &Key, labels: &Labels) -> bool {
        self.names(key) && self.labels.matches(labels)
    }

    /// Whether it takes an object as watchers know it.
    pub(crate) fn takes_entry(&self, entry: &Entry) -> bool {
        let labels = entry.labels.as_ref();
        labels.is_some_and(|labels| self.takes(&entry.row.key, labels))
    }

    /// Where its first object can be.
    pub(crate) fn first(&self) -> Key {
        Key::new(&self.namespace, "")
    }

    /// All that it selects, from a key on, to the end of its namespace.
    pub(crate) fn of<'s>(&'s self, snapshot: &'s Snapshot, from: Key, now: SystemTime) -> impl Iterator<Item = &'s Arc<Entry>> {
        let within = |entry: &&Arc<Entry>| self.namespace.is_empty() || *entry.row.key.namespace == *self.namespace;
        let rows = snapshot.iter_from(from, now).take_while(within);
        rows.filter(|entry| self.takes_entry(entry))
    }

    /// As many of them as `size` says that `most` bytes hold, at least one.
    pub(crate) fn gather(&self, snapshot: &Snapshot, from: Key, most: usize, size: impl Fn(&Entry) -> usize) -> Gathered {
        let mut gathered = Gathered::default();
        let mut bytes = 0;
        for entry in self.of(snapshot, from, SystemTime::now()) {
            if bytes >= most {
                gathered.next = Some(entry.row.key.clone());
                break;
            }
            bytes += size(entry);
            gathered.entries.push(Arc::clone(entry));
        }
        gathered
    }

    /// What a change is to whoever selects this. An object that moves into the selector is ADDED, and one that moves out of it DELETED, with its
    /// state from before.
    pub(crate) fn event(&self, change: &Change) -> Result<Option<EventType>, Forgotten> {
        let before = match &change.before {
            Before::Absent => false,
            Before::Was(entry) => self.takes_entry(entry),
            Before::Relabelled(entry) if !self.names(&entry.row.key) => false,
            Before::Relabelled(_) if !self.labels.is_empty() => return Err(Forgotten),
            Before::Relabelled(_) => true,
        };
        let after = change.after.as_ref().is_some_and(|entry| self.takes_entry(entry));
        Ok(match (before, after) {
            (false, true) => Some(EventType::Added),
            (true, true) => Some(EventType::Modified),
            (true, false) => Some(EventType::Deleted),
            (false, false) => None,
        })
    }
}

/// What a change is to whoever selects everything.
pub(crate) fn natural(change: &Change) -> Option<EventType> {
    match (&change.before, &change.after) {
        (Before::Absent, Some(_)) => Some(EventType::Added),
        (Before::Was(_) | Before::Relabelled(_), Some(_)) => Some(EventType::Modified),
        (Before::Was(_) | Before::Relabelled(_), None) => Some(EventType::Deleted),
        (Before::Absent, None) => None,
    }
}
