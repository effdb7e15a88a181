//! create, update, patch, delete.

use std::sync::atomic::Ordering;

use outrigger_sandbox::ContractError;
use serde_json::{Value, json};

use crate::world::{Shelf, World, book, names, refused};

const SEA: &str = "namespaces/sea/books";

#[tokio::test]
async fn an_object_is_made_changed_and_removed() {
    let world = World::new(0);
    let made = world
        .send("POST", SEA, &book("", "drift", "conrad").to_string())
        .await
        .unwrap();
    let object = made.json();
    assert_eq!(made.code, 201);
    assert_eq!(object["metadata"]["namespace"], "sea");
    assert_eq!(object["metadata"]["generation"], 1);
    assert!(
        object["metadata"]["uid"].as_str().is_some_and(|uid| uid.len() == 36),
        "{object}"
    );
    assert!(object["metadata"]["creationTimestamp"].is_string(), "{object}");

    let mut changed = object.clone();
    changed["spec"]["pages"] = 7.into();
    let updated = world
        .send("PUT", &format!("{SEA}/drift"), &changed.to_string())
        .await
        .unwrap();
    assert_eq!((updated.code, &updated.json()["spec"]["pages"]), (200, &json!(7)));

    let patched = world
        .send("PATCH", &format!("{SEA}/drift"), r#"{"metadata":{"labels":{"x":"y"}}}"#)
        .await
        .unwrap();
    assert_eq!(patched.json()["metadata"]["labels"], json!({"by": "conrad", "x": "y"}));
    let patch = r#"[{"op":"test","path":"/spec/pages","value":7},{"op":"replace","path":"/spec/pages","value":8}]"#;
    let json_patch = ("application/json-patch+json", patch);
    let patched = world
        .send_as("PATCH", &format!("{SEA}/drift"), "application/json", json_patch)
        .await
        .unwrap();
    assert_eq!(patched.json()["spec"]["pages"], 8);

    let uid = object["metadata"]["uid"].as_str().unwrap();
    let deleted = world.send("DELETE", &format!("{SEA}/drift"), "").await.unwrap();
    assert_eq!(
        deleted.json(),
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": "drift", "group": "library.example.com", "kind": "books", "uid": uid}})
    );
    let gone = world.send("GET", &format!("{SEA}/drift"), "").await.unwrap_err();
    assert_eq!(
        (gone.code, gone.message.as_str()),
        (404, "books.library.example.com \"drift\" not found")
    );
}

#[tokio::test]
async fn bodies_are_refused_in_upstreams_words() {
    let world = World::new(0);
    let with = |path: &str, value: Value| {
        let mut book = book("", "x", "y");
        *book.pointer_mut(path).unwrap() = value;
        book.to_string()
    };
    let (post, put) = ("POST", "PUT");
    let moby = format!("{SEA}/moby");
    for (name, method, path, body, code, want) in [
        (
            "no kind",
            post,
            SEA,
            r#"{"apiVersion":"x"}"#.to_owned(),
            400,
            "Object 'Kind' is missing in '",
        ),
        (
            "another version",
            post,
            SEA,
            with("/apiVersion", "library.example.com/v2".into()),
            400,
            "the API version in the data (library.example.com/v2) does not match the expected API version (library.example.com/v1)",
        ),
        (
            "another kind",
            post,
            SEA,
            with("/kind", "Page".into()),
            422,
            "kind: Invalid value: \"Page\": must be Book",
        ),
        (
            "no name",
            post,
            SEA,
            with("/metadata/name", "".into()),
            422,
            "metadata.name: Required value: name or generateName is required",
        ),
        (
            "a bad name",
            post,
            SEA,
            with("/metadata/name", "A_b".into()),
            422,
            "a lowercase RFC 1123 subdomain must consist of",
        ),
        (
            "another namespace",
            post,
            SEA,
            with("/metadata/namespace", "land".into()),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        ("no JSON", post, SEA, "{".to_owned(), 400, "EOF"),
        (
            "labels that are none",
            post,
            SEA,
            with("/metadata/labels", json!({"a": 1})),
            400,
            "metadata.labels: it is not a map of strings",
        ),
        (
            "strict",
            post,
            "namespaces/sea/books?fieldValidation=Strict",
            with("/spec", json!({"authr": "x"})),
            400,
            "strict decoding error: unknown field \"spec.authr\"",
        ),
        (
            "options",
            post,
            "namespaces/sea/books?dryRun=some",
            with("/spec", json!({})),
            422,
            "dryRun: Unsupported value",
        ),
        (
            "no namespace",
            post,
            "books",
            with("/spec", json!({})),
            405,
            "the server does not allow this method",
        ),
        (
            "there already",
            post,
            SEA,
            with("/metadata/name", "moby".into()),
            409,
            "books.library.example.com \"moby\" already exists",
        ),
        (
            "the guest's word",
            post,
            SEA,
            with("/spec/pages", 0.into()),
            422,
            "Book.library.example.com \"x\" is invalid: spec.pages: Invalid value: 0: must be positive",
        ),
        (
            "another name",
            put,
            &moby,
            with("/spec", json!({})),
            400,
            "the name of the object (x) does not match the name on the URL (moby)",
        ),
        (
            "nobody",
            put,
            "namespaces/sea/books/x",
            with("/spec", json!({})),
            404,
            "books.library.example.com \"x\" not found",
        ),
        ("strategic", "PATCH", &moby, "{}".to_owned(), 0, ""),
        (
            "renamed",
            "PATCH",
            &moby,
            r#"{"metadata":{"name":"y"}}"#.to_owned(),
            400,
            "the name of the object (y) does not match",
        ),
        (
            "a misfit",
            "PATCH",
            &moby,
            r#"{"spec":{"pages":0}}"#.to_owned(),
            422,
            "spec.pages",
        ),
        (
            "a stream",
            put,
            "namespaces/sea/books/moby/pages",
            "{}".to_owned(),
            405,
            "the server does not allow this method",
        ),
        (
            "no such part",
            put,
            "namespaces/sea/books/moby/cover",
            "{}".to_owned(),
            404,
            "could not find the requested resource",
        ),
        (
            "too deep",
            "GET",
            "namespaces/sea/books/moby/status/x",
            String::new(),
            404,
            "could not find the requested resource",
        ),
    ] {
        let refused = if name == "strategic" {
            let body = ("application/strategic-merge-patch+json", "{}");
            let refused = world.send_as(method, path, "application/json", body).await.unwrap_err();
            assert_eq!(refused.code, 415);
            assert!(
                refused
                    .message
                    .ends_with("application/json-patch+json, application/merge-patch+json"),
                "{}",
                refused.message
            );
            continue;
        } else {
            world.send(method, path, &body).await.expect_err(name)
        };
        assert_eq!(refused.code, code, "{name}: {}", refused.message);
        assert!(refused.message.contains(want), "{name}: {}", refused.message);
    }
    let protobuf = ("application/vnd.kubernetes.protobuf", "k8s");
    let refused = world.send_as(post, SEA, "application/json", protobuf).await.unwrap_err();
    assert_eq!(refused.code, 415);
}

#[tokio::test]
async fn names_are_generated_and_tried_again() {
    let world = World::new(0);
    let body = json!({"apiVersion": "library.example.com/v1", "kind": "Book", "metadata": {"generateName": "vol-"}, "spec": {}});
    let made = world.send("POST", SEA, &body.to_string()).await.unwrap().json();
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("vol-") && name.len() == 9, "{name}");
    // The first name is taken; the client sees nothing of it.
    *world.shelf.instead.lock().unwrap() = Some(Err(refused(ContractError::Conflict("taken".into()), Vec::new())));
    assert_eq!(world.send("POST", SEA, &body.to_string()).await.unwrap().code, 201);
}

#[tokio::test]
async fn yaml_is_read_and_warnings_are_told() {
    let world = World::new(0);
    let yaml = "apiVersion: library.example.com/v1\nkind: Book\nmetadata: {name: yarn}\nspec: {author: z, strange: 1}\n";
    let made = world
        .send_as("POST", SEA, "application/yaml", ("application/yaml", yaml))
        .await
        .unwrap();
    assert_eq!(made.warnings, ["unknown field \"spec.strange\""]);
    assert!(
        String::from_utf8(made.body)
            .unwrap()
            .starts_with("apiVersion: library.example.com/v1\nkind: Book\n")
    );
    *world.shelf.instead.lock().unwrap() = Some(Ok(book("sea", "yarn", "z").to_string().into()));
    let read = world.send("GET", &format!("{SEA}/yarn"), "").await.unwrap();
    assert_eq!(read.warnings, ["mind the dust"]);
}

#[tokio::test]
async fn a_dry_run_reaches_the_guest_and_nothing_is_kept() {
    for poll in [0, 5] {
        let world = World::new(poll);
        let path = format!("{SEA}?dryRun=All");
        assert_eq!(
            world
                .send("POST", &path, &book("", "dry", "x").to_string())
                .await
                .unwrap()
                .code,
            201
        );
        assert!(world.shelf.seen.lock().unwrap().last().unwrap().dry_run);
        assert_eq!(
            world
                .send("DELETE", &format!("{SEA}/moby?dryRun=All"), "")
                .await
                .unwrap()
                .code,
            200
        );
        assert_eq!(names(&world.json(SEA).await).len(), 2);
    }
}

#[tokio::test]
async fn a_patch_is_tried_again_when_somebody_was_faster() {
    for (races, patch, want, updates) in [
        (4, r#"{"spec":{"pages":5}}"#, Ok(()), 5),
        (5, r#"{"spec":{"pages":5}}"#, Err(409), 5),
        // Who names a version wants that one.
        (1, r#"{"metadata":{"resourceVersion":"1"},"spec":{"pages":5}}"#, Err(409), 1),
        // Nothing to do.
        (1, r#"{"spec":{"pages":100}}"#, Ok(()), 0),
    ] {
        let world = World::new(0);
        world.shelf.races.store(races, Ordering::SeqCst);
        let outcome = world.send("PATCH", &format!("{SEA}/moby"), patch).await;
        assert_eq!(outcome.map(|_| ()).map_err(|s| s.code), want, "{races} {patch}");
        assert_eq!(world.shelf.updates.load(Ordering::SeqCst), updates, "{races} {patch}");
    }
}

#[tokio::test]
async fn parts_are_read_and_replaced() {
    let world = World::new(0);
    let path = format!("{SEA}/moby/status");
    let patched = world
        .send("PATCH", &path, r#"{"status":{"lent":true}}"#)
        .await
        .unwrap()
        .json();
    assert_eq!(patched["status"]["lent"], true);
    let last = world.shelf.seen.lock().unwrap().last().unwrap().clone();
    assert_eq!(
        (last.verb.as_str(), last.subresource.as_str(), last.user.as_str()),
        ("update", "status", "ann")
    );
    assert_eq!(world.json(&path).await["kind"], "Book");
    assert_eq!(world.send("DELETE", &path, "").await.unwrap_err().code, 405);
}

#[tokio::test]
async fn preconditions_hold_or_nothing_is_deleted() {
    for poll in [0, 5] {
        let world = World::new(poll);
        let made = world
            .send("POST", SEA, &book("", "drift", "x").to_string())
            .await
            .unwrap()
            .json();
        let options = |key: &str, value: &str| json!({"preconditions": {key: value}}).to_string();
        let path = format!("{SEA}/drift");
        let refused = world.send("DELETE", &path, &options("uid", "other")).await.unwrap_err();
        assert_eq!(refused.code, 409);
        assert!(
            refused
                .message
                .contains("the UID in the precondition (other) does not match the UID in record ("),
            "{}",
            refused.message
        );
        assert_eq!(
            world
                .send("DELETE", &path, &options("resourceVersion", "1"))
                .await
                .unwrap_err()
                .code,
            409
        );
        let uid = made["metadata"]["uid"].as_str().unwrap();
        assert_eq!(world.send("DELETE", &path, &options("uid", uid)).await.unwrap().code, 200);
    }
}

#[tokio::test]
async fn a_collection_is_emptied() {
    for poll in [0, 5] {
        let world = World::new(poll);
        let deleted = world
            .send("DELETE", "namespaces/sea/books?labelSelector=by%3Dverne", "")
            .await
            .unwrap()
            .json();
        assert_eq!(
            (names(&deleted), &deleted["kind"]),
            (vec!["sea/nemo".to_owned()], &json!("BookList"))
        );
        for n in 0..1200 {
            world.shelf.put(&book("sea", &format!("n{n}"), "x"));
        }
        world.send("DELETE", SEA, "").await.unwrap();
        assert_eq!(
            names(&world.json("books").await),
            ["land/emma"],
            "only that namespace, and all of it"
        );
        assert_eq!(world.send("DELETE", "books", "").await.unwrap_err().code, 405);
    }
}

/// Clients of a shared resource know the table's versions, the guest its own.
#[tokio::test]
async fn versions_are_carried_between_table_and_guest() {
    let shelf = Shelf {
        versioned: true,
        ..Shelf::default()
    };
    let world = World::of(5, shelf);
    let path = format!("{SEA}/moby");
    let first = world.json(&path).await;
    let mut changed = first.clone();
    changed["spec"]["pages"] = 1.into();
    let second = world.send("PUT", &path, &changed.to_string()).await.unwrap().json();
    let version = |object: &Value| {
        object["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    assert!(version(&second) > version(&first));
    let listed = world.json(SEA).await;
    let moby = &listed["items"][0];
    assert_eq!((version(moby), &moby["spec"]["pages"]), (version(&second), &json!(1)));
    // The old version is no longer good.
    let stale = world.send("PUT", &path, &changed.to_string()).await.unwrap_err();
    assert_eq!(stale.code, 409);
    assert!(
        stale
            .message
            .ends_with("please apply your changes to the latest version and try again"),
        "{}",
        stale.message
    );
    let mut again = second.clone();
    again["spec"]["pages"] = 2.into();
    assert_eq!(world.send("PUT", &path, &again.to_string()).await.unwrap().code, 200);
    let sent = world.shelf.books.lock().unwrap()[&("sea".to_owned(), "moby".to_owned())].clone();
    assert!(
        sent["metadata"]["resourceVersion"].as_str().unwrap().starts_with("own-"),
        "{sent}"
    );
}
