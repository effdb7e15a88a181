//! delete and deletecollection.

use serde_json::{Value, json};

use crate::world::{Rules, World, ship, with};

const SHIPS: &str = "v2/namespaces/sea/ships";
const VEGA: &str = "v2/namespaces/sea/ships/vega";

#[tokio::test]
async fn what_nothing_holds_is_gone() {
    let world = World::new(Rules::default()).await;
    let made = world.make(&ship("vega")).await;
    let tried = world.send("DELETE", &format!("{VEGA}?dryRun=All"), &Value::Null).await;
    assert_eq!((tried.code, &tried.body["status"]), (200, &json!("Success")));
    let gone = world.send("DELETE", VEGA, &Value::Null).await;
    assert_eq!(gone.code, 200);
    assert_eq!(
        gone.body,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": "vega", "group": "harbor.example.com", "kind": "ships", "uid": made["metadata"]["uid"]}})
    );
    let again = world.send("DELETE", VEGA, &Value::Null).await;
    again.is(
        "again",
        (404, "NotFound", r#"ships.harbor.example.com "vega" not found"#),
        &[],
    );
    assert_eq!(world.asked().len(), 1, "the strategy does not want to be asked about deletes");
}

#[tokio::test]
async fn options_hold_an_object_or_let_it_go() {
    let finalizers = |names: &[&str]| json!(names);
    for (name, query, body, had, code, left) in [
        (
            "a finalizer",
            "",
            json!(null),
            vec!["a.b/c"],
            200,
            Some(finalizers(&["a.b/c"])),
        ),
        (
            "orphan",
            "",
            json!({"propagationPolicy": "Orphan"}),
            vec![],
            200,
            Some(finalizers(&["orphan"])),
        ),
        (
            "orphan by query",
            "?propagationPolicy=Orphan",
            json!(null),
            vec![],
            200,
            Some(finalizers(&["orphan"])),
        ),
        (
            "foreground",
            "",
            json!({"propagationPolicy": "Foreground"}),
            vec![],
            200,
            Some(finalizers(&["foregroundDeletion"])),
        ),
        (
            "background",
            "",
            json!({"propagationPolicy": "Background"}),
            vec![],
            200,
            None,
        ),
        (
            "orphans of old",
            "",
            json!({"orphanDependents": true}),
            vec![],
            200,
            Some(finalizers(&["orphan"])),
        ),
        (
            "no orphans of old",
            "",
            json!({"orphanDependents": false}),
            vec!["a.b/c"],
            202,
            Some(finalizers(&["a.b/c"])),
        ),
        (
            "no orphans of old, and gone",
            "",
            json!({"orphanDependents": false}),
            vec![],
            200,
            None,
        ),
        (
            "a grace that there is not",
            "",
            json!({"gracePeriodSeconds": 30}),
            vec![],
            200,
            None,
        ),
        (
            "orphan no more",
            "",
            json!({"propagationPolicy": "Background"}),
            vec!["orphan"],
            200,
            None,
        ),
    ] {
        let world = World::new(Rules::default()).await;
        world
            .make(&with(ship("vega"), &json!({"metadata": {"finalizers": had}})))
            .await;
        let reply = world.send("DELETE", &format!("{VEGA}{query}"), &body).await;
        assert_eq!(reply.code, code, "{name}: {reply:?}");
        let there = world.send("GET", VEGA, &Value::Null).await;
        assert_eq!(there.code, if left.is_some() { 200 } else { 404 }, "{name}");
        if let Some(left) = left {
            assert_eq!(there.body["metadata"]["finalizers"], left, "{name}");
            assert_eq!(there.body["metadata"]["deletionGracePeriodSeconds"], 0, "{name}");
            assert_eq!(there.body["metadata"]["generation"], 2, "{name}");
            assert_eq!(there.body, reply.body, "{name}");
            let before = world.revision().await;
            let second = world.send("DELETE", VEGA, &Value::Null).await;
            assert_eq!(
                (second.code, &second.body, world.revision().await),
                (200, &there.body, before),
                "{name}"
            );
        } else {
            assert_eq!(reply.body["status"], "Success", "{name}");
        }
    }
}

#[tokio::test]
async fn preconditions_are_held_to() {
    let world = World::new(Rules::default()).await;
    let made = world.make(&ship("vega")).await;
    let (uid, version) = (made["metadata"]["uid"].clone(), made["metadata"]["resourceVersion"].clone());
    for (name, preconditions, want) in [
        (
            "uid",
            json!({"uid": "other"}),
            (
                409,
                "Conflict",
                r#"Operation cannot be fulfilled on Ship.harbor.example.com "vega": the UID in the precondition (other) does not match the UID in record ("#,
            ),
        ),
        (
            "version",
            json!({"uid": uid, "resourceVersion": "1"}),
            (
                409,
                "Conflict",
                "the ResourceVersion in the precondition (1) does not match the ResourceVersion in record (",
            ),
        ),
    ] {
        let reply = world.send("DELETE", VEGA, &json!({"preconditions": preconditions})).await;
        reply.is(name, want, &[]);
        assert_eq!(reply.body["details"]["kind"], "Ship", "{name}");
    }
    let gone = world
        .send(
            "DELETE",
            VEGA,
            &json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid, "resourceVersion": version}}),
        )
        .await;
    assert_eq!(gone.code, 200);
    for (name, query, body, want) in [
        (
            "both",
            "",
            json!({"orphanDependents": true, "propagationPolicy": "Orphan"}),
            (422, "Invalid", "cannot be both set"),
        ),
        (
            "no such policy",
            "?propagationPolicy=Never",
            json!(null),
            (422, "Invalid", "Unsupported value"),
        ),
        (
            "no options",
            "",
            json!({"kind": "Pod"}),
            (400, "BadRequest", "cannot be converted to DeleteOptions"),
        ),
    ] {
        world
            .send("DELETE", &format!("{VEGA}{query}"), &body)
            .await
            .is(name, want, &[]);
    }
}

