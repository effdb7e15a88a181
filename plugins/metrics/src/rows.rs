//! What readers of metrics.k8s.io get: each sample in its three forms.
//!
//! Shape and order of the JSON fields, the canonical quantities, Go's duration text and the protobuf field numbers are
//! upstream's to the byte (`k8s.io/metrics`, `metrics/v1beta1`), because clients decode them with upstream's types. Two
//! things are better than upstream's: containers come by name and not in a random order, and JSON and protobuf say the
//! same window. Keys of a usage come in Go's order, by name; a Table has the columns of CPU and memory, whatever else is served.
//!
//! A tick makes hundreds of rows, so they are written straight into bytes.

use std::io::Write as _;

use outrigger_sdk::quantity::Quantity;
use outrigger_sdk::{Row, quantity};

use crate::configuration::Configuration;
use crate::rates::{PodSample, Samples, Usage};
use crate::time::{GoDuration, Rfc3339};

/// The plural name of NodeMetrics.
pub const NODES: &str = "nodes";
/// The plural name of PodMetrics.
pub const PODS: &str = "pods";

/// The rows of one tick: the node's, then its pods'.
#[must_use]
pub fn rows(node: &str, samples: &Samples<'_>, configuration: Configuration) -> Vec<Row> {
    let mut rows = Vec::with_capacity(samples.pods.len() + 1);
    rows.extend(samples.node.map(|usage| node_row(node, &usage, configuration)));
    rows.extend(samples.pods.iter().filter_map(|pod| pod_row(pod, configuration)));
    rows
}

fn node_row(name: &str, usage: &Usage, configuration: Configuration) -> Row {
    let amount = Amount::of(usage, configuration);
    let mut fields = Vec::with_capacity(128);
    open(&mut fields, usage);
    fields.extend_from_slice(b"\"usage\":");
    amount.json(&mut fields);
    fields.push(b'}');
    let mut protobuf = Vec::with_capacity(64);
    interval(&mut protobuf, usage);
    amount.protobuf(&mut protobuf, 4);
    Row::of(NODES)
        .name(name)
        .fields_raw(fields)
        .protobuf(protobuf)
        .cells_raw(amount.cells(usage))
}

fn pod_row(pod: &PodSample<'_>, configuration: Configuration) -> Option<Row> {
    let oldest = pod.oldest()?;
    let mut fields = Vec::with_capacity(96 + 96 * pod.containers.len());
    open(&mut fields, oldest);
    fields.extend_from_slice(b"\"containers\":[");
    let mut protobuf = Vec::with_capacity(32 + 64 * pod.containers.len());
    interval(&mut protobuf, oldest);
    let mut total = Amount::default();
    for (i, (name, usage)) in pod.containers.iter().enumerate() {
        let amount = Amount::of(usage, configuration);
        if i > 0 {
            fields.push(b',');
        }
        fields.extend_from_slice(b"{\"name\":");
        fields.extend_from_slice(serde_json::Value::from(*name).to_string().as_bytes());
        fields.extend_from_slice(b",\"usage\":");
        amount.json(&mut fields);
        fields.push(b'}');
        // ContainerMetrics: name = 1, usage = 2.
        let mut container = Vec::with_capacity(64);
        bytes(&mut container, 1, name.as_bytes());
        amount.protobuf(&mut container, 2);
        bytes(&mut protobuf, 4, &container);
        total.add(&amount);
    }
    fields.extend_from_slice(b"]}");
    let row = Row::of(PODS).namespace(pod.namespace).name(pod.name);
    Some(row.fields_raw(fields).protobuf(protobuf).cells_raw(total.cells(oldest)))
}

// === JSON ===

/// `{"timestamp":"…","window":"…",`
fn open(to: &mut Vec<u8>, usage: &Usage) {
    // Writing to memory cannot fail.
    let _ = write!(
        to,
        "{{\"timestamp\":\"{}\",\"window\":\"{}\",",
        Rfc3339(usage.time),
        GoDuration(millis(usage))
    );
}

/// The window in whole milliseconds, as both forms say it.
fn millis(usage: &Usage) -> u64 {
    usage.rate.window.saturating_add(500_000) / 1_000_000
}

/// What is used, apart from when.
#[derive(Default)]
struct Amount {
    nanocores: u64,
    memory: u64,
    swap: Option<u64>,
    storage: Option<u64>,
}

// === impl Amount ===

impl Amount {
    fn of(usage: &Usage, configuration: Configuration) -> Self {
        Self {
            nanocores: usage.rate.nanocores,
            memory: usage.memory,
            swap: usage.swap.filter(|_| configuration.swap),
            storage: usage.storage.filter(|_| configuration.ephemeral_storage),
        }
    }

