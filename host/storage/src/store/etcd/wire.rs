//! etcd's messages, as far as they are needed: what is said on the wire and nothing else.
//!
//! Field numbers are those of etcd's `rpc.proto` and `kv.proto` (API v3). They are written by hand, because to have them made would need
//! `protoc` on every machine that builds. Fields that nobody reads are left out: prost skips what it does not know. A `oneof` is a message
//! with optional fields here, which is the same bytes as long as one of them is set.
//!
//! Values come out as vectors of their own: shared with the response that they came in, one small value would keep all of it in memory.

use bytes::Bytes;
use http::uri::PathAndQuery;

/// A method's path. All of them are here.
pub(super) const RANGE: PathAndQuery = PathAndQuery::from_static("/etcdserverpb.KV/Range");
pub(super) const TXN: PathAndQuery = PathAndQuery::from_static("/etcdserverpb.KV/Txn");
pub(super) const COMPACT: PathAndQuery = PathAndQuery::from_static("/etcdserverpb.KV/Compact");
pub(super) const WATCH: PathAndQuery = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
pub(super) const STATUS: PathAndQuery = PathAndQuery::from_static("/etcdserverpb.Maintenance/Status");

/// Stands before every answer.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Header {
    #[prost(uint64, tag = "1")]
    pub(super) cluster_id: u64,
    /// The store's revision when the request was carried out; of a progress notification, what has been told of.
    #[prost(int64, tag = "3")]
    pub(super) revision: i64,
}

/// A key and its value.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(int64, tag = "2")]
    pub(super) create_revision: i64,
    #[prost(int64, tag = "3")]
    pub(super) mod_revision: i64,
    /// How often it was written since it is there; 0 once it is gone.
    #[prost(int64, tag = "4")]
    pub(super) version: i64,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) value: Vec<u8>,
}

/// Reads one key, or all from it up to `range_end`, which is not among them.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) range_end: Vec<u8>,
    /// 0 is all.
    #[prost(int64, tag = "3")]
    pub(super) limit: i64,
    /// 0 is now.
    #[prost(int64, tag = "4")]
    pub(super) revision: i64,
    #[prost(bool, tag = "8")]
    pub(super) keys_only: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<Header>,
    #[prost(message, repeated, tag = "2")]
    pub(super) kvs: Vec<KeyValue>,
    #[prost(bool, tag = "3")]
    pub(super) more: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct DeleteRangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
}

/// One of these.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct RequestOp {
    #[prost(message, optional, tag = "1")]
    pub(super) range: Option<RangeRequest>,
    #[prost(message, optional, tag = "2")]
    pub(super) put: Option<PutRequest>,
    #[prost(message, optional, tag = "3")]
    pub(super) delete: Option<DeleteRangeRequest>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct ResponseOp {
    #[prost(message, optional, tag = "1")]
    pub(super) range: Option<RangeResponse>,
}

/// Whether a key is as it is thought to be. The comparison is always "equal", which is 0 and therefore not said.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Compare {
    /// [`Compare::VERSION`] or [`Compare::MOD`].
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes = "vec", tag = "3")]
    key: Vec<u8>,
    #[prost(int64, optional, tag = "4")]
    version: Option<i64>,
    #[prost(int64, optional, tag = "6")]
    mod_revision: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    pub(super) success: Vec<RequestOp>,
    #[prost(message, repeated, tag = "3")]
    pub(super) failure: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<Header>,
    #[prost(bool, tag = "2")]
    pub(super) succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    pub(super) responses: Vec<ResponseOp>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct CompactionRequest {
    #[prost(int64, tag = "1")]
    pub(super) revision: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct CompactionResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<Header>,
}

/// One of these.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) create: Option<WatchCreateRequest>,
    #[prost(message, optional, tag = "3")]
    pub(super) progress: Option<WatchProgressRequest>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct WatchCreateRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) range_end: Vec<u8>,
    /// The first that is told.
    #[prost(int64, tag = "3")]
    pub(super) start_revision: i64,
    #[prost(bool, tag = "4")]
    pub(super) progress_notify: bool,
    #[prost(bool, tag = "6")]
    pub(super) prev_kv: bool,
    #[prost(bool, tag = "8")]
    pub(super) fragment: bool,
}