#[tokio::test]
async fn a_collection_is_deleted_as_it_is_selected() {
    for (name, query, gone, next) in [
        ("all", "", vec!["a", "b", "c", "d"], false),
        ("by label", "?labelSelector=even=yes", vec!["b", "d"], false),
        ("by name", "?fieldSelector=metadata.name=c", vec!["c"], false),
        ("some", "?limit=3", vec!["a", "b", "c"], true),
        ("none", "?labelSelector=odd=no", vec![], false),
        ("to try", "?dryRun=All&labelSelector=even=yes", vec![], false),
    ] {
        let world = World::new(Rules::default()).await;
        for (i, one) in ["a", "b", "c", "d"].into_iter().enumerate() {
            let labels = if i % 2 == 1 { json!({"even": "yes"}) } else { json!(null) };
            world.make(&with(ship(one), &json!({"metadata": {"labels": labels}}))).await;
        }
        world.send("POST", "v2/namespaces/land/ships", &ship("z")).await;
        let reply = world.send("DELETE", &format!("{SHIPS}{query}"), &Value::Null).await;
        assert_eq!(
            (reply.code, &reply.body["kind"]),
            (200, &json!("ShipList")),
            "{name}: {reply:?}"
        );
        let told: Vec<_> = reply.body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| i["metadata"]["name"].as_str().unwrap())
            .collect();
        if query.contains("dryRun") {
            assert_eq!(told, ["b", "d"], "{name}");
        } else {
            assert_eq!(told, gone, "{name}");
        }
        assert_eq!(reply.body["metadata"].get("continue").is_some(), next, "{name}");
        let left: Vec<_> = world.get("v2/ships").await["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| i["metadata"]["name"].clone())
            .collect();
        let want: Vec<_> = ["z", "a", "b", "c", "d"].into_iter().filter(|n| !gone.contains(n)).collect();
        assert_eq!(left, want, "{name}");
    }
}

