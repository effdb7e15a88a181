//! How an object is written: as itself, as its metadata alone, or as a row of a Table; in JSON or protobuf.
//!
//! Rows are finished bytes; here they get type, metadata and frames. YAML and indented JSON are made from compact JSON at the
//! very end.

use outrigger_api::manifest::Resource;
use outrigger_api::media::{Encoding, Form, Media, MetaVersion};
use outrigger_api::meta::{ListMeta, ObjectMeta, TypeMeta};
use outrigger_api::table::{IncludeObject, RowObject, TableWriter};
use outrigger_api::time::Timestamp;
use outrigger_api::{json, protobuf};
use outrigger_storage::{Entry, Labels, Row};

/// What is written, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape<'a> {
    pub(crate) resource: &'a Resource,
    /// `GROUP/VERSION`.
    pub(crate) api_version: &'a str,
    pub(crate) media: Media,
    pub(crate) include: IncludeObject,
}

/// One object of a list or watch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Object<'a> {
    pub(crate) meta: ObjectMeta<'a>,
    /// JSON members but type and metadata, without outer braces.
    pub(crate) fields: &'a [u8],
    pub(crate) protobuf: &'a [u8],
    pub(crate) cells: &'a [u8],
}

/// Room for a list's frame.
const FRAME: usize = 512;

// === impl Object ===

impl<'a> Object<'a> {
    /// A row with its object's labels, in the state of its own last change.
    pub(crate) fn of(entry: &'a Entry, labels: &'a Labels) -> Self {
        Self::at(entry, labels, entry.revision)
    }

    /// The same at another revision: that at which it went.
    pub(crate) fn at(entry: &'a Entry, labels: &'a Labels, revision: u64) -> Self {
        let Row {
            key,
            fields,
            protobuf,
            cells,
            ..
        } = &entry.row;
        Self {
            meta: ObjectMeta {
                creation: Some(Timestamp::from(entry.created())),
                resource_version: revision,
                labels,
                ..ObjectMeta::named(&key.namespace, &key.name)
            },
            fields,
            protobuf,
            cells,
        }
    }

    /// About how many bytes it takes.
    fn size(&self, media: Media) -> usize {
        let labels: usize = self.meta.labels.iter().map(|(k, v)| k.len() + v.len() + 6).sum();
        let fields = match (media.form, media.encoding) {
            (Form::Object, Encoding::Protobuf) => self.protobuf.len(),
            (Form::Object, _) => self.fields.len(),
            _ => self.cells.len() + 96,
        };
        160 + self.meta.namespace.len() + self.meta.name.len() + labels + fields
    }
}

// === impl Shape ===

impl Shape<'_> {
    fn kind(&self) -> TypeMeta<'_> {
        TypeMeta {
            api_version: self.api_version,
            kind: &self.resource.kind,
        }
    }

    /// Appends one object that stands alone. A Table has its headers, or not.
    pub(crate) fn write_one(&self, out: &mut Vec<u8>, object: &Object<'_>, headers: bool) {
        match (self.media.form, self.media.encoding) {
            (Form::Object, Encoding::Protobuf) => protobuf::write_document(out, self.kind(), &object.meta, object.protobuf),
            (Form::Object, _) => json::write_document(out, self.kind(), &object.meta, object.fields),
            (Form::PartialMetadata(v), Encoding::Protobuf) => protobuf::write_document(out, partial(v), &object.meta, &[]),
            (Form::PartialMetadata(v), _) => json::write_document(out, partial(v), &object.meta, &[]),
            (Form::Table(version), _) => {
                let meta = ListMeta {
                    resource_version: object.meta.resource_version,
                    ..ListMeta::default()
                };
                let columns = headers.then_some(&*self.resource.columns);
                let mut table = TableWriter::begin(out, version, self.include, &meta, columns);
                table.row(object.cells, self.row(object));
                table.finish();
            }
        }
    }

    /// A list as a document.
    pub(crate) fn list(&self, meta: &ListMeta<'_>, objects: &[Object<'_>]) -> Vec<u8> {
        let size: usize = objects.iter().map(|o| o.size(self.media)).sum();
        let mut out = Vec::with_capacity(FRAME + size);
        let name = format!("{}List", self.resource.kind);
        let kind = TypeMeta {
            api_version: self.api_version,
            kind: &name,
        };
        match (self.media.form, self.media.encoding) {
            (Form::Object, Encoding::Protobuf) => {
                let mut list = protobuf::ListWriter::begin(&mut out, kind, meta);
                objects.iter().for_each(|o| list.item(&o.meta, o.protobuf));
                list.finish();
            }
            (Form::Object, _) => {
                let mut list = json::ListWriter::begin(&mut out, kind, meta);
                objects.iter().for_each(|o| list.item(None, &o.meta, o.fields));
                list.finish();
            }
            (Form::PartialMetadata(v), Encoding::Protobuf) => {
                let mut list = protobuf::ListWriter::begin(&mut out, partial_list(v), meta);
                objects.iter().for_each(|o| list.item(&o.meta, &[]));
                list.finish();
            }
            (Form::PartialMetadata(v), _) => {
                let mut list = json::ListWriter::begin(&mut out, partial_list(v), meta);
                objects.iter().for_each(|o| list.item(Some(partial(v)), &o.meta, &[]));
                list.finish();
            }
            (Form::Table(version), _) => {
                let mut table = TableWriter::begin(&mut out, version, self.include, meta, Some(&self.resource.columns));
                objects.iter().for_each(|o| table.row(o.cells, self.row(o)));
                table.finish();
            }
        }
        out
    }

    /// Appends the object of a bookmark: a type and a resource version, and maybe an annotation.
    pub(crate) fn write_bookmark(&self, out: &mut Vec<u8>, meta: ObjectMeta<'_>, headers: bool) {
        let cells = vec!["null"; self.resource.columns.len()].join(",");
        let empty = Object {
            meta,
            fields: &[],
            protobuf: &[],
            cells: cells.as_bytes(),
        };
        // The annotation is what the client waits for, so it is there even where no objects are wanted.
        let include = match self.include {
            IncludeObject::None if !meta.annotations.is_empty() => IncludeObject::Metadata,
            include => include,
        };
        Shape { include, ..*self }.write_one(out, &empty, headers);
    }

    fn row<'o>(&'o self, object: &'o Object<'_>) -> RowObject<'o> {
        RowObject {
            meta: &object.meta,
            kind: self.kind(),
            fields: object.fields,
        }
    }
}

fn partial(version: MetaVersion) -> TypeMeta<'static> {
    TypeMeta {
        api_version: version.api_version(),
        kind: "PartialObjectMetadata",
    }
}

fn partial_list(version: MetaVersion) -> TypeMeta<'static> {
    TypeMeta {
        api_version: version.api_version(),
        kind: "PartialObjectMetadataList",
    }
}
