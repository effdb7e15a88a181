//! The way out: what a delete does to an object that something still holds (`store.go` `markAsDeleting`,
//! `deletionFinalizersForGarbageCollection`, `rest.BeforeDelete`).
//!
//! Stored objects have no grace: either the object goes at once, or it stays, marked, until its last finalizer is taken off.

use serde_json::Value;

use super::{FOREGROUND, ORPHAN, finalizers, generation};
use crate::object::Object;
use crate::status::Status;
use crate::time::Timestamp;
use crate::write_options::{DeleteOptions, Preconditions};

/// What a delete comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Nothing holds the object: it is to be removed from the store.
    Now,
    /// Finalizers hold it: it was marked, and is to be written if it changed.
    Held,
}

/// Does to the object what a delete does: sets or takes away the garbage collector's finalizers as the options say, and marks an object
/// that any finalizer holds: deletionTimestamp, deletionGracePeriodSeconds 0, and one more generation the first time.
///
/// A second delete of a marked object may change those two finalizers, as upstream's does where there is no grace. Whether anything
/// changed is seen by comparing: a delete of a marked object usually changes nothing and needs no write.
pub fn begin(object: &mut Object, options: &DeleteOptions, now: Timestamp) -> Deletion {
    set_finalizers(object, options);
    if finalizers(object).next().is_none() {
        return Deletion::Now;
    }
    let marked = Timestamp::parse(object.text("deletionTimestamp")).ok();
    if marked.is_none() && generation(object) > 0 {
        let next = generation(object).saturating_add(1);
        object.metadata.insert("generation".into(), next.into());
    }
    if marked.is_none_or(|at| at > now) {
        object.set("deletionTimestamp", &now.to_string());
    }
    object.metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
    Deletion::Held
}

/// Holds what the caller thinks of the object against it. `resource` is what upstream names in the sentence: the kind, not the plural.
///
/// # Errors
/// 409.
pub fn check(object: &Object, preconditions: &Preconditions, group: &str, resource: &str) -> Result<(), Status> {
    let conflict = |why: String| Err(Status::conflict(group, resource, object.name(), why));
    if let Some(wanted) = preconditions.uid.as_deref().filter(|uid| *uid != object.text("uid")) {
        return conflict(format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            object.text("uid")
        ));
    }
    match preconditions.resource_version.as_deref().filter(|v| *v != object.version()) {
        Some(wanted) => conflict(format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({}). The object might have been modified",
            object.version()
        )),
        None => Ok(()),
    }
}

