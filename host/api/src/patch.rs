//! Patches: JSON patch (RFC 6902), JSON merge patch (RFC 7386) and, for what has a schema, strategic merge patch, as upstream applies them
//! (apiserver `handlers/patch.go`). Server-side apply is none of these.
//!
//! A patch is a small program that a stranger sends. None of the three can make a document that cannot be read again: **what comes out is nested no
//! deeper than what can be read** (127 levels), and no larger than document and patch together, but for copies, which may add 3 MiB in all.
//! On an error the document is as it was.

mod json;
mod strategic;

use serde_json::{Map, Value};

use crate::body::Body;
use crate::quote::Quoted;
use crate::schema::Schema;
use crate::status::Status;

/// A patch that was read.
#[derive(Debug, Clone)]
pub enum Patch {
    /// `application/json-patch+json`.
    Json(json_patch::Patch),
    /// `application/merge-patch+json`.
    Merge(Value),
    /// `application/strategic-merge-patch+json`.
    Strategic(Map<String, Value>),
}

/// The media types that can be read, of a resource whose schema says nothing of lists.
pub const ACCEPTED: [&str; 2] = ["application/json-patch+json", "application/merge-patch+json"];
/// The media types that can be read of a resource with a schema.
pub const ACCEPTED_WITH_SCHEMA: [&str; 3] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
/// Operations of one JSON patch (`maxJSONPatchOperations`).
const OPERATIONS: usize = 10_000;

// === impl Patch ===

impl Patch {
    /// Reads a body of this `Content-Type`, for a resource without strategic merge patch.
    ///
    /// # Errors
    /// As [`Patch::read_for`].
    pub fn read(content_type: &str, body: &[u8]) -> Result<Self, Status> {
        Self::read_for(content_type, body, false)
    }

    /// Reads a body of this `Content-Type`. `strategic`: the resource has a schema that says how lists are merged.
    ///
    /// # Errors
    /// 415 for another type, 400 for what is malformed, 413 for a JSON patch of more than 10,000 operations, 422 for one with operations that
    /// there are not.
    pub fn read_for(content_type: &str, body: &[u8], strategic: bool) -> Result<Self, Status> {
        let media = content_type.split(';').next().unwrap_or_default();
        let malformed = |error: serde_json::Error| Status::bad_request(format!("error decoding patch: {error}"));
        match media {
            "application/json-patch+json" => json::read(body),
            "application/merge-patch+json" => {
                let patch: Value = serde_json::from_slice(body).map_err(malformed)?;
                if patch.is_object() {
                    Ok(Self::Merge(patch))
                } else {
                    Err(Status::bad_request("error decoding patch: a merge patch is a JSON object"))
                }
            }
            "application/strategic-merge-patch+json" if strategic => match serde_json::from_slice(body) {
                Ok(Value::Object(patch)) => Ok(Self::Strategic(patch)),
                Ok(_) => Err(Status::bad_request("a strategic merge patch is a JSON object")),
                Err(error) => Err(Status::bad_request(error.to_string())),
            },
            _ if strategic => Err(Status::unsupported_media_type(&ACCEPTED_WITH_SCHEMA)),
            _ => Err(Status::unsupported_media_type(&ACCEPTED)),
        }
    }

    /// What strict decoding says of the patch's own text, one sentence each: members that stand there twice, and members of operations
    /// that no operation has. `body` is what the patch was read from.
    #[must_use]
    pub fn findings(&self, body: &[u8]) -> Vec<String> {
        let Ok(read) = Body::read(None, body) else {
            return Vec::new();
        };
        let prefix = if matches!(self, Self::Json(_)) { "json patch " } else { "" };
        let twice = read.twice.iter().map(|path| ("duplicate", path.clone()));
        let operations = read.value.as_array().map(Vec::as_slice).unwrap_or_default();
        let members = operations.iter().enumerate().flat_map(|(i, operation)| {
            let names = operation.as_object().into_iter().flat_map(Map::keys);
            names.map(move |name| (i, name))
        });
        let unknown = members
            .filter(|(_, name)| !["op", "path", "from", "value"].contains(&name.as_str()))
            .map(|(i, name)| ("unknown", format!("[{i}].{name}")));
        let all = twice.chain(unknown).take(FINDINGS);
        all.map(|(what, path)| format!("{prefix}{what} field {}", Quoted(&path)))
            .collect()
    }

    /// Applies it; on an error the document is as it was.
    ///
    /// # Errors
    /// As [`Patch::apply_with`].
    pub fn apply(&self, document: &mut Value) -> Result<(), Status> {
        self.apply_with(document, None)
    }

