//! Compact JSON into what a person or a YAML reader asked for.
//!
//! Every document is made once, as compact JSON; the other text forms are made from those bytes when somebody asks.
//! Indented JSON is made without parsing. YAML has its keys sorted, as sigs.k8s.io/yaml has them, because upstream's YAML
//! too goes through a JSON value.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;

use crate::media::Encoding;

/// Why a document cannot be written so.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The document is not JSON: whoever made it has a defect.
    #[error("the document is not JSON")]
    Json(#[from] serde_json::Error),
    /// The YAML writer refused a value.
    #[error("cannot write YAML: {0}")]
    Yaml(String),
    /// Protobuf cannot be made from JSON text.
    #[error("protobuf cannot be made from text")]
    Protobuf,
}

/// A value whose keys come out sorted.
struct Sorted<'a>(&'a Value);

/// Turns a document in compact JSON into the negotiated encoding: as it is with a newline at its end, indented, or YAML.
///
/// # Errors
/// [`EncodeError`]; indenting does not look for malformed JSON.
pub fn text(json: Vec<u8>, encoding: Encoding) -> Result<Vec<u8>, EncodeError> {
    match encoding {
        Encoding::Json { pretty: false } => Ok(with_newline(json)),
        Encoding::Json { pretty: true } => Ok(indent(&json)),
        Encoding::Yaml => yaml(&json),
        Encoding::Protobuf => Err(EncodeError::Protobuf),
    }
}

/// Indents by two spaces, as Go's `json.MarshalIndent(v, "", "  ")` does: empty objects and arrays stay closed, no newline
/// at the end.
#[must_use]
pub fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    // An opening bracket waits for what follows: a closing one keeps it on the line.
    let mut opened = false;
    for &byte in json {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !opened {
                    new_line(&mut out, depth);
                }
                opened = false;
                out.push(byte);
                continue;
            }
            _ => {}
        }
        if opened {
            new_line(&mut out, depth);
            opened = false;
        }
        out.push(byte);
        match byte {
            b'{' | b'[' => {
                depth += 1;
                opened = true;
            }
            b',' => new_line(&mut out, depth),
            b':' => out.push(b' '),
            b'"' => in_string = true,
            _ => {}
        }
    }
    out
}

fn new_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.resize(out.len() + 2 * depth, b' ');
}

fn with_newline(mut json: Vec<u8>) -> Vec<u8> {
    if json.last() != Some(&b'\n') {
        json.push(b'\n');
    }
    json
}

fn yaml(json: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let value: Value = serde_json::from_slice(json)?;
    // Long lines stay whole: folding them is legal, but diffs and eyes expect what kubectl shows elsewhere.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX, compact_list_indent: true };
    let text = serde_saphyr::to_string_with_options(&Sorted(&value), options).map_err(|e| EncodeError::Yaml(e.to_string()))?;
    Ok(with_newline(text.into_bytes()))
}

// === impl Sorted ===

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_unstable_by_key(|(key, _)| *key);
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, &Sorted(value))?;
                }
                map.end()
            }
            Value::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(&Sorted(item))?;
                }
                seq.end()
            }
            scalar => scalar.serialize(serializer),
        }
    }
}
