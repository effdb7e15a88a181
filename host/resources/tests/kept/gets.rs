//! One object.

use outrigger_api::protobuf;
use serde_json::json;

use crate::world::Harbor;

const ONE: &str = "v1/namespaces/sea/ships/vega";

#[tokio::test(start_paused = true)]
async fn an_object_is_read_at_the_version_that_is_asked_for() {
    let harbor = Harbor::new().await;
    let at = harbor.make("sea", "vega", 7).await;
    for query in [String::new(), "?resourceVersion=0".into(), format!("?resourceVersion={at}")] {
        let ship = harbor.json(&format!("{ONE}{query}"), "application/json").await;
        assert_eq!(
            ship,
            json!({"apiVersion": "harbor.example.com/v1", "kind": "Ship", "metadata": {"name": "vega", "namespace": "sea", "uid": "uid-vega",
                "resourceVersion": at.to_string(), "creationTimestamp": "2026-11-21T10:00:00Z", "labels": {"size": "small"}},
                "spec": {"tons": 7}}),
            "{query}"
        );
    }
    let began = tokio::time::Instant::now();
    let late = harbor.refused(&format!("{ONE}?resourceVersion={}", at + 5)).await;
    assert_eq!(began.elapsed().as_secs(), 3);
    assert_eq!((late.code, &*late.reason), (504, "Timeout"));
    assert_eq!(
        late.message,
        format!("Timeout: Too large resource version: {}, current: {at}", at + 5)
    );
    assert_eq!(late.details.as_ref().unwrap().causes[0].reason, "ResourceVersionTooLarge");
    let malformed = harbor.refused(&format!("{ONE}?resourceVersion=x")).await;
    assert_eq!((malformed.code, &*malformed.reason), (400, "BadRequest"));
    let none = harbor.refused("v1/namespaces/sea/ships/mira").await;
    assert_eq!(none.message, "ships.harbor.example.com \"mira\" not found");
    assert_eq!(harbor.refused("v1/ships/vega").await.code, 404, "it has a namespace");
}

#[tokio::test]
async fn a_newer_version_is_waited_for() {
    let harbor = Harbor::new().await;
    let at = harbor.make("sea", "vega", 7).await;
    let path = format!("{ONE}?resourceVersion={}", at + 1);
    let (ship, made) = tokio::join!(harbor.json(&path, "application/json"), harbor.make("sea", "mira", 1));
    assert_eq!((ship["spec"]["tons"].as_u64(), made), (Some(7), at + 1));
}

#[tokio::test]
async fn it_comes_in_every_form() {
    let harbor = Harbor::new().await;
    let at = harbor.make("sea", "vega", 7).await;
    let yaml = harbor.pieces(ONE, "application/yaml").await.concat();
    assert!(String::from_utf8(yaml).unwrap().contains("spec:\n  tons: 7\n"));
    let table = harbor.json(ONE, "application/json;as=Table;g=meta.k8s.io;v=v1").await;
    assert_eq!(table["columnDefinitions"][1]["name"], "Tons");
    assert_eq!(table["rows"][0]["cells"][0], "vega");
    assert_eq!(table["rows"][0]["cells"][1], "7");
    assert_eq!(table["rows"][0]["object"]["metadata"]["labels"]["size"], "small");
    let partial = harbor
        .json(ONE, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
        .await;
    assert_eq!(
        (&partial["kind"], &partial["spec"]),
        (&json!("PartialObjectMetadata"), &json!(null))
    );
    // What the metadata client, and with it the garbage collector, asks for.
    let accept = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let document = protobuf::open(&harbor.pieces(ONE, accept).await.concat()).unwrap();
    assert_eq!(document.type_meta.unwrap().kind, "PartialObjectMetadata");
    let has = |field: &[u8]| document.raw.windows(field.len()).any(|w| w == field);
    assert!(has(b"\x2a\x08uid-vega"), "uid");
    assert!(has(b"\x5a\x0d\x0a\x04size\x12\x05small"), "labels");
    assert!(has(format!("\x32\x01{at}").as_bytes()), "resourceVersion");
}