/// Asks for a notification of how far the stream has come. It is not answered while it is behind.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct WatchProgressRequest {}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct WatchResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<Header>,
    #[prost(bool, tag = "3")]
    pub(super) created: bool,
    #[prost(bool, tag = "4")]
    pub(super) canceled: bool,
    /// Not 0 if the watch was cancelled because what it wants is compacted up to here.
    #[prost(int64, tag = "5")]
    pub(super) compact_revision: i64,
    #[prost(string, tag = "6")]
    pub(super) cancel_reason: String,
    /// More of the same response follows, perhaps of the same revision.
    #[prost(bool, tag = "7")]
    pub(super) fragment: bool,
    #[prost(message, repeated, tag = "11")]
    pub(super) events: Vec<Event>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Event {
    /// 0 is a put, 1 a deletion.
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) kv: Option<KeyValue>,
    #[prost(message, optional, tag = "3")]
    pub(super) prev_kv: Option<KeyValue>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct StatusRequest {}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<Header>,
    #[prost(string, tag = "2")]
    pub(super) version: String,
    #[prost(bool, tag = "10")]
    pub(super) is_learner: bool,
}

// === impl Compare ===

impl Compare {
    const VERSION: i32 = 0;
    const MOD: i32 = 2;

    /// It was last written at this revision; 0 if it is not there.
    pub(super) fn last_write(key: Vec<u8>, revision: i64) -> Self {
        Self {
            target: Self::MOD,
            key,
            version: None,
            mod_revision: Some(revision),
        }
    }

    /// It was written so often; 0 if it is not there.
    pub(super) fn written(key: Vec<u8>, times: i64) -> Self {
        Self {
            target: Self::VERSION,
            key,
            version: Some(times),
            mod_revision: None,
        }
    }
}

// === impl RequestOp ===

impl RequestOp {
    pub(super) fn get(key: Vec<u8>) -> Self {
        Self {
            range: Some(RangeRequest {
                key,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    pub(super) fn put(key: Vec<u8>, value: Bytes) -> Self {
        Self {
            put: Some(PutRequest { key, value }),
            ..Default::default()
        }
    }

    pub(super) fn delete(key: Vec<u8>) -> Self {
        Self {
            delete: Some(DeleteRangeRequest { key }),
            ..Default::default()
        }
    }
}

// === impl TxnResponse ===

impl TxnResponse {
    /// What the one read of a transaction found.
    pub(super) fn found(self) -> Option<KeyValue> {
        let range = self.responses.into_iter().next()?.range?;
        range.kvs.into_iter().next()
    }
}

// === impl Event ===

impl Event {
    pub(super) fn is_deletion(&self) -> bool {
        self.kind == 1
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// The bytes that etcd's own Go types make of the same (`Marshal` of etcdserverpb, v3.6.16).
    #[test]
    fn messages_are_etcds() {
        let create = TxnRequest {
            compare: vec![Compare::last_write(b"k".to_vec(), 0)],
            success: vec![RequestOp::put(b"k".to_vec(), Bytes::from_static(b"v"))],
            failure: vec![RequestOp::get(b"k".to_vec())],
        };
        let watch = WatchRequest {
            create: Some(WatchCreateRequest {
                key: b"a".to_vec(),
                range_end: b"b".to_vec(),
                start_revision: 300,
                progress_notify: true,
                prev_kv: true,
                fragment: true,
            }),
            ..Default::default()
        };
        let progress = WatchRequest {
            progress: Some(WatchProgressRequest {}),
            ..Default::default()
        };
        let page = RangeRequest {
            key: b"a".to_vec(),
            range_end: b"b".to_vec(),
            limit: 500,
            revision: 7,
            keys_only: true,
        };
        let cases: [(_, _, &[u8]); 7] = [
            ("create", create.encode_to_vec(), CREATE),
            ("watch", watch.encode_to_vec(), WATCH_CREATE),
            ("progress", progress.encode_to_vec(), b"\x1a\x00"),
            (
                "deletion",
                RequestOp::delete(b"k".to_vec()).encode_to_vec(),
                b"\x1a\x03\x0a\x01k",
            ),
            (
                "count",
                Compare::written(b"k".to_vec(), 0).encode_to_vec(),
                b"\x1a\x01k\x20\x00",
            ),
            (
                "page",
                page.encode_to_vec(),
                b"\x0a\x01a\x12\x01b\x18\xf4\x03\x20\x07\x40\x01",
            ),
            (
                "compaction",
                CompactionRequest { revision: 300 }.encode_to_vec(),
                b"\x08\xac\x02",
            ),
        ];
        for (name, made, expected) in cases {
            assert_eq!(made, expected, "{name}");
        }
    }

    const CREATE: &[u8] = b"\x0a\x07\x10\x02\x1a\x01k\x30\x00\x12\x08\x12\x06\x0a\x01k\x12\x01v\x1a\x05\x0a\x03\x0a\x01k";
    const WATCH_CREATE: &[u8] = b"\x0a\x0f\x0a\x01a\x12\x01b\x18\xac\x02\x20\x01\x30\x01\x40\x01";
}
