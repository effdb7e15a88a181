//! Patches of all three kinds, over a document with a schema: what comes out can be read again and is no larger than it may be; what is refused
//! leaves the document as it was; merge patches and strategic ones without directives change nothing the second time.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use outrigger_api::patch::Patch;
use outrigger_api::schema::Schema;
use serde_json::{Value, json};

/// Bytes that copies may add, and what the smallest document around them has.
const COPIES: usize = 3 * 1024 * 1024;

fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let item = json!({"type": "object", "properties": {"name": {"type": "string"}, "v": {"type": "integer"},
            "in": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}}});
        let list = |more: Value| {
            let mut list = json!({"type": "array", "items": item});
            list.as_object_mut()
                .expect("an object")
                .extend(more.as_object().expect("an object").clone());
            list
        };
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "map": list(json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]})),
            "two": list(json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "v"]})),
            "merged": list(json!({"x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "name"})),
            "list": list(json!({})),
            "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            "replaced": {"type": "object", "properties": {"a": {"type": "string"}}, "x-kubernetes-patch-strategy": "replace"},
            "any": {"x-kubernetes-preserve-unknown-fields": true},
        }}}});
        Schema::read(&schema).expect("it is a schema")
    })
}

fn document() -> Value {
    json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a", "labels": {"a": "b"}, "finalizers": ["a/b", "c/d"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]},
        "spec": {"map": [{"name": "a", "v": 1, "in": ["x"]}, {"name": "b"}], "two": [{"name": "a", "v": 1}, {"name": "a", "v": 2}],
            "merged": [{"name": "a"}, {"name": "b"}], "list": [{"name": "a"}], "set": ["a", "b"], "replaced": {"a": "x"}, "any": {"x": [1, 2]}}})
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, body)) = bytes.split_first() else { return };
    let kind = match kind % 3 {
        0 => "application/json-patch+json",
        1 => "application/merge-patch+json",
        _ => "application/strategic-merge-patch+json",
    };
    let patch = match Patch::read_for(kind, body, true) {
        Ok(patch) => patch,
        Err(status) => {
            assert!([400, 413, 422].contains(&status.code), "{status:?}");
            return;
        }
    };
    let _ = patch.findings(body);
    let before = document();
    let mut once = before.clone();
    if let Err(status) = patch.apply_with(&mut once, Some(schema())) {
        assert!([400, 413, 422].contains(&status.code), "{status:?}");
        assert!(!matches!(patch, Patch::Merge(_)), "{status:?}");
        assert_eq!(once, before, "what is refused changes nothing");
        return;
    }
    let text = once.to_string();
    // Not held to be equal: floats of many digits come back one bit off (serde_json without `float_roundtrip`).
    serde_json::from_str::<Value>(&text).expect("what was patched can be read again");
    // An escape takes six bytes where the patch has one; a number is written no longer than 25.
    let room = if matches!(patch, Patch::Json(_)) { COPIES } else { 0 };
    assert!(
        text.len() <= before.to_string().len() + body.len() * 25 + room,
        "{} bytes",
        text.len()
    );
    let says = |word: &str| body.windows(word.len()).any(|part| part == word.as_bytes()) || body.contains(&b'\\');
    let repeats = match &patch {
        Patch::Json(_) => false,
        Patch::Merge(_) => true,
        // Items that stand there twice are merged into the first, which may then be another.
        Patch::Strategic(_) => !says("$"),
    };
    if repeats {
        let mut twice = once.clone();
        if patch.apply_with(&mut twice, Some(schema())).is_ok() && matches!(patch, Patch::Merge(_)) {
            assert_eq!(twice, once, "a second time");
        }
    }
});
