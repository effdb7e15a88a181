//! Kubernetes' protobuf: the envelope, and lists spliced from rows that are encoded already.
//!
//! A document is the four bytes `k8s\0` and a `runtime.Unknown { typeMeta, raw }` (apimachinery
//! `runtime/serializer/protobuf`). A row holds its fields in protobuf already; here they get metadata (field 1 in every
//! Kubernetes object) and go into the list's `items` (field 2) without a copy in between: each message's length is
//! reckoned before it is written, and the one length that is not known early, that of `raw`, is written five bytes wide
//! and filled in at the end.
//!
//! Upstream writes empty strings too, because gogo's fields are not nullable. We leave them out; a reader cannot tell.

use std::collections::BTreeMap;

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::meta::{ListMeta, ObjectMeta, TypeMeta};

/// The media type.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// The first four bytes of every document.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// `runtime.Unknown`: what follows [`MAGIC`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Unknown {
    /// What `raw` is.
    #[prost(message, optional, tag = "1")]
    pub type_meta: Option<UnknownType>,
    /// The encoded object.
    #[prost(bytes = "vec", tag = "2")]
    pub raw: Vec<u8>,
    /// Encoding of `raw`; empty.
    #[prost(string, tag = "3")]
    pub content_encoding: String,
    /// Media type of `raw`; empty for protobuf.
    #[prost(string, tag = "4")]
    pub content_type: String,
}

/// `runtime.TypeMeta`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UnknownType {
    /// `v1`, `metrics.k8s.io/v1beta1` …
    #[prost(string, tag = "1")]
    pub api_version: String,
    /// `PodMetrics` …
    #[prost(string, tag = "2")]
    pub kind: String,
}

/// Why bytes are no document.
#[derive(Debug, thiserror::Error)]
pub enum NotAnEnvelope {
    /// They do not start with [`MAGIC`].
    #[error("does not start with the bytes \"k8s\\0\"")]
    Magic,
    /// What follows is no `runtime.Unknown`.
    #[error("not a runtime.Unknown")]
    Unknown(#[from] prost::DecodeError),
}

/// A list under way: frame, items, and at the end the length of it all.
#[derive(Debug)]
#[must_use = "a list that is not finished has no length"]
pub struct ListWriter<'o> {
    out: &'o mut Vec<u8>,
    /// Where `raw` begins; its length stands in the [`WIDE`] bytes before.
    raw: usize,
}

/// Bytes of a length that is filled in later: enough for 32 GiB. A varint may be longer than it need be.
pub(crate) const WIDE: usize = 5;

/// `metadata`, in every object and list.
const METADATA: u32 = 1;
/// `items`, in every list.
const ITEMS: u32 = 2;

/// A whole document around an encoded message.
#[must_use]
pub fn envelope(kind: TypeMeta<'_>, raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + 128);
    write_head(&mut out, kind);
    put_block(&mut out, 2, raw.len());
    out.extend_from_slice(raw);
    out
}

/// Reads a document.
///
/// # Errors
/// [`NotAnEnvelope`].
pub fn open(document: &[u8]) -> Result<Unknown, NotAnEnvelope> {
    let message = document.strip_prefix(&MAGIC).ok_or(NotAnEnvelope::Magic)?;
    Ok(Unknown::decode(message)?)
}

/// Appends a whole document of one object: metadata, then `fields`, which are encoded fields other than number 1 and
/// may be empty.
pub fn write_document(out: &mut Vec<u8>, kind: TypeMeta<'_>, meta: &ObjectMeta<'_>, fields: &[u8]) {
    write_head(out, kind);
    write_message(out, 2, meta, fields);
}

/// `k8s\0` and the type.
fn write_head(out: &mut Vec<u8>, kind: TypeMeta<'_>) {
    out.extend_from_slice(&MAGIC);
    put_block(out, 1, text_len(1, kind.api_version) + text_len(2, kind.kind));
    put_text(out, 1, kind.api_version);
    put_text(out, 2, kind.kind);
}

