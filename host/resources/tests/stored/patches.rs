//! patch.

use serde_json::{Value, json};

use crate::world::{Rules, World, ship, with};

const VEGA: &str = "v2/namespaces/sea/ships/vega";

#[tokio::test]
async fn patches_change_what_they_name() {
    let world = World::new(Rules::default()).await;
    world
        .make(&with(ship("vega"), &json!({"spec": {"crew": [{"name": "jo"}]}})))
        .await;
    for (name, patch, pointer, want) in [
        ("merge", json!({"spec": {"tonnes": 1}}), "/spec/tonnes", json!(1)),
        (
            "merge replaces lists",
            json!({"spec": {"crew": [{"name": "al"}]}}),
            "/spec/crew",
            json!([{"name": "al"}]),
        ),
        (
            "null takes away, and a default comes back",
            json!({"spec": {"berths": null}}),
            "/spec/berths",
            json!(4),
        ),
        (
            "json",
            json!([{"op": "test", "path": "/spec/tonnes", "value": 1}, {"op": "replace", "path": "/spec/tonnes", "value": 2}]),
            "/spec/tonnes",
            json!(2),
        ),
        (
            "labels",
            json!({"metadata": {"labels": {"a": "b"}}}),
            "/metadata/labels",
            json!({"a": "b"}),
        ),
        (
            "what the server says",
            json!({"metadata": {"creationTimestamp": null, "generation": 99}}),
            "/metadata/labels",
            json!({"a": "b"}),
        ),
        (
            "what is no part of it",
            json!({"status": {"at": "sea"}}),
            "/metadata/labels",
            json!({"a": "b"}),
        ),
    ] {
        let patched = world.send("PATCH", VEGA, &patch).await;
        assert_eq!(
            (patched.code, patched.body.pointer(pointer)),
            (200, Some(&want)),
            "{name}: {patched:?}"
        );
        assert_eq!(world.get(VEGA).await, patched.body, "{name}");
        assert_eq!(patched.body.get("status"), None, "{name}");
    }
}

