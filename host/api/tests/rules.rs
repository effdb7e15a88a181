//! The rules of stored objects, against tables that upstream's own code has answered (apimachinery and apiextensions-apiserver v0.36.3).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot read its own table has failed"
)]

use outrigger_api::object::Object;
use outrigger_api::object_rules::{self, update};
use outrigger_api::status::Cause;
use serde_json::{Value, json};

fn table(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

/// Go's maps have no order, so neither have its causes.
fn sorted(mut causes: Vec<Cause>) -> Vec<Cause> {
    causes.sort_by(|a, b| (&a.field, &a.message).cmp(&(&b.field, &b.message)));
    causes
}

fn wanted(case: &Value) -> Vec<Cause> {
    sorted(serde_json::from_value(case["causes"].clone()).unwrap())
}

#[test]
fn metadata_is_judged_in_the_words_of_apimachinery() {
    let object = |metadata: &Value| Object::of(&json!({"metadata": metadata})).unwrap();
    let mut wrong = Vec::new();
    for case in table(include_str!("golden/rules/metadata.json")) {
        let new = object(&case["metadata"]);
        let causes = match case.get("old") {
            Some(old) => update::validate(&new, &object(old), true),
            None => object_rules::validate(&new, case["namespaced"] == true),
        };
        if sorted(causes.clone()) != wanted(&case) {
            wrong.push(format!("{}\n  got  {causes:?}\n  want {:?}", case["name"], wanted(&case)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
