//! Compact JSON into what a person or a YAML reader asked for.
//!
//! Every document is made once, as compact JSON; the other text forms are made from those bytes when somebody asks.
//! Indented JSON is made without parsing. Both JSON forms have Go's escapes whoever made the document (see
//! [`crate::json::write_string`]; serde_json leaves `<`, `>` and `&` as they are). YAML has its keys sorted, as sigs.k8s.io/yaml has them, because upstream's YAML
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
        Encoding::Json { pretty: false } => Ok(with_newline(escape(json))),
        Encoding::Json { pretty: true } => Ok(indent(&escape(json))),
        Encoding::Yaml => yaml(&json),
        Encoding::Protobuf => Err(EncodeError::Protobuf),
    }
}

/// Indents by two spaces, as Go's `json.MarshalIndent(v, "", "  ")` does: empty objects and arrays stay closed, no newline
/// at the end.
#[must_use]
pub fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    Indenter::default().write(json, &mut out);
    out
}

/// Indents a document that comes in pieces.
#[derive(Debug, Default)]
pub struct Indenter {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// An opening bracket waits for what follows: a closing one keeps it on the line.
    opened: bool,
}

// === impl Indenter ===

impl Indenter {
    /// Appends the next piece, indented.
    pub fn write(&mut self, json: &[u8], out: &mut Vec<u8>) {
        for &byte in json {
            if self.in_string {
                out.push(byte);
                self.in_string = self.escaped || byte != b'"';
                self.escaped = !self.escaped && byte == b'\\';
                continue;
            }
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => continue,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if !self.opened {
                        new_line(out, self.depth);
                    }
                    self.opened = false;
                    out.push(byte);
                    continue;
                }
                _ => {}
            }
            if self.opened {
                new_line(out, self.depth);
                self.opened = false;
            }
            out.push(byte);
            match byte {
                b'{' | b'[' => {
                    self.depth += 1;
                    self.opened = true;
                }
                b',' => new_line(out, self.depth),
                b':' => out.push(b' '),
                b'"' => self.in_string = true,
                _ => {}
            }
        }
    }
}

fn new_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.resize(out.len() + 2 * depth, b' ');
}

/// Escapes what Go's `encoding/json` escapes and serde_json does not. These characters stand in strings only, so no parsing
/// is needed; most documents have none of them and pass as they are.
fn escape(json: Vec<u8>) -> Vec<u8> {
    // Chunks without early exit become vector instructions: this looks at every byte of every list.
    let special = |byte: &u8| matches!(byte, b'<' | b'>' | b'&' | 0xE2);
    if !json
        .chunks(64)
        .any(|chunk| chunk.iter().fold(false, |found, byte| found | special(byte)))
    {
        return json;
    }
    let mut out = Vec::with_capacity(json.len() + 64);
    let mut rest = json.as_slice();
    while let Some(at) = rest.iter().position(special) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        let (escaped, length): (&[u8], usize) = match tail {
            [b'<', ..] => (b"\\u003c", 1),
            [b'>', ..] => (b"\\u003e", 1),
            [b'&', ..] => (b"\\u0026", 1),
            [0xE2, 0x80, 0xA8, ..] => (b"\\u2028", 3),
            [0xE2, 0x80, 0xA9, ..] => (b"\\u2029", 3),
            _ => (b"\xE2", 1),
        };
        out.extend_from_slice(escaped);
        rest = tail.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_as_go_indents_it() {
        let json = r#"{"a":{},"b":[],"c":[1,{"d":"x,y:{}\"[\\"}],"e":null,"f":[[]]}"#;
        let want = "{\n  \"a\": {},\n  \"b\": [],\n  \"c\": [\n    1,\n    {\n      \"d\": \"x,y:{}\\\"[\\\\\"\n    }\n  ],\n  \"e\": null,\n  \"f\": [\n    []\n  ]\n}";
        assert_eq!(String::from_utf8(indent(json.as_bytes())).unwrap(), want);
        // Indenting what is indented changes nothing.
        assert_eq!(String::from_utf8(indent(want.as_bytes())).unwrap(), want);
    }

    #[test]
    fn compact_json_ends_with_one_newline_and_has_gos_escapes() {
        for (json, want) in [
            ("{}", "{}\n"),
            ("{}\n", "{}\n"),
            (r#"{"a":"1<2>&3"}"#, "{\"a\":\"1\\u003c2\\u003e\\u00263\"}\n"),
            ("\"\u{2028}\u{2029}\u{2027}—\"", "\"\\u2028\\u2029\u{2027}—\"\n"),
        ] {
            let got = text(json.into(), Encoding::Json { pretty: false }).unwrap();
            assert_eq!(String::from_utf8(got).unwrap(), want);
        }
    }

    #[test]
    fn yaml_is_what_gos_yaml_reads_back() {
        // Strings that a YAML 1.1 reader would take for something else, and shapes that are easily indented wrongly.
        let json = r##"{"kind":"X","a":{"list":[{"b":1,"a":"true"},{"c":[]}],"e":{},"n":null,"f":1.5,"t":true},
            "s":["yes","1","1e3","0x10","~","","a: b","- x","multi\nline\n","trail ","2026-11-21T10:41:17Z","#c","@x","null","é","10:20"],
            "k.x/y":"v"}"##;
        let yaml = String::from_utf8(text(json.into(), Encoding::Yaml).unwrap()).unwrap();
        let want = r#"a:
  e: {}
  f: 1.5
  list:
  - a: "true"
    b: 1
  - c: []
  "n": null
  t: true
k.x/y: v
kind: X
s:
- "yes"
"#;
        assert!(yaml.starts_with(want), "{yaml}");
        let back: Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(back, serde_json::from_str::<Value>(json).unwrap());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        assert!(matches!(text(b"{".to_vec(), Encoding::Yaml), Err(EncodeError::Json(_))));
        assert!(matches!(text(b"{}".to_vec(), Encoding::Protobuf), Err(EncodeError::Protobuf)));
    }
}
