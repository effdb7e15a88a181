//! How an object is written: as itself, as its metadata alone, or as a row of a Table; in JSON or protobuf.
//!
//! Rows are finished bytes; here they get type, metadata and frames. YAML and indented JSON are made from compact JSON at the
//! very end.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use outrigger_api::cells::Cells;
use outrigger_api::manifest::Resource;
use outrigger_api::media::{Encoding, Form, Media, MetaVersion};
use outrigger_api::meta::{ListMeta, NONE, ObjectMeta, Rest, TypeMeta};
use outrigger_api::object::metadata_protobuf;
use outrigger_api::table::{IncludeObject, RowObject, TableWriter};
use outrigger_api::time::Timestamp;
use outrigger_api::{json, protobuf};
use outrigger_catalog::Served;
use outrigger_storage::{Entry, Labels, Row};

/// What is written, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape<'a> {
    pub(crate) resource: &'a Resource,
    /// Kind of its objects: the resource's, or that of a subresource.
    pub(crate) kind: &'a str,
    /// How cells are found in objects that bring none.
    pub(crate) cells: Option<&'a Cells>,
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
    /// The row that it is, if it is one as it stands: there the cells are remembered that columns have found.
    pub(crate) entry: Option<&'a Entry>,
    /// Its metadata is JSON only.
    pub(crate) is_kept: bool,
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
            meta,
            ..
        } = &entry.row;
        let is_kept = meta.as_ref().is_some_and(|meta| meta.kept.is_some());
        let named = ObjectMeta {
            resource_version: revision,
            labels: if is_kept { &NONE } else { labels },
            ..ObjectMeta::named(&key.namespace, &key.name)
        };
        Self {
            meta: match meta {
                Some(meta) => ObjectMeta {
                    rest: Rest {
                        json: &meta.json,
                        protobuf: &meta.protobuf,
                    },
                    ..named
                },
                None => ObjectMeta {
                    creation: Some(Timestamp::from(entry.created())),
                    ..named
                },
            },
            fields,
            protobuf,
            cells,
            entry: (is_kept && revision == entry.revision).then_some(entry),
            is_kept,
        }
    }

    /// Its metadata with what is to be made for protobuf.
    fn in_protobuf<'o>(&'o self, made: &'o mut Vec<u8>) -> ObjectMeta<'o> {
        if !self.is_kept {
            return self.meta;
        }
        *made = metadata_protobuf(self.meta.rest.json);
        let json = self.meta.rest.json;
        ObjectMeta {
            rest: Rest { json, protobuf: made },
            ..self.meta
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
        160 + self.meta.namespace.len() + self.meta.name.len() + labels + fields + self.meta.rest.json.len()
    }
}

// === impl Shape ===

impl<'a> Shape<'a> {
    /// A resource's objects in this form.
    pub(crate) fn of(served: &'a Served, media: Media, include: IncludeObject) -> Self {
        Self {
            resource: &served.resource,
            kind: &served.resource.kind,
            cells: served.cells.as_ref(),
            api_version: &served.api_version,
            media,
            include,
        }
    }
}

