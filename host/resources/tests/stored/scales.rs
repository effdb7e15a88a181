//! The part `scale`.

use serde_json::{Value, json};

use crate::world::{Rules, World, ship, with};

const VEGA: &str = "v2/namespaces/sea/ships/vega";
const SCALE: &str = "v2/namespaces/sea/ships/vega/scale";

#[tokio::test]
async fn a_scale_is_read_and_written() {
    let world = World::new(Rules::default()).await;
    let made = world.make(&ship("vega")).await;
    world
        .send(
            "PATCH",
            &format!("{VEGA}/status"),
            &json!({"status": {"berths": 2, "at": "app=vega"}}),
        )
        .await;
    let scale = world.get(SCALE).await;
    let metadata = &made["metadata"];
    assert_eq!(
        scale,
        json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1",
            "metadata": {"name": "vega", "namespace": "sea", "uid": metadata["uid"], "resourceVersion": scale["metadata"]["resourceVersion"],
                "creationTimestamp": metadata["creationTimestamp"]},
            "spec": {"replicas": 4}, "status": {"replicas": 2, "selector": "app=vega"},
        })
    );
    let put = world
        .send("PUT", SCALE, &with(scale, &json!({"spec": {"replicas": 7}})))
        .await;
    assert_eq!(
        (put.code, &put.body["spec"]["replicas"], &put.body["kind"]),
        (200, &json!(7), &json!("Scale")),
        "{put:?}"
    );
    let ship = world.get(VEGA).await;
    assert_eq!(
        (
            &ship["spec"]["berths"],
            &ship["metadata"]["generation"],
            &ship["status"]["berths"]
        ),
        (&json!(7), &json!(2), &json!(2))
    );
    let patched = world
        .send("PATCH", SCALE, &json!({"spec": {"replicas": 0}, "status": {"replicas": 9}}))
        .await;
    assert_eq!(
        (patched.code, &patched.body["status"]["replicas"]),
        (200, &json!(2)),
        "{patched:?}"
    );
    assert_eq!(world.get(VEGA).await["spec"]["berths"], 0);
    let parts: Vec<_> = world
        .asked()
        .into_iter()
        .map(|(verb, part, ..)| format!("{verb} {part}"))
        .collect();
    assert_eq!(parts, ["create ", "update status", "update scale", "update scale"]);

    let before = world.revision().await;
    let same = world.send("PATCH", SCALE, &json!({"spec": {"replicas": 0}})).await;
    let dry = world
        .send("PATCH", &format!("{SCALE}?dryRun=All"), &json!({"spec": {"replicas": 3}}))
        .await;
    assert_eq!((same.code, dry.code, &dry.body["spec"]["replicas"]), (200, 200, &json!(3)));
    assert_eq!(world.revision().await, before);

    let old = world
        .send(
            "PATCH",
            "v1/namespaces/sea/ships/vega/scale",
            &json!({"spec": {"replicas": 5}}),
        )
        .await;
    assert_eq!((old.code, &world.get(VEGA).await["spec"]["berths"]), (200, &json!(5)));
    let table = world
        .ask("GET", SCALE, "application/json;as=Table;g=meta.k8s.io;v=v1", ("", ""))
        .await;
    let names: Vec<_> = table.body["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].clone())
        .collect();
    assert_eq!(names, ["Name", "Desired", "Available", "Age"]);
    assert_eq!(
        table.body["rows"][0]["cells"].as_array().unwrap()[..3],
        [json!("vega"), json!(5), json!(2)]
    );
}

#[tokio::test]
async fn what_cannot_be_scaled_is_refused() {
    let world = World::new(Rules {
        create_on_update: true,
        ..Rules::default()
    })
    .await;
    world.make(&ship("vega")).await;
    let scale = world.get(SCALE).await;
    let before = world.revision().await;
    for (name, method, path, body, want) in [
        (
            "negative",
            "PUT",
            SCALE,
            with(scale.clone(), &json!({"spec": {"replicas": -1}})),
            (
                422,
                "Invalid",
                r#"Ship.harbor.example.com "vega" is invalid: .spec.berths: Invalid value: -1: should be a non-negative integer"#,
            ),
        ),
        (
            "an old version",
            "PUT",
            SCALE,
            with(scale.clone(), &json!({"metadata": {"resourceVersion": "1"}})),
            (409, "Conflict", "the object has been modified"),
        ),
        (
            "another kind",
            "PUT",
            SCALE,
            ship("vega"),
            (
                400,
                "BadRequest",
                "does not match the expected API version (autoscaling/v1, Kind=Scale)",
            ),
        ),
        (
            "another name",
            "PUT",
            SCALE,
            with(scale.clone(), &json!({"metadata": {"name": "x"}})),
            (
                400,
                "BadRequest",
                "the name of the object (x) does not match the name on the URL (vega)",
            ),
        ),
        (
            "what is not there",
            "PUT",
            "v2/namespaces/sea/ships/none/scale",
            with(scale.clone(), &json!({"metadata": {"name": "none"}})),
            (404, "NotFound", r#"ships.harbor.example.com "none" not found"#),
        ),
        (
            "its scale",
            "GET",
            "v2/namespaces/sea/ships/none/scale",
            Value::Null,
            (404, "NotFound", r#"ships.harbor.example.com "none" not found"#),
        ),
        (
            "a text",
            "PATCH",
            SCALE,
            json!({"spec": {"replicas": "many"}}),
            (400, "BadRequest", "spec.replicas"),
        ),
        (
            "what has none",
            "GET",
            "v2/ports/oslo/scale",
            Value::Null,
            (404, "NotFound", "could not find the requested resource"),
        ),
        ("made", "POST", SCALE, scale.clone(), (405, "MethodNotAllowed", "")),
    ] {
        world.send(method, path, &body).await.is(name, want, &[]);
    }
    let strict = format!("{SCALE}?fieldValidation=Strict");
    let put = world.send("PUT", &strict, &with(scale, &json!({"spec": {"sails": 1}}))).await;
    put.is(
        "strict",
        (400, "BadRequest", r#"strict decoding error: unknown field "spec.sails""#),
        &[],
    );
    assert_eq!(world.revision().await, before);
    let strategic = ("application/strategic-merge-patch+json", "{}");
    let reply = world.ask("PATCH", SCALE, "application/json", strategic).await;
    reply.is(
        "strategic",
        (415, "UnsupportedMediaType", "application/merge-patch+json"),
        &[],
    );
}
