//! What a collector returned, checked before anybody else sees it.
//!
//! Rows are spliced into documents that other people's clients parse, so every byte is judged here: names are names, `fields` is one
//! JSON object without the members that the host writes, `cells` has one cell for each column, `protobuf` is well-formed and without
//! metadata. A row that fails is left out with a [`Complaint`], so one broken object never hides its neighbours. What is wrong
//! with the result as a whole (too many rows, too many bytes) refuses the call instead.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use outrigger_manifest::{Collector, Manifest, Scope, is_dns_label};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::bindings::exports::outrigger::plugin::collector::{Collected as WitCollected, Row as WitRow};
use crate::failure::BadResult;
use crate::limits::Limits;
use crate::log::visible;

/// What one tick for one target brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// The rows that are good.
    pub rows: Vec<GuestRow>,
    /// The target's next state.
    pub state: Vec<u8>,
    /// What is wrong with the others.
    pub complaints: Complaints,
}

/// One checked row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestRow {
    /// Plural name of a resource that the collector may fill.
    pub resource: Arc<str>,
    /// Namespace; empty exactly if the resource is cluster-scoped.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// One JSON object without apiVersion, kind and metadata; no line breaks outside of strings, nothing around it.
    pub fields: Vec<u8>,
    /// The same fields in protobuf, without field 1; empty if there are none.
    pub protobuf: Vec<u8>,
    /// One JSON array with as many cells as the resource has columns; no line breaks outside of strings, nothing around it.
    pub cells: Vec<u8>,
}

/// Rows that were left out: the first few in words, all of them in number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Complaints {
    /// How many rows were left out.
    pub count: usize,
    /// The first of them.
    pub first: Vec<Complaint>,
}

/// Why one row was left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {index} ({row}): {why}")]
pub struct Complaint {
    /// Its place in the result.
    pub index: usize,
    /// What it says it is, `resource/namespace/name`, fit for logs.
    pub row: String,
    /// What is wrong.
    pub why: BadRow,
}

/// What can be wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRow {
    /// The resource is not among the collector's `fills`.
    #[error("its resource is not one that this collector fills")]
    Resource,
    /// A cluster-scoped resource with a namespace.
    #[error("it has a namespace, but its resource is cluster-scoped")]
    Namespace,
    /// A namespaced resource without one, or with one that is no DNS label.
    #[error("its namespace is not a DNS label")]
    NoNamespace,
    /// Not a name of an object.
    #[error("its name is not a DNS subdomain")]
    Name,
    /// The same object as an earlier row.
    #[error("the same object stands in an earlier row")]
    Duplicate,
    /// Not a JSON object.
    #[error("its fields are not one JSON object: {0}")]
    Fields(String),
    /// Not a JSON array, or the wrong number of cells.
    #[error("its cells do not fit the resource's columns: {0}")]
    Cells(String),
    /// Protobuf for a resource whose manifest does not declare it.
    #[error("it carries protobuf, which the resource's manifest does not declare")]
    Undeclared,
    /// Not a protobuf message, or one with metadata.
    #[error("its protobuf is not a message without field 1")]
    Protobuf,
}

/// What one collector may return: made once, from the manifest.
#[derive(Debug)]
pub(crate) struct RowRules(BTreeMap<Arc<str>, Rule>);

/// What rows of one resource must be.
#[derive(Debug)]
struct Rule {
    scope: Scope,
    columns: usize,
    protobuf: bool,
}

/// Complaints that are kept in words.
const IN_WORDS: usize = 8;

// === impl RowRules ===

impl RowRules {
    pub(crate) fn new(manifest: &Manifest, collector: &Collector) -> Self {
        let fills = manifest.resources.iter().filter(|r| collector.fills.contains(&r.plural));
        let rule = |r: &outrigger_manifest::Resource| Rule {
            scope: r.scope,
            columns: r.columns.len(),
            protobuf: r.protobuf,
        };
        Self(fills.map(|r| (Arc::from(r.plural.as_str()), rule(r))).collect())
    }

    /// Judges a whole result.
    pub(crate) fn check(&self, found: WitCollected, limits: &Limits) -> Result<Collected, BadResult> {
        let WitCollected { rows, state } = found;
        if rows.len() > limits.rows_per_call {
            return Err(BadResult::Rows {
                rows: rows.len(),
                limit: limits.rows_per_call,
            });
        }
        if state.len() > limits.state_bytes {
            return Err(BadResult::State {
                bytes: state.len(),
                limit: limits.state_bytes,
            });
        }
        let bytes = rows.iter().map(size).sum();
        if bytes > limits.result_bytes {
            return Err(BadResult::Bytes {
                bytes,
                limit: limits.result_bytes,
            });
        }
        let mut good = Vec::with_capacity(rows.len());
        let mut seen = HashSet::with_capacity(rows.len());
        let mut complaints = Complaints::default();
        for (index, row) in rows.into_iter().enumerate() {
            let said = (index, row.resource.clone(), row.namespace.clone(), row.name.clone());
            let judged = self.row(row).and_then(|row| {
                let new = seen.insert((row.resource.clone(), row.namespace.clone(), row.name.clone()));
                if new { Ok(row) } else { Err(BadRow::Duplicate) }
            });
            match judged {
                Ok(row) => good.push(row),
                Err(why) => complaints.add(said, why),
            }
        }
        Ok(Collected {
            rows: good,
            state,
            complaints,
        })
    }

