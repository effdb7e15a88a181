//! What is too much, and what strangers send in the hope that it is.

use serde_json::{Map, Value, json};

use crate::world::{Rules, World, ship, with};

const SHIPS: &str = "v2/namespaces/sea/ships";
const VEGA: &str = "v2/namespaces/sea/ships/vega";
/// More than the local stores take of one object.
const TOO_MUCH: usize = 9 << 20;

#[tokio::test]
async fn what_is_larger_than_the_store_takes_is_refused() {
    let world = World::new(Rules::default()).await;
    let port = |text: usize| json!({"apiVersion": "harbor.example.com/v2", "kind": "Port", "metadata": {"name": "oslo"}, "text": "x".repeat(text)});
    let want = (413, "RequestEntityTooLarge", "Request entity too large: a value of 9437");
    world.send("POST", "v2/ports", &port(TOO_MUCH)).await.is("made", want, &[]);
    let made = world.send("POST", "v2/ports", &port(1)).await;
    assert_eq!(made.code, 201);
    let updated = world
        .send(
            "PUT",
            "v2/ports/oslo",
            &with(made.body, &json!({"text": "x".repeat(TOO_MUCH)})),
        )
        .await;
    updated.is("updated", want, &[]);
    let patched = world
        .send("PATCH", "v2/ports/oslo", &json!({"text": "x".repeat(TOO_MUCH)}))
        .await;
    patched.is("patched", want, &[]);
    assert_eq!(world.get("v2/ports/oslo").await["text"], "x");
}

