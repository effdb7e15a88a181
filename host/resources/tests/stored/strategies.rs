//! What a strategy may do, and what becomes of its failures.

use serde_json::{Value, json};

use crate::world::{Rules, World, ship, with};

const SHIPS: &str = "v2/namespaces/sea/ships";
const VEGA: &str = "v2/namespaces/sea/ships/vega";

fn flagged(flag: &str) -> Value {
    with(ship("vega"), &json!({"spec": {"flag": flag}}))
}

#[tokio::test]
async fn a_strategy_fills_in_and_warns() {
    let world = World::new(Rules::default()).await;
    let made = world
        .send("POST", SHIPS, &with(ship("vega"), &json!({"spec": {"flag": null}})))
        .await;
    assert_eq!((made.code, &made.body["spec"]["flag"]), (201, &json!("unknown")));
    let warned = world.send("PATCH", VEGA, &json!({"spec": {"flag": "old"}})).await;
    assert_eq!((warned.code, warned.warnings), (200, vec!["it is an old ship".to_owned()]));
}

#[tokio::test]
async fn a_strategy_changes_no_more_than_it_may() {
    let world = World::new(Rules::default()).await;
    let made = world.make(&flagged("sneaky")).await;
    let metadata = &made["metadata"];
    assert_eq!(
        (&metadata["generation"], &metadata["labels"]),
        (&json!(1), &json!({"by": "strategy"}))
    );
    assert_eq!(metadata["finalizers"], json!(["harbor.example.com/held"]));
    assert!(metadata["creationTimestamp"].as_str().unwrap() > "2020");
    assert!(metadata["uid"].is_string());
    assert_eq!(metadata.get("deletionTimestamp"), None);
    assert_eq!(made["status"], json!({"at": "create"}), "what is new may have a first status");
    let updated = world.send("PATCH", VEGA, &json!({"spec": {"tonnes": 3}})).await;
    assert_eq!(updated.code, 200);
    let (metadata_now, status) = (&updated.body["metadata"], &updated.body["status"]["at"]);
    assert_eq!((&metadata_now["generation"], status), (&json!(2), &json!("create")));
    assert_eq!(metadata_now["uid"], metadata["uid"]);
    let status = world
        .send("PATCH", &format!("{VEGA}/status"), &json!({"status": {"berths": 1}}))
        .await;
    assert_eq!(
        (&status.body["status"], &status.body["spec"]["tonnes"]),
        (&json!({"at": "status"}), &json!(3))
    );
    assert_eq!(status.body["metadata"]["generation"], 2);
}

