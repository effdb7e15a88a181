//! Rows become objects, lists and tables: byte for byte the lists in `golden/` once their white space is gone (they are
//! kept indented), and protobuf that k8s.io/metrics' own messages read.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests are tests, which clippy.toml knows only where they are marked"
)]

use std::collections::BTreeMap;

use outrigger_api::encode;
use outrigger_api::json;
use outrigger_api::manifest::Column;
use outrigger_api::media::{Encoding, MetaVersion};
use outrigger_api::meta::{ListMeta, NONE, ObjectMeta, TypeMeta};
use outrigger_api::protobuf;
use outrigger_api::query::Query;
use outrigger_api::table::{IncludeObject, NAME_DESCRIPTION, RowObject, TableWriter};
use outrigger_api::time::{Time, Timestamp};
use prost::Message;
use serde_json::Value;

const POD: TypeMeta<'static> = TypeMeta {
    api_version: "metrics.k8s.io/v1beta1",
    kind: "PodMetrics",
};
const PODS: TypeMeta<'static> = TypeMeta {
    api_version: "metrics.k8s.io/v1beta1",
    kind: "PodMetricsList",
};

/// A recorded item taken apart: what the host writes, and what the row brings.
struct Recorded {
    namespace: String,
    name: String,
    labels: BTreeMap<String, String>,
    creation: Timestamp,
    fields: Vec<u8>,
}

impl Recorded {
    fn meta(&self) -> ObjectMeta<'_> {
        ObjectMeta {
            creation: Some(self.creation),
            labels: &self.labels,
            ..ObjectMeta::named(&self.namespace, &self.name)
        }
    }
}

fn take_apart(list: &Value) -> Vec<Recorded> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items
        .into_iter()
        .map(|mut item| {
            let meta = item["metadata"].take();
            if let Some(members) = item.as_object_mut() {
                members.shift_remove("metadata");
            }
            let fields = item.to_string();
            Recorded {
                namespace: text(&meta["namespace"]),
                name: text(&meta["name"]),
                labels: serde_json::from_value(meta["labels"].clone()).unwrap_or_default(),
                creation: serde_json::from_value(meta["creationTimestamp"].clone()).unwrap(),
                fields: fields.trim_start_matches('{').strip_suffix('}').unwrap_or_default().into(),
            }
        })
        .collect()
}

#[test]
fn a_list_spliced_from_rows_is_the_recorded_one() {
    for golden in [
        include_str!("golden/podmetrics.json"),
        include_str!("golden/nodemetrics.json"),
    ] {
        let golden: Value = serde_json::from_str(golden).unwrap();
        let kind = TypeMeta {
            api_version: golden["apiVersion"].as_str().unwrap(),
            kind: golden["kind"].as_str().unwrap(),
        };
        let mut out = Vec::new();
        let mut list = json::ListWriter::begin(&mut out, kind, &ListMeta::default());
        for row in take_apart(&golden) {
            list.item(None, &row.meta(), &row.fields);
        }
        list.finish();
        assert_eq!(String::from_utf8(out.clone()).unwrap(), format!("{golden}\n"));

        let pretty = String::from_utf8(encode::text(out.clone(), Encoding::Json { pretty: true }).unwrap()).unwrap();
        assert_eq!(pretty, serde_json::to_string_pretty(&golden).unwrap());
        let yaml = String::from_utf8(encode::text(out, Encoding::Yaml).unwrap()).unwrap();
        assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), golden);
    }
}

