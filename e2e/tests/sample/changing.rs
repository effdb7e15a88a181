//! update and patch: what may change, what is put back, what is refused.

use http::Method;
use serde_json::{Value, json};

use crate::creating::{Tap, made};
use crate::script::{
    ALPHA, BETA, Case, FISCHERS, JSON, MERGE, OPERATIONS, PARTIAL, PROTOBUF, STRATEGIC, Step, TABLE, fischer, flunder,
    flunder_with, get, object, patch, post, put, step,
};

const APPLY: &str = "application/apply-patch+yaml";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        versions(),
        identity(),
        contents(),
        metadata(),
        finalizers(),
        put_bodies(),
        put_options(),
        patches(),
        patches_that_are_refused(),
        strict_patches(),
        patched_metadata(),
        operations(),
        strategic(),
        applies(),
    ]
}

fn at(name: &str) -> String {
    format!("{ALPHA}/{name}")
}

fn versions() -> Case {
    let change = |n: u32| json!({"metadata": {"labels": {"n": n.to_string()}}});
    let with = |version: Value| json!({"metadata": {"resourceVersion": version, "labels": {"n": "9"}}});
    Case::new(
        "update: versions",
        [
            made("a"),
            put("the first", at("a"), "a", change(1)).kept("b"),
            put("a stale one", at("a"), "a", change(2)),
            get("it stands as it was", at("a")),
            put("none", at("a"), "b", with(Value::Null)),
            put("an empty one", at("a"), "b", with(json!(""))),
            put("zero", at("a"), "b", with(json!("0"))),
            put("one", at("a"), "b", with(json!("1"))),
            put("the future's", at("a"), "b", with(json!("9000000000000000000"))),
            put("nonsense", at("a"), "b", with(json!("abc"))),
            put("a negative one", at("a"), "b", with(json!("-1"))),
            put("the same object again", at("a"), "b", json!({})),
            put(
                "and in the other version",
                format!("{BETA}/a"),
                "b",
                json!({"apiVersion": "wardle.example.com/v1beta1"}),
            ),
            put("the last", at("a"), "b", change(3)).kept("c"),
            get("a Table of it", at("a")).accept(TABLE),
            get("as it is", at("a")),
            put("as a Table", at("a"), "c", json!({"metadata": {"labels": {"n": "4"}}})).accept(TABLE),
            get("after a Table", at("a")).kept("d"),
            put("as metadata", at("a"), "d", json!({"metadata": {"labels": {"n": "5"}}})).accept(PARTIAL),
        ],
    )
}

fn identity() -> Case {
    Case::new(
        "update: identity",
        [
            made("a"),
            put("what is not there", at("none"), "a", json!({"metadata": {"name": "none"}})),
            put(
                "what is not there, without a version",
                at("none"),
                "a",
                json!({"metadata": {"name": "none", "resourceVersion": null, "uid": null}}),
            ),
            put(
                "another uid",
                at("a"),
                "a",
                json!({"metadata": {"uid": "11111111-2222-3333-4444-555555555555"}}),
            ),
            put(
                "another uid, no version",
                at("a"),
                "a",
                json!({"metadata": {"uid": "x", "resourceVersion": null}}),
            ),
            put("an empty uid", at("a"), "a", json!({"metadata": {"uid": ""}})),
            put("no uid", at("a"), "a", json!({"metadata": {"uid": null}})),
            put("another name", at("a"), "a", json!({"metadata": {"name": "b"}})),
            put("no name", at("a"), "a", json!({"metadata": {"name": null}})),
            put(
                "another namespace",
                at("a"),
                "a",
                json!({"metadata": {"namespace": "elsewhere"}}),
            ),
            put("no namespace", at("a"), "a", json!({"metadata": {"namespace": null}})),
            put("another kind", at("a"), "a", json!({"kind": "Fischer"})),
            put(
                "another version",
                at("a"),
                "a",
                json!({"apiVersion": "wardle.example.com/v1beta1"}),
            ),
            put("no type", at("a"), "a", json!({"kind": null, "apiVersion": null})),
            put(
                "a namespace that is not there",
                "/apis/wardle.example.com/v1alpha1/namespaces/none-such/flunders/a",
                "a",
                json!({"metadata": {"namespace": "none-such"}}),
            ),
            post("cluster-scoped", FISCHERS, &fischer("a")).kept("f"),
            put(
                "cluster-scoped, with a namespace",
                format!("{FISCHERS}/{{ns}}-a"),
                "f",
                json!({"metadata": {"namespace": "x"}}),
            ),
            put(
                "cluster-scoped, changed",
                format!("{FISCHERS}/{{ns}}-a"),
                "f",
                json!({"disallowedFlunders": ["none-such"]}),
            ),
            get("as it is", at("a")),
        ],
    )
}

