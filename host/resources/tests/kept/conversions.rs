//! Reads in a version that is not the one in which objects are kept.

use futures::StreamExt;
use outrigger_api::object::Object;
use outrigger_resources::{Answer, BrokenOff};
use outrigger_storage::Key;
use outrigger_storage::store::Expected;
use serde_json::{Value, json};

use crate::world::{GROUP, Harbor, names, ship};

/// A ship that the plugin cannot convert.
fn weightless(namespace: &str, name: &str) -> Object {
    let json = json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Ship", "metadata": {"name": name, "namespace": namespace}, "spec": {}});
    Object::of(&json).unwrap()
}

#[tokio::test]
async fn reads_are_in_the_version_that_is_asked_for() {
    let harbor = Harbor::new().await;
    let at = harbor.make("sea", "a", 1).await;
    let one = harbor.json("v2/namespaces/sea/ships/a", "application/json").await;
    assert_eq!(one["apiVersion"], "harbor.example.com/v2");
    assert_eq!(one["spec"], json!({"tonnes": 1}));
    assert_eq!(one["metadata"]["resourceVersion"], at.to_string());
    assert_eq!(one["metadata"]["uid"], "uid-a");
    // An object that is kept in another version than the others, as after a change of the storage version.
    let v2 = json!({"apiVersion": format!("{GROUP}/v2"), "kind": "Ship", "metadata": {"name": "b", "namespace": "sea"}, "spec": {"tonnes": 2}});
    let key = Key::new("sea", "b");
    harbor
        .kept
        .put(&key, Expected::Absent, &Object::of(&v2).unwrap())
        .await
        .unwrap();
    for (version, member) in [("v1", "tons"), ("v2", "tonnes")] {
        let list = harbor.json(&format!("{version}/ships"), "application/json").await;
        assert_eq!(list["apiVersion"], format!("{GROUP}/{version}"));
        assert_eq!(names(&list), ["sea/a", "sea/b"]);
        let specs: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|i| &i["spec"][member]).collect();
        assert_eq!(specs, [&json!(1), &json!(2)], "{version}");
    }
    let whole = String::from_utf8(harbor.pieces("v2/ships", "application/yaml").await.concat()).unwrap();
    assert!(whole.contains("tonnes: 1") && whole.contains("tonnes: 2"), "{whole}");
}

#[tokio::test]
async fn long_lists_are_converted_on_the_way() {
    let harbor = Harbor::new().await;
    for n in 0..2_000 {
        harbor.make("sea", &format!("{n:04}"), n).await;
    }
    let pieces = harbor.pieces("v2/ships", "application/json").await;
    assert!(pieces.len() > 2);
    let list: Value = serde_json::from_slice(&pieces.concat()).unwrap();
    let items = list["items"].as_array().unwrap();
    assert!(items.iter().enumerate().all(|(n, i)| i["spec"] == json!({"tonnes": n})));
    assert_eq!(items.len(), 2_000);
    // One that cannot be converted: in the first piece the list is refused, later it is cut off.
    harbor
        .kept
        .put(&Key::new("sea", "z"), Expected::Absent, &weightless("sea", "z"))
        .await
        .unwrap();
    let Answer::Stream { body, .. } = harbor.ask("v2/ships", "application/json").await.unwrap() else {
        panic!("it is long");
    };
    let pieces: Vec<_> = body.collect().await;
    assert_eq!(pieces.last().unwrap().as_ref().unwrap_err(), &BrokenOff);
    assert!(
        harbor.ask("v1/ships", "application/json").await.is_ok(),
        "as they are kept they can be read"
    );
    harbor
        .kept
        .put(&Key::new("a", "a"), Expected::Absent, &weightless("a", "a"))
        .await
        .unwrap();
    let refused = harbor.refused("v2/ships").await;
    assert_eq!((refused.code, &*refused.reason), (500, "InternalError"));
    let why = "conversion of ships.harbor.example.com to v2 by the plugin harbor failed: it failed";
    assert!(refused.message.contains(why), "{}", refused.message);
    assert_eq!(harbor.refused("v2/namespaces/a/ships/a").await.code, 500);
}

/// The garbage collector and the namespace controller read metadata alone, in whatever version is preferred: no plugin keeps them from it.
#[tokio::test]
async fn metadata_alone_needs_no_plugin() {
    let harbor = Harbor::new().await;
    let key = Key::new("sea", "z");
    harbor
        .kept
        .put(&key, Expected::Absent, &weightless("sea", "z"))
        .await
        .unwrap();
    let partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let one = harbor.json("v2/namespaces/sea/ships/z", partial).await;
    assert_eq!(
        (&one["kind"], &one["metadata"]["name"]),
        (&json!("PartialObjectMetadata"), &json!("z"))
    );
    let list = harbor
        .json("v2/ships", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
        .await;
    assert_eq!(names(&list), ["sea/z"]);
    let binary = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    assert!(!harbor.pieces("v2/ships", binary).await.is_empty());
    let mut watch = harbor.watch_as("v2/ships?watch=1", partial).await;
    assert_eq!(watch.event().await.unwrap()["type"], "ADDED");
    let other = Key::new("sea", "y");
    harbor
        .kept
        .put(&other, Expected::Absent, &weightless("sea", "y"))
        .await
        .unwrap();
    let event = watch.event().await.unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["metadata"]["name"]),
        (&json!("ADDED"), &json!("y"))
    );
}

#[tokio::test]
async fn watches_are_converted_once_for_all() {
    let harbor = Harbor::new().await;
    let at = harbor.make("sea", "a", 1).await;
    harbor.kept.fresh(crate::world::SOON).await.unwrap();
    let mut all = harbor.watch("v2/ships?watch=1").await;
    let mut small = harbor.watch("v2/ships?watch=1&labelSelector=size%3Dsmall").await;
    for watch in [&mut all, &mut small] {
        assert_eq!(watch.lines(1).await, ["ADDED a {\"tonnes\":1}"]);
    }
    let moved = harbor.change(at, &ship("sea", "a", 900)).await;
    assert_eq!(all.lines(1).await, ["MODIFIED a {\"tonnes\":900}"]);
    assert_eq!(small.lines(1).await, ["DELETED a {\"tonnes\":1}"], "as it was before");
    harbor.kept.remove(&Key::new("sea", "a"), moved).await.unwrap();
    assert_eq!(all.lines(1).await, ["DELETED a {\"tonnes\":900}"]);
    let mut other = harbor.watch(&format!("v2/ships?watch=1&resourceVersion={}", moved + 1)).await;
    harbor.make("sea", "b", 2).await;
    let (one, two) = (all.piece().await.unwrap(), other.piece().await.unwrap());
    assert_eq!(one.as_ptr(), two.as_ptr());
    // What cannot be converted ends the watch with an error, and no other one.
    let mut unconverted = harbor.watch(&format!("v1/ships?watch=1&resourceVersion={}", moved + 2)).await;
    harbor
        .kept
        .put(&Key::new("sea", "z"), Expected::Absent, &weightless("sea", "z"))
        .await
        .unwrap();
    assert_eq!(unconverted.lines(1).await, ["ADDED z {}"]);
    let error = all.event().await.unwrap();
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(500)));
    assert!(all.event().await.is_none());
}
