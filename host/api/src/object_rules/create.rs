//! A new object's metadata: what clients may not say, what the server says instead (`rest.BeforeCreate`, `rest/meta.go`).

use serde_json::Value;

use crate::object::Object;
use crate::status::Status;
use crate::time::Timestamp;

/// What a stored object may not say when it is made; upstream answers it without a reason.
const VERSION_ON_CREATE: &str = "resourceVersion should not be set on objects to be created";

/// Takes away what only the server says of an object: selfLink, uid, creationTimestamp, deletionTimestamp, deletionGracePeriodSeconds
/// (`rest.WipeObjectMetaSystemFields`). What a client sends there is dropped without a word.
pub fn wipe(object: &mut Object) {
    for key in [
        "selfLink",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        object.metadata.shift_remove(key);
    }
    reset_managed(object);
}

/// Takes managedFields away that are said to be none, or one of which nothing is said: so clients have them begin anew (apimachinery
/// `managedfields` `internal/fieldmanager.go`). Of an update too.
pub(super) fn reset_managed(object: &mut Object) {
    let is_reset = match object
        .metadata
        .get("managedFields")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
    {
        Some([]) => true,
        Some([only]) => only.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    };
    if is_reset {
        object.metadata.shift_remove("managedFields");
    }
}

/// Says what only the server says of a new object (`rest.FillObjectMetaSystemFields`) and that it is in its first generation.
pub fn fill(object: &mut Object, uid: &str, now: Timestamp) {
    wipe(object);
    object.set("uid", uid);
    object.set("creationTimestamp", &now.to_string());
    object.metadata.insert("generation".into(), 1.into());
}

/// Refuses a new object that has a resourceVersion.
///
/// # Errors
/// 500 without a reason, as upstream's storage answers it.
pub fn refuse_version(object: &Object) -> Result<(), Status> {
    if matches!(object.version(), "" | "0") {
        return Ok(());
    }
    Err(Status::failure(500, "", VERSION_ON_CREATE))
}

/// Puts the object into the namespace of its request; the empty one is the cluster's, where whatever the object says is dropped
/// (`rest.EnsureObjectNamespaceMatchesRequestNamespace`). Of an update too.
///
/// # Errors
/// 400 if the object names another.
pub fn ensure_namespace(object: &mut Object, namespace: &str) -> Result<(), Status> {
    let own = object.namespace();
    if !own.is_empty() && !namespace.is_empty() && own != namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(why));
    }
    object.set("namespace", namespace);
    Ok(())
}

/// Drops owners that stand there twice; returns the warning that is due then (`handlers/rest.go` `dedupOwnerReferences`). Upstream warns in
/// other words when it finds them after admission, which is where it looks at a patch.
pub fn duplicate_owners(object: &mut Object, after_admission: bool) -> Option<String> {
    let owners = object.metadata.get_mut("ownerReferences")?.as_array_mut()?;
    let mut kept: Vec<Value> = Vec::with_capacity(owners.len());
    let mut seen = std::collections::HashSet::new();
    let mut twice = Vec::new();
    for owner in owners.drain(..) {
        // The same owner, however its members are ordered.
        if seen.insert(crate::field::go_json(&owner)) {
            kept.push(owner);
        } else {
            twice.push(owner.get("uid").and_then(Value::as_str).unwrap_or_default().to_owned());
        }
    }
    *owners = kept;
    if twice.is_empty() {
        return None;
    }
    let when = if after_admission {
        " after mutating admission happens"
    } else {
        ""
    };
    Some(format!(
        ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        twice.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(metadata: Value) -> Object {
        Object::of(&json!({"apiVersion": "g/v1", "kind": "K", "metadata": metadata})).unwrap()
    }

    #[test]
    fn the_server_says_who_a_new_object_is() {
        let mut new = object(json!({
            "name": "a", "uid": "mine", "creationTimestamp": "2000-01-01T00:00:00Z", "generation": 7, "selfLink": "/x",
            "deletionTimestamp": "2000-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30, "labels": {"a": "b"},
        }));
        fill(&mut new, "u-1", Timestamp::from_seconds(0));
        let want = json!({
            "name": "a", "uid": "u-1", "creationTimestamp": "1970-01-01T00:00:00Z", "generation": 1, "labels": {"a": "b"},
        });
        assert_eq!(Value::Object(new.metadata), want);
    }

    #[test]
    fn managed_fields_can_be_reset() {
        for (sent, stays) in [
            (json!([]), false),
            (json!([{}]), false),
            (json!([{"manager": "me"}]), true),
            (json!([{}, {}]), true),
        ] {
            let mut new = object(json!({"name": "a", "managedFields": sent}));
            wipe(&mut new);
            assert_eq!(new.metadata.contains_key("managedFields"), stays, "{sent}");
        }
    }

    #[test]
    fn a_new_object_has_no_version() {
        for (version, fits) in [("", true), ("0", true), ("1", false), ("abc", false)] {
            let made = object(json!({"name": "a", "resourceVersion": version}));
            let refused = refuse_version(&made);
            assert_eq!(refused.is_ok(), fits, "{version}");
            if let Err(status) = refused {
                assert_eq!((status.code, status.reason.as_str()), (500, ""));
                assert_eq!(status.message, VERSION_ON_CREATE);
            }
        }
    }

    #[test]
    fn an_object_is_in_the_namespace_of_its_request() {
        for (own, asked, want) in [
            ("", "a", Some("a")),
            ("a", "a", Some("a")),
            ("b", "a", None),
            ("b", "", Some("")),
            ("", "", Some("")),
        ] {
            let mut put = object(json!({"namespace": own}));
            let got = ensure_namespace(&mut put, asked).map(|()| put.namespace().to_owned());
            assert_eq!(got.as_deref().ok(), want, "{own:?} in {asked:?}");
        }
    }

    #[test]
    fn an_owner_that_stands_there_twice_is_dropped_with_a_warning() {
        let owner = |uid: &str, name: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
        let mut twice = object(json!({"ownerReferences": [owner("u", "a"), owner("u", "b"), owner("v", "c"), owner("u", "a")]}));
        let warning = duplicate_owners(&mut twice, false).unwrap();
        assert!(
            warning.starts_with(".metadata.ownerReferences contains duplicate entries; API"),
            "{warning}"
        );
        assert!(warning.ends_with("duplicate UID(s) observed: u"), "{warning}");
        assert_eq!(
            twice.metadata["ownerReferences"],
            json!([owner("u", "a"), owner("u", "b"), owner("v", "c")])
        );
        assert_eq!(duplicate_owners(&mut twice, false), None);
        let mut patched = object(json!({"ownerReferences": [owner("u", "a"), owner("u", "a")]}));
        let warning = duplicate_owners(&mut patched, true).unwrap();
        assert!(
            warning.starts_with(".metadata.ownerReferences contains duplicate entries after mutating admission happens; API"),
            "{warning}"
        );
    }
}
