//! An object of a guest on its way out: into an answer, or into the table that lists and watches are answered from.

use std::sync::Arc;

use outrigger_api::meta::ObjectMeta;
use outrigger_api::object::{self, Object as Document};
use outrigger_storage::{Key, Labels, Meta, Row};

use crate::shape::Object;

/// An object, judged.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) key: Key,
    pub(crate) labels: Arc<Labels>,
    pub(crate) fields: Vec<u8>,
    rest: object::Rest,
    /// The table's; 0 if the object has only its author's version, which is in `rest` then.
    revision: u64,
}

// === impl Written ===

impl Written {
    /// An object with its author's own version.
    pub(crate) fn of(document: Document) -> Self {
        Self {
            key: Key::new(document.namespace(), document.name()),
            labels: Arc::new(document.labels()),
            rest: document.rest(true),
            revision: 0,
            fields: document.fields,
        }
    }

    /// The same at a version of the host's.
    pub(crate) fn at(document: Document, revision: u64) -> Self {
        Self {
            rest: document.rest(false),
            revision,
            ..Self::of(document)
        }
    }

    pub(crate) fn object(&self) -> Object<'_> {
        Object {
            meta: ObjectMeta {
                resource_version: self.revision,
                labels: &self.labels,
                rest: (&self.rest).into(),
                ..ObjectMeta::named(&self.key.namespace, &self.key.name)
            },
            fields: &self.fields,
            protobuf: &[],
            cells: &[],
            entry: None,
            is_kept: false,
        }
    }

    /// About how many bytes it holds.
    pub(crate) fn size(&self) -> usize {
        let labels: usize = self.labels.iter().map(|(k, v)| k.len() + v.len() + 64).sum();
        256 + self.fields.len() + self.rest.json.len() + self.rest.protobuf.len() + labels
    }
}

/// A row of it: what readers see has the table's version, the author's own is kept for him.
pub(crate) fn row(document: Document) -> Row {
    let rest = document.rest(false);
    Row {
        key: Key::new(document.namespace(), document.name()),
        created: None,
        meta: Some(Box::new(Meta {
            labels: Arc::new(document.labels()),
            json: rest.json.into(),
            protobuf: rest.protobuf,
            version: document.version().into(),
            kept: None,
        })),
        fields: document.fields.into(),
        protobuf: [].into(),
        cells: [].into(),
    }
}