/// The garbage collector's two finalizers: what the options say, else what the object has.
fn set_finalizers(object: &mut Object, options: &DeleteOptions) {
    let has = |name: &str| finalizers(object).any(|one| one == name);
    let (orphan, foreground) = match (options.orphan_dependents, options.propagation_policy.as_deref()) {
        (Some(orphan), _) => (orphan, false),
        (None, Some("Orphan")) => (true, false),
        (None, Some("Foreground")) => (false, true),
        (None, Some("Background")) => (false, false),
        // Validation lets no object have both.
        _ => (has(ORPHAN), has(FOREGROUND) && !has(ORPHAN)),
    };
    if has(ORPHAN) == orphan && has(FOREGROUND) == foreground {
        return;
    }
    let mut kept: Vec<Value> = finalizers(object)
        .filter(|one| ![ORPHAN, FOREGROUND].contains(one))
        .map(Value::from)
        .collect();
    kept.extend(orphan.then(|| ORPHAN.into()));
    kept.extend(foreground.then(|| FOREGROUND.into()));
    if kept.is_empty() {
        object.metadata.shift_remove("finalizers");
    } else {
        object.metadata.insert("finalizers".into(), kept.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(metadata: &Value) -> Object {
        Object::of(&json!({"apiVersion": "g/v1", "kind": "K", "metadata": metadata})).unwrap()
    }

    fn policy(name: &str) -> DeleteOptions {
        let mut options = DeleteOptions::default();
        match name {
            "" => {}
            "orphanDependents" => options.orphan_dependents = Some(true),
            "no orphanDependents" => options.orphan_dependents = Some(false),
            name => options.propagation_policy = Some(name.into()),
        }
        options
    }

    #[test]
    fn policies_become_finalizers() {
        for (had, asked, want) in [
            (vec![], "", vec![]),
            (vec![], "Background", vec![]),
            (vec![], "Orphan", vec!["orphan"]),
            (vec![], "orphanDependents", vec!["orphan"]),
            (vec![], "no orphanDependents", vec![]),
            (vec![], "Foreground", vec!["foregroundDeletion"]),
            (vec!["a/b"], "Foreground", vec!["a/b", "foregroundDeletion"]),
            (vec!["orphan", "a/b"], "Foreground", vec!["a/b", "foregroundDeletion"]),
            (vec!["orphan", "a/b"], "Background", vec!["a/b"]),
            (vec!["orphan"], "Background", vec![]),
            (vec!["orphan"], "", vec!["orphan"]),
            (vec!["foregroundDeletion"], "", vec!["foregroundDeletion"]),
            (vec!["foregroundDeletion"], "no orphanDependents", vec![]),
            (vec!["foregroundDeletion", "a/b"], "Orphan", vec!["a/b", "orphan"]),
        ] {
            let mut made = object(&json!({"name": "a", "generation": 1, "finalizers": had}));
            let outcome = begin(&mut made, &policy(asked), Timestamp::from_seconds(0));
            assert_eq!(finalizers(&made).collect::<Vec<_>>(), want, "{had:?} {asked}");
            let expected = if want.is_empty() { Deletion::Now } else { Deletion::Held };
            assert_eq!(outcome, expected, "{had:?} {asked}");
            assert_eq!(made.metadata.contains_key("deletionTimestamp"), !want.is_empty());
        }
    }

    #[test]
    fn an_object_that_is_held_is_marked_once() {
        let mut made = object(&json!({"name": "a", "generation": 4, "finalizers": ["a/b"]}));
        let options = DeleteOptions::default();
        assert_eq!(begin(&mut made, &options, Timestamp::from_seconds(60)), Deletion::Held);
        let marked = json!({
            "name": "a", "generation": 5, "finalizers": ["a/b"], "deletionTimestamp": "1970-01-01T00:01:00Z", "deletionGracePeriodSeconds": 0,
        });
        assert_eq!(Value::Object(made.metadata.clone()), marked);
        assert_eq!(begin(&mut made, &options, Timestamp::from_seconds(90)), Deletion::Held);
        assert_eq!(Value::Object(made.metadata.clone()), marked);
        // A clock that went back.
        begin(&mut made, &options, Timestamp::from_seconds(30));
        assert_eq!(made.text("deletionTimestamp"), "1970-01-01T00:00:30Z");
        assert_eq!(made.metadata["generation"], 5);
        // One that never had a generation gets none.
        let mut old = object(&json!({"name": "a", "finalizers": ["a/b"]}));
        begin(&mut old, &options, Timestamp::from_seconds(0));
        assert!(!old.metadata.contains_key("generation"));
    }

    #[test]
    fn preconditions_are_held_against_the_object() {
        let made = object(&json!({"name": "a", "uid": "u", "resourceVersion": "7"}));
        let of = |uid: Option<&str>, version: Option<&str>| Preconditions {
            uid: uid.map(str::to_owned),
            resource_version: version.map(str::to_owned),
        };
        for (conditions, want) in [
            (of(None, None), None),
            (of(Some("u"), Some("7")), None),
            (
                of(Some("v"), Some("7")),
                Some(
                    r#"Operation cannot be fulfilled on K.g "a": the UID in the precondition (v) does not match the UID in record (u). The object might have been deleted and then recreated"#,
                ),
            ),
            (
                of(Some("u"), Some("6")),
                Some(
                    r#"Operation cannot be fulfilled on K.g "a": the ResourceVersion in the precondition (6) does not match the ResourceVersion in record (7). The object might have been modified"#,
                ),
            ),
        ] {
            let refused = check(&made, &conditions, "g", "K").map_err(|s| (s.code, s.message));
            assert_eq!(refused.err(), want.map(|w| (409, w.to_owned())));
        }
    }
}