    /// Applies it by a schema, which only a strategic merge patch looks at: without one it merges no lists but those of the metadata. On an error
    /// the document is as it was.
    ///
    /// # Errors
    /// 422 for a JSON patch that does not fit the document, a failed `test` among them, and for strategic patches of lists of lists; 413 for one
    /// whose copies add more than 3 MiB, that nests too deep or takes too much work; 400 for a strategic patch that makes no sense.
    pub fn apply_with(&self, document: &mut Value, schema: Option<&Schema>) -> Result<(), Status> {
        match self {
            Self::Json(patch) => json::apply(patch, document),
            Self::Merge(patch) => {
                merge(document, patch);
                Ok(())
            }
            Self::Strategic(patch) => strategic::apply(patch, document, schema),
        }
    }
}

/// As many findings as are told.
const FINDINGS: usize = 100;

/// RFC 7386; what stays keeps its order.
fn merge(document: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        document.clone_from(patch);
        return;
    };
    if !document.is_object() {
        *document = Value::Object(Map::new());
    }
    let Value::Object(members) = document else { return };
    // All at once: to take them out one by one moves the rest each time.
    if patch.values().any(Value::is_null) {
        members.retain(|key, _| !patch.get(key).is_some_and(Value::is_null));
    }
    for (key, value) in patch.iter().filter(|(_, value)| !value.is_null()) {
        merge(members.entry(key.as_str()).or_insert(Value::Null), value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn patches_are_applied() {
        let document = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"n": 1, "list": [1, 2]}});
        let (json, merge) = ("application/json-patch+json", "application/merge-patch+json; charset=utf-8");
        for (kind, patch, want) in [
            (json, r#"[{"op":"replace","path":"/spec/n","value":2}]"#, Ok(json!(2))),
            (
                json,
                r#"[{"op":"test","path":"/spec/n","value":1},{"op":"add","path":"/spec/n","value":3}]"#,
                Ok(json!(3)),
            ),
            (
                json,
                r#"[{"op":"add","path":"/spec/n","value":9},{"op":"test","path":"/spec/n","value":1}]"#,
                Err(422),
            ),
            (json, r#"[{"op":"remove","path":"/spec/absent"}]"#, Err(422)),
            (json, r#"[{"op":"move","from":"/spec/n","path":"/spec/absent/n"}]"#, Err(422)),
            (json, r#"[{"op":"move","from":"/spec/n","path":"/spec/list/9"}]"#, Err(422)),
            (json, r#"{"op":"remove"}"#, Err(400)),
            (json, "nonsense", Err(400)),
            (merge, r#"{"spec":{"n":5}}"#, Ok(json!(5))),
            (merge, r#"{"spec":{"n":null}}"#, Ok(json!(null))),
            (merge, "[]", Err(400)),
            ("application/strategic-merge-patch+json", "{}", Err(415)),
            ("application/apply-patch+yaml", "{}", Err(415)),
            ("", "{}", Err(415)),
        ] {
            let mut patched = document.clone();
            let outcome = Patch::read(kind, patch.as_bytes()).and_then(|p| p.apply(&mut patched));
            let got = outcome.map(|()| patched["spec"]["n"].clone()).map_err(|s| s.code);
            if got.is_err() {
                assert_eq!(patched, document, "{patch}");
            }
            assert_eq!(got, want, "{kind} {patch}");
        }
        let many = format!(
            "[{}]",
            vec![r#"{"op":"test","path":"","value":{}}"#; OPERATIONS + 1].join(",")
        );
        assert_eq!(Patch::read(json, many.as_bytes()).unwrap_err().code, 413);
    }

    #[test]
    fn a_strategic_patch_needs_a_schema() {
        const STRATEGIC: &str = "application/strategic-merge-patch+json";
        let read =
            |body: &str, strategic| Patch::read_for(STRATEGIC, body.as_bytes(), strategic).map_err(|s| (s.code, s.message));
        let refused = read("{}", false).unwrap_err();
        assert_eq!(refused.0, 415);
        assert!(
            refused
                .1
                .ends_with("include: application/json-patch+json, application/merge-patch+json"),
            "{}",
            refused.1
        );
        assert_eq!(read("[]", true).unwrap_err().0, 400);
        assert_eq!(read("{", true).unwrap_err().0, 400);
        assert!(matches!(read("{}", true), Ok(Patch::Strategic(_))));
        let refused = Patch::read_for("application/apply-patch+yaml", b"{}", true).unwrap_err();
        assert_eq!(refused.code, 415);
        assert!(refused.message.ends_with(STRATEGIC), "{}", refused.message);
    }

    #[test]
    fn operations_that_there_are_not_are_another_fault_than_what_is_no_patch() {
        for (body, want) in [
            (r#"[{"op":"jump","path":"/a"}]"#, 422),
            (r#"[{"op":"add","path":"/a"}]"#, 422),
            (r#"[{"op":"copy","path":"/a"}]"#, 422),
            (r#"[{"op":1,"path":"/a"}]"#, 400),
            (r#"[{"op":"remove","path":1}]"#, 400),
            ("[1]", 400),
            ("{}", 400),
            ("", 400),
        ] {
            let refused = Patch::read("application/json-patch+json", body.as_bytes()).unwrap_err();
            assert_eq!(refused.code, want, "{body}");
        }
    }

    #[test]
    fn what_is_odd_in_a_patch_is_found() {
        let findings = |kind: &str, body: &str| Patch::read(kind, body.as_bytes()).unwrap().findings(body.as_bytes());
        assert_eq!(
            findings("application/merge-patch+json", r#"{"spec":{"a":1,"a":2}}"#),
            [r#"duplicate field "spec.a""#]
        );
        assert_eq!(
            findings(
                "application/json-patch+json",
                r#"[{"op":"test","op":"test","path":"","value":{},"valve":1}]"#
            ),
            [
                r#"json patch duplicate field "[0].op""#,
                r#"json patch unknown field "[0].valve""#
            ]
        );
    }

    #[test]
    fn a_merge_patch_keeps_the_order_of_what_stays() {
        let mut document = json!({"a": 1, "b": 2, "c": {"d": 1, "e": 2, "f": 3}});
        Patch::Merge(json!({"a": null, "c": {"d": null}, "g": {"h": null, "i": 1}}))
            .apply(&mut document)
            .unwrap();
        assert_eq!(document.to_string(), r#"{"b":2,"c":{"e":2,"f":3},"g":{"i":1}}"#);
    }

    #[test]
    fn a_small_patch_makes_no_large_document() {
        let json = |operations: &[String]| {
            let body = format!("[{}]", operations.join(","));
            assert!(body.len() < 3 << 20, "it is no small patch");
            Patch::read("application/json-patch+json", body.as_bytes()).unwrap()
        };
        let copies = |many: usize| -> Vec<String> {
            let copy = |i: usize| format!(r#"{{"op":"copy","from":"/a","path":"/b{i}"}}"#);
            (0..many).map(copy).collect()
        };
        let text = "x".repeat(1 << 20);
        let moves = || -> Vec<String> {
            let one = |i: usize| {
                let (from, to) = if i.is_multiple_of(2) { ("a", "b") } else { ("b", "a") };
                format!(r#"{{"op":"add","path":"/{to}","value":{{}}}},{{"op":"move","from":"/{from}","path":"/{to}/x"}}"#)
            };
            (0..4_000).map(one).collect()
        };
        let nested = |levels: usize| {
            let value = format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
            vec![format!(r#"{{"op":"add","path":"/a/b/c/d/e","value":{value}}}"#)]
        };
        let inserts = |many: usize| vec![r#"{"op":"add","path":"/a/0","value":0}"#.to_owned(); many];
        for (name, document, patch, want) in [
            ("copies that fit", json!({"a": text}), copies(2), Ok(())),
            ("copies that do not", json!({"a": text}), copies(4), Err(413)),
            (
                "copies of copies",
                json!({"a": {}}),
                (0..60)
                    .map(|i| format!(r#"{{"op":"copy","from":"/a","path":"/a/x{i}"}}"#))
                    .collect(),
                Err(413),
            ),
            ("levels by moves", json!({"a": {}}), moves(), Err(413)),
            (
                "levels that can be read",
                json!({"a": {"b": {"c": {"d": {}}}}}),
                nested(100),
                Ok(()),
            ),
            (
                "levels that cannot",
                json!({"a": {"b": {"c": {"d": {}}}}}),
                nested(124),
                Err(413),
            ),
            ("a short list pushed along", json!({"a": []}), inserts(5_000), Ok(())),
            ("a copy of nothing", json!({}), copies(1), Err(422)),
        ] {
            let patch = json(&patch);
            let mut patched = document.clone();
            let got = patch.apply(&mut patched).map_err(|status| status.code);
            assert_eq!(got, want, "{name}");
            if got.is_err() {
                assert_eq!(patched, document, "{name}");
            } else {
                let again: Value = serde_json::from_str(&patched.to_string()).unwrap();
                assert_eq!(again, patched, "{name} can be read again");
            }
        }
        // A long list costs more than it is worth.
        let mut long = json!({"a": vec![0; 100_000]});
        assert_eq!(json(&inserts(10_000)).apply(&mut long).unwrap_err().code, 413);
    }

    /// Work that grows with the square of this would not end.
    #[test]
    fn a_patch_that_takes_much_away_is_soon_done() {
        const MANY: usize = 200_000;
        let members = |value: Value| -> Value {
            (0..MANY)
                .map(|n| (format!("m{n}"), value.clone()))
                .collect::<Map<_, _>>()
                .into()
        };
        let orders = |list: &Value| -> Map<String, Value> {
            let name = |n: usize| format!("$setElementOrder/m{n}");
            (0..MANY).map(|n| (name(n), list.clone())).collect()
        };
        let map = |value: Value| value.as_object().cloned().unwrap();
        for (name, document, patch, left) in [
            ("merge", members(json!(1)), Patch::Merge(members(json!(null))), 1),
            ("strategic", members(json!(1)), Patch::Strategic(map(members(json!(null)))), 1),
            (
                "deletes",
                members(json!(1)),
                Patch::Strategic(map(members(json!({"$patch": "delete"})))),
                1,
            ),
            (
                "orders",
                members(json!(["a"])),
                Patch::Strategic(orders(&json!(["a"]))),
                MANY + 1,
            ),
            (
                "deletes from lists",
                members(json!(["a"])),
                Patch::Strategic(
                    (0..MANY)
                        .map(|n| (format!("$deleteFromPrimitiveList/m{n}"), json!(["a"])))
                        .collect(),
                ),
                MANY + 1,
            ),
        ] {
            let mut patched = document;
            patched["last"] = json!(1);
            patch.apply(&mut patched).unwrap();
            assert_eq!(
                (patched["last"].clone(), patched.as_object().unwrap().len()),
                (json!(1), left),
                "{name}"
            );
        }
    }

    fn schema() -> Schema {
        Schema::read(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            "map": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}, "v": {"type": "integer"}}},
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
            "list": {"type": "array", "items": {"type": "integer"}},
        }}}}))
        .unwrap()
    }

    fn spec() -> impl Strategy<Value = Value> {
        let names = || prop::collection::vec("[a-d]", 0..4);
        (names(), names(), prop::collection::vec(0..9_i64, 0..3), any::<[bool; 3]>()).prop_map(|(set, map, list, there)| {
            let once = |names: Vec<String>| {
                let mut seen = std::collections::HashSet::new();
                names.into_iter().filter(|name| seen.insert(name.clone())).collect::<Vec<_>>()
            };
            let map: Vec<Value> = once(map)
                .iter()
                .enumerate()
                .map(|(i, name)| json!({"name": name, "v": i}))
                .collect();
            let mut spec = json!({"set": once(set), "map": map, "list": list});
            for (key, there) in ["set", "map", "list"].into_iter().zip(there) {
                if !there {
                    spec.as_object_mut().unwrap().remove(key);
                }
            }
            spec
        })
    }

    proptest! {
        /// A merge patch applied to its own result changes nothing.
        #[test]
        fn a_merge_patch_is_idempotent(keys in prop::collection::vec("[a-c]", 1..5), null in any::<bool>()) {
            let leaf = if null { Value::Null } else { json!(1) };
            let patch = keys.iter().rev().fold(leaf, |inner, key| json!({ key.as_str(): inner }));
            let patch = Patch::Merge(patch);
            let mut once = json!({"a": {"b": 2}, "c": [1]});
            patch.apply(&mut once).unwrap();
            let mut twice = once.clone();
            patch.apply(&mut twice).unwrap();
            prop_assert_eq!(once, twice);
        }

        /// Nor does a strategic one without directives.
        #[test]
        fn a_strategic_patch_is_idempotent(document in spec(), patch in spec()) {
            let schema = schema();
            let patch = Patch::Strategic(json!({ "spec": patch }).as_object().unwrap().clone());
            let mut once = json!({ "spec": document });
            patch.apply_with(&mut once, Some(&schema)).unwrap();
            let mut twice = once.clone();
            patch.apply_with(&mut twice, Some(&schema)).unwrap();
            prop_assert_eq!(once, twice);
        }
    }
}