fn contents() -> Case {
    Case::new(
        "update: contents",
        [
            made("a"),
            put("a reference", at("a"), "a", json!({"spec": {"reference": "x"}})).kept("b"),
            put(
                "back again",
                at("a"),
                "b",
                json!({"spec": {"reference": null, "referenceType": null}}),
            )
            .kept("c"),
            put(
                "what a create refuses",
                at("a"),
                "c",
                json!({"spec": {"referenceType": "Flunder"}}),
            )
            .kept("d"),
            get("it in the other version", format!("{BETA}/a")),
            put(
                "an unknown type",
                at("a"),
                "d",
                json!({"spec": {"referenceType": "Nonsense"}}),
            )
            .kept("e"),
            get("the unknown type", at("a")),
            get("the unknown type in the other version", format!("{BETA}/a")).kept("f"),
            put(
                "both references",
                format!("{BETA}/a"),
                "f",
                json!({"spec": {"flunderReference": "x", "fischerReference": "y", "referenceType": "Fischer"}}),
            )
            .kept("g"),
            get("what is left of both", at("a")),
            get("what is left of both in the other version", format!("{BETA}/a")).kept("h"),
            put(
                "a reference of another type",
                format!("{BETA}/a"),
                "h",
                json!({"spec": {"flunderReference": "x", "fischerReference": null, "referenceType": ""}}),
            ),
            get("what is left of that", at("a")).kept("i"),
            put("an unknown field", at("a"), "i", json!({"spec": {"nonsense": 1}})),
            get("before other types", at("a")).kept("i"),
            put("a spec that is text", at("a"), "i", json!({"spec": "x"})),
            put("no spec", at("a"), "i", json!({"spec": null, "status": null})),
            get("as it is", at("a")),
        ],
    )
}

fn metadata() -> Case {
    let mut steps = vec![made("a")];
    for (how, meta) in [
        ("labels", json!({"labels": {"a": "b"}, "annotations": {"c": "d"}})),
        ("no labels", json!({"labels": null, "annotations": null})),
        ("empty labels", json!({"labels": {}})),
        ("a bad label", json!({"labels": {"a": "b c"}})),
        ("a bad annotation", json!({"annotations": {"a b": ""}})),
        ("another generation", json!({"generation": 9})),
        ("a negative generation", json!({"generation": -9})),
        ("another creation", json!({"creationTimestamp": "1999-01-01T00:00:00Z"})),
        ("no creation", json!({"creationTimestamp": null})),
        ("a deletion", json!({"deletionTimestamp": "1999-01-01T00:00:00Z"})),
        ("a grace period", json!({"deletionGracePeriodSeconds": 5})),
        ("a selfLink", json!({"selfLink": "/x"})),
        ("a generateName", json!({"generateName": "x-"})),
        ("a finalizer", json!({"finalizers": ["example.com/a"]})),
        ("a finalizer without a domain", json!({"finalizers": ["plain"]})),
        ("a bad finalizer", json!({"finalizers": ["a b"]})),
        (
            "both finalizers of deletion",
            json!({"finalizers": ["orphan", "foregroundDeletion"]}),
        ),
        ("no finalizer", json!({"finalizers": null})),
        (
            "an owner twice",
            json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"},
                {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]}),
        ),
        (
            "two controllers",
            json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true},
                {"apiVersion": "v1", "kind": "Pod", "name": "q", "uid": "v", "controller": true}]}),
        ),
        ("no owner", json!({"ownerReferences": null})),
        ("no managed fields", json!({"managedFields": []})),
        ("an empty managed field", json!({"managedFields": [{}]})),
    ] {
        steps.push(get(format!("{how}: before"), at("a")).kept("now"));
        steps.push(put(how, at("a"), "now", json!({"metadata": meta})));
    }
    steps.push(get("as it is", at("a")));
    Case::new("update: metadata", steps)
}

