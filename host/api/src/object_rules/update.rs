//! A changed object's metadata: what is silently put back, what is refused (`rest.BeforeUpdate`, `ValidateObjectMetaUpdate`).

use serde_json::{Value, json};

use super::{finalizer_set, finalizers, generation, put_back, validity};
use crate::field;
use crate::object::Object;
use crate::status::{Cause, Status};

const IMMUTABLE: &str = "field is immutable";

/// Puts back what a change cannot touch: generation always, uid where none is given, creationTimestamp where the old object has one,
/// deletionTimestamp once deletion has begun, deletionGracePeriodSeconds where it was taken away, selfLink.
///
/// A uid, or a deletionTimestamp where none was, is not put back: [`validate`] refuses it.
pub fn prepare(object: &mut Object, old: &Object) {
    put_back(object, old, "generation");
    object.metadata.shift_remove("selfLink");
    super::create::reset_managed(object);
    if object.text("uid").is_empty() {
        put_back(object, old, "uid");
    }
    for key in ["creationTimestamp", "deletionTimestamp"] {
        if old.metadata.contains_key(key) {
            put_back(object, old, key);
        }
    }
    if !object.metadata.contains_key("deletionGracePeriodSeconds") {
        put_back(object, old, "deletionGracePeriodSeconds");
    }
}

/// Counts a generation. To be called when anything but metadata, or but status where status is a subresource of its own, is another
/// than in `old` (apiextensions `customResourceStrategy.PrepareForUpdate`).
pub fn next_generation(object: &mut Object, old: &Object) {
    object
        .metadata
        .insert("generation".into(), generation(old).saturating_add(1).into());
}

/// What is wrong with the metadata of a change: everything that is wrong with an object as such ([`super::validate`]; of the name only whether it can
/// stand in a path, since it cannot be changed), then what the old object does not allow.
#[must_use]
pub fn validate(object: &Object, old: &Object, namespaced: bool) -> Vec<Cause> {
    let mut causes = validity::validate_existing(object, namespaced);
    let at = |key: &str| format!("metadata.{key}");
    let member = |object: &Object, key: &str| object.metadata.get(key).cloned().unwrap_or_default();
    if old.metadata.contains_key("deletionTimestamp") {
        let was = finalizer_set(old);
        let mut added: Vec<&str> = finalizers(object).filter(|one| !was.contains(one)).collect();
        added.sort_unstable();
        added.dedup();
        if !added.is_empty() {
            let list: Vec<String> = added.iter().map(|one| crate::quote::Quoted(one).to_string()).collect();
            let mut list = list.join(", ");
            field::shorten(&mut list);
            let why =
                format!("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{list}}}");
            causes.push(field::forbidden(at("finalizers"), &why));
        }
    }
    if object.version().is_empty() {
        causes.push(field::invalid(
            at("resourceVersion"),
            &json!(""),
            "must be specified for an update",
        ));
    }
    if generation(object) < generation(old) {
        causes.push(field::invalid(
            at("generation"),
            &generation(object).into(),
            "must not be decremented",
        ));
    }
    for key in ["name", "namespace", "uid"] {
        if object.text(key) != old.text(key) {
            causes.push(field::invalid(at(key), &json!(object.text(key)), IMMUTABLE));
        }
    }
    for key in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (new, was) = (member(object, key), member(old, key));
        if new != was {
            causes.push(field::invalid(at(key), &new, IMMUTABLE));
        }
    }
    causes
}

/// Whether an update deletes the object: its deletion has begun, without grace, and the last finalizer goes with it
/// (`store.go` `ShouldDeleteDuringUpdate`).
#[must_use]
pub fn deletes(object: &Object, old: &Object) -> bool {
    let grace = old.metadata.get("deletionGracePeriodSeconds").and_then(Value::as_i64);
    finalizers(object).next().is_none() && old.metadata.contains_key("deletionTimestamp") && grace.unwrap_or_default() == 0
}