/// apiserver `handlers/{create,update}.go`: "If the object wasn't committed to storage because it's too large, a second attempt without managed fields".
#[tokio::test]
async fn managed_fields_go_before_an_object_is_refused() {
    let world = World::new(Rules::default()).await;
    let managed = json!([{"manager": "me", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:x": "x".repeat(TOO_MUCH)}}}]);
    let made = world
        .make(&with(ship("vega"), &json!({"metadata": {"managedFields": managed}})))
        .await;
    assert_eq!(
        (made["metadata"].get("managedFields"), &made["spec"]["tonnes"]),
        (None, &json!(900))
    );
}

#[tokio::test]
async fn a_patch_may_do_no_more_work_than_it_is_worth() {
    let world = World::new(Rules::default()).await;
    let members = |value: Value| -> Value {
        (0..200_000)
            .map(|n| (format!("m{n}"), value.clone()))
            .collect::<Map<_, _>>()
            .into()
    };
    let port =
        json!({"apiVersion": "harbor.example.com/v2", "kind": "Port", "metadata": {"name": "oslo"}, "any": members(json!(1))});
    assert_eq!(world.send("POST", "v2/ports", &port).await.code, 201);
    let copies: Vec<Value> = (0..64)
        .map(|n| json!({"op": "copy", "from": "/any", "path": format!("/any/x{n}")}))
        .collect();
    let nested = format!("{}1{}", "[".repeat(124), "]".repeat(124));
    let nested: Value = serde_json::from_str(&nested).unwrap();
    for (name, patch, want) in [
        (
            "too many operations",
            json!(vec![json!({"op": "test", "path": "/kind", "value": "Port"}); 10_001]),
            (
                413,
                "RequestEntityTooLarge",
                "The allowed maximum operations in a JSON patch is 10000, got 10001",
            ),
        ),
        (
            "copies",
            json!(copies),
            (
                413,
                "RequestEntityTooLarge",
                "Unable to complete the copy, the accumulated size increase of copy is ",
            ),
        ),
        (
            "levels",
            json!([{"op": "add", "path": "/any/a", "value": {"b": {"c": {}}}}, {"op": "add", "path": "/any/a/b/c/d", "value": nested}]),
            (413, "RequestEntityTooLarge", "a patched document has more than 127 levels"),
        ),
    ] {
        world.send("PATCH", "v2/ports/oslo", &patch).await.is(name, want, &[]);
    }
    // Work that grows with the square of this would not end.
    let emptied = world
        .send("PATCH", "v2/ports/oslo", &json!({"any": members(json!(null))}))
        .await;
    assert_eq!((emptied.code, &emptied.body["any"]), (200, &json!({})));
}

/// A name of a megabyte over half a million values; and metadata of which everything is wrong.
#[tokio::test]
async fn an_answer_is_not_larger_than_what_was_sent() {
    let world = World::new(Rules::default()).await;
    let long = format!(
        r#"{{"apiVersion":"harbor.example.com/v2","kind":"Ship","metadata":{{"name":"vega"}},"spec":{{"tonnes":1,"{}":[{}]}}}}"#,
        "n".repeat(1 << 20),
        vec![r#"{"a":1,"a":2}"#; 100_000].join(",")
    );
    let strict = format!("{SHIPS}?fieldValidation=Strict");
    let refused = world
        .ask("POST", &strict, "application/json", ("application/json", &long))
        .await;
    refused.is(
        "long names",
        (400, "BadRequest", "strict decoding error: duplicate field"),
        &[],
    );
    assert!(refused.message().len() < 1 << 20, "{}", refused.message().len());
    let owner =
        |n: usize| json!({"apiVersion": "v1", "kind": "K", "name": format!("o{n}"), "uid": n.to_string(), "controller": true});
    let owners: Vec<Value> = (0..30_000).map(owner).collect();
    let finalizers: Vec<String> = (0..100_000).map(|n| format!("f {n}")).collect();
    for metadata in [json!({"ownerReferences": owners}), json!({"finalizers": finalizers})] {
        let refused = world
            .send("POST", SHIPS, &with(ship("vega"), &json!({"metadata": metadata})))
            .await;
        assert_eq!((refused.code, refused.reason()), (422, "Invalid"));
        assert!(refused.message().len() < 1 << 20, "{}", refused.message().len());
    }
    assert_eq!(world.send("GET", VEGA, &Value::Null).await.code, 404);
}

#[tokio::test]
async fn a_body_may_nest_as_deep_as_it_can_be_read() {
    let world = World::new(Rules::default()).await;
    let deep = |levels: usize, open: &str, close: &str| format!("{}1{}", open.repeat(levels), close.repeat(levels));
    let (json, yaml) = ("application/json", "application/yaml");
    for (kind, body) in [
        (
            json,
            format!(
                r#"{{"apiVersion":"harbor.example.com/v2","kind":"Port","metadata":{{"name":"oslo"}},"any":{}}}"#,
                deep(100_000, "[", "]")
            ),
        ),
        (
            json,
            format!(
                r#"{{"apiVersion":"harbor.example.com/v2","kind":"Port","metadata":{{"name":"oslo"}},"any":{}}}"#,
                deep(100_000, r#"{"a":"#, "}")
            ),
        ),
        (
            yaml,
            format!(
                "apiVersion: harbor.example.com/v2\nkind: Port\nmetadata: {{name: oslo}}\nany: {}\n",
                deep(50_000, "[", "]")
            ),
        ),
        (
            yaml,
            format!(
                "apiVersion: harbor.example.com/v2\nkind: Port\nmetadata: {{name: oslo}}\nany: {}\n",
                deep(50_000, "{a: ", "}")
            ),
        ),
        (yaml, {
            let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
            for n in 1..12 {
                let below = vec![format!("*a{}", n - 1); 9].join(", ");
                bomb.push_str(&format!("a{n}: &a{n} [{below}]\n"));
            }
            format!("apiVersion: harbor.example.com/v2\nkind: Port\nmetadata: {{name: oslo}}\n{bomb}")
        }),
    ] {
        let reply = world.ask("POST", "v2/ports", json, (kind, &body)).await;
        reply.is(&body[..100], (400, "BadRequest", ""), &[]);
    }
    assert_eq!(world.get("v2/ports").await["items"], json!([]));
}
