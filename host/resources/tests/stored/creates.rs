//! create.

use serde_json::{Value, json};

use crate::world::{Rules, World, ship, with};

const SHIPS: &str = "v2/namespaces/sea/ships";

#[tokio::test]
async fn what_is_made_has_what_the_server_says_of_it() {
    let world = World::new(Rules::default()).await;
    let sent = with(
        ship("vega"),
        &json!({"metadata": {
            "uid": "mine", "creationTimestamp": "1999-01-01T00:00:00Z", "generation": 7, "deletionTimestamp": "1999-01-01T00:00:00Z",
            "deletionGracePeriodSeconds": 5, "selfLink": "/x", "managedFields": [{"manager": "me", "operation": "Update"}],
        }, "status": {"at": "sea"}}),
    );
    let made = world.send("POST", SHIPS, &sent).await;
    assert_eq!(made.code, 201);
    assert_eq!(
        made.known(),
        json!({
            "apiVersion": "harbor.example.com/v2", "kind": "Ship",
            "metadata": {"name": "vega", "namespace": "sea", "generation": 1, "managedFields": [{"manager": "me", "operation": "Update"}]},
            "spec": {"tonnes": 900, "flag": "no", "berths": 4},
        })
    );
    let metadata = &made.body["metadata"];
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert!(metadata["creationTimestamp"].as_str().unwrap() > "2020");
    assert!(metadata["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(world.get("v2/namespaces/sea/ships/vega").await, made.body);
    assert_eq!(world.asked(), [("create".into(), String::new(), "v2".into(), false)]);
}

#[tokio::test]
async fn what_cannot_be_made_is_refused_as_upstream_refuses_it() {
    let world = World::new(Rules::default()).await;
    world.make(&ship("vega")).await;
    world
        .make(&with(ship("dying"), &json!({"metadata": {"finalizers": ["a.b/c"]}})))
        .await;
    world.send("DELETE", "v2/namespaces/sea/ships/dying", &Value::Null).await;
    let before = world.revision().await;
    for (name, path, over, want, causes) in [
        (
            "exists",
            SHIPS,
            json!({"metadata": {"name": "vega"}}),
            (409, "AlreadyExists", r#"ships.harbor.example.com "vega" already exists"#),
            &[][..],
        ),
        (
            "is going",
            SHIPS,
            json!({"metadata": {"name": "dying"}}),
            (
                409,
                "AlreadyExists",
                r#"object is being deleted: ships.harbor.example.com "dying" already exists"#,
            ),
            &[],
        ),
        (
            "exists, and could have been named otherwise",
            SHIPS,
            json!({"metadata": {"name": "vega", "generateName": "v-"}}),
            (
                409,
                "AlreadyExists",
                "already exists, the server was not able to generate a unique name for the object",
            ),
            &[],
        ),
        (
            "another kind",
            SHIPS,
            json!({"kind": "Boat"}),
            (
                422,
                "Invalid",
                r#"Ship.harbor.example.com "new" is invalid: kind: Invalid value: "Boat": must be Ship"#,
            ),
            &[r#"kind FieldValueInvalid Invalid value: "Boat": must be Ship"#],
        ),
        (
            "no kind",
            SHIPS,
            json!({"kind": null}),
            (400, "BadRequest", "Object 'Kind' is missing in '"),
            &[],
        ),
        (
            "another version",
            SHIPS,
            json!({"apiVersion": "harbor.example.com/v1"}),
            (
                400,
                "BadRequest",
                "the API version in the data (harbor.example.com/v1) does not match the expected API version (harbor.example.com/v2)",
            ),
            &[],
        ),
        (
            "another namespace",
            SHIPS,
            json!({"metadata": {"namespace": "land"}}),
            (
                400,
                "BadRequest",
                "the namespace of the provided object does not match the namespace sent on the request",
            ),
            &[],
        ),
        (
            "a version",
            SHIPS,
            json!({"metadata": {"resourceVersion": "5"}}),
            (500, "", "resourceVersion should not be set on objects to be created"),
            &[],
        ),
        (
            "metadata of another type",
            SHIPS,
            json!({"metadata": {"labels": {"a": 1}}}),
            (
                400,
                "BadRequest",
                r#"Ship in version "v2" cannot be handled as a Ship: metadata.labels"#,
            ),
            &[],
        ),
        (
            "no name",
            SHIPS,
            json!({"metadata": {"name": null}}),
            (
                422,
                "Invalid",
                "metadata.name: Required value: name or generateName is required",
            ),
            &["metadata.name FieldValueRequired Required value: name or generateName is required"],
        ),
        (
            "a name that is none, and labels, and a schema",
            SHIPS,
            json!({"metadata": {"name": "Vega", "labels": {"a b": "c"}}, "spec": {"tonnes": 2_000_000}}),
            (
                422,
                "Invalid",
                r#"Ship.harbor.example.com "Vega" is invalid: [metadata.name: Invalid value: "Vega": a lowercase RFC 1123 subdomain"#,
            ),
            &[],
        ),
        (
            "not enough",
            SHIPS,
            json!({"spec": {"tonnes": null}}),
            (
                422,
                "Invalid",
                r#"Ship.harbor.example.com "new" is invalid: spec.tonnes: Required value"#,
            ),
            &["spec.tonnes FieldValueRequired Required value"],
        ),
        (
            "a strategy's word",
            SHIPS,
            json!({"spec": {"flag": "sunk"}}),
            (
                422,
                "Invalid",
                r#"Ship.harbor.example.com "new" is invalid: spec.flag: Invalid value: "sunk": it must swim"#,
            ),
            &[r#"spec.flag FieldValueInvalid Invalid value: "sunk": it must swim"#],
        ),
        (
            "in a namespace that is going",
            "v2/namespaces/going/ships",
            json!({}),
            (
                403,
                "Forbidden",
                r#"ships.harbor.example.com "new" is forbidden: unable to create new content in namespace going because it is being terminated"#,
            ),
            &["metadata.namespace NamespaceTerminating namespace going is being terminated"],
        ),
        (
            "in one that is not there",
            "v2/namespaces/nowhere/ships",
            json!({}),
            (404, "NotFound", r#"namespaces "nowhere" not found"#),
            &[],
        ),
        (
            "in one that nobody knows of",
            "v2/namespaces/dark/ships",
            json!({}),
            (500, "InternalError", "the cluster cannot be reached"),
            &[],
        ),
        ("anywhere", "v2/ships", json!({}), (405, "MethodNotAllowed", ""), &[]),
        (
            "by its name",
            "v2/namespaces/sea/ships/new",
            json!({}),
            (405, "MethodNotAllowed", ""),
            &[],
        ),
        (
            "a status",
            "v2/namespaces/sea/ships/new/status",
            json!({}),
            (405, "MethodNotAllowed", ""),
            &[],
        ),
        (
            "what there is not",
            "v2/namespaces/sea/ships/new/sails",
            json!({}),
            (404, "NotFound", ""),
            &[],
        ),
        (
            "a port in a namespace",
            "v2/namespaces/sea/ports",
            json!({}),
            (404, "NotFound", ""),
            &[],
        ),
    ] {
        let reply = world.send("POST", path, &with(ship("new"), &over)).await;
        reply.is(name, want, causes);
    }
    assert_eq!(world.revision().await, before, "nothing was written");
    let protobuf = world
        .ask(
            "POST",
            SHIPS,
            "application/json",
            ("application/vnd.kubernetes.protobuf", "k8s"),
        )
        .await;
    protobuf.is(
        "protobuf",
        (
            415,
            "UnsupportedMediaType",
            "accepted media types include: application/json, application/yaml",
        ),
        &[],
    );
    let unacceptable = world
        .ask("POST", SHIPS, "text/html", ("application/json", &ship("new").to_string()))
        .await;
    unacceptable.is("not acceptable", (406, "NotAcceptable", ""), &[]);
    for (body, message) in [
        ("{", "EOF"),
        ("[]", "Object 'Kind' is missing"),
        ("{\"a\":}", "expected value"),
    ] {
        let reply = world.ask("POST", SHIPS, "application/json", ("application/json", body)).await;
        reply.is(body, (400, "BadRequest", message), &[]);
    }
}

#[tokio::test]
async fn names_are_generated() {
    let world = World::new(Rules::default()).await;
    let nameless = with(ship("x"), &json!({"metadata": {"name": null, "generateName": "vega-"}}));
    let made = world.make(&nameless).await;
    let name = made["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("vega-") && name.len() == 10, "{name}");
    assert_eq!(made["metadata"]["generateName"], "vega-");
    let long = with(nameless, &json!({"metadata": {"generateName": "v".repeat(70)}}));
    let made = world.make(&long).await;
    assert_eq!(made["metadata"]["name"].as_str().unwrap().len(), 63);
    let refused = world
        .send(
            "POST",
            "v2/namespaces/going/ships",
            &with(ship("x"), &json!({"metadata": {"name": null, "generateName": "v-"}})),
        )
        .await;
    refused.is(
        "no name yet",
        (403, "Forbidden", r#"ships.harbor.example.com "v-" is forbidden"#),
        &[],
    );
}

#[tokio::test]
async fn what_has_no_namespace_loses_the_one_that_it_says() {
    let world = World::new(Rules::default()).await;
    let port = json!({"apiVersion": "harbor.example.com/v2", "kind": "Port", "metadata": {"name": "oslo", "namespace": "sea"}, "any": {"thing": [1]}});
    let made = world.send("POST", "v2/ports", &port).await;
    assert_eq!(made.code, 201, "{made:?}");
    assert_eq!(made.known()["metadata"], json!({"name": "oslo", "generation": 1}));
    assert_eq!(made.body["any"], json!({"thing": [1]}), "without a schema everything stays");
}

#[tokio::test]
async fn what_the_schema_does_not_know_is_dropped_and_told_of() {
    let world = World::new(Rules::default()).await;
    let surplus = with(
        ship("a"),
        &json!({"metadata": {"colour": "red"}, "spec": {"sails": 3, "crew": [{"name": "jo", "hat": 1}]}, "extra": 1}),
    );
    let twice = surplus
        .to_string()
        .replace("\"flag\":\"no\"", "\"flag\":\"se\",\"flag\":\"no\"");
    let found = [
        r#"duplicate field "spec.flag""#,
        r#"unknown field "metadata.colour""#,
        r#"unknown field "extra""#,
        r#"unknown field "spec.crew[0].hat""#,
        r#"unknown field "spec.sails""#,
    ];
    let strict = world
        .ask(
            "POST",
            &format!("{SHIPS}?fieldValidation=Strict"),
            "application/json",
            ("application/json", &twice),
        )
        .await;
    let mut sorted: Vec<_> = strict.message().rsplit("error: ").next().unwrap().split(", ").collect();
    sorted.sort_unstable();
    let mut want = found.to_vec();
    want.sort_unstable();
    assert_eq!(sorted, want);
    strict.is(
        "strict",
        (
            400,
            "BadRequest",
            r#"Ship in version "v2" cannot be handled as a Ship: strict decoding error: duplicate field"#,
        ),
        &[],
    );
    for (validation, warned) in [("Ignore", 0), ("Warn", 5), ("", 5)] {
        let path = format!("{SHIPS}?dryRun=All&fieldValidation={validation}");
        let made = world
            .ask("POST", &path, "application/json", ("application/json", &twice))
            .await;
        assert_eq!((made.code, made.warnings.len()), (201, warned), "{validation}: {made:?}");
        assert_eq!(
            made.body["spec"],
            json!({"tonnes": 900, "flag": "no", "berths": 4, "crew": [{"name": "jo"}]})
        );
        assert_eq!(made.body.get("extra"), None);
    }
    let odd = world
        .send("POST", &format!("{SHIPS}?fieldValidation=strict"), &ship("a"))
        .await;
    odd.is("odd", (422, "Invalid", "fieldValidation: Unsupported value"), &[]);
}

#[tokio::test]
async fn a_dry_run_makes_nothing() {
    let world = World::new(Rules::default()).await;
    world.make(&ship("vega")).await;
    let before = world.revision().await;
    world.asked();
    let made = world.send("POST", &format!("{SHIPS}?dryRun=All"), &ship("new")).await;
    assert_eq!(made.code, 201);
    assert_eq!(made.body["spec"]["berths"], 4);
    assert_eq!(made.body["metadata"].get("resourceVersion"), None);
    assert!(made.body["metadata"]["uid"].is_string());
    assert_eq!(world.asked(), [("create".into(), String::new(), "v2".into(), true)]);
    let there = world.send("POST", &format!("{SHIPS}?dryRun=All"), &ship("vega")).await;
    there.is("there", (409, "AlreadyExists", ""), &[]);
    let odd = world.send("POST", &format!("{SHIPS}?dryRun=Some"), &ship("new")).await;
    odd.is("odd", (422, "Invalid", "dryRun: Unsupported value"), &[]);
    assert_eq!(world.revision().await, before);
}

#[tokio::test]
async fn owners_and_finalizers_are_looked_at() {
    let world = World::new(Rules::default()).await;
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"});
    let sent = with(
        ship("a"),
        &json!({"metadata": {"ownerReferences": [owner, owner], "finalizers": ["mine"]}}),
    );
    let made = world.send("POST", SHIPS, &sent).await;
    assert_eq!(made.code, 201);
    assert_eq!(made.body["metadata"]["ownerReferences"], json!([owner]));
    assert!(
        made.warnings[0].starts_with(".metadata.ownerReferences contains duplicate entries;"),
        "{:?}",
        made.warnings
    );
    assert!(
        made.warnings[1].starts_with(r#"metadata.finalizers: "mine": prefer a domain-qualified"#),
        "{:?}",
        made.warnings
    );
}