/// Key, length and bytes of a message `{ metadata = 1, fields… }`.
fn write_message(out: &mut Vec<u8>, tag: u32, meta: &ObjectMeta<'_>, fields: &[u8]) {
    let metadata = meta.encoded_len();
    put_block(out, tag, block_len(METADATA, metadata) + fields.len());
    put_block(out, METADATA, metadata);
    meta.write_protobuf(out);
    out.extend_from_slice(fields);
}

// === impl ListWriter ===

impl<'o> ListWriter<'o> {
    /// Writes the envelope and the list's metadata.
    pub fn begin(out: &'o mut Vec<u8>, kind: TypeMeta<'_>, meta: &ListMeta<'_>) -> Self {
        write_head(out, kind);
        encode_key(2, WireType::LengthDelimited, out);
        out.extend_from_slice(&[0; WIDE]);
        let raw = out.len();
        put_block(out, METADATA, meta.encoded_len());
        meta.write_protobuf(out);
        Self { out, raw }
    }

    /// Writes one item: metadata, then `fields`, which are encoded fields other than number 1 and may be empty.
    pub fn item(&mut self, meta: &ObjectMeta<'_>, fields: &[u8]) {
        write_message(self.out, ITEMS, meta, fields);
    }

    /// Fills in the length.
    pub fn finish(self) {
        fill_wide(self.out, self.raw);
    }
}

/// Fills in the [`WIDE`] length before `start` of what reaches from there to the end.
pub(crate) fn fill_wide(out: &mut [u8], start: usize) {
    let mut length = out.len() - start;
    let place = out.get_mut(start - WIDE..start).unwrap_or_default();
    for (i, byte) in place.iter_mut().enumerate() {
        let more = if i + 1 < WIDE { 0x80 } else { 0 };
        *byte = (length & 0x7f) as u8 | more;
        length >>= 7;
    }
}

// Fields. `put_*` appends a field, `*_len` tells how long that field is with its key. Empty strings, zeros and empty maps
// are left out.

pub(crate) fn put_block(out: &mut Vec<u8>, tag: u32, len: usize) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

pub(crate) fn block_len(tag: u32, len: usize) -> usize {
    key_len(tag) + encoded_len_varint(len as u64) + len
}

pub(crate) fn put_text(out: &mut Vec<u8>, tag: u32, text: &str) {
    if !text.is_empty() {
        put_block(out, tag, text.len());
        out.extend_from_slice(text.as_bytes());
    }
}

pub(crate) fn text_len(tag: u32, text: &str) -> usize {
    if text.is_empty() { 0 } else { block_len(tag, text.len()) }
}

pub(crate) fn put_int(out: &mut Vec<u8>, tag: u32, value: i64) {
    if value != 0 {
        put_present_int(out, tag, value);
    }
}

pub(crate) fn int_len(tag: u32, value: i64) -> usize {
    if value == 0 { 0 } else { present_int_len(tag, value) }
}

/// An integer that is written even if it is 0, because its absence means something else.
pub(crate) fn put_present_int(out: &mut Vec<u8>, tag: u32, value: i64) {
    encode_key(tag, WireType::Varint, out);
    encode_varint(value.cast_unsigned(), out);
}

pub(crate) fn present_int_len(tag: u32, value: i64) -> usize {
    key_len(tag) + encoded_len_varint(value.cast_unsigned())
}

pub(crate) fn put_map(out: &mut Vec<u8>, tag: u32, map: &BTreeMap<String, String>) {
    for (key, value) in map {
        // Both are written even if empty: readers of maps may want both.
        put_block(out, tag, block_len(1, key.len()) + block_len(2, value.len()));
        put_block(out, 1, key.len());
        out.extend_from_slice(key.as_bytes());
        put_block(out, 2, value.len());
        out.extend_from_slice(value.as_bytes());
    }
}

pub(crate) fn map_len(tag: u32, map: &BTreeMap<String, String>) -> usize {
    map.iter()
        .map(|(k, v)| block_len(tag, block_len(1, k.len()) + block_len(2, v.len())))
        .sum()
}
