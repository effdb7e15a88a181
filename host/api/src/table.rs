//! `meta.k8s.io Table`: what `kubectl get` prints.
//!
//! The host writes the Name column; what follows it are cells that a row holds as finished JSON. Column definitions are
//! declared, so they stand in an empty table too, where upstream has null; `rows` of an empty table is null, as
//! upstream has it (extension-apiservers.md, section 8).

use std::io::Write as _;

use outrigger_manifest::Column;

use crate::json;
use crate::media::MetaVersion;
use crate::meta::{ListMeta, ObjectMeta, TypeMeta};
use crate::query::Query;
use crate::quote::Quoted;
use crate::status::Status;

/// What upstream says of `metadata.name`, and so of the column Name.
pub const NAME_DESCRIPTION: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

/// How much of its object a row carries (`includeObject`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// PartialObjectMetadata; what clients get who do not ask.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

/// The object of one row.
#[derive(Debug, Clone, Copy)]
pub struct RowObject<'a> {
    /// Its metadata.
    pub meta: &'a ObjectMeta<'a>,
    /// Its own type, for [`IncludeObject::Object`].
    pub kind: TypeMeta<'a>,
    /// Its JSON members but type and metadata, without outer braces, for [`IncludeObject::Object`]; may be empty.
    pub fields: &'a [u8],
}

/// A table under way: frame, rows, frame.
#[derive(Debug)]
#[must_use = "a table that is not finished is not JSON"]
pub struct TableWriter<'o> {
    out: &'o mut Vec<u8>,
    api_version: &'static str,
    include: IncludeObject,
    rows: usize,
}

// === impl IncludeObject ===

impl IncludeObject {
    /// Reads the query parameter `includeObject`.
    ///
    /// # Errors
    /// 400 for anything but `None`, `Metadata`, `Object` and nothing (apimachinery `ValidateTableOptions`).
    pub fn parse(query: &Query) -> Result<Self, Status> {
        match query.first("includeObject").unwrap_or_default() {
            "None" => Ok(Self::None),
            "" | "Metadata" => Ok(Self::Metadata),
            "Object" => Ok(Self::Object),
            other => Err(Status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {}: must be 'Metadata', 'Object', 'None', or empty",
                Quoted(other)
            ))),
        }
    }
}

// === impl TableWriter ===

impl<'o> TableWriter<'o> {
    /// Writes type, list metadata and columns; the column Name comes first by itself. Without columns (`None`) there are no
    /// headers: those of a watch come with its first event only.
    pub fn begin(
        out: &'o mut Vec<u8>,
        version: MetaVersion,
        include: IncludeObject,
        meta: &ListMeta<'_>,
        columns: Option<&[Column]>,
    ) -> Self {
        let api_version = version.api_version();
        out.push(b'{');
        TypeMeta {
            api_version,
            kind: "Table",
        }
        .write_members(out);
        out.extend_from_slice(b",\"metadata\":");
        meta.write_json(out);
        out.extend_from_slice(b",\"columnDefinitions\":");
        match columns {
            Some(columns) => write_columns(out, columns),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"rows\":");
        Self {
            out,
            api_version,
            include,
            rows: 0,
        }
    }

    /// Goes on with a table that has so many rows, where the last writer was dropped.
    pub fn resume(out: &'o mut Vec<u8>, version: MetaVersion, include: IncludeObject, rows: usize) -> Self {
        Self {
            out,
            api_version: version.api_version(),
            include,
            rows,
        }
    }

    /// Writes one row. `cells` are those after Name: JSON values with commas between, without outer brackets; may be
    /// empty.
    pub fn row(&mut self, cells: &[u8], object: RowObject<'_>) {
        self.out.push(if self.rows == 0 { b'[' } else { b',' });
        self.rows += 1;
        self.out.extend_from_slice(b"{\"cells\":[");
        json::write_string(self.out, object.meta.name);
        if !cells.is_empty() {
            self.out.push(b',');
            self.out.extend_from_slice(cells);
        }
        self.out.extend_from_slice(b"],\"object\":");
        match self.include {
            IncludeObject::None => self.out.extend_from_slice(b"null"),
            IncludeObject::Metadata => {
                let kind = TypeMeta {
                    api_version: self.api_version,
                    kind: "PartialObjectMetadata",
                };
                json::write_object(self.out, Some(kind), object.meta, b"");
            }
            IncludeObject::Object => json::write_object(self.out, Some(object.kind), object.meta, object.fields),
        }
        self.out.push(b'}');
    }

    /// Closes the table, with the newline that ends a document.
    pub fn finish(self) {
        self.out
            .extend_from_slice(if self.rows == 0 { b"null}\n".as_slice() } else { b"]}\n" });
    }
}

fn write_columns(out: &mut Vec<u8>, columns: &[Column]) {
    out.push(b'[');
    write_column(out, "Name", "string", "name", NAME_DESCRIPTION, 0);
    for column in columns {
        out.push(b',');
        write_column(
            out,
            &column.name,
            &column.kind,
            &column.format,
            &column.description,
            column.priority,
        );
    }
    out.push(b']');
}

fn write_column(out: &mut Vec<u8>, name: &str, kind: &str, format: &str, description: &str, priority: i32) {
    for (key, value) in [
        (b"{\"name\":".as_slice(), name),
        (b",\"type\":", kind),
        (b",\"format\":", format),
        (b",\"description\":", description),
    ] {
        out.extend_from_slice(key);
        json::write_string(out, value);
    }
    // Writing into a Vec does not fail.
    let _ = write!(out, ",\"priority\":{priority}}}");
}