#[tokio::test]
async fn what_a_strategy_returns_is_judged() {
    let world = World::new(Rules::default()).await;
    let unusable = "the plugin harbor gave an answer that cannot be used (audit id audit-1)";
    for (flag, want) in [
        ("renamed", (500, "InternalError", unusable)),
        ("other uid", (500, "InternalError", unusable)),
        ("nonsense", (500, "InternalError", unusable)),
        ("bad label", (422, "Invalid", r#"metadata.labels: Invalid value: "a b""#)),
        (
            "too long",
            (422, "Invalid", "spec.flag: Too long: may not be more than 12 bytes"),
        ),
        ("failed", (503, "ServiceUnavailable", "no harbour master")),
        (
            "late",
            (504, "Timeout", "the plugin harbor did not answer in time (audit id audit-1)"),
        ),
    ] {
        let reply = world.send("POST", SHIPS, &flagged(flag)).await;
        reply.is(flag, want, &[]);
    }
    assert_eq!(world.get(SHIPS).await["items"], json!([]));
    let made = world.send("POST", SHIPS, &flagged("surplus")).await;
    assert_eq!(
        (made.code, made.body["spec"].get("surplus")),
        (201, None),
        "what it adds is held against the schema"
    );
}

#[tokio::test]
async fn a_broken_strategy_keeps_nobody_from_reading_and_deleting() {
    let world = World::new(Rules::default()).await;
    world.make(&ship("vega")).await;
    world
        .make(&with(ship("held"), &json!({"metadata": {"finalizers": ["a.b/c"]}})))
        .await;
    for path in [VEGA, "v2/namespaces/sea/ships/held"] {
        let refused = world.send("PATCH", path, &json!({"spec": {"flag": "late"}})).await;
        assert_eq!(refused.code, 504);
        assert_eq!(world.send("DELETE", path, &Value::Null).await.code, 200);
    }
    assert_eq!(world.get(SHIPS).await["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_strategy_that_wants_to_be_asked_about_deletes_is_asked() {
    let world = World::new(Rules {
        admits_deletes: true,
        ..Rules::default()
    })
    .await;
    world.make(&flagged("kept")).await;
    world.asked();
    let kept = world.send("DELETE", VEGA, &Value::Null).await;
    kept.is(
        "kept",
        (
            422,
            "Invalid",
            r#"Ship.harbor.example.com "vega" is invalid: metadata.name: Forbidden: it is kept"#,
        ),
        &["metadata.name FieldValueForbidden Forbidden: it is kept"],
    );
    assert_eq!(world.asked(), [("delete".into(), String::new(), "v2".into(), false)]);
    let all = world.send("DELETE", SHIPS, &Value::Null).await;
    assert_eq!(all.code, 422);
    world.send("PATCH", VEGA, &json!({"spec": {"flag": "trap"}})).await;
    let broken = world.send("DELETE", VEGA, &Value::Null).await;
    broken.is("broken", (500, "InternalError", "it broke"), &[]);
    world.send("PATCH", VEGA, &json!({"spec": {"flag": "no"}})).await;
    assert_eq!(world.send("DELETE", VEGA, &Value::Null).await.code, 200);
}

/// One call to admit what is written, and none to convert what is in the kept version; of another one the object goes in and comes out.
#[tokio::test]
async fn the_plugin_is_asked_no_more_than_needed() {
    let world = World::new(Rules::default()).await;
    world.make(&ship("vega")).await;
    world.asked();
    let converted = || world.converted.swap(0, std::sync::atomic::Ordering::Relaxed);
    let (v1, partial) = (
        "v1/namespaces/sea/ships/vega",
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    );
    let merge = |tons: u32, weight: &str| json!({"spec": {weight: tons}}).to_string();
    for (name, method, path, accept, body, admitted, wanted) in [
        ("get", "GET", VEGA, "application/json", String::new(), 0, 0),
        (
            "list",
            "GET",
            SHIPS,
            "application/json;as=Table;g=meta.k8s.io;v=v1",
            String::new(),
            0,
            0,
        ),
        ("patch", "PATCH", VEGA, "application/json", merge(1, "tonnes"), 1, 0),
        ("identical", "PATCH", VEGA, "application/json", merge(1, "tonnes"), 1, 0),
        (
            "scale",
            "PATCH",
            "v2/namespaces/sea/ships/vega/scale",
            "application/json",
            json!({"spec": {"replicas": 2}}).to_string(),
            1,
            0,
        ),
        ("get in v1", "GET", v1, "application/json", String::new(), 0, 1),
        ("metadata in v1", "GET", v1, partial, String::new(), 0, 0),
        (
            "patch in v1: what there is, what comes of it, what is told",
            "PATCH",
            v1,
            "application/json",
            merge(2, "tons"),
            1,
            3,
        ),
        ("patch in v1, metadata told", "PATCH", v1, partial, merge(3, "tons"), 1, 2),
        ("delete in v1", "DELETE", v1, "application/json", String::new(), 0, 0),
    ] {
        let kind = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let reply = world.ask(method, path, accept, (kind, &body)).await;
        assert_eq!(reply.code, 200, "{name}: {reply:?}");
        assert_eq!((world.asked().len(), converted()), (admitted, wanted), "{name}");
    }
}