fn finalizers() -> Case {
    let held = |name: &str| {
        post(
            format!("{name} is made"),
            ALPHA,
            &flunder_with(name, json!({"metadata": {"finalizers": ["example.com/a", "example.com/b"]}})),
        )
    };
    Case::new(
        "update: finalizers",
        [
            held("a").kept("a"),
            step(Method::DELETE, "deletion begins", at("a")),
            get("it is still there", at("a")).kept("b"),
            step(Method::DELETE, "deletion begins again", at("a")),
            put(
                "one more finalizer",
                at("a"),
                "b",
                json!({"metadata": {"finalizers": ["example.com/a", "example.com/c", "example.com/b"]}}),
            ),
            put(
                "another instead",
                at("a"),
                "b",
                json!({"metadata": {"finalizers": ["example.com/a", "example.com/z"]}}),
            ),
            put(
                "no deletion",
                at("a"),
                "b",
                json!({"metadata": {"deletionTimestamp": null, "labels": {"x": "y"}}}),
            )
            .kept("c"),
            put(
                "another deletion",
                at("a"),
                "c",
                json!({"metadata": {"deletionTimestamp": "1999-01-01T00:00:00Z"}}),
            ),
            get("after another deletion", at("a")).kept("c"),
            put(
                "another grace period",
                at("a"),
                "c",
                json!({"metadata": {"deletionGracePeriodSeconds": 99}}),
            ),
            put(
                "one finalizer less",
                at("a"),
                "c",
                json!({"metadata": {"finalizers": ["example.com/b"]}}),
            )
            .kept("d"),
            put(
                "the last one, dry",
                format!("{}?dryRun=All", at("a")),
                "d",
                json!({"metadata": {"finalizers": null}}),
            ),
            get("there after a dry run", at("a")),
            put("the last one", at("a"), "d", json!({"metadata": {"finalizers": null}})),
            get("gone", at("a")),
            held("p").kept("p"),
            step(Method::DELETE, "deletion of p begins", at("p")),
            patch(
                "one by patch",
                at("p"),
                OPERATIONS,
                json!([{"op": "remove", "path": "/metadata/finalizers/0"}]),
            ),
            patch("all by patch", at("p"), MERGE, json!({"metadata": {"finalizers": null}})),
            get("gone, too", at("p")),
            post(
                "cluster-scoped",
                FISCHERS,
                &fischer("f").tap(|o| o["metadata"]["finalizers"] = json!(["example.com/a"])),
            ),
            step(
                Method::DELETE,
                "cluster-scoped: deletion begins",
                format!("{FISCHERS}/{{ns}}-f"),
            ),
            patch(
                "cluster-scoped: the last one",
                format!("{FISCHERS}/{{ns}}-f"),
                MERGE,
                json!({"metadata": {"finalizers": []}}),
            ),
            get("cluster-scoped: gone", format!("{FISCHERS}/{{ns}}-f")),
        ],
    )
}

