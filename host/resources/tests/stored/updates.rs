//! update, and the parts of an object.

use serde_json::{Value, json};

use crate::world::{Rules, World, ship, with};

const VEGA: &str = "v2/namespaces/sea/ships/vega";

#[tokio::test]
async fn an_update_replaces_and_counts() {
    let world = World::new(Rules::default()).await;
    let made = world.make(&ship("vega")).await;
    for (name, over, generation) in [
        ("fields", json!({"spec": {"tonnes": 1}}), 2),
        ("labels", json!({"metadata": {"labels": {"a": "b"}}}), 2),
        ("status is no part of it", json!({"status": {"at": "sea"}}), 2),
        ("nor is the generation", json!({"metadata": {"generation": 99}}), 2),
        ("fields again", json!({"spec": {"berths": 5}}), 3),
    ] {
        let current = world.get(VEGA).await;
        let updated = world.send("PUT", VEGA, &with(current, &over)).await;
        assert_eq!(updated.code, 200, "{name}: {updated:?}");
        assert_eq!(updated.body["metadata"]["generation"], generation, "{name}");
        assert_eq!(updated.body.get("status"), None, "{name}");
        assert_eq!(updated.body["metadata"]["uid"], made["metadata"]["uid"], "{name}");
        assert_eq!(world.get(VEGA).await, updated.body, "{name}");
    }
}

#[tokio::test]
async fn an_identical_update_writes_nothing() {
    let world = World::new(Rules::default()).await;
    world.make(&ship("vega")).await;
    let (current, before) = (world.get(VEGA).await, world.revision().await);
    let mut shuffled = json!({"spec": {"berths": 4, "flag": "no", "tonnes": 900}});
    for key in ["metadata", "kind", "apiVersion"] {
        shuffled[key] = current[key].clone();
    }
    for (name, sent) in [
        ("the same", current.clone()),
        ("in another order", shuffled),
        (
            "with a status that is not its part",
            with(current.clone(), &json!({"status": {"at": "x"}})),
        ),
        (
            "with what is not known",
            with(current.clone(), &json!({"spec": {"sails": 1}})),
        ),
        (
            "without what the server says",
            with(
                current.clone(),
                &json!({"metadata": {"uid": null, "creationTimestamp": null, "generation": null, "namespace": null}}),
            ),
        ),
    ] {
        let updated = world.send("PUT", VEGA, &sent).await;
        assert_eq!((updated.code, &updated.body), (200, &current), "{name}");
    }
    let patched = world.send("PATCH", VEGA, &json!({"spec": {"tonnes": 900}})).await;
    assert_eq!((patched.code, &patched.body), (200, &current));
    assert_eq!(world.revision().await, before);
}

