//! Patches of what has no Go type: JSON patch (RFC 6902) and JSON merge patch (RFC 7386), as upstream applies them to a custom
//! resource (apiserver `handlers/patch.go`).

use serde_json::Value;

use crate::status::Status;

/// A patch that was read.
#[derive(Debug, Clone)]
pub enum Patch {
    /// `application/json-patch+json`.
    Json(json_patch::Patch),
    /// `application/merge-patch+json`.
    Merge(Value),
}

/// The media types that can be read.
pub const ACCEPTED: [&str; 2] = ["application/json-patch+json", "application/merge-patch+json"];
/// Operations of one JSON patch (`maxJSONPatchOperations`).
const OPERATIONS: usize = 10_000;

// === impl Patch ===

impl Patch {
    /// Reads a body of this `Content-Type`.
    ///
    /// # Errors
    /// 415 for another type (a strategic merge patch needs a Go type), 400 for what is malformed, 413 for a JSON patch of more than 10,000
    /// operations.
    pub fn read(content_type: &str, body: &[u8]) -> Result<Self, Status> {
        let media = content_type.split(';').next().unwrap_or_default();
        let malformed = |error: serde_json::Error| Status::bad_request(format!("error decoding patch: {error}"));
        match media {
            "application/json-patch+json" => {
                let patch: json_patch::Patch = serde_json::from_slice(body).map_err(malformed)?;
                if patch.0.len() > OPERATIONS {
                    return Err(Status::too_large(format!(
                        "The allowed maximum operations in a JSON patch is {OPERATIONS}, got {}",
                        patch.0.len()
                    )));
                }
                Ok(Self::Json(patch))
            }
            "application/merge-patch+json" => {
                let patch: Value = serde_json::from_slice(body).map_err(malformed)?;
                if patch.is_object() {
                    Ok(Self::Merge(patch))
                } else {
                    Err(Status::bad_request("error decoding patch: a merge patch is a JSON object"))
                }
            }
            _ => Err(Status::unsupported_media_type(&ACCEPTED)),
        }
    }

    /// Applies it; on an error the document is as it was.
    ///
    /// # Errors
    /// 422 for a JSON patch that does not fit the document, a failed `test` among them.
    pub fn apply(&self, document: &mut Value) -> Result<(), Status> {
        match self {
            Self::Json(patch) => json_patch::patch(document, patch).map_err(|_| Status::unprocessable()),
            Self::Merge(patch) => {
                json_patch::merge(document, patch);
                Ok(())
            }
        }
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
    }
}