fn put_bodies() -> Case {
    let raw = |how: &str, kind: &str, body: &str| step(Method::PUT, how, at("a")).sends(kind, body);
    Case::new(
        "update: bodies",
        [
            made("a"),
            raw("nothing", JSON, ""),
            raw("null", JSON, "null"),
            raw("an array", JSON, "[]"),
            raw("an empty object", JSON, "{}"),
            raw("no JSON", JSON, "hello"),
            raw("text", "text/plain", "{}"),
            raw(
                "YAML",
                "application/yaml",
                "apiVersion: wardle.example.com/v1alpha1\nkind: Flunder\nmetadata: {name: a, resourceVersion: \"{a:rv}\", labels: {y: aml}}\n",
            ),
            step(Method::PUT, "protobuf", at("a")).bytes(PROTOBUF, &b"hello"[..]),
            step(Method::PUT, "too much", at("a"))
                .bytes(JSON, vec![b' '; (3 << 20) + 1])
                .h2(),
            get("as it is", at("a")),
        ],
    )
}

fn put_options() -> Case {
    let mut steps = vec![made("a")];
    let longer = "m".repeat(129);
    for (how, query) in [
        ("a dry run", "dryRun=All".to_owned()),
        ("a dry run that is none", "dryRun=x".to_owned()),
        ("a manager that is too long", format!("fieldManager={longer}")),
        ("a rule that is none", "fieldValidation=x".to_owned()),
    ] {
        steps.push(put(
            how,
            format!("{}?{query}", at("a")),
            "a",
            json!({"metadata": {"labels": {"a": "b"}}}),
        ));
    }
    for rule in ["", "Ignore", "Warn", "Strict"] {
        steps.push(get(format!("before {rule:?}"), at("a")).kept("now"));
        let path = format!("{}?fieldValidation={rule}", at("a"));
        steps.push(put(
            format!("an unknown field, {rule:?}"),
            &path,
            "now",
            json!({"spec": {"nonsense": 1}}),
        ));
        let twice = r#"{"apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder", "metadata": {"name": "a", "name": "a", "resourceVersion": "{now:rv}"}}"#;
        steps.push(step(Method::PUT, format!("a key twice, {rule:?}"), path).sends(JSON, twice));
    }
    steps.push(get("as it is", at("a")));
    Case::new("update: options", steps)
}