    /// Keys and quantities, by key.
    fn entries(&self) -> impl Iterator<Item = (&'static str, Quantity)> {
        [
            ("cpu", Some(quantity::cpu(self.nanocores))),
            ("ephemeral-storage", self.storage.map(quantity::memory)),
            ("memory", Some(quantity::memory(self.memory))),
            ("swap", self.swap.map(quantity::memory)),
        ]
        .into_iter()
        .filter_map(|(key, amount)| Some((key, amount?)))
    }

    fn add(&mut self, other: &Self) {
        self.nanocores = self.nanocores.saturating_add(other.nanocores);
        self.memory = self.memory.saturating_add(other.memory);
    }

    /// A ResourceList.
    fn json(&self, to: &mut Vec<u8>) {
        let mut before: &[u8] = b"{\"";
        for (key, amount) in self.entries() {
            to.extend_from_slice(before);
            to.extend_from_slice(key.as_bytes());
            to.extend_from_slice(b"\":\"");
            to.extend_from_slice(amount.as_str().as_bytes());
            before = b"\",\"";
        }
        to.extend_from_slice(b"\"}");
    }

    /// A ResourceList: a map, so one entry {key = 1, value = 2} for each, and a Quantity is {string = 1}.
    fn protobuf(&self, to: &mut Vec<u8>, field: u8) {
        for (name, amount) in self.entries() {
            let mut value = Vec::with_capacity(24);
            bytes(&mut value, 1, amount.as_str().as_bytes());
            let mut entry = Vec::with_capacity(40);
            bytes(&mut entry, 1, name.as_bytes());
            bytes(&mut entry, 2, &value);
            bytes(to, field, &entry);
        }
    }

    /// The cells `cpu`, `memory` and `Window`.
    fn cells(&self, usage: &Usage) -> String {
        format!(
            "[\"{}\",\"{}\",\"{}\"]",
            quantity::cpu(self.nanocores),
            quantity::memory(self.memory),
            GoDuration(millis(usage))
        )
    }
}

// === protobuf ===

/// timestamp = 2 (Time: seconds = 1, nanos = 2, which upstream writes although it is 0) and window = 3 (Duration:
/// nanoseconds = 1).
fn interval(to: &mut Vec<u8>, usage: &Usage) {
    let window = millis(usage).saturating_mul(1_000_000);
    for (field, number, rest) in [(2, usage.time.unsigned_abs(), &[2 << 3, 0][..]), (3, window, &[])] {
        let mut message = Vec::with_capacity(16);
        message.push(1 << 3);
        varint(&mut message, number);
        message.extend_from_slice(rest);
        bytes(to, field, &message);
    }
}

/// A length-delimited field; its number is below 16.
fn bytes(to: &mut Vec<u8>, field: u8, content: &[u8]) {
    to.push(field << 3 | 2);
    varint(to, content.len() as u64);
    to.extend_from_slice(content);
}

