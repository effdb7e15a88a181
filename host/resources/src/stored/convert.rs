//! Objects in another version: what a plugin's strategy makes of them, judged.
//!
//! Objects are kept in one version and served in several. Where the two are the same nothing happens here; else the plugin converts, many
//! objects in one call. As with a CustomResourceDefinition's webhook (apiextensions `webhook_converter.go`) a conversion may change labels and
//! annotations and all that is not metadata; kind, name, namespace and uid must come back as they were, and the rest of the metadata is put
//! back whatever the plugin says of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger_api::json;
use outrigger_api::kept;
use outrigger_api::meta::{NONE, TypeMeta};
use outrigger_api::object::{NotAnObject, Object};
use outrigger_api::status::Status;
use outrigger_catalog::Served;
use outrigger_sandbox::{CallError, ContractError};
use outrigger_storage::{Entry, Interned, Row};

use crate::shape;

/// Objects, and their bytes, that are converted by one call.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 1 << 20;
/// When to come back to a plugin that has no room just now.
const SOON: u32 = 1;

/// Why what a plugin made of an object cannot be used.
#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error("it is no object: {0}")]
    Object(#[from] NotAnObject),
    #[error("must have the same {field}: {before} != {after}")]
    Other {
        field: &'static str,
        before: String,
        after: String,
    },
}

/// These objects in the version of `served`, in their order, each in the state that it had: what is in that version already comes back as it
/// is, the others are converted in at most `deadline`, in batches of one call each.
///
/// # Errors
/// The Status to answer with: no part of the list is served then.
pub(crate) async fn in_version(served: &Served, entries: &[Arc<Entry>], deadline: Duration) -> Result<Vec<Arc<Entry>>, Status> {
    let mut out = entries.to_vec();
    let begun = Instant::now();
    let interned = Interned::default();
    let mut waiting = entries.iter().enumerate().filter(|(_, entry)| !is_in_version(served, entry));
    let mut next = waiting.next();
    while next.is_some() {
        let (mut places, mut documents, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some((at, entry)) = next.filter(|_| documents.len() < BATCH && bytes < BATCH_BYTES) {
            let document = document(served, entry);
            bytes += document.len();
            places.push((at, entry));
            documents.push(document);
            next = waiting.next();
        }
        let left = deadline.saturating_sub(begun.elapsed());
        let converted = call(served, short(&served.api_version), &documents, left).await?;
        for (((at, entry), before), after) in places.into_iter().zip(documents).zip(converted) {
            let object = Object::read(&before)
                .map_err(Bad::from)
                .and_then(|before| judge(&before, &after, &served.api_version));
            let document = object.map(|object| Bytes::from(kept::write(&object).into_boxed_slice()));
            let row = document.and_then(|document| Ok(Row::of(entry.row.key.clone(), &document, &interned)?));
            let row = row.map_err(|bad| unusable(served, &served.api_version, &bad))?;
            if let Some(place) = out.get_mut(at) {
                *place = Arc::new(Entry::kept(row, entry.revision));
            }
        }
    }
    Ok(out)
}

/// An object in another version of its resource; `version` is the version's name, without the group. Costs nothing if it is in that version.
///
/// # Errors
/// The Status to answer with.
#[allow(dead_code, reason = "writes are made of it")]
pub(crate) async fn object_in(served: &Served, object: Object, version: &str, deadline: Duration) -> Result<Object, Status> {
    let api_version = match &*served.resource.group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    };
    if object.api_version == api_version {
        return Ok(object);
    }
    let converted = call(served, version, &[object.to_bytes()], deadline).await?;
    let converted = converted.first().map(Vec::as_slice).unwrap_or_default();
    judge(&object, converted, &api_version).map_err(|bad| unusable(served, &api_version, &bad))
}

/// Whether an object can be served as it is kept.
pub(crate) fn is_in_version(served: &Served, entry: &Entry) -> bool {
    let kept = entry.row.kept_version();
    kept.is_none_or(|kept| Arc::ptr_eq(kept, &served.api_version) || **kept == *served.api_version)
}

/// The whole object, in the version in which it is kept.
fn document(served: &Served, entry: &Entry) -> Vec<u8> {
    let object = shape::Object::of(entry, &NONE);
    let kind = TypeMeta {
        api_version: entry.row.kept_version().map_or("", |kept| kept),
        kind: &served.resource.kind,
    };
    let mut out = Vec::with_capacity(object.fields.len() + object.meta.rest.json.len() + 256);
    json::write_object(&mut out, Some(kind), &object.meta, object.fields);
    out
}

/// The version's name in `GROUP/VERSION`.
fn short(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or(api_version, |(_, version)| version)
}

async fn call(served: &Served, version: &str, objects: &[Vec<u8>], deadline: Duration) -> Result<Vec<Vec<u8>>, Status> {
    let plural = &served.resource.plural;
    let Some(guest) = &served.guest else {
        return Err(Status::internal_error(format!("nobody converts {plural} to {version}")));
    };
    let converted = guest.convert(plural, version, objects, deadline).await;
    let converted = converted.map_err(|error| failed(served, version, &error))?;
    // The sandbox has counted them; a plugin that is no component is held to it as well.
    if converted.len() != objects.len() {
        let (found, wanted) = (converted.len(), objects.len());
        return Err(Status::internal_error(told(
            served,
            version,
            &format!("it returned {found} objects for {wanted}"),
        )));
    }
    Ok(converted)
}