fn patches() -> Case {
    Case::new(
        "patch: plain",
        [
            made("a"),
            patch(
                "merge",
                at("a"),
                MERGE,
                json!({"spec": {"reference": "x"}, "metadata": {"labels": {"a": "1"}}}),
            )
            .kept("b"),
            patch("merge, the same again", at("a"), MERGE, json!({"spec": {"reference": "x"}})),
            patch("merge, nothing", at("a"), MERGE, json!({})),
            patch("merge, away", at("a"), MERGE, json!({"metadata": {"labels": null}})),
            patch(
                "merge in the other version",
                format!("{BETA}/a"),
                MERGE,
                json!({"spec": {"flunderReference": "y"}}),
            ),
            get("it in the version from before", at("a")),
            patch(
                "merge, what a create refuses",
                at("a"),
                MERGE,
                json!({"spec": {"reference": null}}),
            ),
            patch(
                "operations",
                at("a"),
                OPERATIONS,
                json!([{"op": "add", "path": "/metadata/labels", "value": {"b": "2"}}]),
            ),
            patch("operations, none", at("a"), OPERATIONS, json!([])),
            patch(
                "operations, a test that holds",
                at("a"),
                OPERATIONS,
                json!([{"op": "test", "path": "/metadata/name", "value": "a"}]),
            ),
            patch("strategic", at("a"), STRATEGIC, json!({"metadata": {"labels": {"c": "3"}}})),
            patch("strategic, away", at("a"), STRATEGIC, json!({"metadata": {"labels": null}})),
            patch(
                "with the version",
                at("a"),
                MERGE,
                json!({"metadata": {"resourceVersion": "{b:rv}", "labels": {"d": "4"}}}),
            ),
            patch(
                "without a version",
                at("a"),
                MERGE,
                json!({"metadata": {"resourceVersion": null, "labels": {"e": "5"}}}),
            ),
            patch(
                "with an empty version",
                at("a"),
                MERGE,
                json!({"metadata": {"resourceVersion": "", "labels": {"e": "6"}}}),
            ),
            patch(
                "with a bad version",
                at("a"),
                MERGE,
                json!({"metadata": {"resourceVersion": "abc"}}),
            ),
            patch("what is not there", at("none"), MERGE, json!({"spec": {"reference": "x"}})),
            patch("what is not there, strategic", at("none"), STRATEGIC, json!({})),
            patch("what is not there, operations", at("none"), OPERATIONS, json!([])),
            patch("as a Table", at("a"), MERGE, json!({"metadata": {"labels": {"t": "1"}}})).accept(TABLE),
            patch("as metadata", at("a"), MERGE, json!({"metadata": {"labels": {"t": "2"}}})).accept(PARTIAL),
            patch(
                "dry",
                format!("{}?dryRun=All", at("a")),
                MERGE,
                json!({"metadata": {"labels": {"t": "4"}}}),
            ),
            patch(
                "dry, away with everything",
                format!("{}?dryRun=All", at("a")),
                MERGE,
                json!({"metadata": {"labels": null}, "spec": null}),
            ),
            get("as it is", at("a")),
            post("cluster-scoped is made", FISCHERS, &fischer("p")),
            patch(
                "cluster-scoped",
                format!("{FISCHERS}/{{ns}}-p"),
                MERGE,
                json!({"disallowedFlunders": ["none-such"]}),
            ),
            patch(
                "cluster-scoped, operations",
                format!("{FISCHERS}/{{ns}}-p"),
                OPERATIONS,
                json!([{"op": "add", "path": "/disallowedFlunders/-", "value": "none-other"}]),
            ),
            patch(
                "cluster-scoped, strategic",
                format!("{FISCHERS}/{{ns}}-p"),
                STRATEGIC,
                json!({"disallowedFlunders": ["none-third"]}),
            ),
            patch("as protobuf", at("a"), MERGE, json!({"metadata": {"labels": {"t": "3"}}})).accept(PROTOBUF),
        ],
    )
}