#[tokio::test]
async fn what_cannot_be_patched_is_refused_as_upstream_refuses_it() {
    let world = World::new(Rules::default()).await;
    world.make(&ship("vega")).await;
    let before = world.revision().await;
    for (name, path, patch, want, causes) in [
        (
            "an old version",
            VEGA,
            json!({"metadata": {"resourceVersion": "1"}, "spec": {"tonnes": 1}}),
            (
                409,
                "Conflict",
                "the object has been modified; please apply your changes to the latest version and try again",
            ),
            &[][..],
        ),
        (
            "no version",
            VEGA,
            json!({"metadata": {"resourceVersion": null}}),
            (
                422,
                "Invalid",
                "metadata.resourceVersion: Invalid value: 0: must be specified for an update",
            ),
            &[],
        ),
        (
            "another uid",
            VEGA,
            json!({"metadata": {"uid": "other"}}),
            (
                422,
                "Invalid",
                r#"Ship.harbor.example.com "vega" is invalid: metadata.uid: Invalid value: "other": field is immutable"#,
            ),
            &[r#"metadata.uid FieldValueInvalid Invalid value: "other": field is immutable"#],
        ),
        (
            "another name",
            VEGA,
            json!({"metadata": {"name": "other"}}),
            (
                400,
                "BadRequest",
                "the name of the object (other) does not match the name on the URL (vega)",
            ),
            &[],
        ),
        (
            "another namespace",
            VEGA,
            json!({"metadata": {"namespace": "land"}}),
            (
                400,
                "BadRequest",
                "the namespace of the provided object does not match the namespace sent on the request",
            ),
            &[],
        ),
        (
            "another kind",
            VEGA,
            json!({"kind": "Boat"}),
            (422, "Invalid", r#" "" is invalid: patch: Invalid value: "#),
            &[],
        ),
        (
            "a test that fails",
            VEGA,
            json!([{"op": "test", "path": "/spec/tonnes", "value": 1}]),
            (422, "Invalid", ""),
            &[],
        ),
        ("no patch", VEGA, json!([1]), (400, "BadRequest", ""), &[]),
        (
            "a schema's word",
            VEGA,
            json!({"spec": {"flag": "a flag that is too long"}}),
            (422, "Invalid", "spec.flag: Too long: may not be more than 12 bytes"),
            &["spec.flag FieldValueTooLong Too long: may not be more than 12 bytes"],
        ),
        (
            "what is not there",
            "v2/namespaces/sea/ships/none",
            json!({"spec": {"tonnes": 1}}),
            (404, "NotFound", r#"ships.harbor.example.com "none" not found"#),
            &[],
        ),
        (
            "strict",
            "v2/namespaces/sea/ships/vega?fieldValidation=Strict",
            json!({"spec": {"sails": 1}}),
            (422, "Invalid", r#"strict decoding error: unknown field "spec.sails""#),
            &[],
        ),
    ] {
        let reply = world.send("PATCH", path, &patch).await;
        reply.is(name, want, causes);
    }
    let apply = world
        .ask("PATCH", VEGA, "application/json", ("application/apply-patch+yaml", "{}"))
        .await;
    apply.is(
        "apply",
        (
            415,
            "UnsupportedMediaType",
            "accepted media types include: application/json-patch+json, application/merge-patch+json",
        ),
        &[],
    );
    let list = world
        .ask("PATCH", VEGA, "application/json", ("application/merge-patch+json", "[]"))
        .await;
    list.is("a merge patch that is no object", (400, "BadRequest", ""), &[]);
    let twice = r#"{"spec":{"tonnes":1,"tonnes":2}}"#;
    let strict = format!("{VEGA}?fieldValidation=Strict");
    let reply = world
        .ask("PATCH", &strict, "application/json", ("application/merge-patch+json", twice))
        .await;
    reply.is(
        "twice",
        (422, "Invalid", r#"strict decoding error: duplicate field "spec.tonnes""#),
        &[],
    );
    assert_eq!(reply.causes().len(), 1);
    assert!(
        reply.causes()[0].starts_with("patch FieldValueInvalid Invalid value: "),
        "{:?}",
        reply.causes()
    );
    assert_eq!(world.revision().await, before, "nothing was written");
    let warned = world.send("PATCH", VEGA, &json!({"spec": {"sails": 1}})).await;
    assert_eq!(
        (warned.code, warned.warnings),
        (200, vec![r#"unknown field "spec.sails""#.to_owned()])
    );
}

#[tokio::test]
async fn lists_are_merged_by_their_keys() {
    let world = World::new(Rules::default()).await;
    world
        .make(&with(
            ship("vega"),
            &json!({"spec": {"crew": [{"name": "jo", "rank": "mate"}, {"name": "al"}]}}),
        ))
        .await;
    let strategic = "application/strategic-merge-patch+json";
    for (name, patch, want) in [
        (
            "one is changed and one is new",
            json!({"spec": {"crew": [{"name": "al", "rank": "cook"}, {"name": "bo"}]}}),
            json!([{"name": "bo"}, {"name": "jo", "rank": "mate"}, {"name": "al", "rank": "cook"}]),
        ),
        (
            "one is taken away",
            json!({"spec": {"crew": [{"$patch": "delete", "name": "jo"}]}}),
            json!([{"name": "bo"}, {"name": "al", "rank": "cook"}]),
        ),
    ] {
        let reply = world
            .ask("PATCH", VEGA, "application/json", (strategic, &patch.to_string()))
            .await;
        assert_eq!(reply.code, 200, "{name}: {reply:?}");
        let sorted = |value: &Value| {
            let mut all: Vec<String> = value.as_array().unwrap().iter().map(Value::to_string).collect();
            all.sort();
            all
        };
        assert_eq!(sorted(&reply.body["spec"]["crew"]), sorted(&want), "{name}");
    }
    let port = json!({"apiVersion": "harbor.example.com/v2", "kind": "Port", "metadata": {"name": "oslo"}});
    world.send("POST", "v2/ports", &port).await;
    let none = world
        .ask("PATCH", "v2/ports/oslo", "application/json", (strategic, "{}"))
        .await;
    none.is(
        "without a schema",
        (
            415,
            "UnsupportedMediaType",
            "application/json-patch+json, application/merge-patch+json",
        ),
        &[],
    );
}

#[tokio::test]
async fn many_may_patch_one_object_at_once() {
    let world = World::new(Rules::default()).await;
    world.make(&ship("vega")).await;
    let patch = |n: usize| {
        let (world, patch) = (&world, json!({"metadata": {"labels": {format!("n{n}"): "x"}}}));
        async move { world.send("PATCH", VEGA, &patch).await.code }
    };
    let codes = futures::future::join_all((0..50).map(patch)).await;
    assert_eq!(codes, vec![200; 50]);
    let labels = world.get(VEGA).await["metadata"]["labels"].as_object().unwrap().len();
    assert_eq!(labels, 50, "nothing was lost");
}

#[tokio::test]
async fn an_answer_is_what_was_asked_for() {
    let world = World::new(Rules::default()).await;
    world.make(&ship("vega")).await;
    let patch = ("application/merge-patch+json", r#"{"spec":{"tonnes":3}}"#);
    let partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let reply = world.ask("PATCH", VEGA, partial, patch).await;
    assert_eq!(
        (reply.code, &reply.body["kind"], reply.body.get("spec")),
        (200, &json!("PartialObjectMetadata"), None)
    );
    let table = world
        .ask("PATCH", VEGA, "application/json;as=Table;g=meta.k8s.io;v=v1", patch)
        .await;
    assert_eq!(
        (&table.body["kind"], &table.body["rows"][0]["cells"][0]),
        (&json!("Table"), &json!("vega"))
    );
    let none = world.ask("PATCH", VEGA, "text/html", patch).await;
    none.is("nothing", (406, "NotAcceptable", ""), &[]);
    assert_eq!(world.send("GET", VEGA, &Value::Null).await.body["spec"]["tonnes"], 3);
}
