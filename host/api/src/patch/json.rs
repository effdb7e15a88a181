//! JSON patches, one operation after the other, with an eye on what they cost.
//!
//! Ten thousand operations of a few bytes each can copy a document over and over, push a large list along ten thousand times, or nest objects until
//! nobody can take them apart again. Few operations that copy nothing are applied as they are; of the rest each is weighed first.

use serde_json::Value;

use json_patch::PatchOperation;
use json_patch::jsonptr::Pointer;

use super::{OPERATIONS, Patch};
use crate::status::Status;

/// Bytes that all copies of one patch may add (`JSONPatchMaxCopyBytes`).
const COPIES: usize = 3 * 1024 * 1024;
/// Levels of a document: as many as the reader takes.
pub(super) const LEVELS: usize = 127;
/// Levels while a patch is at work, before they are counted.
const SUPPOSED: usize = 512;
/// Items pushed along and values looked at.
const WORK: usize = 50_000_000;
/// Operations that need no weighing.
const FEW: usize = 16;

pub(super) fn read(body: &[u8]) -> Result<Patch, Status> {
    let malformed = |error: serde_json::Error| Status::bad_request(format!("error decoding patch: {error}"));
    let value: Value = serde_json::from_slice(body).map_err(malformed)?;
    let texts = |operation: &Value| {
        ["op", "path", "from"]
            .iter()
            .all(|key| operation.get(key).is_none_or(Value::is_string))
    };
    match value.as_array() {
        Some(operations) if operations.len() > OPERATIONS => {
            return Err(Status::too_large(format!(
                "The allowed maximum operations in a JSON patch is {OPERATIONS}, got {}",
                operations.len()
            )));
        }
        Some(operations) if operations.iter().all(|operation| operation.is_object() && texts(operation)) => {}
        _ => {
            let why = "error decoding patch: a JSON patch is a list of operations";
            return Err(Status::bad_request(why));
        }
    }
    // Operations that there are not, or that miss a member, fail when they are applied, upstream.
    let patch = serde_json::from_value(value).map_err(|_| Status::unprocessable())?;
    Ok(Patch::Json(patch))
}

pub(super) fn apply(patch: &json_patch::Patch, document: &mut Value) -> Result<(), Status> {
    let mut levels = depth(document, LEVELS).ok_or_else(too_deep)?;
    // The library's own way back loses what a move took from its place when it cannot put it down: a copy is the way back here.
    let mut made = document.clone();
    let copies = patch.iter().any(|operation| matches!(operation, PatchOperation::Copy(_)));
    if !copies && patch.len() <= FEW {
        let most = patch.iter().fold(levels, |levels, operation| levels_after(operation, levels));
        if most <= LEVELS {
            json_patch::patch_unsafe(&mut made, patch).map_err(|_| Status::unprocessable())?;
            *document = made;
            return Ok(());
        }
    }
    let (mut copied, mut work) = (0_usize, WORK);
    for operation in patch.iter() {
        let cost = pushed(&made, operation);
        work = work.checked_sub(cost).ok_or_else(too_much)?;
        if let PatchOperation::Copy(copy) = operation {
            let Some(value) = made.pointer(copy.from.as_str()) else {
                return Err(Status::unprocessable());
            };
            copied = copied.saturating_add(size(value));
            if copied > COPIES {
                return Err(Status::too_large(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {COPIES}"
                )));
            }
        }
        levels = levels_after(operation, levels);
        json_patch::patch_unsafe(&mut made, std::slice::from_ref(operation)).map_err(|_| Status::unprocessable())?;
        if levels > SUPPOSED {
            work = work.checked_sub(values(&made)).ok_or_else(too_much)?;
            levels = depth(&made, LEVELS).ok_or_else(too_deep)?;
        }
    }
    depth(&made, LEVELS).ok_or_else(too_deep)?;
    *document = made;
    Ok(())
}

fn too_deep() -> Status {
    Status::too_large(format!("a patched document has more than {LEVELS} levels"))
}

fn too_much() -> Status {
    Status::too_large("the operations of the JSON patch move too much of the document about")
}

/// The most levels that a document of so many has after an operation.
fn levels_after(operation: &PatchOperation, levels: usize) -> usize {
    let below = |path: &Pointer, value: usize| levels.max(path.count().saturating_add(value));
    match operation {
        PatchOperation::Add(add) => below(&add.path, depth(&add.value, LEVELS).unwrap_or(LEVELS)),
        PatchOperation::Replace(replace) => below(&replace.path, depth(&replace.value, LEVELS).unwrap_or(LEVELS)),
        PatchOperation::Move(one) => below(&one.path, levels),
        PatchOperation::Copy(one) => below(&one.path, levels),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => levels,
    }
}

/// Items of lists that an operation may push along.
fn pushed(document: &Value, operation: &PatchOperation) -> usize {
    let list = |path: &Pointer| {
        let parent = path.split_back().and_then(|(parent, _)| document.pointer(parent.as_str()));
        parent.and_then(Value::as_array).map_or(1, Vec::len)
    };
    match operation {
        PatchOperation::Add(one) => list(&one.path),
        PatchOperation::Remove(one) => list(&one.path),
        PatchOperation::Copy(one) => list(&one.path),
        PatchOperation::Move(one) => list(&one.path).saturating_add(list(&one.from)),
        PatchOperation::Replace(_) | PatchOperation::Test(_) => 1,
    }
}

/// Levels of a value: 0 of a scalar. None if there are more than `most`.
pub(super) fn depth(value: &Value, most: usize) -> Option<usize> {
    let deepest = |values: &mut dyn Iterator<Item = &Value>| {
        let below = most.checked_sub(1)?;
        let mut deepest = 0;
        for value in values {
            deepest = deepest.max(depth(value, below)?);
        }
        Some(deepest + 1)
    };
    match value {
        Value::Array(items) => deepest(&mut items.iter()),
        Value::Object(members) => deepest(&mut members.values()),
        _ => Some(0),
    }
}

/// Values in a value, itself among them.
fn values(value: &Value) -> usize {
    let below: usize = match value {
        Value::Array(items) => items.iter().map(values).sum(),
        Value::Object(members) => members.values().map(values).sum(),
        _ => 0,
    };
    below.saturating_add(1)
}

/// Bytes of a value as compact JSON.
fn size(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting does not fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}