fn patches_that_are_refused() -> Case {
    let raw = |how: &str, kind: &str, body: &str| patch(how, at("a"), kind, body);
    let mut steps = vec![made("a")];
    for (kind, form) in [("merge", MERGE), ("operations", OPERATIONS), ("strategic", STRATEGIC)] {
        for (how, body) in [
            ("nothing", ""),
            ("null", "null"),
            ("text", "\"x\""),
            ("a number", "5"),
            ("an open object", "{"),
            ("no JSON", "hello"),
            ("YAML", "a: b"),
        ] {
            steps.push(raw(&format!("{kind}: {how}"), form, body));
        }
    }
    steps.extend([
        raw("merge: an array", MERGE, "[]"),
        raw("merge: an array of objects", MERGE, r#"[{"a": 1}]"#),
        raw("strategic: an array", STRATEGIC, "[]"),
        raw("operations: an object", OPERATIONS, "{}"),
        raw("operations: of numbers", OPERATIONS, "[1]"),
        raw("an unknown form", "application/patch", "{}"),
        raw("JSON", JSON, "{}"),
        raw("YAML", "application/yaml", "{}"),
        raw("no form", "", "{}"),
        raw("a form with a parameter", "application/merge-patch+json; charset=utf-8", "{}"),
        raw("CBOR", "application/apply-patch+cbor", "{}"),
        step(Method::PATCH, "too much", at("a"))
            .bytes(MERGE, vec![b' '; (3 << 20) + 1])
            .h2(),
    ]);
    let longer = "m".repeat(129);
    for (how, query) in [
        ("a dry run that is none", "dryRun=x".to_owned()),
        ("a manager that is too long", format!("fieldManager={longer}")),
        ("a rule that is none", "fieldValidation=x".to_owned()),
        ("force", "force=true".to_owned()),
    ] {
        steps.push(patch(how, format!("{}?{query}", at("a")), MERGE, json!({})));
    }
    for (how, change) in [
        ("another name", json!({"metadata": {"name": "b"}})),
        ("no name", json!({"metadata": {"name": null}})),
        ("another namespace", json!({"metadata": {"namespace": "elsewhere"}})),
        ("no namespace", json!({"metadata": {"namespace": null}})),
        ("another uid", json!({"metadata": {"uid": "x"}})),
        ("another kind", json!({"kind": "Fischer"})),
        ("no kind", json!({"kind": null})),
        ("another version", json!({"apiVersion": "wardle.example.com/v1beta1"})),
        ("an unknown version", json!({"apiVersion": "wardle.example.com/v9"})),
        ("another group", json!({"apiVersion": "apps/v1"})),
        ("no version of the type", json!({"apiVersion": null})),
        ("an old version", json!({"metadata": {"resourceVersion": "1"}})),
        ("no metadata", json!({"metadata": null})),
        ("a spec that is text", json!({"spec": "x"})),
        ("a spec that is an array", json!({"spec": []})),
        ("a reference that is a number", json!({"spec": {"reference": 5}})),
        ("labels that are an array", json!({"metadata": {"labels": []}})),
        ("a label that is a number", json!({"metadata": {"labels": {"a": 5}}})),
        ("a bad label", json!({"metadata": {"labels": {"a": "b c"}}})),
        ("a bad finalizer", json!({"metadata": {"finalizers": ["a b"]}})),
        ("metadata that is text", json!({"metadata": "x"})),
    ] {
        steps.push(patch(format!("merge with {how}"), at("a"), MERGE, change));
    }
    steps.push(get("as it is", at("a")));
    Case::new("patch: refused", steps)
}

fn strict_patches() -> Case {
    let mut steps = vec![made("a")];
    for rule in ["", "Ignore", "Warn", "Strict"] {
        let path = format!("{}?fieldValidation={rule}", at("a"));
        steps.extend([
            patch(
                format!("merge, unknown, {rule:?}"),
                &path,
                MERGE,
                json!({"spec": {"nonsense": 1}, "extra": 1}),
            ),
            patch(
                format!("merge, twice, {rule:?}"),
                &path,
                MERGE,
                r#"{"spec": {"reference": "x", "reference": "y"}}"#,
            ),
            patch(
                format!("operations, unknown, {rule:?}"),
                &path,
                OPERATIONS,
                json!([{"op": "add", "path": "/spec/nonsense", "value": 1}]),
            ),
            patch(
                format!("operations, unknown members, {rule:?}"),
                &path,
                OPERATIONS,
                json!([{"op": "add", "path": "/spec/reference", "value": "z", "nonsense": 1}]),
            ),
            patch(
                format!("operations, twice, {rule:?}"),
                &path,
                OPERATIONS,
                r#"[{"op": "add", "op": "add", "path": "/spec/reference", "value": "z"}]"#,
            ),
            patch(
                format!("strategic, unknown, {rule:?}"),
                &path,
                STRATEGIC,
                json!({"spec": {"nonsense": 1}}),
            ),
            patch(
                format!("strategic, twice, {rule:?}"),
                &path,
                STRATEGIC,
                r#"{"spec": {"reference": "x", "reference": "w"}}"#,
            ),
        ]);
    }
    steps.push(get("as it is", at("a")));
    Case::new("patch: strict", steps)
}

fn patched_metadata() -> Case {
    let mut steps = vec![made("a")];
    for (how, meta) in [
        ("a generation", json!({"generation": 9})),
        ("a creation", json!({"creationTimestamp": "1999-01-01T00:00:00Z"})),
        ("no creation", json!({"creationTimestamp": null})),
        ("a deletion", json!({"deletionTimestamp": "1999-01-01T00:00:00Z"})),
        ("a grace period", json!({"deletionGracePeriodSeconds": 5})),
        ("a selfLink", json!({"selfLink": "/x"})),
        ("a time that is none", json!({"creationTimestamp": "yesterday"})),
        ("no managed fields", json!({"managedFields": []})),
        ("an empty managed field", json!({"managedFields": [{}]})),
        ("the same uid", json!({"uid": "{a:uid}"})),
        ("no uid", json!({"uid": null})),
        ("a finalizer", json!({"finalizers": ["plain"]})),
        ("a finalizer more", json!({"finalizers": ["plain", "example.com/a"]})),
        ("no finalizers", json!({"finalizers": []})),
        (
            "an owner twice",
            json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"},
                {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]}),
        ),
        (
            "two controllers",
            json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true},
                {"apiVersion": "v1", "kind": "Pod", "name": "q", "uid": "v", "controller": true}]}),
        ),
    ] {
        steps.push(patch(how, at("a"), MERGE, json!({"metadata": meta})));
    }
    let owner = |name: &str, uid: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
    steps.extend([
        patch(
            "strategic: an owner",
            at("a"),
            STRATEGIC,
            json!({"metadata": {"ownerReferences": [owner("q", "v")]}}),
        ),
        patch(
            "strategic: an owner by its uid",
            at("a"),
            STRATEGIC,
            json!({"metadata": {"ownerReferences": [{"uid": "v", "name": "r"}]}}),
        ),
        patch(
            "strategic: an owner away",
            at("a"),
            STRATEGIC,
            json!({"metadata": {"ownerReferences": [{"$patch": "delete", "uid": "v"}]}}),
        ),
        patch(
            "strategic: finalizers",
            at("a"),
            STRATEGIC,
            json!({"metadata": {"finalizers": ["example.com/x"]}}),
        ),
        patch(
            "strategic: finalizers are joined",
            at("a"),
            STRATEGIC,
            json!({"metadata": {"finalizers": ["example.com/y"]}}),
        ),
        patch(
            "strategic: a finalizer away",
            at("a"),
            STRATEGIC,
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/x"]}}),
        ),
        get("as it is", at("a")),
    ]);
    Case::new("patch: metadata", steps)
}

