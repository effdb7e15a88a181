//! Protobuf: frames that strangers send are read or refused, frames that we write are read as they were meant.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger_api::meta::TypeMeta;
use outrigger_api::openapi::Specification;
use outrigger_api::{discovery, protobuf};
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(unknown) = protobuf::open(bytes) {
        let kind = unknown.type_meta.clone().unwrap_or_default();
        written(&kind.api_version, &kind.kind, &unknown.raw);
    }
    if let Some((length, rest)) = bytes.split_first() {
        let (kind, raw) = rest.split_at(rest.len().min(usize::from(*length)));
        written("v1", &String::from_utf8_lossy(kind), raw);
    }
    // Any JSON at all becomes well-formed fields.
    let Ok(json) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    for specification in [Specification::V2, Specification::V3] {
        well_formed(&specification.protobuf(&json));
    }
    if let Some(document) = discovery::protobuf(&json) {
        well_formed(&protobuf::open(&document).unwrap().raw);
    }
});

fn written(api_version: &str, kind: &str, raw: &[u8]) {
    let document = protobuf::envelope(TypeMeta { api_version, kind }, raw);
    let read = protobuf::open(&document).unwrap();
    assert_eq!(read.raw, raw);
    let meta = read.type_meta.unwrap();
    assert_eq!((meta.api_version.as_str(), meta.kind.as_str()), (api_version, kind));
}

fn well_formed(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let (tag, wire) = decode_key(&mut bytes).unwrap();
        assert!([WireType::Varint, WireType::SixtyFourBit, WireType::LengthDelimited].contains(&wire));
        skip_field(wire, tag, &mut bytes, DecodeContext::default()).unwrap();
    }
}