impl Shape<'_> {
    /// About how many bytes a row takes.
    pub(crate) fn room(&self, entry: &Entry) -> usize {
        let row = &entry.row;
        let fields = match (self.media.form, self.include) {
            (Form::Object, _) | (Form::Table(_), IncludeObject::Object) => row.fields.len(),
            _ => 64,
        };
        192 + fields + row.meta.as_ref().map_or(0, |meta| meta.json.len())
    }

    fn kind(&self) -> TypeMeta<'_> {
        TypeMeta {
            api_version: self.api_version,
            kind: self.kind,
        }
    }

    /// The cells that an object brings, or those that its columns find in it as it is now.
    fn cells<'o>(&self, object: &Object<'o>) -> Cow<'o, [u8]> {
        let Some(cells) = self.cells.filter(|_| object.cells.is_empty()) else {
            return Cow::Borrowed(object.cells);
        };
        let now = SystemTime::now();
        let mut out = Vec::with_capacity(64);
        let known = object.entry.map(|entry| entry.found.load());
        match known.as_deref().and_then(Option::as_ref).filter(|found| found.is_of(cells)) {
            Some(found) => found.write(&mut out, now),
            None => {
                let mut whole = Vec::new();
                json::write_object(&mut whole, Some(self.kind()), &object.meta, object.fields);
                let found = cells.find(&serde_json::from_slice(&whole).unwrap_or_default());
                found.write(&mut out, now);
                if let Some(entry) = object.entry {
                    entry.found.store(Some(Arc::new(found)));
                }
            }
        }
        Cow::Owned(out)
    }

    /// Appends one object that stands alone. A Table has its headers, or not.
    pub(crate) fn write_one(&self, out: &mut Vec<u8>, object: &Object<'_>, headers: bool) {
        match (self.media.form, self.media.encoding) {
            (Form::Object, Encoding::Protobuf) => protobuf::write_document(out, self.kind(), &object.meta, object.protobuf),
            (Form::Object, _) => json::write_document(out, self.kind(), &object.meta, object.fields),
            (Form::PartialMetadata(v), Encoding::Protobuf) => {
                protobuf::write_document(out, partial(v), &object.in_protobuf(&mut Vec::new()), &[]);
            }
            (Form::PartialMetadata(v), _) => json::write_document(out, partial(v), &object.meta, &[]),
            (Form::Table(version), _) => {
                let meta = ListMeta {
                    resource_version: object.meta.resource_version,
                    ..ListMeta::default()
                };
                let columns = headers.then_some(&*self.resource.columns);
                let mut table = TableWriter::begin(out, version, self.include, &meta, columns);
                table.row(&self.cells(object), self.row(object));
                table.finish();
            }
        }
    }

    /// A list as a document.
    pub(crate) fn list(&self, meta: &ListMeta<'_>, objects: &[Object<'_>]) -> Vec<u8> {
        let size: usize = objects.iter().map(|o| o.size(self.media)).sum();
        let mut out = Vec::with_capacity(FRAME + size);
        let name = format!("{}List", self.kind);
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
                objects.iter().for_each(|o| list.item(&o.in_protobuf(&mut Vec::new()), &[]));
                list.finish();
            }
            (Form::PartialMetadata(v), _) => {
                let mut list = json::ListWriter::begin(&mut out, partial_list(v), meta);
                objects.iter().for_each(|o| list.item(Some(partial(v)), &o.meta, &[]));
                list.finish();
            }
            (Form::Table(version), _) => {
                let mut table = TableWriter::begin(&mut out, version, self.include, meta, Some(&self.resource.columns));
                objects.iter().for_each(|o| table.row(&self.cells(o), self.row(o)));
                table.finish();
            }
        }
        out
    }

    /// What stands before the items of a list that is written one by one, as JSON.
    pub(crate) fn begin_list(&self, out: &mut Vec<u8>, meta: &ListMeta<'_>) {
        let name = format!("{}List", self.kind);
        let kind = TypeMeta {
            api_version: self.api_version,
            kind: &name,
        };
        match self.media.form {
            Form::Object => drop(json::ListWriter::begin(out, kind, meta)),
            Form::PartialMetadata(v) => drop(json::ListWriter::begin(out, partial_list(v), meta)),
            Form::Table(version) => {
                let columns = Some(&*self.resource.columns);
                drop(TableWriter::begin(out, version, self.include, meta, columns));
            }
        }
    }

    /// One item of it, behind so many others.
    pub(crate) fn list_item(&self, out: &mut Vec<u8>, object: &Object<'_>, behind: usize) {
        match self.media.form {
            Form::Object => json::ListWriter::resume(out, behind).item(None, &object.meta, object.fields),
            Form::PartialMetadata(v) => json::ListWriter::resume(out, behind).item(Some(partial(v)), &object.meta, &[]),
            Form::Table(version) => {
                let cells = self.cells(object);
                TableWriter::resume(out, version, self.include, behind).row(&cells, self.row(object));
            }
        }
    }

    /// What stands behind its items.
    pub(crate) fn end_list(&self, out: &mut Vec<u8>, items: usize) {
        match self.media.form {
            Form::Table(version) => TableWriter::resume(out, version, self.include, items).finish(),
            _ => json::ListWriter::resume(out, items).finish(),
        }
    }

    /// Appends the object of a bookmark: a type and a resource version, and maybe an annotation.
    pub(crate) fn write_bookmark(&self, out: &mut Vec<u8>, meta: ObjectMeta<'_>, headers: bool) {
        let cells = vec!["null"; self.resource.columns.len()].join(",");
        let empty = Object {
            meta,
            fields: &[],
            protobuf: &[],
            cells: cells.as_bytes(),
            entry: None,
            is_kept: false,
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