#[tokio::test]
async fn a_collection_is_deleted_only_if_the_answer_can_be_had() {
    let world = World::new(Rules::default()).await;
    world
        .make(&with(ship("held"), &json!({"metadata": {"finalizers": ["a.b/c"]}})))
        .await;
    world.make(&ship("vega")).await;
    let none = ("application/json", "");
    for accept in ["text/html", "application/vnd.kubernetes.protobuf"] {
        world
            .ask("DELETE", SHIPS, accept, none)
            .await
            .is(accept, (406, "NotAcceptable", ""), &[]);
    }
    assert_eq!(world.get(SHIPS).await["items"].as_array().unwrap().len(), 2);
    let metadata = "application/vnd.kubernetes.protobuf,application/json";
    let reply = world.ask("DELETE", SHIPS, metadata, none).await;
    assert_eq!((reply.code, &reply.body["kind"]), (200, &json!("ShipList")));
    let left = world.get(SHIPS).await;
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    assert!(left["items"][0]["metadata"]["deletionTimestamp"].is_string());
    world
        .send("DELETE", "v2/ships", &Value::Null)
        .await
        .is("everywhere", (405, "MethodNotAllowed", ""), &[]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_selected_is_not_deleted() {
    let world = World::new(Rules::default()).await;
    let made = world.make(&ship("vega")).await;
    let version: u64 = made["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let none = Value::Null;
    for (name, query, body, want) in [
        (
            "labels",
            "?labelSelector=a+b".to_owned(),
            &none,
            (400, "BadRequest", "unable to parse requirement"),
        ),
        (
            "fields",
            "?fieldSelector=spec.tonnes%3D1".into(),
            &none,
            (400, "BadRequest", r#""spec.tonnes" is not a known field selector"#),
        ),
        (
            "limit",
            "?limit=x".into(),
            &none,
            (400, "BadRequest", r#"strconv.ParseInt: parsing "x": invalid syntax"#),
        ),
        (
            "page",
            "?continue=x".into(),
            &none,
            (400, "BadRequest", "invalid continue token"),
        ),
        (
            "match",
            "?resourceVersionMatch=Exact".into(),
            &none,
            (
                422,
                "Invalid",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
        ),
        (
            "future",
            format!("?resourceVersion={}", version + 9),
            &none,
            (504, "Timeout", "Too large resource version"),
        ),
        (
            "policy",
            "?propagationPolicy=Never".into(),
            &none,
            (422, "Invalid", "Unsupported value"),
        ),
        (
            "options",
            String::new(),
            &json!({"kind": "Pod"}),
            (400, "BadRequest", "cannot be converted to DeleteOptions"),
        ),
        (
            "uid",
            String::new(),
            &json!({"preconditions": {"uid": "other"}}),
            (409, "Conflict", "the UID in the precondition (other)"),
        ),
    ] {
        world
            .send("DELETE", &format!("{SHIPS}{query}"), body)
            .await
            .is(name, want, &[]);
    }
    assert_eq!(world.get(VEGA).await, made);
}

#[tokio::test]
async fn a_collection_goes_page_by_page_and_ends_at_a_refusal() {
    let world = World::new(Rules {
        admits_deletes: true,
        ..Rules::default()
    })
    .await;
    for name in ["a", "b", "c", "d", "e"] {
        world.make(&ship(name)).await;
    }
    let mut next = String::new();
    let mut gone = Vec::new();
    loop {
        let page = world
            .send("DELETE", &format!("{SHIPS}?limit=2&continue={next}"), &Value::Null)
            .await;
        assert_eq!(page.code, 200, "{page:?}");
        gone.extend(
            page.body["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["metadata"]["name"].clone()),
        );
        next = page.body["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        if next.is_empty() {
            break;
        }
        // What is made meanwhile is not of the page's moment.
        world.send("POST", SHIPS, &ship("zoe")).await;
    }
    assert_eq!(gone, ["a", "b", "c", "d", "e"]);
    world.make(&with(ship("kept"), &json!({"spec": {"flag": "kept"}}))).await;
    let refused = world.send("DELETE", SHIPS, &Value::Null).await;
    refused.is("one is kept", (422, "Invalid", "metadata.name: Forbidden: it is kept"), &[]);
    world.get("v2/namespaces/sea/ships/kept").await;
}