#[test]
fn metadata_has_the_order_and_the_gaps_of_gos_structs() {
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let labels: BTreeMap<String, String> = map(&[("b", "2"), ("a.example.com/x", "<&>")]);
    let annotations = map(&[("note", "a\"b\\c\u{1}\u{2028}é")]);
    let full = ObjectMeta {
        name: "n",
        namespace: "ns",
        uid: "u",
        resource_version: 7,
        generation: 3,
        creation: Some(Timestamp::from_seconds(0)),
        labels: &labels,
        annotations: &annotations,
        rest: outrigger_api::meta::Rest::default(),
    };
    for (meta, want) in [
        (ObjectMeta::default(), "{}"),
        (ObjectMeta::named("", "n"), r#"{"name":"n"}"#),
        (
            full,
            r#"{"name":"n","namespace":"ns","uid":"u","resourceVersion":"7","generation":3,"creationTimestamp":"1970-01-01T00:00:00Z","labels":{"a.example.com/x":"\u003c\u0026\u003e","b":"2"},"annotations":{"note":"a\"b\\c\u0001\u2028é"}}"#,
        ),
    ] {
        let mut out = Vec::new();
        meta.write_json(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
    for (meta, want) in [
        (ListMeta::default(), "{}"),
        (
            ListMeta {
                resource_version: 7,
                continue_token: "c",
                remaining: Some(0),
            },
            r#"{"resourceVersion":"7","continue":"c","remainingItemCount":0}"#,
        ),
    ] {
        let mut out = Vec::new();
        meta.write_json(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}

#[test]
fn strings_are_escaped_as_gos_encoding_json_escapes_them() {
    let mut out = Vec::new();
    json::write_string(
        &mut out,
        "a<b>&c\u{2028}\u{2029}\u{2027}\0\u{1f}\u{7f}\u{8}\u{c}\n\r\t\"\\/é日𝄞",
    );
    let want = "\"a\\u003cb\\u003e\\u0026c\\u2028\\u2029\u{2027}\\u0000\\u001f\u{7f}\\b\\f\\n\\r\\t\\\"\\\\/é日𝄞\"";
    assert_eq!(String::from_utf8(out).unwrap(), want);
}

#[test]
fn a_table_carries_as_much_of_its_objects_as_was_asked_for() {
    let column = |name: &str, format: &str, priority| Column {
        name: name.into(),
        kind: "string".into(),
        format: format.into(),
        description: String::new(),
        priority,
        json_path: String::new(),
    };
    let columns = [column("cpu", "quantity", 0), column("Window", "duration", 1)];
    let head = format!(
        r#""metadata":{{}},"columnDefinitions":[{{"name":"Name","type":"string","format":"name","description":"{NAME_DESCRIPTION}","priority":0}},{{"name":"cpu","type":"string","format":"quantity","description":"","priority":0}},{{"name":"Window","type":"string","format":"duration","description":"","priority":1}}],"rows":"#
    );
    let row = r#"{"cells":["a","1m","15s"],"object":"#;
    for (version, include, rows, want) in [
        (MetaVersion::V1, IncludeObject::Metadata, 0, "null".to_owned()),
        (MetaVersion::V1, IncludeObject::None, 2, format!("[{row}null}},{row}null}}]")),
        (
            MetaVersion::V1beta1,
            IncludeObject::Metadata,
            1,
            format!(
                r#"[{row}{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1beta1","metadata":{{"name":"a","namespace":"ns"}}}}}}]"#
            ),
        ),
        (
            MetaVersion::V1,
            IncludeObject::Object,
            1,
            format!(
                r#"[{row}{{"kind":"PodMetrics","apiVersion":"metrics.k8s.io/v1beta1","metadata":{{"name":"a","namespace":"ns"}},"window":"15s"}}}}]"#
            ),
        ),
    ] {
        let meta = ObjectMeta::named("ns", "a");
        let mut out = Vec::new();
        let mut table = TableWriter::begin(&mut out, version, include, &ListMeta::default(), Some(&columns));
        for _ in 0..rows {
            table.row(
                br#""1m","15s""#,
                RowObject {
                    meta: &meta,
                    kind: POD,
                    fields: br#""window":"15s""#,
                },
            );
        }
        table.finish();
        let api_version = version.api_version();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("{{\"kind\":\"Table\",\"apiVersion\":\"{api_version}\",{head}{want}}}\n")
        );
    }
}

#[test]
fn include_object_is_one_of_three() {
    for (query, want) in [
        ("", Some(IncludeObject::Metadata)),
        ("includeObject=", Some(IncludeObject::Metadata)),
        ("includeObject=Metadata", Some(IncludeObject::Metadata)),
        ("includeObject=None", Some(IncludeObject::None)),
        ("includeObject=Object", Some(IncludeObject::Object)),
        ("includeObject=object", None),
    ] {
        assert_eq!(IncludeObject::parse(&Query::parse(query)).ok(), want, "{query}");
    }
}

// Messages of k8s.io/metrics and meta/v1, by the field numbers of their generated.proto.

#[derive(Clone, PartialEq, Message)]
struct PodMetricsMessage {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMetaMessage>,
    #[prost(message, optional, tag = "2")]
    timestamp: Option<Time>,
    #[prost(message, optional, tag = "3")]
    window: Option<DurationMessage>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct DurationMessage {
    #[prost(int64, tag = "1")]
    nanos: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ObjectMetaMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "5")]
    uid: String,
    #[prost(string, tag = "6")]
    resource_version: String,
    #[prost(int64, tag = "7")]
    generation: i64,
    #[prost(message, optional, tag = "8")]
    creation: Option<Time>,
    #[prost(btree_map = "string, string", tag = "11")]
    labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "12")]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct ListMessage {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ListMetaMessage>,
    #[prost(message, repeated, tag = "2")]
    items: Vec<PodMetricsMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ListMetaMessage {
    #[prost(string, tag = "2")]
    resource_version: String,
    #[prost(string, tag = "3")]
    continue_token: String,
    #[prost(int64, optional, tag = "4")]
    remaining: Option<i64>,
}

/// A PodMetrics as k8s.io/metrics 0.36 encodes it.
const FROM_GO: &str = "6b3873000a240a166d6574726963732e6b38732e696f2f76316265746131120a506f644d65747269637312420a2e0a017012001a026e\
    7322002a0032003800420808cdea85d80610005a0a0a036170701203613c625a050a01651200120808cdea85d80610001a060880e9ca84381a002200";

#[test]
fn protobuf_says_what_gos_encoder_says() {
    let moment = Timestamp::from_seconds(1_795_257_677);
    let fields = PodMetricsMessage {
        metadata: None,
        timestamp: Some(moment.into()),
        window: Some(DurationMessage { nanos: 15_042_000_000 }),
    };
    let labels = BTreeMap::from([("app".into(), "a<b".into()), ("e".into(), String::new())]);
    let meta = ObjectMeta {
        creation: Some(moment),
        labels: &labels,
        ..ObjectMeta::named("ns", "p")
    };
    let mut ours = Vec::new();
    protobuf::write_document(&mut ours, POD, &meta, &fields.encode_to_vec());

    let hex = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let theirs: Vec<u8> = FROM_GO.as_bytes().chunks(2).map(hex).collect();
    let (ours, theirs) = (protobuf::open(&ours).unwrap(), protobuf::open(&theirs).unwrap());
    assert_eq!(ours.type_meta, theirs.type_meta);
    let read = |raw: &[u8]| PodMetricsMessage::decode(raw).unwrap();
    assert_eq!(read(&ours.raw), read(&theirs.raw));
    assert!(ours.raw.len() < theirs.raw.len(), "empty strings are left out");
}

#[test]
fn a_protobuf_list_is_spliced_from_rows() {
    let labels = BTreeMap::from([("app".into(), "x".repeat(200))]);
    let meta = ListMeta {
        resource_version: 7,
        continue_token: "next",
        remaining: Some(0),
    };
    // Lengths of one, two and three bytes.
    for count in [0, 1, 3, 1_000] {
        let names: Vec<String> = (0..count).map(|i| format!("pod-{i}")).collect();
        let fields = |i: usize| PodMetricsMessage {
            metadata: None,
            timestamp: Some(Time { seconds: i as i64 }),
            window: Some(DurationMessage { nanos: 1 }),
        };
        let mut out = b"before".to_vec();
        let mut list = protobuf::ListWriter::begin(&mut out, PODS, &meta);
        for (i, name) in names.iter().enumerate() {
            let labels = if i % 2 == 0 { &labels } else { &NONE };
            list.item(
                &ObjectMeta {
                    labels,
                    generation: i as i64,
                    ..ObjectMeta::named("ns", name)
                },
                &fields(i).encode_to_vec(),
            );
        }
        list.finish();

        let envelope = protobuf::open(out.strip_prefix(b"before").unwrap()).unwrap();
        assert_eq!(envelope.type_meta.unwrap().kind, "PodMetricsList");
        let read = ListMessage::decode(envelope.raw.as_slice()).unwrap();
        let want = ListMetaMessage {
            resource_version: "7".into(),
            continue_token: "next".into(),
            remaining: Some(0),
        };
        assert_eq!(read.metadata, Some(want));
        assert_eq!(read.items.len(), count);
        for (i, item) in read.items.into_iter().enumerate() {
            let got = item.metadata.clone().unwrap();
            assert_eq!(
                (got.name, got.namespace, got.generation),
                (names[i].clone(), "ns".into(), i as i64)
            );
            assert_eq!(got.labels.len(), usize::from(i % 2 == 0));
            assert_eq!(PodMetricsMessage { metadata: None, ..item }, fields(i));
        }
    }
}

#[test]
fn a_length_is_reckoned_as_it_is_written() {
    let map = BTreeMap::from([(String::new(), String::new()), ("k".repeat(130), "v".into())]);
    for meta in [
        ObjectMeta::default(),
        ObjectMeta {
            name: "n",
            namespace: "ns",
            uid: "u",
            resource_version: 7,
            generation: -1,
            creation: Some(Timestamp::from_seconds(-1)),
            labels: &map,
            annotations: &map,
            rest: outrigger_api::meta::Rest::default(),
        },
        ObjectMeta {
            creation: Some(Timestamp::from_seconds(0)),
            ..ObjectMeta::default()
        },
    ] {
        let mut out = Vec::new();
        meta.write_protobuf(&mut out);
        assert_eq!(out.len(), meta.encoded_len());
        let read = ObjectMetaMessage::decode(out.as_slice()).unwrap();
        assert_eq!(
            (read.name.as_str(), &read.labels, &read.annotations),
            (meta.name, meta.labels, meta.annotations)
        );
        assert_eq!(read.creation.map(|t| t.seconds), meta.creation.map(Timestamp::seconds));
    }
    assert!(matches!(protobuf::open(b"k8s"), Err(protobuf::NotAnEnvelope::Magic)));
    assert!(matches!(
        protobuf::open(b"k8s\0\xff"),
        Err(protobuf::NotAnEnvelope::Unknown(_))
    ));
}
