//! What clients hear while the store cannot do what it should.

use std::sync::Arc;

use outrigger_storage::store::StoreError;
use serde_json::{Value, json};

use crate::world::{Mood, Moody, Rules, World, ship, with};

const SHIPS: &str = "v2/namespaces/sea/ships";
const VEGA: &str = "v2/namespaces/sea/ships/vega";

/// Each write, as somebody sends it who knows the ship.
fn writes(vega: &Value) -> Vec<(&'static str, &'static str, Value)> {
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "vega"}, "spec": {"replicas": 9}});
    vec![
        ("POST", SHIPS, ship("mira")),
        ("PUT", VEGA, with(vega.clone(), &json!({"spec": {"tonnes": 5}}))),
        ("PATCH", VEGA, json!({"spec": {"tonnes": 6}})),
        (
            "PATCH",
            "v2/namespaces/sea/ships/vega/status",
            json!({"status": {"at": "sea"}}),
        ),
        ("PUT", "v2/namespaces/sea/ships/vega/scale", scale),
        ("DELETE", VEGA, Value::Null),
        ("DELETE", SHIPS, Value::Null),
    ]
}

#[tokio::test(start_paused = true)]
async fn before_the_first_list_nobody_is_told_that_there_is_nothing() {
    let store = Arc::new(Moody::default());
    *store.reads.lock().unwrap() = Some(|| StoreError::Unavailable("it is asleep".into()));
    let world = World::over(Rules::default(), Arc::clone(&store) as _);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let starting = (429, "TooManyRequests", "storage is (re)initializing");
    for path in [
        VEGA,
        SHIPS,
        "v2/ships",
        "v2/ships?resourceVersion=0",
        "v2/ships?watch=1",
        "v2/namespaces/sea/ships/vega/scale",
    ] {
        let reply = world.send("GET", path, &Value::Null).await;
        reply.is(path, starting, &[]);
        assert_eq!(reply.body["details"]["retryAfterSeconds"], 1, "{path}");
    }
    for (method, path, body) in writes(&ship("vega")) {
        // What is new needs nothing of the image: the store itself knows whether it is there.
        if method != "POST" {
            world.send(method, path, &body).await.is(path, starting, &[]);
        }
    }
    *store.reads.lock().unwrap() = None;
    world.served("v2", "ships").kept.as_ref().unwrap().filled().await;
    world.make(&ship("vega")).await;
}

#[tokio::test]
async fn a_store_that_takes_no_writes_goes_on_being_read() {
    let store = Arc::new(Moody::default());
    let world = World::over(Rules::default(), Arc::clone(&store) as _);
    world.served("v2", "ships").kept.as_ref().unwrap().filled().await;
    let vega = world.make(&ship("vega")).await;
    let moods: [(Mood, (u16, &str, &str)); 5] = [
        (
            || StoreError::Full("no space left on device".into()),
            (503, "ServiceUnavailable", "the store is full: no space left on device"),
        ),
        (
            || StoreError::Unavailable("broken pipe".into()),
            (503, "ServiceUnavailable", "the store cannot be reached: broken pipe"),
        ),
        (|| StoreError::Closed, (503, "ServiceUnavailable", "the store is closed")),
        (
            || StoreError::Unknown("it said nothing".into()),
            (
                504,
                "Timeout",
                "it is not known whether the write has happened: it said nothing",
            ),
        ),
        (
            || StoreError::TooLarge { size: 9, limit: 8 },
            (
                413,
                "RequestEntityTooLarge",
                "a value of 9 bytes is larger than the 8 that are stored",
            ),
        ),
    ];
    for (mood, want) in moods {
        *store.writes.lock().unwrap() = Some(mood);
        for (method, path, body) in writes(&vega) {
            let reply = world.send(method, path, &body).await;
            reply.is(path, want, &[]);
            let retry = &reply.body["details"]["retryAfterSeconds"];
            assert_eq!(retry.is_number(), want.0 == 503, "{path}: {retry}");
        }
        assert_eq!(world.get(VEGA).await, vega);
        assert_eq!(world.get(SHIPS).await["items"].as_array().unwrap().len(), 1);
        for (method, path, body) in writes(&vega) {
            let dry = world.send(method, &format!("{path}?dryRun=All"), &body).await;
            assert!(dry.code < 300, "what is only tried is not written: {dry:?}");
        }
    }
    *store.writes.lock().unwrap() = None;
    assert_eq!(world.send("DELETE", VEGA, &Value::Null).await.code, 200);
}

#[tokio::test]
async fn a_store_that_cannot_be_asked_answers_from_its_image_who_wants_no_more() {
    let store = Arc::new(Moody::default());
    let world = World::over(Rules::default(), Arc::clone(&store) as _);
    world.served("v2", "ships").kept.as_ref().unwrap().filled().await;
    let vega = world.make(&ship("vega")).await;
    world.get(SHIPS).await;
    *store.reads.lock().unwrap() = Some(|| StoreError::Unavailable("it is asleep".into()));
    for path in [VEGA, SHIPS, "v2/ships?watch=1"] {
        let reply = world.send("GET", path, &Value::Null).await;
        reply.is(
            path,
            (503, "ServiceUnavailable", "the store cannot be reached: it is asleep"),
            &[],
        );
    }
    assert_eq!(world.get(&format!("{VEGA}?resourceVersion=0")).await, vega);
    let version = vega["metadata"]["resourceVersion"].as_str().unwrap();
    for query in ["resourceVersion=0", &format!("resourceVersion={version}")] {
        let list = world.get(&format!("{SHIPS}?{query}")).await;
        assert_eq!(list["items"].as_array().unwrap().len(), 1, "{query}");
    }
}
