//! What holds of every stored object's metadata, whatever its type: made, changed, deleted (apiserver `registry/rest` and
//! `registry/generic/registry/store.go`, apimachinery `api/validation/objectmeta.go`).
//!
//! These are the rules without the storage: functions over [`Object`]s that say what is set, what is silently put back, what is refused and with
//! which words. Nothing here looks at a clock or makes up a UID: both come in as arguments, so that a write that is tried again is the same
//! write.
//!
//! - [`names`](crate::names) and this room's own `validity` say what is well-formed;
//! - [`create`] is a new object's way in, [`update`] a change's, [`delete`] the way out.

pub mod create;
pub mod delete;
pub mod update;
mod validity;

use std::collections::HashSet;

use serde_json::Value;

use crate::object::Object;

pub use create::{duplicate_owners, ensure_namespace};
pub use delete::Deletion;
pub use validity::{finalizer_warnings, validate};

/// Set by `propagationPolicy: Orphan`; the garbage collector takes the owner off the dependants, then this off the object.
pub const ORPHAN: &str = "orphan";
/// Set by `propagationPolicy: Foreground`; the garbage collector deletes the dependants, then takes this off the object.
pub const FOREGROUND: &str = "foregroundDeletion";

/// What is wrong with the metadata of an object that stands inside another.
pub(crate) fn validate_embedded(object: &Object, namespaced: bool) -> Vec<crate::status::Cause> {
    validity::validate_existing(object, namespaced)
}

/// `metadata.finalizers`.
fn finalizers(object: &Object) -> impl Iterator<Item = &str> {
    let all = object.metadata.get("finalizers").and_then(Value::as_array);
    all.into_iter().flatten().filter_map(Value::as_str)
}

/// `metadata.finalizers`, to be asked for one of them: there may be a hundred thousand.
fn finalizer_set(object: &Object) -> HashSet<&str> {
    finalizers(object).collect()
}

/// `metadata.generation`; 0 if it has none.
fn generation(object: &Object) -> i64 {
    object.metadata.get("generation").and_then(Value::as_i64).unwrap_or_default()
}

/// Puts a member of `from` in the place of the same one here, or takes it away where `from` has none.
fn put_back(object: &mut Object, from: &Object, key: &str) {
    match from.metadata.get(key) {
        Some(value) => object.metadata.insert(key.to_owned(), value.clone()),
        None => object.metadata.shift_remove(key),
    };
}
