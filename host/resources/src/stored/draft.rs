//! An object on its way into the store: metadata and type as the rules of metadata take them, fields as values for schemas and patches.

use outrigger_api::json;
use outrigger_api::meta::{NONE, TypeMeta};
use outrigger_api::object::{NotAnObject, Object};
use outrigger_storage::Entry;
use serde_json::{Map, Value};

use crate::shape;

/// An object, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft {
    /// Type and metadata; its own fields are empty.
    pub(crate) head: Object,
    /// All other members: a JSON object.
    pub(crate) fields: Value,
}

/// The part of an object that has a path of its own.
pub(crate) const STATUS: &str = "status";

// === impl Draft ===

impl Draft {
    /// Of a whole document.
    pub(crate) fn of(document: Value) -> Result<Self, NotAnObject> {
        let Value::Object(mut fields) = document else {
            // The reader knows how to say it.
            return Object::of(&document).map(Self::from_head);
        };
        let mut head = Map::with_capacity(3);
        for key in ["apiVersion", "kind", "metadata"] {
            head.extend(fields.shift_remove(key).map(|value| (key.to_owned(), value)));
        }
        Ok(Self {
            head: Object::of(&Value::Object(head))?,
            fields: fields.into(),
        })
    }

    /// Of an object whose fields are bytes.
    pub(crate) fn read(mut object: Object) -> Result<Self, serde_json::Error> {
        let mut fields = Vec::with_capacity(object.fields.len() + 2);
        fields.push(b'{');
        fields.append(&mut object.fields);
        fields.push(b'}');
        Ok(Self {
            fields: serde_json::from_slice(&fields)?,
            head: object,
        })
    }

    fn from_head(head: Object) -> Self {
        Self {
            head,
            fields: Value::Object(Map::new()),
        }
    }

    /// The whole object, its fields as bytes.
    pub(crate) fn object(&self) -> Object {
        // Values of strings for keys are written without fail.
        let fields = serde_json::to_vec(&self.fields).unwrap_or_default();
        let inner = fields.get(1..fields.len().saturating_sub(1)).unwrap_or_default();
        Object {
            fields: inner.to_vec(),
            ..self.head.clone()
        }
    }

    /// The whole document.
    pub(crate) fn document(&self) -> Value {
        let mut document = Map::new();
        document.insert("apiVersion".to_owned(), self.head.api_version.as_str().into());
        document.insert("kind".to_owned(), self.head.kind.as_str().into());
        document.insert("metadata".to_owned(), Value::Object(self.head.metadata.clone()));
        document.extend(self.fields.as_object().cloned().unwrap_or_default());
        document.into()
    }

    /// A member besides type and metadata.
    pub(crate) fn field(&self, key: &str) -> Option<&Value> {
        self.fields.get(key)
    }

    /// Takes this member of another object, or takes it away where that has none.
    pub(crate) fn take_field(&mut self, key: &str, from: &Self) {
        let Some(fields) = self.fields.as_object_mut() else { return };
        match from.field(key) {
            Some(value) => fields.insert(key.to_owned(), value.clone()),
            None => fields.shift_remove(key),
        };
    }

    /// Takes a member away.
    pub(crate) fn drop_field(&mut self, key: &str) {
        if let Some(fields) = self.fields.as_object_mut() {
            fields.shift_remove(key);
        }
    }

    /// Whether all fields are those of another object, but for one that does not count.
    pub(crate) fn has_fields_of(&self, other: &Self, but: Option<&str>) -> bool {
        let Some(but) = but else { return self.fields == other.fields };
        let (Some(own), Some(others)) = (self.fields.as_object(), other.fields.as_object()) else {
            return self.fields == other.fields;
        };
        let counts = |fields: &Map<String, Value>| fields.len() - usize::from(fields.contains_key(but));
        counts(own) == counts(others) && own.iter().all(|(key, value)| key == but || others.get(key) == Some(value))
    }
}

/// A kept object as it is kept, with its resourceVersion.
pub(crate) fn object_of(entry: &Entry, kind: &str) -> Result<Object, NotAnObject> {
    let object = shape::Object::of(entry, &NONE);
    let kind = TypeMeta {
        api_version: entry.row.kept_version().map_or("", |kept| kept),
        kind,
    };
    let mut out = Vec::with_capacity(object.fields.len() + object.meta.rest.json.len() + 256);
    json::write_object(&mut out, Some(kind), &object.meta, object.fields);
    Object::read(&out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_taken_apart_and_put_together() {
        let whole =
            json!({"apiVersion": "g/v1", "kind": "Ship", "metadata": {"name": "a"}, "spec": {"b": 1, "a": [null]}, "status": {}});
        let draft = Draft::of(whole.clone()).unwrap();
        assert_eq!(draft.document(), whole);
        assert_eq!(draft.object().value().unwrap(), whole);
        assert_eq!(Draft::read(draft.object()).unwrap(), draft);
        let bare = Draft::of(json!({"apiVersion": "g/v1", "kind": "Ship", "metadata": {"name": "a"}})).unwrap();
        assert_eq!(Draft::read(bare.object()).unwrap(), bare);
        assert!(Draft::of(json!([])).is_err());
        assert!(Draft::of(json!({"metadata": {"name": 1}})).is_err());
    }

    #[test]
    fn fields_are_compared_by_meaning() {
        let draft = |fields: Value| Draft {
            head: Object::default(),
            fields,
        };
        let one = draft(json!({"a": 1, "b": {"x": 1, "y": 2}, "status": 1}));
        for (other, but, same) in [
            (json!({"b": {"y": 2, "x": 1}, "a": 1, "status": 1}), None, true),
            (json!({"b": {"y": 2, "x": 1}, "a": 1, "status": 2}), None, false),
            (json!({"b": {"y": 2, "x": 1}, "a": 1, "status": 2}), Some(STATUS), true),
            (json!({"b": {"y": 2, "x": 1}, "a": 1}), Some(STATUS), true),
            (json!({"b": {"y": 2, "x": 1}, "a": 1, "c": 1}), Some(STATUS), false),
            (json!({"b": {"y": 2, "x": 1}}), Some(STATUS), false),
        ] {
            let other = draft(other);
            assert_eq!(one.has_fields_of(&other, but), same, "{:?}", other.fields);
            assert_eq!(other.has_fields_of(&one, but), same, "{:?}", other.fields);
        }
    }
}