#[tokio::test]
async fn what_cannot_be_updated_is_refused_as_upstream_refuses_it() {
    let world = World::new(Rules::default()).await;
    let first = world.make(&ship("vega")).await;
    let stale = first["metadata"]["resourceVersion"].clone();
    let current = world
        .send("PUT", VEGA, &with(first, &json!({"spec": {"tonnes": 1}})))
        .await
        .body;
    let before = world.revision().await;
    for (name, path, over, want, causes) in [
        (
            "no version",
            VEGA,
            json!({"metadata": {"resourceVersion": null}}),
            (
                422,
                "Invalid",
                r#"ships.harbor.example.com "vega" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"#,
            ),
            &["metadata.resourceVersion FieldValueInvalid Invalid value: 0: must be specified for an update"][..],
        ),
        (
            "an old version",
            VEGA,
            json!({"metadata": {"resourceVersion": stale}}),
            (
                409,
                "Conflict",
                r#"Operation cannot be fulfilled on ships.harbor.example.com "vega": the object has been modified; please apply your changes to the latest version and try again"#,
            ),
            &[],
        ),
        (
            "no version at all",
            VEGA,
            json!({"metadata": {"resourceVersion": "abc"}}),
            (400, "BadRequest", r#"parsing "abc": invalid syntax"#),
            &[],
        ),
        (
            "another object of this name",
            VEGA,
            json!({"metadata": {"uid": "other"}}),
            (
                409,
                "Conflict",
                "Precondition failed: UID in precondition: other, UID in object meta: ",
            ),
            &[],
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
            "no name",
            VEGA,
            json!({"metadata": {"name": null}}),
            (
                400,
                "BadRequest",
                "the name of the object (vega based on URL) was undeterminable: name must be provided",
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
            "a deletion",
            VEGA,
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
            (
                422,
                "Invalid",
                r#"metadata.deletionTimestamp: Invalid value: "2026-01-01T00:00:00Z": field is immutable"#,
            ),
            &[],
        ),
        (
            "a schema's word",
            VEGA,
            json!({"spec": {"tonnes": "many"}}),
            (
                422,
                "Invalid",
                r#"Ship.harbor.example.com "vega" is invalid: spec.tonnes: Invalid value: "string": spec.tonnes in body must be of type integer: "string""#,
            ),
            &[],
        ),
        (
            "a strategy's word",
            VEGA,
            json!({"spec": {"flag": "sunk"}}),
            (422, "Invalid", "spec.flag: Invalid value: \"sunk\": it must swim"),
            &[],
        ),
        (
            "what is not there",
            "v2/namespaces/sea/ships/none",
            json!({"metadata": {"name": "none"}}),
            (404, "NotFound", r#"ships.harbor.example.com "none" not found"#),
            &[],
        ),
        (
            "a status of what is not there",
            "v2/namespaces/sea/ships/none/status",
            json!({"metadata": {"name": "none"}}),
            (404, "NotFound", r#"ships.harbor.example.com "none" not found"#),
            &[],
        ),
        (
            "all of them",
            "v2/namespaces/sea/ships",
            json!({}),
            (405, "MethodNotAllowed", ""),
            &[],
        ),
    ] {
        let reply = world.send("PUT", path, &with(current.clone(), &over)).await;
        reply.is(name, want, causes);
    }
    assert_eq!(world.revision().await, before, "nothing was written");
}

#[tokio::test]
async fn where_the_plugin_allows_it_an_update_needs_no_version() {
    let world = World::new(Rules {
        unconditional_update: true,
        ..Rules::default()
    })
    .await;
    let made = world.make(&ship("vega")).await;
    let updated = world
        .send("PUT", VEGA, &with(ship("vega"), &json!({"spec": {"tonnes": 5}})))
        .await;
    assert_eq!((updated.code, &updated.body["spec"]["tonnes"]), (200, &json!(5)));
    assert_eq!(updated.body["metadata"]["uid"], made["metadata"]["uid"]);
    let stale = world.send("PUT", VEGA, &made).await;
    stale.is(
        "who names one means it",
        (409, "Conflict", "the object has been modified"),
        &[],
    );
}

#[tokio::test]
async fn where_the_plugin_allows_it_an_update_makes_what_is_not_there() {
    let world = World::new(Rules {
        create_on_update: true,
        ..Rules::default()
    })
    .await;
    let sent = with(
        ship("vega"),
        &json!({"metadata": {"resourceVersion": "77"}, "status": {"at": "sea"}}),
    );
    world.forbidden.lock().unwrap().push("create".to_owned());
    let refused = world.send("PUT", VEGA, &sent).await;
    refused.is(
        "not permitted",
        (
            403,
            "Forbidden",
            r#"ships.harbor.example.com "vega" is forbidden: User "ann" cannot create resource "ships" in API group "harbor.example.com" in the namespace "sea""#,
        ),
        &[],
    );
    assert_eq!(world.asked(), [], "the strategy is not asked");
    world.forbidden.lock().unwrap().clear();
    let dry = world.send("PUT", &format!("{VEGA}?dryRun=All"), &sent).await;
    assert_eq!(dry.code, 201);
    let made = world.send("PUT", VEGA, &sent).await;
    assert_eq!(
        (made.code, &made.body["metadata"]["generation"]),
        (201, &json!(1)),
        "{made:?}"
    );
    assert_eq!(made.body.get("status"), None);
    let again = world.send("PUT", VEGA, &made.body).await;
    assert_eq!(again.code, 200);
    for (name, method, path, body, want) in [
        (
            "another object",
            "PUT",
            "v2/namespaces/sea/ships/new",
            with(ship("new"), &json!({"metadata": {"uid": "u"}})),
            (
                409,
                "Conflict",
                "Precondition failed: UID in precondition: u, UID in object meta: ",
            ),
        ),
        (
            "in a namespace that is going",
            "PUT",
            "v2/namespaces/going/ships/new",
            ship("new"),
            (403, "Forbidden", "because it is being terminated"),
        ),
        (
            "a status",
            "PUT",
            "v2/namespaces/sea/ships/new/status",
            ship("new"),
            (404, "NotFound", "not found"),
        ),
        (
            "a patch",
            "PATCH",
            "v2/namespaces/sea/ships/new",
            json!({"spec": {"tonnes": 1}}),
            (404, "NotFound", "not found"),
        ),
    ] {
        world.send(method, path, &body).await.is(name, want, &[]);
    }
}

#[tokio::test]
async fn a_status_is_a_part_of_its_own() {
    let world = World::new(Rules::default()).await;
    world.make(&ship("vega")).await;
    let status = format!("{VEGA}/status");
    let sent = with(
        world.get(VEGA).await,
        &json!({"metadata": {"labels": {"a": "b"}, "finalizers": ["a.b/c"]}, "spec": {"tonnes": 5, "flag": null}, "status": {"at": "sea"}}),
    );
    let updated = world.send("PUT", &status, &sent).await;
    assert_eq!(updated.code, 200, "{updated:?}");
    assert_eq!(updated.body["status"], json!({"at": "sea"}));
    assert_eq!(updated.body["spec"], json!({"tonnes": 900, "flag": "no", "berths": 4}));
    assert_eq!(
        (
            updated.body["metadata"].get("labels"),
            updated.body["metadata"].get("finalizers")
        ),
        (None, None)
    );
    assert_eq!(updated.body["metadata"]["generation"], 1);
    assert_eq!(world.get(&status).await, updated.body);
    let verbs: Vec<_> = world
        .asked()
        .into_iter()
        .map(|(verb, part, ..)| format!("{verb} {part}"))
        .collect();
    assert_eq!(verbs, ["create ", "update status"]);

    let whole = world
        .send(
            "PUT",
            VEGA,
            &with(updated.body.clone(), &json!({"spec": {"tonnes": 7}, "status": null})),
        )
        .await;
    assert_eq!(
        (&whole.body["status"], &whole.body["metadata"]["generation"]),
        (&json!({"at": "sea"}), &json!(2))
    );

    let patched = world
        .send("PATCH", &status, &json!({"spec": {"tonnes": 8}, "status": {"berths": 3}}))
        .await;
    assert_eq!(patched.code, 200);
    assert_eq!(
        (&patched.body["status"], &patched.body["spec"]["tonnes"]),
        (&json!({"at": "sea", "berths": 3}), &json!(7))
    );
    let before = world.revision().await;
    let same = world
        .send("PATCH", &status, &json!({"metadata": {"labels": {"c": "d"}}}))
        .await;
    assert_eq!((same.code, world.revision().await), (200, before));
    let wrong = world
        .send(
            "PATCH",
            &status,
            &json!({"spec": {"tonnes": "x"}, "status": {"berths": "many"}}),
        )
        .await;
    wrong.is("its own schema", (422, "Invalid", "status.berths: Invalid value"), &[]);
    let fields: Vec<String> = wrong
        .causes()
        .iter()
        .map(|c| c.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        fields,
        ["status.berths", ".status.berths"],
        "once by the schema and once as what scales"
    );
    for method in ["POST", "DELETE"] {
        world
            .send(method, &status, &ship("vega"))
            .await
            .is(method, (405, "MethodNotAllowed", ""), &[]);
    }
}

/// Who writes one part is not told of what is wrong with another, in any version.
#[tokio::test]
async fn a_part_is_judged_alone() {
    let world = World::new(Rules {
        requires_status: true,
        ..Rules::default()
    })
    .await;
    let made = world
        .make(&with(
            ship("vega"),
            &json!({"metadata": {"finalizers": ["a.b/c"]}, "spec": {"flag": null}}),
        ))
        .await;
    assert_eq!(
        (made.get("status"), &made["spec"]["flag"]),
        (None, &json!("unknown")),
        "the strategy has changed it"
    );
    for (version, weight) in [("v2", "tonnes"), ("v1", "tons")] {
        let path = format!("{version}/namespaces/sea/ships/vega");
        let patched = world.send("PATCH", &path, &json!({"spec": {weight: 5, "flag": null}})).await;
        assert_eq!(
            (patched.code, &patched.body["spec"][weight]),
            (200, &json!(5)),
            "{version}: {patched:?}"
        );
        let scaled = world
            .send("PATCH", &format!("{path}/scale"), &json!({"spec": {"replicas": 6}}))
            .await;
        assert_eq!(scaled.code, 200, "{version}: {scaled:?}");
        let wrong = world.send("PATCH", &path, &json!({"spec": {weight: "x"}})).await;
        assert_eq!(wrong.causes().len(), 1, "{version}: {wrong:?}");
    }
    let dying = world.send("DELETE", VEGA, &Value::Null).await;
    for (version, weight) in [("v2", "tonnes"), ("v1", "tons")] {
        let path = format!("{version}/namespaces/sea/ships/vega");
        let over = json!({"metadata": {"finalizers": ["a.b/c", "a.b/d"], "labels": {"a b": "c"}, "generation": 77},
            "spec": {weight: 0}, "status": {"at": version}});
        let updated = world
            .send("PUT", &format!("{path}/status"), &with(world.get(&path).await, &over))
            .await;
        assert_eq!(
            (updated.code, &updated.body["status"]),
            (200, &json!({"at": version})),
            "{version}: {updated:?}"
        );
        let metadata = |object: &Value| with(object["metadata"].clone(), &json!({"resourceVersion": null}));
        assert_eq!(metadata(&updated.body), metadata(&dying.body), "{version}");
        assert_eq!(updated.body["spec"][weight], 5, "{version}");
    }
}

#[tokio::test]
async fn without_a_status_of_its_own_it_is_a_field_like_others() {
    let world = World::new(Rules {
        no_status: true,
        ..Rules::default()
    })
    .await;
    let made = world.make(&with(ship("vega"), &json!({"status": {"at": "sea"}}))).await;
    assert_eq!(made["status"], json!({"at": "sea"}));
    let updated = world.send("PUT", VEGA, &with(made, &json!({"status": {"at": "port"}}))).await;
    assert_eq!(
        (&updated.body["status"]["at"], &updated.body["metadata"]["generation"]),
        (&json!("port"), &json!(2))
    );
    world
        .send("GET", &format!("{VEGA}/status"), &Value::Null)
        .await
        .is("no such part", (404, "NotFound", ""), &[]);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let world = World::new(Rules::default()).await;
    let made = world.make(&ship("vega")).await;
    let before = world.revision().await;
    let updated = world
        .send(
            "PUT",
            &format!("{VEGA}?dryRun=All"),
            &with(made.clone(), &json!({"spec": {"tonnes": 5}})),
        )
        .await;
    assert_eq!((updated.code, &updated.body["spec"]["tonnes"]), (200, &json!(5)));
    assert_eq!(updated.body["metadata"]["generation"], 2);
    assert_eq!(
        updated.body["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    let patched = world
        .send("PATCH", &format!("{VEGA}?dryRun=All"), &json!({"spec": {"tonnes": 6}}))
        .await;
    assert_eq!((patched.code, &patched.body["spec"]["tonnes"]), (200, &json!(6)));
    assert_eq!((world.get(VEGA).await, world.revision().await), (made, before));
}

#[tokio::test]
async fn the_last_finalizer_ends_a_deletion() {
    let world = World::new(Rules::default()).await;
    world
        .make(&with(ship("vega"), &json!({"metadata": {"finalizers": ["a.b/c", "a.b/d"]}})))
        .await;
    let dying = world.send("DELETE", VEGA, &Value::Null).await;
    assert_eq!((dying.code, &dying.body["metadata"]["generation"]), (200, &json!(2)));
    let since = dying.body["metadata"]["deletionTimestamp"].clone();
    assert!(since.is_string());
    let more = world
        .send(
            "PUT",
            VEGA,
            &with(dying.body.clone(), &json!({"metadata": {"finalizers": ["a.b/c", "a.b/e"]}})),
        )
        .await;
    more.is(
        "one more",
        (
            422,
            "Invalid",
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{\"a.b/e\"}",
        ),
        &[],
    );
    let revived = world
        .send(
            "PUT",
            VEGA,
            &with(
                dying.body.clone(),
                &json!({"metadata": {"deletionTimestamp": null, "finalizers": ["a.b/c"]}}),
            ),
        )
        .await;
    assert_eq!((revived.code, &revived.body["metadata"]["deletionTimestamp"]), (200, &since));
    let tried = world
        .send(
            "PATCH",
            &format!("{VEGA}?dryRun=All"),
            &json!({"metadata": {"finalizers": null}}),
        )
        .await;
    assert_eq!(tried.code, 200);
    world.get(VEGA).await;
    let last = world.send("PATCH", VEGA, &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(
        (last.code, &last.body["kind"], &last.body["metadata"]["deletionTimestamp"]),
        (200, &json!("Ship"), &since)
    );
    world
        .send("GET", VEGA, &Value::Null)
        .await
        .is("gone", (404, "NotFound", ""), &[]);
}

#[tokio::test]
async fn objects_are_written_in_every_version_and_kept_in_one() {
    let world = World::new(Rules::default()).await;
    let old = with(
        ship("vega"),
        &json!({"apiVersion": "harbor.example.com/v1", "spec": {"tonnes": null, "tons": 12, "hull": 1}}),
    );
    let made = world.send("POST", "v1/namespaces/sea/ships", &old).await;
    assert_eq!(
        (made.code, &made.body["apiVersion"]),
        (201, &json!("harbor.example.com/v1")),
        "{made:?}"
    );
    assert_eq!(made.body["spec"], json!({"flag": "no", "berths": 4, "tons": 12}));
    assert_eq!(made.warnings, [r#"unknown field "spec.hull""#]);
    assert_eq!(world.asked(), [("create".into(), String::new(), "v2".into(), false)]);
    let kept = world.get(VEGA).await;
    assert_eq!(kept["spec"], json!({"flag": "no", "berths": 4, "tonnes": 12}));

    let v1 = "v1/namespaces/sea/ships/vega";
    let wrong = world
        .send("PUT", v1, &with(made.body.clone(), &json!({"spec": {"tons": null}})))
        .await;
    wrong.is("in its own words", (422, "Invalid", "spec.tons: Required value"), &[]);
    let patched = world.send("PATCH", v1, &json!({"spec": {"tons": 13}})).await;
    assert_eq!(
        (
            patched.code,
            &patched.body["spec"]["tons"],
            &patched.body["metadata"]["generation"]
        ),
        (200, &json!(13), &json!(2))
    );
    let status = world
        .send(
            "PATCH",
            &format!("{v1}/status"),
            &json!({"spec": {"tons": 1}, "status": {"at": "sea"}}),
        )
        .await;
    assert_eq!(
        (&status.body["spec"]["tons"], &status.body["status"]["at"]),
        (&json!(13), &json!("sea"))
    );
    let before = world.revision().await;
    let same = world.send("PUT", v1, &status.body).await;
    assert_eq!(
        (same.code, world.revision().await),
        (200, before),
        "a round trip through another version is no change: {same:?}"
    );
    assert_eq!(world.get(VEGA).await["status"]["at"], "sea");
}