fn operations() -> Case {
    let one = |how: &str, operation: Value| patch(how, at("a"), OPERATIONS, json!([operation]));
    let many = |count: usize| {
        let test = json!({"op": "test", "path": "/metadata/name", "value": "a"});
        Value::Array(vec![test; count]).to_string()
    };
    let copies = |count: usize| {
        let mut all = vec![json!({"op": "add", "path": "/metadata/annotations", "value": {"x": "y".repeat(1 << 16)}})];
        all.extend(
            (0..count)
                .map(|n| json!({"op": "copy", "from": "/metadata/annotations/x", "path": format!("/metadata/annotations/x{n}")})),
        );
        Value::Array(all).to_string()
    };
    Case::new(
        "patch: operations",
        [
            made("a"),
            one(
                "a test that fails",
                json!({"op": "test", "path": "/metadata/name", "value": "b"}),
            ),
            one(
                "a test of what is not there",
                json!({"op": "test", "path": "/spec/reference", "value": "b"}),
            ),
            one(
                "a removal of what is not there",
                json!({"op": "remove", "path": "/spec/reference"}),
            ),
            one(
                "a replacement of what is not there",
                json!({"op": "replace", "path": "/spec/reference", "value": "x"}),
            ),
            one(
                "an addition below what is not there",
                json!({"op": "add", "path": "/a/b/c", "value": 1}),
            ),
            one(
                "a move of what is not there",
                json!({"op": "move", "from": "/spec/reference", "path": "/spec/x"}),
            ),
            one(
                "a copy of what is not there",
                json!({"op": "copy", "from": "/spec/reference", "path": "/spec/x"}),
            ),
            one("an unknown operation", json!({"op": "nonsense", "path": "/a"})),
            one("no operation", json!({"path": "/a", "value": 1})),
            one("no path", json!({"op": "add", "value": 1})),
            one("no value", json!({"op": "add", "path": "/spec/reference"})),
            one("a path without a slash", json!({"op": "add", "path": "spec", "value": {}})),
            one("an empty path", json!({"op": "replace", "path": "", "value": {}})),
            one("the whole", json!({"op": "add", "path": "", "value": flunder("a")})),
            one(
                "a value that is null",
                json!({"op": "add", "path": "/metadata/labels", "value": null}),
            ),
            one(
                "another name",
                json!({"op": "replace", "path": "/metadata/name", "value": "b"}),
            ),
            one("another kind", json!({"op": "replace", "path": "/kind", "value": "Fischer"})),
            one("no kind", json!({"op": "remove", "path": "/kind"})),
            one("a spec that is text", json!({"op": "replace", "path": "/spec", "value": "x"})),
            one(
                "a label with a slash",
                json!({"op": "add", "path": "/metadata/labels", "value": {"example.com/a": "b"}}),
            ),
            one(
                "that label",
                json!({"op": "replace", "path": "/metadata/labels/example.com~1a", "value": "c"}),
            ),
            patch(
                "a test that fails after a change",
                at("a"),
                OPERATIONS,
                json!([
                {"op": "add", "path": "/spec/reference", "value": "x"}, {"op": "test", "path": "/spec/reference", "value": "y"}]),
            ),
            patch("ten thousand", at("a"), OPERATIONS, many(10_000)),
            patch("ten thousand and one", at("a"), OPERATIONS, many(10_001)),
            patch("too much by copying", at("a"), OPERATIONS, copies(60)),
            patch("too many annotations by copying", at("a"), OPERATIONS, copies(8)),
            get("as it is", at("a")),
        ],
    )
}