    fn row(&self, row: WitRow) -> Result<GuestRow, BadRow> {
        let WitRow {
            resource,
            namespace,
            name,
            mut fields,
            protobuf,
            mut cells,
        } = row;
        let (resource, rule) = self.0.get_key_value(resource.as_str()).ok_or(BadRow::Resource)?;
        match rule.scope {
            Scope::Cluster if !namespace.is_empty() => return Err(BadRow::Namespace),
            Scope::Namespaced if !is_dns_label(&namespace) => return Err(BadRow::NoNamespace),
            _ => {}
        }
        if !is_object_name(&name) {
            return Err(BadRow::Name);
        }
        tidy(&mut fields);
        check_fields(&fields).map_err(BadRow::Fields)?;
        if cells.is_empty() && rule.columns == 0 {
            cells.extend_from_slice(b"[]");
        }
        tidy(&mut cells);
        check_cells(&cells, rule.columns).map_err(BadRow::Cells)?;
        if !protobuf.is_empty() {
            if !rule.protobuf {
                return Err(BadRow::Undeclared);
            }
            check_protobuf(&protobuf).ok_or(BadRow::Protobuf)?;
        }
        Ok(GuestRow {
            resource: resource.clone(),
            namespace,
            name,
            fields,
            protobuf,
            cells,
        })
    }
}

fn size(row: &WitRow) -> usize {
    row.resource.len() + row.namespace.len() + row.name.len() + row.fields.len() + row.protobuf.len() + row.cells.len()
}

/// RFC 1123 subdomain as upstream checks it (`IsDNS1123Subdomain`): its labels may be longer than 63, and pods' often are.
pub(crate) fn is_object_name(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let label = |l: &[u8]| {
        edge(l.first()) && edge(l.last()) && l.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
    };
    name.len() <= 253 && name.as_bytes().split(|b| *b == b'.').all(label)
}

/// Line breaks can only stand between tokens of valid JSON; watch events are lines, so they become spaces. What surrounds the value
/// goes.
fn tidy(json: &mut Vec<u8>) {
    for b in json.iter_mut().filter(|b| matches!(b, b'\n' | b'\r' | b'\t')) {
        *b = b' ';
    }
    let end = json.iter().rposition(|b| *b != b' ').map_or(0, |i| i + 1);
    json.truncate(end);
    let start = json.iter().position(|b| *b != b' ').unwrap_or(0);
    json.drain(..start);
}

fn check_fields(json: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(json).map_err(|e| e.to_string())?;
    serde_json::from_str::<Fields>(text)
        .map(|_| ())
        .map_err(|e| visible(&e.to_string(), 200))
}

fn check_cells(json: &[u8], columns: usize) -> Result<(), String> {
    let text = std::str::from_utf8(json).map_err(|e| e.to_string())?;
    let Cells(found) = serde_json::from_str(text).map_err(|e| visible(&e.to_string(), 200))?;
    if found == columns {
        Ok(())
    } else {
        Err(format!("{found} cells for {columns} columns"))
    }
}

/// Walks the fields of a message: `None` if they do not fill it exactly, or one of them is field 1.
fn check_protobuf(mut rest: &[u8]) -> Option<()> {
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let field = key >> 3;
        if field <= 1 || field >= 1 << 29 {
            return None;
        }
        let skip = match key & 7 {
            0 => {
                varint(&mut rest)?;
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut rest)?).ok()?,
            5 => 4,
            _ => return None,
        };
        rest = rest.get(skip..)?;
    }
    Some(())
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A JSON object whose members may be spliced after the host's own.
struct Fields;

/// A JSON array, by its length.
struct Cells(usize);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(Self)
    }
}

impl<'de> Visitor<'de> for Fields {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen: Vec<Cow<'de, str>> = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            if matches!(key.as_ref(), "apiVersion" | "kind" | "metadata") {
                return Err(serde::de::Error::custom(format_args!("{key} is written by the host")));
            }
            if seen.contains(&key) {
                return Err(serde::de::Error::custom("a member stands there twice"));
            }
            // The API's objects have a handful of members; more than that would make this check slow.
            if seen.len() >= 256 {
                return Err(serde::de::Error::custom("more than 256 members"));
            }
            map.next_value::<IgnoredAny>()?;
            seen.push(key);
        }
        Ok(self)
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Cells {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_seq(Self(0))
    }
}

impl<'de> Visitor<'de> for Cells {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {
            self.0 += 1;
        }
        Ok(self)
    }
}

// === impl Complaints ===

impl Complaints {
    fn add(&mut self, (index, resource, namespace, name): (usize, String, String, String), why: BadRow) {
        self.count += 1;
        if self.first.len() < IN_WORDS {
            let row = visible(&format!("{resource}/{namespace}/{name}").replace("//", "/"), 300);
            self.first.push(Complaint { index, row, why });
        }
    }

    /// Whether all rows were good.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows were left out", self.count)?;
        for (i, complaint) in self.first.iter().enumerate() {
            write!(f, "{}{complaint}", if i == 0 { ": " } else { "; " })?;
        }
        Ok(())
    }
}