fn judge(before: &Object, after: &[u8], api_version: &str) -> Result<Object, Bad> {
    let mut after = Object::read(after)?;
    let uid = (before.text("uid"), after.text("uid"));
    for (field, (before, after)) in [
        ("apiVersion", (api_version, &*after.api_version)),
        ("kind", (&*before.kind, &*after.kind)),
        ("name", (before.name(), after.name())),
        ("namespace", (before.namespace(), after.namespace())),
        ("UID", uid),
    ] {
        if before != after {
            return Err(Bad::Other {
                field,
                before: before.to_owned(),
                after: after.to_owned(),
            });
        }
    }
    let mut metadata = before.metadata.clone();
    for own in ["labels", "annotations"] {
        match after.metadata.remove(own) {
            Some(new) => metadata.insert(own.to_owned(), new),
            None => metadata.remove(own),
        };
    }
    after.metadata = metadata;
    Ok(after)
}

/// What an objects' reader is told: in the guest's words if it refused, else that it failed; the log has the whole of it.
fn failed(served: &Served, version: &str, error: &CallError) -> Status {
    match error {
        CallError::Refused { error: why, .. } => {
            tracing::warn!("{error}");
            match why {
                ContractError::Exhausted(text) => Status::exhausted(told(served, version, text), SOON),
                ContractError::Unavailable(text) => Status::service_unavailable(told(served, version, text), SOON),
                ContractError::Timeout(text) => Status::timeout(told(served, version, text), 0),
                why => Status::internal_error(told(served, version, &why.to_string())),
            }
        }
        CallError::Busy { .. } => Status::too_many_requests(SOON),
        CallError::SetAside { retry_after, .. } => {
            let seconds = u32::try_from(retry_after.as_secs()).unwrap_or(u32::MAX).max(SOON);
            let why = told(served, version, "it is set aside because its calls keep failing");
            Status::service_unavailable(why, seconds)
        }
        CallError::Deadline { .. } | CallError::CpuTime { .. } => {
            tracing::error!("{error}");
            Status::timeout(told(served, version, "it did not answer in time"), 0)
        }
        error => {
            tracing::error!("{error}");
            Status::internal_error(told(served, version, "it failed"))
        }
    }
}

fn unusable(served: &Served, api_version: &str, bad: &Bad) -> Status {
    let why = told(served, short(api_version), &bad.to_string());
    tracing::error!("{why}");
    Status::internal_error(why)
}

fn told(served: &Served, version: &str, why: &str) -> String {
    let (plugin, resource) = (&served.plugin, &served.resource);
    format!(
        "conversion of {}.{} to {version} by the plugin {plugin} failed: {why}",
        resource.plural, resource.group
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What apiextensions' `TestRestoreObjectMeta` and `TestValidateConvertedObject` hold.
    #[test]
    fn a_conversion_may_change_labels_and_annotations_and_no_other_metadata() {
        let object = |json: &str| Object::read(json.as_bytes()).unwrap();
        let before = object(
            r#"{"apiVersion":"g/v1","kind":"Ship","metadata":{"name":"a","namespace":"sea","uid":"u","generation":3,
                "labels":{"l":"1"},"annotations":{"x":"1"},"finalizers":["f"]},"tons":1}"#,
        );
        for (name, after, want) in [
            (
                "as it was",
                r#"{"apiVersion":"g/v2","kind":"Ship","metadata":{"name":"a","namespace":"sea","uid":"u","labels":{"l":"1"}},"tonnes":1}"#,
                Ok(
                    r#"{"apiVersion":"g/v2","kind":"Ship","metadata":{"name":"a","namespace":"sea","uid":"u","generation":3,"labels":{"l":"1"},"finalizers":["f"]},"tonnes":1}"#,
                ),
            ),
            (
                "what it may, and what is put back",
                r#"{"apiVersion":"g/v2","kind":"Ship","metadata":{"name":"a","namespace":"sea","uid":"u","generation":9,
                    "labels":{"n":"2"},"annotations":{"y":"2"},"finalizers":[],"resourceVersion":"8"}}"#,
                Ok(
                    r#"{"apiVersion":"g/v2","kind":"Ship","metadata":{"name":"a","namespace":"sea","uid":"u","generation":3,"labels":{"n":"2"},"annotations":{"y":"2"},"finalizers":["f"]}}"#,
                ),
            ),
            (
                "not converted",
                r#"{"apiVersion":"g/v1","kind":"Ship","metadata":{"name":"a","namespace":"sea","uid":"u"}}"#,
                Err("must have the same apiVersion: g/v2 != g/v1"),
            ),
            (
                "another kind",
                r#"{"apiVersion":"g/v2","kind":"Boat","metadata":{"name":"a","namespace":"sea","uid":"u"}}"#,
                Err("must have the same kind: Ship != Boat"),
            ),
            (
                "another name",
                r#"{"apiVersion":"g/v2","kind":"Ship","metadata":{"name":"b","namespace":"sea","uid":"u"}}"#,
                Err("must have the same name: a != b"),
            ),
            (
                "another namespace",
                r#"{"apiVersion":"g/v2","kind":"Ship","metadata":{"name":"a","uid":"u"}}"#,
                Err("must have the same namespace: sea != "),
            ),
            (
                "another uid",
                r#"{"apiVersion":"g/v2","kind":"Ship","metadata":{"name":"a","namespace":"sea","uid":"v"}}"#,
                Err("must have the same UID: u != v"),
            ),
            ("no object", "[]", Err("it is no object")),
            (
                "no metadata to speak of",
                r#"{"apiVersion":"g/v2","kind":"Ship","metadata":{"name":1}}"#,
                Err("it is no object: metadata.name"),
            ),
        ] {
            match (judge(&before, after.as_bytes(), "g/v2"), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, object(want), "{name}"),
                (Err(got), Err(want)) => assert!(got.to_string().starts_with(want), "{name}: {got}"),
                (got, want) => panic!("{name}: {got:?}, not {want:?}"),
            }
        }
    }
}
