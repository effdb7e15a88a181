//! The plugin, natively: no Wasm, no cluster.

use hello_collector::{Headrooms, Plugin};
use outrigger_sdk::prelude::*;

const SUMMARY: &str = r#"{
    "node": {"nodeName": "node-1", "cpu": {"usageNanoCores": 250000000}, "memory": {"availableBytes": 1073741824}},
    "pods": [{"podRef": {"name": "a"}}, {"podRef": {"name": "b"}}]
}"#;

#[test]
fn a_node_is_one_row() {
    let host = fake::Host::new().answering("node-1", SUMMARY);
    let rows = fake::Target::<Headrooms>::new("node-1").tick(&host).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].key(), ("headrooms", "", "node-1"));
    assert_eq!(
        rows[0].fields_json(),
        r#"{"memoryAvailable":"1Gi","cpuUsed":"250m","pods":2}"#
    );
    assert_eq!(rows[0].cells_json(), r#"["1Gi","250m",2]"#);
    assert_eq!(
        host.asked(),
        [("node-1".to_owned(), Detail::CpuAndMemory)],
        "the cheap half is enough"
    );
}

#[test]
fn without_a_summary_the_tick_fails_and_the_host_keeps_the_old_row() {
    let timeout = Error::Timeout("10 s".to_owned());
    for (name, host, expected) in [
        ("no answer", fake::Host::new().refusing("node-1", timeout.clone()), timeout),
        (
            "not granted",
            fake::Host::new().refusing("node-1", Error::Denied("kubelet".into())),
            Error::Denied("kubelet".into()),
        ),
        (
            "a summary without CPU",
            fake::Host::new().answering("node-1", r#"{"node": {"memory": {"availableBytes": 1}}}"#),
            Error::Failed("no /node/cpu/usageNanoCores in the summary".to_owned()),
        ),
    ] {
        assert_eq!(fake::Target::<Headrooms>::new("node-1").tick(&host), Err(expected), "{name}");
    }
    let garbage = fake::Target::<Headrooms>::new("n").tick(&fake::Host::new().answering("n", "<html>"));
    assert!(matches!(garbage, Err(Error::Failed(_))), "{garbage:?}");
}

#[test]
fn the_manifest_fits_and_says_what_it_is() {
    let manifest = Plugin::manifest();
    manifest.check().unwrap();
    assert_eq!(
        (manifest.name.as_str(), manifest.resources[0].group.as_str()),
        ("hello", "hello.example.com")
    );
    let schema = manifest.resources[0].schema.as_ref().unwrap();
    assert_eq!(
        schema["properties"]["pods"]["description"],
        "How many pods the kubelet measures."
    );
}
