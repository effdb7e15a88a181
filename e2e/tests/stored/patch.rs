//! kubectl's patches: merge, JSON, and strategic merge, which is what `kubectl patch` sends when nothing is said.

use anyhow::ensure;
use outrigger_e2e::promise;
use serde_json::{Value, json};

use crate::house::{flunder, house, refused};

/// In order: what is asked of kubectl, and what the object then says at a place.
#[test]
fn patches_do_what_they_do_to_built_in_types() {
    promise(|| {
        let here = house()?.namespace("patches")?;
        here.send("create", &[flunder("one", "first")])?;
        let steps: [(&str, &str, &str, &str, Value); 13] = [
            (
                "merge sets",
                "--type=merge",
                r#"{"spec": {"flunderReference": "second"}}"#,
                "/spec/flunderReference",
                json!("second"),
            ),
            (
                "merge adds labels",
                "--type=merge",
                r#"{"metadata": {"labels": {"a": "1", "b": "2"}}}"#,
                "/metadata/labels",
                json!({"a": "1", "b": "2"}),
            ),
            (
                "merge removes",
                "--type=merge",
                r#"{"metadata": {"labels": {"a": null}}}"#,
                "/metadata/labels",
                json!({"b": "2"}),
            ),
            (
                "merge replaces a list",
                "--type=merge",
                r#"{"metadata": {"finalizers": ["e2e.example.com/a"]}}"#,
                "/metadata/finalizers",
                json!(["e2e.example.com/a"]),
            ),
            (
                "JSON tests and replaces",
                "--type=json",
                r#"[{"op": "test", "path": "/spec/flunderReference", "value": "second"}, {"op": "replace", "path": "/spec/flunderReference", "value": "third"}]"#,
                "/spec/flunderReference",
                json!("third"),
            ),
            (
                "JSON adds to a list",
                "--type=json",
                r#"[{"op": "add", "path": "/metadata/finalizers/-", "value": "e2e.example.com/b"}]"#,
                "/metadata/finalizers",
                json!(["e2e.example.com/a", "e2e.example.com/b"]),
            ),
            (
                "JSON removes",
                "--type=json",
                r#"[{"op": "remove", "path": "/metadata/labels/b"}]"#,
                "/metadata/labels",
                Value::Null,
            ),
            (
                "strategic by default",
                "--type=strategic",
                r#"{"spec": {"flunderReference": "fourth"}}"#,
                "/spec/flunderReference",
                json!("fourth"),
            ),
            (
                "strategic merges the list of finalizers",
                "",
                r#"{"metadata": {"finalizers": ["e2e.example.com/c"]}}"#,
                "/metadata/finalizers",
                json!(["e2e.example.com/c", "e2e.example.com/a", "e2e.example.com/b"]),
            ),
            (
                "strategic removes from it",
                "",
                r#"{"metadata": {"$deleteFromPrimitiveList/finalizers": ["e2e.example.com/b"]}}"#,
                "/metadata/finalizers",
                json!(["e2e.example.com/c", "e2e.example.com/a"]),
            ),
            (
                "merge adds a label",
                "--type=merge",
                r#"{"metadata": {"labels": {"more": "1"}}}"#,
                "/metadata/labels",
                json!({"more": "1"}),
            ),
            (
                "strategic replaces a map",
                "",
                r#"{"metadata": {"labels": {"$patch": "replace", "only": "1"}}}"#,
                "/metadata/labels",
                json!({"only": "1"}),
            ),
            (
                "merge empties",
                "--type=merge",
                r#"{"metadata": {"finalizers": null, "labels": null}}"#,
                "/metadata/finalizers",
                Value::Null,
            ),
        ];
        for (what, kind, patch, place, expected) in steps {
            let said = here.run_with(&format!("patch flunder one {kind} -p"), patch)?;
            ensure!(said.starts_with("flunder.wardle.example.com/one patched"), "{what}: {said}");
            let now = here.flunder("one")?;
            ensure!(now.pointer(place).unwrap_or(&Value::Null) == &expected, "{what}: {now}");
        }
        let owners = |name: &str, uid: &str| {
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid}]}})
                .to_string()
        };
        // Owners have a merge key of their own. Nobody may see them as gone: they stand in the test's own namespace, and are not there long.
        here.run("create configmap a")?;
        here.run("create configmap b")?;
        let uid = |name: &str| here.run(&format!("get configmap {name} -o jsonpath={{.metadata.uid}}"));
        for name in ["a", "b"] {
            here.run_with("patch flunder one -p", &owners(name, &uid(name)?))?;
        }
        let now = here.flunder("one")?;
        let names: Vec<&Value> = now["metadata"]["ownerReferences"]
            .as_array()
            .unwrap()
            .iter()
            .map(|o| &o["name"])
            .collect();
        ensure!(
            names.len() == 2 && names.contains(&&json!("a")) && names.contains(&&json!("b")),
            "{now}"
        );

        let unchanged = here.run_with("patch flunder one -p", r#"{"spec": {"flunderReference": "fourth"}}"#)?;
        ensure!(unchanged.contains("patched (no change)"), "{unchanged}");
        ensure!(here.flunder("one")? == now, "nothing is written");
        Ok(())
    });
}

#[test]
fn wrong_patches_are_refused() {
    promise(|| {
        let here = house()?.namespace("wrong")?;
        here.send("create", &[flunder("one", "first")])?;
        let before = here.flunder("one")?;
        for (kind, patch, words) in [
            ("merge", r#"{"metadata": {"name": "two"}}"#, "name"),
            (
                "merge",
                r#"{"metadata": {"resourceVersion": "1"}}"#,
                "the object has been modified",
            ),
            (
                "merge",
                r#"{"metadata": {"uid": "00000000-0000-4000-8000-000000000000"}}"#,
                "field is immutable",
            ),
            (
                "merge",
                r#"{"metadata": {"labels": {"a": "no spaces, please"}}}"#,
                "metadata.labels",
            ),
            ("merge", r#"{"spec": {"referenceType": 5}}"#, "spec.referenceType"),
            ("merge", r#"{"kind": "Fischer"}"#, "Fischer"),
            (
                "json",
                r#"[{"op": "test", "path": "/spec/flunderReference", "value": "second"}]"#,
                "The request is invalid",
            ),
            (
                "json",
                r#"[{"op": "remove", "path": "/spec/nothing"}]"#,
                "The request is invalid",
            ),
        ] {
            let said = refused(here.run_with(&format!("patch flunder one --type={kind} -p"), patch));
            ensure!(said.as_ref().is_ok_and(|said| said.contains(words)), "{patch}: {said:?}");
        }
        ensure!(here.flunder("one")? == before, "a refused patch has changed it");
        let none = refused(here.run_with("patch flunder nobody --type=merge -p", "{}"))?;
        ensure!(none.contains("(NotFound)"), "{none}");
        Ok(())
    });
}
