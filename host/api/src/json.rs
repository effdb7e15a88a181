//! JSON on the wire: strings as Go's `encoding/json` escapes them, and the frames of objects and lists.
//!
//! Rows arrive as finished JSON members; a list is made by putting frames and metadata around them, never by parsing
//! them. Upstream's encoder escapes `<`, `>` and `&` (`SetEscapeHTML` is on by default in `runtime/serializer/json`),
//! and ends a compact document with a newline; so do we.

use std::collections::BTreeMap;

use crate::meta::{ListMeta, ObjectMeta, TypeMeta};

/// A list under way: frame, items, frame.
#[derive(Debug)]
#[must_use = "a list that is not finished is not JSON"]
pub struct ListWriter<'o> {
    out: &'o mut Vec<u8>,
    items: usize,
}

/// An object under way; knows where commas go.
#[derive(Debug)]
pub(crate) struct Members<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

/// Appends a whole object and a newline: type, metadata, then `fields`, which are JSON members without outer braces
/// and may be empty.
pub fn write_document(out: &mut Vec<u8>, kind: TypeMeta<'_>, meta: &ObjectMeta<'_>, fields: &[u8]) {
    write_object(out, Some(kind), meta, fields);
    out.push(b'\n');
}

/// Appends an object: its type if it stands alone (items of a list have none), metadata, then `fields`, which are JSON
/// members without outer braces and may be empty.
pub fn write_object(out: &mut Vec<u8>, kind: Option<TypeMeta<'_>>, meta: &ObjectMeta<'_>, fields: &[u8]) {
    out.push(b'{');
    if let Some(kind) = kind {
        kind.write_members(out);
        out.push(b',');
    }
    out.extend_from_slice(b"\"metadata\":");
    meta.write_json(out);
    if !fields.is_empty() {
        out.push(b',');
        out.extend_from_slice(fields);
    }
    out.push(b'}');
}

/// Appends a string, quotes included, with the escapes of Go's `encoding/json` (HTML escaping on).
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let hex = |n: u32| HEX.get((n & 15) as usize).copied().unwrap_or(b'0');

    out.push(b'"');
    let mut rest = text;
    // 0xE2 leads U+2028 and U+2029; the other special bytes are ASCII, so the split is at a boundary.
    while let Some(at) = rest
        .bytes()
        .position(|b| matches!(b, 0..0x20 | b'"' | b'\\' | b'<' | b'>' | b'&' | 0xE2))
    {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        let mut chars = tail.chars();
        let Some(c) = chars.next() else { break };
        rest = chars.as_str();
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{0}'..'\u{20}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let n = u32::from(c);
                out.extend_from_slice(&[b'\\', b'u', hex(n >> 12), hex(n >> 8), hex(n >> 4), hex(n)]);
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
}

// === impl ListWriter ===

impl<'o> ListWriter<'o> {
    /// Writes the list's type and metadata.
    pub fn begin(out: &'o mut Vec<u8>, kind: TypeMeta<'_>, meta: &ListMeta<'_>) -> Self {
        out.push(b'{');
        kind.write_members(out);
        out.extend_from_slice(b",\"metadata\":");
        meta.write_json(out);
        out.extend_from_slice(b",\"items\":[");
        Self { out, items: 0 }
    }

    /// Goes on with a list that has so many items, where the last writer was dropped.
    pub fn resume(out: &'o mut Vec<u8>, items: usize) -> Self {
        Self { out, items }
    }

    /// Writes one item, see [`write_object`]. Items carry a type only in a PartialObjectMetadataList.
    pub fn item(&mut self, kind: Option<TypeMeta<'_>>, meta: &ObjectMeta<'_>, fields: &[u8]) {
        if self.items > 0 {
            self.out.push(b',');
        }
        self.items += 1;
        write_object(self.out, kind, meta, fields);
    }

    /// Closes the list, with the newline that ends a document. An empty list has `"items":[]`, never null.
    pub fn finish(self) {
        self.out.extend_from_slice(b"]}\n");
    }
}

// === impl Members ===

impl<'o> Members<'o> {
    /// Opens the object.
    pub(crate) fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Writes a key, which needs no escapes; the caller writes the value into what this returns.
    pub(crate) fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// Members that are finished, without braces; may be empty.
    pub(crate) fn finished(&mut self, members: &[u8]) {
        if members.is_empty() {
            return;
        }
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.extend_from_slice(members);
    }

    /// A string member, unless it is empty.
    pub(crate) fn text(&mut self, key: &'static str, value: &str) {
        if !value.is_empty() {
            write_string(self.key(key), value);
        }
    }

    /// A map member, unless it is empty; keys in byte order, as Go sorts them.
    pub(crate) fn map(&mut self, key: &'static str, map: &BTreeMap<String, String>) {
        if map.is_empty() {
            return;
        }
        let out = self.key(key);
        for (i, (k, v)) in map.iter().enumerate() {
            out.push(if i == 0 { b'{' } else { b',' });
            write_string(out, k);
            out.push(b':');
            write_string(out, v);
        }
        out.push(b'}');
    }

    /// Closes the object.
    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}