fn varint(to: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        to.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    to.push(n.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Rate;

    fn usage(time: i64, millis: u64, nanocores: u64, memory: u64) -> Usage {
        Usage {
            time,
            rate: Rate {
                nanocores,
                window: millis * 1_000_000,
            },
            memory,
            swap: None,
            storage: None,
        }
    }

    /// Field numbers and wire types as k8s.io/metrics' generated.proto has them, written out once by hand.
    #[test]
    fn a_row_has_upstreams_three_forms() {
        let at = 1_795_260_493;
        let pods = vec![PodSample {
            namespace: "default",
            name: "two",
            containers: vec![
                ("a", usage(at, 15_042, 50_000_000, 12_533_760)),
                ("b\"", usage(at - 3, 60_500, 5_100_000, 1000)),
            ],
        }];
        let samples = Samples {
            node: Some(usage(at, 10_000, 2_500_000_000, 1 << 30)),
            pods,
            ..Samples::default()
        };
        let rows = rows("n1", &samples, Configuration::default());
        let [node, pod] = &rows[..] else { panic!("two rows") };

        assert_eq!(node.key(), ("nodes", "", "n1"));
        assert_eq!(
            node.fields_json(),
            r#"{"timestamp":"2026-11-21T11:28:13Z","window":"10s","usage":{"cpu":"2500m","memory":"1Gi"}}"#
        );
        assert_eq!(node.cells_json(), r#"["2500m","1Gi","10s"]"#);
        let expected: Vec<u8> = [
            &b"\x12\x08\x08\xcd\x80\x86\xd8\x06\x10\x00"[..], // timestamp {seconds, nanos}
            b"\x1a\x06\x08\x80\xc8\xaf\xa0\x25",              // window {10^10 ns}
            b"\x22\x0e\x0a\x03cpu\x12\x07\x0a\x052500m",
            b"\x22\x0f\x0a\x06memory\x12\x05\x0a\x031Gi",
        ]
        .concat();
        assert_eq!(node.protobuf_bytes(), expected, "{}", node.protobuf_bytes().escape_ascii());

        assert_eq!(pod.key(), ("pods", "default", "two"));
        assert_eq!(
            pod.fields_json(),
            concat!(
                r#"{"timestamp":"2026-11-21T11:28:10Z","window":"1m0.5s","containers":["#,
                r#"{"name":"a","usage":{"cpu":"50m","memory":"12240Ki"}},"#,
                r#"{"name":"b\"","usage":{"cpu":"5100u","memory":"1k"}}]}"#
            )
        );
        assert_eq!(pod.cells_json(), r#"["55100u","12534760","1m0.5s"]"#);
        let containers = [
            &b"\x22\x26\x0a\x01a\x12\x0c\x0a\x03cpu\x12\x05\x0a\x0350m\x12\x13\x0a\x06memory\x12\x09\x0a\x0712240Ki"[..],
            b"\x22\x24\x0a\x02b\"\x12\x0e\x0a\x03cpu\x12\x07\x0a\x055100u\x12\x0e\x0a\x06memory\x12\x04\x0a\x021k",
        ]
        .concat();
        assert!(
            pod.protobuf_bytes().ends_with(&containers),
            "{}",
            pod.protobuf_bytes().escape_ascii()
        );
    }

    /// What `k8s.io/metrics`' Go types write of the same usage: keys by name, in JSON and in protobuf.
    #[test]
    fn swap_and_storage_are_served_to_who_asked() {
        let rich = Usage {
            swap: Some(3 << 20),
            storage: Some(12_288),
            ..usage(1_795_260_493, 10_000, 50_000_000, 1 << 30)
        };
        let poor = Usage { swap: None, ..rich };
        let served = |usage: Usage, swap, ephemeral_storage| {
            let configuration = Configuration { swap, ephemeral_storage };
            let row = node_row("n1", &usage, configuration);
            let (_, json) = row.fields_json().split_once(r#""usage":"#).unwrap();
            let keys = ["cpu", "ephemeral-storage", "memory", "swap"];
            let in_protobuf = |key: &&str| row.protobuf_bytes().windows(key.len()).any(|w| w == key.as_bytes());
            let keys: Vec<_> = keys.into_iter().filter(in_protobuf).collect();
            assert_eq!(
                row.cells_json(),
                r#"["50m","1Gi","10s"]"#,
                "columns are those of the manifest"
            );
            format!("{} {}", json.trim_end_matches('}'), keys.join(","))
        };
        for (usage, swap, storage, expected) in [
            (rich, false, false, r#"{"cpu":"50m","memory":"1Gi" cpu,memory"#),
            (
                rich,
                true,
                false,
                r#"{"cpu":"50m","memory":"1Gi","swap":"3Mi" cpu,memory,swap"#,
            ),
            (
                rich,
                false,
                true,
                r#"{"cpu":"50m","ephemeral-storage":"12Ki","memory":"1Gi" cpu,ephemeral-storage,memory"#,
            ),
            (
                rich,
                true,
                true,
                r#"{"cpu":"50m","ephemeral-storage":"12Ki","memory":"1Gi","swap":"3Mi" cpu,ephemeral-storage,memory,swap"#,
            ),
            (poor, true, false, r#"{"cpu":"50m","memory":"1Gi" cpu,memory"#),
        ] {
            assert_eq!(served(usage, swap, storage), expected);
        }
        let row = node_row(
            "n1",
            &rich,
            Configuration {
                swap: true,
                ephemeral_storage: true,
            },
        );
        let expected: Vec<u8> = [
            &b"\x22\x0c\x0a\x03cpu\x12\x05\x0a\x0350m"[..],
            b"\x22\x1b\x0a\x11ephemeral-storage\x12\x06\x0a\x0412Ki",
            b"\x22\x0f\x0a\x06memory\x12\x05\x0a\x031Gi",
            b"\x22\x0d\x0a\x04swap\x12\x05\x0a\x033Mi",
        ]
        .concat();
        assert!(
            row.protobuf_bytes().ends_with(&expected),
            "{}",
            row.protobuf_bytes().escape_ascii()
        );
    }
}