/// Refuses an update that names no version where the resource wants one (`store.go` `Update`). `resource` is the plural.
///
/// # Errors
/// 422.
pub fn require_version(object: &Object, group: &str, resource: &str) -> Result<(), Status> {
    if !matches!(object.version(), "" | "0") {
        return Ok(());
    }
    let cause = Cause {
        reason: "FieldValueInvalid".into(),
        // Go marshals the unsigned number that it has become.
        message: "Invalid value: 0: must be specified for an update".into(),
        field: "metadata.resourceVersion".into(),
    };
    Err(Status::invalid(group, resource, object.name(), vec![cause]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(metadata: &Value) -> Object {
        Object::of(&json!({"apiVersion": "g/v1", "kind": "K", "metadata": metadata})).unwrap()
    }

    /// An object's metadata, with these members put over it; null takes one away.
    fn with(over: &Value) -> Value {
        let mut made = json!({
            "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "5", "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z",
        });
        json_patch::merge(&mut made, over);
        made
    }

    #[test]
    fn what_a_change_cannot_touch_is_put_back_or_refused() {
        const DYING: &str = "2026-01-02T00:00:00Z";
        let dying = json!({"deletionTimestamp": DYING, "deletionGracePeriodSeconds": 0, "finalizers": ["a/b"]});
        for (name, old, new, want) in [
            ("nothing", json!({}), json!({}), vec![]),
            ("generation is put back", json!({}), json!({"generation": 9}), vec![]),
            ("uid is put back", json!({}), json!({"uid": null}), vec![]),
            (
                "another uid",
                json!({}),
                json!({"uid": "other"}),
                vec![r#"metadata.uid: Invalid value: "other": field is immutable"#],
            ),
            (
                "another name",
                json!({}),
                json!({"name": "b"}),
                vec![r#"metadata.name: Invalid value: "b": field is immutable"#],
            ),
            (
                "another namespace",
                json!({}),
                json!({"namespace": "m"}),
                vec![r#"metadata.namespace: Invalid value: "m": field is immutable"#],
            ),
            (
                "creation is put back",
                json!({}),
                json!({"creationTimestamp": "1999-01-01T00:00:00Z"}),
                vec![],
            ),
            (
                "no version",
                json!({}),
                json!({"resourceVersion": null}),
                vec![r#"metadata.resourceVersion: Invalid value: "": must be specified for an update"#],
            ),
            (
                "a client cannot begin a deletion",
                json!({}),
                json!({"deletionTimestamp": DYING, "deletionGracePeriodSeconds": 30}),
                vec![
                    r#"metadata.deletionTimestamp: Invalid value: "2026-01-02T00:00:00Z": field is immutable"#,
                    "metadata.deletionGracePeriodSeconds: Invalid value: 30: field is immutable",
                ],
            ),
            (
                "nor end one",
                dying.clone(),
                json!({"deletionTimestamp": null, "finalizers": ["a/b"]}),
                vec![],
            ),
            (
                "nor make it longer",
                dying.clone(),
                json!({"deletionTimestamp": DYING, "deletionGracePeriodSeconds": 9, "finalizers": ["a/b"]}),
                vec!["metadata.deletionGracePeriodSeconds: Invalid value: 9: field is immutable"],
            ),
            (
                "nor hold it up",
                dying,
                json!({"finalizers": ["a/b", "z/y", "c/d"]}),
                vec![
                    r#"metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"c/d", "z/y"}"#,
                ],
            ),
            (
                "finalizers of a living object",
                json!({}),
                json!({"finalizers": ["c/d"]}),
                vec![],
            ),
        ] {
            let (old, mut new) = (object(&with(&old)), object(&with(&new)));
            prepare(&mut new, &old);
            let causes = validate(&new, &old, true);
            let got: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
            assert_eq!(got, want, "{name}");
            assert_eq!(new.metadata["generation"], 3, "{name}");
        }
    }

    #[test]
    fn a_generation_is_counted() {
        let old = object(&with(&json!({})));
        let mut new = old.clone();
        next_generation(&mut new, &old);
        assert_eq!(new.metadata["generation"], 4);
    }

    #[test]
    fn the_last_finalizer_ends_a_deletion() {
        let dying = |more: &Value| {
            let mut made = with(&json!({"deletionTimestamp": "2026-01-02T00:00:00Z"}));
            json_patch::merge(&mut made, more);
            object(&made)
        };
        let (bare, held) = (dying(&json!({})), dying(&json!({"finalizers": ["a/b"]})));
        let graceful = dying(&json!({"deletionGracePeriodSeconds": 30}));
        for (new, old, want) in [
            (&bare, &held, true),
            (&bare, &bare, true),
            (&held, &held, false),
            (&bare, &object(&with(&json!({}))), false),
            (&bare, &graceful, false),
        ] {
            assert_eq!(deletes(new, old), want, "{:?}", old.metadata);
        }
    }

    #[test]
    fn a_version_can_be_insisted_on() {
        let refused = require_version(&object(&with(&json!({"resourceVersion": null}))), "g", "things").unwrap_err();
        assert_eq!(refused.code, 422);
        assert_eq!(
            refused.message,
            r#"things.g "a" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"#
        );
        assert!(require_version(&object(&with(&json!({}))), "g", "things").is_ok());
    }
}
