//! How an object is kept: as one compact JSON document whose parts can be found and served without reading it again.
//!
//! The document is `{"apiVersion":…,"kind":…,"metadata":{"name":…,"namespace":…,REST},FIELDS}` without metadata.resourceVersion, which is its
//! revision in the store. `REST` (all other metadata, labels among it) and `FIELDS` stand there in one piece each, so that an answer is
//! put together from pieces of the very bytes that are kept.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::write_string;
use crate::object::{NotAnObject, Object};

/// Where the parts of a kept document stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// `apiVersion`.
    pub api_version: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// Members of the metadata but name, namespace and resourceVersion, without braces.
    pub meta: Range<usize>,
    /// Members but apiVersion, kind and metadata, without braces.
    pub fields: Range<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    api_version: String,
    kind: String,
    #[serde(borrow)]
    metadata: &'a RawValue,
}

#[derive(Deserialize)]
struct Labelled {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// The document of an object.
#[must_use]
pub fn write(object: &Object) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.fields.len() + 512);
    write_type(&mut out, &object.api_version, &object.kind);
    out.extend_from_slice(b"{\"name\":");
    write_string(&mut out, object.name());
    if !object.namespace().is_empty() {
        out.extend_from_slice(b",\"namespace\":");
        write_string(&mut out, object.namespace());
    }
    let mut rest = Vec::new();
    object.write_members(&mut rest, |key| !matches!(key, "name" | "namespace" | "resourceVersion"));
    if !rest.is_empty() {
        out.push(b',');
        out.extend_from_slice(&rest);
    }
    out.push(b'}');
    if !object.fields.is_empty() {
        out.push(b',');
        out.extend_from_slice(&object.fields);
    }
    out.push(b'}');
    out
}

/// Finds the parts of a document that [`write`] has made; `None` if it looks otherwise, and is to be read and written again first.
///
/// # Errors
/// It is no object at all.
pub fn parts(document: &[u8], namespace: &str, name: &str) -> Result<Option<Parts>, NotAnObject> {
    let head: Head<'_> = serde_json::from_slice(document)?;
    let labelled: Labelled = serde_json::from_str(head.metadata.get())?;
    let mut begin = Vec::with_capacity(64);
    write_type(&mut begin, &head.api_version, &head.kind);
    if !document.starts_with(&begin)
        || document
            .get(begin.len()..)
            .is_none_or(|rest| !rest.starts_with(head.metadata.get().as_bytes()))
    {
        return Ok(None);
    }
    let at = begin.len();
    begin.clear();
    begin.extend_from_slice(b"{\"name\":");
    write_string(&mut begin, name);
    if !namespace.is_empty() {
        begin.extend_from_slice(b",\"namespace\":");
        write_string(&mut begin, namespace);
    }
    let metadata = head.metadata.get().as_bytes();
    let Some(rest) = metadata.strip_prefix(&*begin).and_then(|rest| rest.strip_suffix(b"}")) else {
        return Ok(None);
    };
    let own = [&b",\"name\":"[..], b",\"namespace\":", b",\"resourceVersion\":"];
    // A text may hold these words as well; then the document is only read once more than needed.
    if !(rest.is_empty() || rest.starts_with(b",")) || own.iter().any(|member| contains(rest, member)) && named(head.metadata)? {
        return Ok(None);
    }
    let end = at + metadata.len();
    let meta = match rest.is_empty() {
        true => end - 1..end - 1,
        false => at + begin.len() + 1..end - 1,
    };
    let fields = match document.get(end..) {
        Some(b"}") => end..end,
        Some([b',', .., b'}']) => end + 1..document.len() - 1,
        _ => return Ok(None),
    };
    Ok(Some(Parts {
        api_version: head.api_version,
        labels: labelled.labels,
        meta,
        fields,
    }))
}

/// All before the metadata.
fn write_type(out: &mut Vec<u8>, api_version: &str, kind: &str) {
    out.extend_from_slice(b"{\"apiVersion\":");
    write_string(out, api_version);
    out.extend_from_slice(b",\"kind\":");
    write_string(out, kind);
    out.extend_from_slice(b",\"metadata\":");
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Whether metadata names itself twice, or brings a version.
fn named(metadata: &RawValue) -> Result<bool, NotAnObject> {
    let object = Object::read(format!("{{\"metadata\":{}}}", metadata.get()).as_bytes())?;
    let mut canonical = Vec::new();
    object.write_members(&mut canonical, |_| true);
    Ok(!object.version().is_empty() || canonical.len() + 2 != metadata.get().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_where_they_were_written() {
        for (json, meta, fields) in [
            (
                r#"{"apiVersion":"g/v1","kind":"Ship","metadata":{"generateName":"v-","namespace":"sea","name":"v-1","resourceVersion":"7","labels":{"a":"b"},"uid":"u"},"spec":{"x":1},"status":{}}"#,
                r#""generateName":"v-","uid":"u","labels":{"a":"b"}"#,
                r#""spec":{"x":1},"status":{}"#,
            ),
            (
                r#"{"apiVersion":"g/v1","kind":"Ship","metadata":{"name":"v-1","namespace":"sea"}}"#,
                "",
                "",
            ),
            (
                r#"{"apiVersion":"g/v1","kind":"Ship","metadata":{"name":"v-1","namespace":"sea","annotations":{"a":"x,\"name\":1"}},"spec":1}"#,
                r#""annotations":{"a":"x,\"name\":1"}"#,
                r#""spec":1"#,
            ),
            (
                r#"{"apiVersion":"g/v1","kind":"Ship","metadata":{"name":"v-1","namespace":"sea","ownerReferences":[{"kind":"K","name":"n"}]},"spec":1}"#,
                r#""ownerReferences":[{"kind":"K","name":"n"}]"#,
                r#""spec":1"#,
            ),
        ] {
            let object = Object::read(json.as_bytes()).unwrap();
            let kept = write(&object);
            let parts = parts(&kept, "sea", "v-1").unwrap().unwrap();
            assert_eq!(std::str::from_utf8(&kept[parts.meta.clone()]).unwrap(), meta);
            assert_eq!(std::str::from_utf8(&kept[parts.fields.clone()]).unwrap(), fields);
            assert_eq!(parts.labels, object.labels());
            let mut again = Object::read(&kept).unwrap();
            again.set("resourceVersion", object.version());
            assert_eq!(again, object);
        }
    }

    #[test]
    fn what_was_written_otherwise_is_said() {
        for json in [
            r#"{"apiVersion":"g/v1","kind":"Ship","metadata":{"namespace":"sea","name":"v-1"}}"#,
            r#"{"apiVersion":"g/v1","kind":"Ship","metadata": {"name":"v-1","namespace":"sea"} }"#,
            r#"{"apiVersion":"g/v1","kind":"Ship","metadata":{"name":"v-1","namespace":"sea","resourceVersion":"3"}}"#,
            r#"{"apiVersion":"g/v1","kind":"Ship","spec":1,"metadata":{"name":"v-1","namespace":"sea"}}"#,
            r#"{"apiVersion":"g/v1","kind":"Ship","metadata":{"name":"other","namespace":"sea"}}"#,
        ] {
            assert_eq!(parts(json.as_bytes(), "sea", "v-1").unwrap(), None, "{json}");
        }
        assert!(parts(b"[]", "", "a").is_err());
        assert!(parts(b"{}", "", "a").is_err());
    }
}
