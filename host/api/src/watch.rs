//! Watch events on the wire (apimachinery `meta/v1 WatchEvent`, `runtime/serializer/{json,protobuf}` framers).
//!
//! In JSON an event is one line. In protobuf it is a frame: four bytes of length, big-endian, and a bare `WatchEvent` whose
//! object is a whole document with its own envelope. There is no YAML stream. The object is written straight into the
//! frame; lengths that are not known early are filled in when it ends.

use prost::encoding::{WireType, encode_key};

use crate::media::Encoding;
use crate::protobuf::{self, WIDE};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// The object is new to the watcher: it was made, or has moved into the selector.
    Added,
    /// The object has changed.
    Modified,
    /// The object is gone, or has moved out of the selector; the object is its last state.
    Deleted,
    /// Nothing happened up to the object's resource version; all else in the object is empty.
    Bookmark,
    /// The watch ends; the object is a Status.
    Error,
}

/// The annotation of the bookmark that ends the initial events (KEP-3157).
pub const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

// === impl EventType ===

impl EventType {
    /// As it stands on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
            Self::Bookmark => "BOOKMARK",
            Self::Error => "ERROR",
        }
    }
}

/// Appends one event. `object` appends a whole document in the same encoding; the newline that ends a JSON document is
/// taken off again. YAML, which cannot be streamed, is written as JSON.
pub fn write_event(out: &mut Vec<u8>, encoding: Encoding, kind: EventType, object: impl FnOnce(&mut Vec<u8>)) {
    if encoding == Encoding::Protobuf {
        write_frame(out, kind, object);
        return;
    }
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_str().as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    object(out);
    if out.last() == Some(&b'\n') {
        out.pop();
    }
    out.extend_from_slice(b"}\n");
}

/// `WatchEvent { type = 1, object = 2: RawExtension { raw = 1 } }`.
fn write_frame(out: &mut Vec<u8>, kind: EventType, object: impl FnOnce(&mut Vec<u8>)) {
    let frame = out.len();
    out.extend_from_slice(&[0; 4]);
    protobuf::put_text(out, 1, kind.as_str());
    encode_key(2, WireType::LengthDelimited, out);
    out.extend_from_slice(&[0; WIDE]);
    let extension = out.len();
    encode_key(1, WireType::LengthDelimited, out);
    out.extend_from_slice(&[0; WIDE]);
    let raw = out.len();
    object(out);
    protobuf::fill_wide(out, raw);
    protobuf::fill_wide(out, extension);
    // A frame is far below 4 GiB: an object has at most some MiB.
    let length = u32::try_from(out.len() - frame - 4).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(frame..frame + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use crate::meta::{ObjectMeta, TypeMeta};
    use prost::Message as _;

    const KIND: TypeMeta<'static> = TypeMeta {
        api_version: "v1",
        kind: "Thing",
    };

    #[derive(Clone, PartialEq, prost::Message)]
    struct WatchEvent {
        #[prost(string, tag = "1")]
        kind: String,
        #[prost(message, optional, tag = "2")]
        object: Option<RawExtension>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct RawExtension {
        #[prost(bytes = "vec", tag = "1")]
        raw: Vec<u8>,
    }

    #[test]
    fn json_events_are_lines() {
        let mut out = Vec::new();
        for kind in [EventType::Added, EventType::Deleted] {
            write_event(&mut out, Encoding::Json { pretty: false }, kind, |out| {
                json::write_document(out, KIND, &ObjectMeta::named("", "a"), b"\"x\":1");
            });
        }
        let object = r#""object":{"kind":"Thing","apiVersion":"v1","metadata":{"name":"a"},"x":1}}"#;
        let want = format!("{{\"type\":\"ADDED\",{object}\n{{\"type\":\"DELETED\",{object}\n");
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    #[test]
    fn protobuf_events_are_frames_of_whole_documents() {
        let mut out = b"before".to_vec();
        for (kind, name) in [(EventType::Modified, "a"), (EventType::Bookmark, "b")] {
            write_event(&mut out, Encoding::Protobuf, kind, |out| {
                protobuf::write_document(out, KIND, &ObjectMeta::named("ns", name), &[0x1a, 0]);
            });
        }
        let mut rest = &out[6..];
        for want in ["MODIFIED", "BOOKMARK"] {
            let (length, tail) = rest.split_at(4);
            let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
            let event = WatchEvent::decode(&tail[..length]).unwrap();
            assert_eq!(event.kind, want);
            let document = protobuf::open(&event.object.unwrap().raw).unwrap();
            assert_eq!(document.type_meta.unwrap().kind, "Thing");
            assert!(document.raw.ends_with(&[0x1a, 0]));
            rest = &tail[length..];
        }
        assert!(rest.is_empty());
    }
}