fn strategic() -> Case {
    Case::new(
        "patch: strategic",
        [
            made("a"),
            patch(
                "a directive that replaces",
                at("a"),
                STRATEGIC,
                json!({"spec": {"$patch": "replace", "reference": "x"}}),
            ),
            patch(
                "a directive that deletes",
                at("a"),
                STRATEGIC,
                json!({"spec": {"$patch": "delete"}}),
            ),
            patch(
                "an unknown directive",
                at("a"),
                STRATEGIC,
                json!({"spec": {"$patch": "nonsense"}}),
            ),
            patch(
                "keys that are retained",
                at("a"),
                STRATEGIC,
                json!({"spec": {"$retainKeys": ["reference"], "reference": "y"}}),
            ),
            patch("a spec that is text", at("a"), STRATEGIC, json!({"spec": "x"})),
            patch("an unknown field", at("a"), STRATEGIC, json!({"nonsense": 1})),
            patch(
                "an unknown field below",
                at("a"),
                STRATEGIC,
                json!({"spec": {"nonsense": {"a": 1}}}),
            ),
            patch("another name", at("a"), STRATEGIC, json!({"metadata": {"name": "b"}})),
            patch("another kind", at("a"), STRATEGIC, json!({"kind": "Fischer"})),
            patch("another uid", at("a"), STRATEGIC, json!({"metadata": {"uid": "x"}})),
            patch(
                "owners that are text",
                at("a"),
                STRATEGIC,
                json!({"metadata": {"ownerReferences": "x"}}),
            ),
            patch(
                "an owner without its key",
                at("a"),
                STRATEGIC,
                json!({"metadata": {"ownerReferences": [{"name": "x"}]}}),
            ),
            get("as it is", at("a")),
        ],
    )
}

fn applies() -> Case {
    let apply = |how: &str, query: &str, body: Value| -> Step { patch(how, format!("{}{query}", at("a")), APPLY, body) };
    Case::new(
        "patch: apply",
        [
            apply("a new one", "?fieldManager=me", flunder("a")),
            apply("the same", "?fieldManager=me", flunder("a")),
            apply("without a manager", "", flunder("a")),
            apply(
                "an unknown field",
                "?fieldManager=me",
                object("v1alpha1", "Flunder", json!({"metadata": {"name": "a"}, "x": 1})),
            ),
            apply("no object", "?fieldManager=me", json!([])),
        ],
    )
}
