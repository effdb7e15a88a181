//! The rules of stored objects, against tables that upstream's own code has answered (apimachinery and apiextensions-apiserver v0.36.3).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot read its own table has failed"
)]

use outrigger_api::field::go_json;
use outrigger_api::object::Object;
use outrigger_api::object_rules::{self, update};
use outrigger_api::patch::Patch;
use outrigger_api::schema::Schema;
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

#[test]
fn schemas_prune_fill_in_and_refuse_as_those_of_custom_resources() {
    // Go writes 1.0 as 1.
    let text = |value: &Value| go_json(value);
    let mut wrong = Vec::new();
    for case in table(include_str!("golden/rules/schema.json")) {
        let name = &case["name"];
        let schema = match Schema::read(&case["schema"]) {
            Ok(schema) => schema,
            Err(why) => {
                wrong.push(format!("{name}: {why}"));
                continue;
            }
        };
        let mut object = case["object"].clone();
        let unknown = schema.prune(&mut object);
        if json!(unknown) != case["unknown"] {
            wrong.push(format!("{name}\n  pruned {unknown:?}\n  want   {}", case["unknown"]));
        }
        let pruned = case.get("pruned").unwrap_or(&case["object"]);
        if text(&object) != text(pruned) {
            wrong.push(format!("{name}\n  pruned to {object}\n  want      {pruned}"));
        }
        assert_eq!(schema.prune(&mut object), Vec::<String>::new(), "{name}: pruned twice");
        schema.default(&mut object);
        if text(&object) != text(&case["defaulted"]) {
            wrong.push(format!("{name}\n  filled in {object}\n  want      {}", case["defaulted"]));
        }
        let mut again = object.clone();
        schema.default(&mut again);
        assert_eq!(again, object, "{name}: filled in twice");
        let causes = sorted(schema.validate(&object));
        if causes != wanted(&case) {
            let lines = |causes: &[Cause]| -> Vec<String> {
                let line = |c: &Cause| format!("    {} {}: {}", c.reason, c.field, c.message);
                causes.iter().map(line).collect()
            };
            let (got, want) = (lines(&causes).join("\n"), lines(&wanted(&case)).join("\n"));
            wrong.push(format!("{name} of {}\n  got\n{got}\n  want\n{want}", case["object"]["spec"]));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn strategic_patches_are_applied_as_by_apimachinery() {
    let document: Value = serde_json::from_str(include_str!("golden/rules/strategic.json")).unwrap();
    let schema = Schema::read(&document["schema"]).unwrap();
    let mut wrong = Vec::new();
    for case in document["cases"].as_array().unwrap() {
        let (name, body) = (&case["name"], case["patch"].to_string());
        let patch = Patch::read_for("application/strategic-merge-patch+json", body.as_bytes(), true).unwrap();
        let mut patched = case["object"].clone();
        match patch.apply_with(&mut patched, Some(&schema)) {
            Ok(()) if case["result"] == patched => {}
            Ok(()) => wrong.push(format!(
                "{name}\n  got  {patched}\n  want {}{}",
                case["result"], case["error"]
            )),
            Err(status) => {
                assert_eq!(patched, case["object"], "{name}");
                let says = if status.code == 422 {
                    "lists of lists are not supported"
                } else {
                    &status.message
                };
                if case["error"] != says {
                    wrong.push(format!("{name}\n  got  {says}\n  want {}{}", case["result"], case["error"]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn changes_are_judged_as_those_of_custom_resources() {
    let document: Value = serde_json::from_str(include_str!("golden/rules/update.json")).unwrap();
    let schema = Schema::read(&document["schema"]).unwrap();
    for case in document["cases"].as_array().unwrap() {
        let causes = schema.validate_update(&case["object"], &case["old"]);
        assert_eq!(sorted(causes), wanted(case), "{}", case["name"]);
    }
}
