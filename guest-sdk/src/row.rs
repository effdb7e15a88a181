//! One row of a table: what a collector knows of one object.
//!
//! The host writes apiVersion, kind and metadata; a row has the rest, in up to three forms: JSON fields, the same in
//! protobuf, and the cells for `kubectl get`. Each form can be given as a value, or, where a collector makes thousands of
//! rows, as bytes already written.

use serde::Serialize;

use crate::Error;

/// A row, built from the table's name onwards.
///
/// ```
/// # use outrigger_sdk::Row;
/// let row = Row::of("ships").namespace("north").name("vega").fields(&serde_json::json!({"tonnage": 900})).cells(&("900 t",));
/// assert_eq!(row.fields_json(), r#"{"tonnage":900}"#);
/// assert_eq!(row.cells_json(), r#"["900 t"]"#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The resource's plural name.
    pub(crate) table: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) fields: Vec<u8>,
    pub(crate) protobuf: Vec<u8>,
    pub(crate) cells: Vec<u8>,
    /// The first form that could not be written; it fails the tick.
    wrong: Option<String>,
}

// === impl Row ===

impl Row {
    /// A row of the table with this plural name. It has no namespace, no fields and no cells yet, and needs a name.
    #[must_use]
    pub fn of(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            namespace: String::new(),
            name: String::new(),
            fields: b"{}".to_vec(),
            protobuf: Vec::new(),
            cells: b"[]".to_vec(),
            wrong: None,
        }
    }

    /// The object's namespace; not for cluster-scoped resources.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            ..self
        }
    }

    /// The object's name.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    /// The object's fields but apiVersion, kind and metadata: what becomes one JSON object, its keys in the order in which
    /// clients shall see them.
    #[must_use]
    pub fn fields(mut self, fields: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(fields) {
            Ok(bytes) => self.fields = bytes,
            Err(e) => self.blame("fields", &e),
        }
        self
    }

    /// The same, already written as JSON.
    #[must_use]
    pub fn fields_raw(self, json: impl Into<Vec<u8>>) -> Self {
        Self {
            fields: json.into(),
            ..self
        }
    }

    /// The fields in the protobuf encoding of the kind. `metadata` (field 1) must be absent, the host writes it.
    #[must_use]
    pub fn protobuf(self, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            protobuf: bytes.into(),
            ..self
        }
    }

    /// The cells of the manifest's columns in their order: a tuple, an array or a slice. The name's column is the host's.
    #[must_use]
    pub fn cells(mut self, cells: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(cells) {
            Ok(bytes) => self.cells = bytes,
            Err(e) => self.blame("cells", &e),
        }
        self
    }

    /// The same, already written as one JSON array.
    #[must_use]
    pub fn cells_raw(self, json: impl Into<Vec<u8>>) -> Self {
        Self {
            cells: json.into(),
            ..self
        }
    }

    /// Table, namespace (empty if cluster-scoped) and name.
    #[must_use]
    pub fn key(&self) -> (&str, &str, &str) {
        (&self.table, &self.namespace, &self.name)
    }

    /// The fields as they go to the host, for tests; empty if they are not UTF-8.
    #[must_use]
    pub fn fields_json(&self) -> &str {
        std::str::from_utf8(&self.fields).unwrap_or_default()
    }

    /// The protobuf form as it goes to the host, for tests.
    #[must_use]
    pub fn protobuf_bytes(&self) -> &[u8] {
        &self.protobuf
    }

    /// The cells as they go to the host, for tests; empty if they are not UTF-8.
    #[must_use]
    pub fn cells_json(&self) -> &str {
        std::str::from_utf8(&self.cells).unwrap_or_default()
    }

    /// The row if all of it could be written. What the host checks (fields are an object, cells an array, the table is one
    /// that the collector fills) is not checked twice.
    pub(crate) fn finish(self) -> Result<Self, Error> {
        match self.wrong {
            Some(why) => Err(Error::Failed(format!(
                "row {}/{}/{}: {why}",
                self.table, self.namespace, self.name
            ))),
            None if self.name.is_empty() => Err(Error::Failed(format!("a row of {} has no name", self.table))),
            None => Ok(self),
        }
    }

    fn blame(&mut self, form: &str, e: &serde_json::Error) {
        self.wrong
            .get_or_insert_with(|| format!("its {form} have no form in JSON: {e}"));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_row_that_cannot_be_written_says_which_and_why() {
        let pairs = BTreeMap::from([((1, 2), 3)]);
        for (row, expected) in [
            (
                Row::of("ships").name("vega").fields(&pairs),
                "row ships//vega: its fields have no form in JSON",
            ),
            (
                Row::of("ships").namespace("n").name("vega").cells(&pairs),
                "row ships/n/vega: its cells have no form in JSON",
            ),
            (Row::of("ships"), "a row of ships has no name"),
        ] {
            assert!(row.finish().unwrap_err().to_string().starts_with(expected), "{expected}");
        }
    }

    #[test]
    fn what_is_not_given_is_empty_but_well_formed() {
        let row = Row::of("ships").name("vega").finish().unwrap();
        assert_eq!(
            (row.key(), row.fields_json(), row.cells_json()),
            (("ships", "", "vega"), "{}", "[]")
        );
        assert!(row.protobuf_bytes().is_empty());
    }

    #[test]
    fn bytes_are_taken_as_they_are() {
        let row = Row::of("ships")
            .name("vega")
            .fields_raw(*b"{ }")
            .cells_raw("[1]")
            .protobuf([8, 1]);
        assert_eq!(
            (row.fields_json(), row.cells_json(), row.protobuf_bytes()),
            ("{ }", "[1]", &[8u8, 1][..])
        );
    }
}
