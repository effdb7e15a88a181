//! An object that somebody else wrote, a client or a plugin: type and metadata as far as the host needs them, the rest as bytes.
//!
//! The members of an object but apiVersion, kind and metadata are checked to be JSON and kept as they are: whoever passes an object on does not
//! write it anew. Metadata is read whole, because every reader of a cluster relies on it (the garbage collector on owners, clients on
//! labels); what `meta/v1 ObjectMeta` does not know is dropped, as upstream drops it, and what has the wrong type is refused.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::message::{Field, Kind, Shape, write};
use crate::time::Timestamp;

/// One object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Object {
    /// `apiVersion`; empty if it does not say.
    pub api_version: String,
    /// `kind`; empty if it does not say.
    pub kind: String,
    /// `metadata`: known members of the right types only.
    pub metadata: Map<String, Value>,
    /// All other members in their order, **without the outer braces**; may be empty.
    pub fields: Vec<u8>,
}

/// Metadata that the host passes on as it is: members of the JSON object without braces, and the same fields in protobuf. Name,
/// namespace, resourceVersion and labels are not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rest {
    /// JSON members.
    pub json: Box<[u8]>,
    /// Protobuf fields of `ObjectMeta`.
    pub protobuf: Box<[u8]>,
}

/// Why bytes are no object.
#[derive(Debug, thiserror::Error)]
pub enum NotAnObject {
    /// Not JSON, or no JSON object.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A member of the metadata has another type.
    #[error("metadata.{0}: it is not {1}")]
    Metadata(String, &'static str),
}

/// What a member of the metadata must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Time,
    Number,
    Map,
    Texts,
    Owners,
    Managed,
}

/// `meta/v1 ObjectMeta` in the order of Go's struct.
const MEMBERS: [(&str, Type); 15] = [
    ("name", Type::Text),
    ("generateName", Type::Text),
    ("namespace", Type::Text),
    ("selfLink", Type::Text),
    ("uid", Type::Text),
    ("resourceVersion", Type::Text),
    ("generation", Type::Number),
    ("creationTimestamp", Type::Time),
    ("deletionTimestamp", Type::Time),
    ("deletionGracePeriodSeconds", Type::Number),
    ("labels", Type::Map),
    ("annotations", Type::Map),
    ("ownerReferences", Type::Owners),
    ("finalizers", Type::Texts),
    ("managedFields", Type::Managed),
];

/// `meta/v1 OwnerReference`.
const OWNER_MEMBERS: [(&str, Inner); 6] = [
    ("apiVersion", Inner::Text),
    ("kind", Inner::Text),
    ("name", Inner::Text),
    ("uid", Inner::Text),
    ("controller", Inner::Flag),
    ("blockOwnerDeletion", Inner::Flag),
];
/// `meta/v1 ManagedFieldsEntry`.
const MANAGED_MEMBERS: [(&str, Inner); 7] = [
    ("manager", Inner::Text),
    ("operation", Inner::Text),
    ("apiVersion", Inner::Text),
    ("time", Inner::Time),
    ("fieldsType", Inner::Text),
    ("fieldsV1", Inner::Object),
    ("subresource", Inner::Text),
];

/// What a member of an owner or of managed fields must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inner {
    Text,
    Flag,
    Time,
    Object,
}

/// What the host writes itself.
const OWN: [&str; 4] = ["name", "namespace", "resourceVersion", "labels"];

/// `ObjectMeta` without [`OWN`] (apimachinery `meta/v1/generated.proto`).
static REST: Shape = Shape::Fields(&[
    Field("generateName", 2, Kind::Text),
    Field("selfLink", 4, Kind::Text),
    Field("uid", 5, Kind::Text),
    Field("generation", 7, Kind::Integer),
    Field("creationTimestamp", 8, Kind::Time),
    Field("deletionTimestamp", 9, Kind::Time),
    Field("deletionGracePeriodSeconds", 10, Kind::Integer),
    Field("annotations", 12, Kind::Pairs),
    Field("ownerReferences", 13, Kind::Many(&OWNER)),
    Field("finalizers", 14, Kind::Texts),
    Field("managedFields", 17, Kind::Many(&MANAGED)),
]);
/// What [`REST`] lacks where labels are not the host's.
static LABELS: Shape = Shape::Fields(&[Field("labels", 11, Kind::Pairs)]);
static OWNER: Shape = Shape::Fields(&[
    Field("kind", 1, Kind::Text),
    Field("name", 3, Kind::Text),
    Field("uid", 4, Kind::Text),
    Field("apiVersion", 5, Kind::Text),
    Field("controller", 6, Kind::Flag),
    Field("blockOwnerDeletion", 7, Kind::Flag),
]);
static MANAGED: Shape = Shape::Fields(&[
    Field("manager", 1, Kind::Text),
    Field("operation", 2, Kind::Text),
    Field("apiVersion", 3, Kind::Text),
    Field("time", 4, Kind::Time),
    Field("fieldsType", 6, Kind::Text),
    Field("fieldsV1", 7, Kind::Raw),
    Field("subresource", 8, Kind::Text),
]);

/// Members as they come, the outermost level only.
struct Members<'a>(Vec<(String, &'a RawValue)>);

// === impl Object ===

impl Object {
    /// Reads a JSON object. Of a key that stands there twice the last value counts, as in Go.
    ///
    /// # Errors
    /// [`NotAnObject`].
    pub fn read(json: &[u8]) -> Result<Self, NotAnObject> {
        let Members(members) = Members::read(json)?;
        let mut object = Self::default();
        let mut rest: Vec<(String, &RawValue)> = Vec::with_capacity(members.len());
        for (key, value) in members {
            match key.as_str() {
                "apiVersion" => object.api_version = serde_json::from_str::<Option<String>>(value.get())?.unwrap_or_default(),
                "kind" => object.kind = serde_json::from_str::<Option<String>>(value.get())?.unwrap_or_default(),
                "metadata" => object.metadata = known(serde_json::from_str::<Option<_>>(value.get())?.unwrap_or_default())?,
                _ => rest.push((key, value)),
            }
        }
        last_of_each(&mut rest);
        for (key, value) in rest {
            if !object.fields.is_empty() {
                object.fields.push(b',');
            }
            crate::json::write_string(&mut object.fields, &key);
            object.fields.push(b':');
            // An event of a watch is one line: what is spread over several is written anew.
            if value.get().contains(['\n', '\r']) {
                let value: Value = serde_json::from_str(value.get())?;
                serde_json::to_writer(&mut object.fields, &value)?;
            } else {
                object.fields.extend_from_slice(value.get().as_bytes());
            }
        }
        Ok(object)
    }

    /// The same from a value.
    ///
    /// # Errors
    /// [`NotAnObject`].
    pub fn of(value: &Value) -> Result<Self, NotAnObject> {
        Self::read(&serde_json::to_vec(value)?)
    }

    /// The whole object as one value.
    ///
    /// # Errors
    /// Its members are not JSON: it was not made by [`Object::read`].
    pub fn value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_slice(&self.to_bytes())
    }

    /// The whole object as compact JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.fields.len() + 512);
        out.extend_from_slice(b"{\"apiVersion\":");
        crate::json::write_string(&mut out, &self.api_version);
        out.extend_from_slice(b",\"kind\":");
        crate::json::write_string(&mut out, &self.kind);
        out.extend_from_slice(b",\"metadata\":{");
        self.write_members(&mut out, |_| true);
        out.push(b'}');
        if !self.fields.is_empty() {
            out.push(b',');
            out.extend_from_slice(&self.fields);
        }
        out.push(b'}');
        out
    }

    /// A text of the metadata; empty if it is not there.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.metadata.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// Sets a text of the metadata; the empty text removes it.
    pub fn set(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            self.metadata.remove(key);
        } else {
            self.metadata.insert(key.to_owned(), value.into());
        }
    }

    /// `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text("name")
    }

    /// `metadata.namespace`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.text("namespace")
    }

    /// `metadata.resourceVersion`.
    #[must_use]
    pub fn version(&self) -> &str {
        self.text("resourceVersion")
    }

    /// `metadata.labels`.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.metadata.get("labels").and_then(Value::as_object);
        let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        labels.into_iter().flatten().filter_map(text).collect()
    }

    /// What of the metadata is passed on as it is. With `version` the object's own resourceVersion is among it.
    #[must_use]
    pub fn rest(&self, version: bool) -> Rest {
        let mut json = Vec::new();
        self.write_members(&mut json, |key| !OWN.contains(&key) || (version && key == "resourceVersion"));
        let mut protobuf = write(&REST, &Value::Object(self.metadata.clone()));
        if version {
            crate::protobuf::put_text(&mut protobuf, 6, self.version());
        }
        Rest {
            json: json.into(),
            protobuf: protobuf.into(),
        }
    }

    pub(crate) fn write_members(&self, out: &mut Vec<u8>, wanted: impl Fn(&str) -> bool) {
        let mut first = true;
        for (key, _) in MEMBERS.iter().filter(|(key, _)| wanted(key)) {
            let Some(value) = self.metadata.get(*key).filter(|v| !v.is_null()) else {
                continue;
            };
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            crate::json::write_string(out, key);
            out.push(b':');
            // Writing to memory does not fail, and keys are strings.
            let _ = serde_json::to_writer(&mut *out, value);
        }
    }
}

/// Of members that stand there twice only the last stays.
fn last_of_each(members: &mut Vec<(String, &RawValue)>) {
    let mut last: HashMap<&str, usize> = HashMap::with_capacity(members.len());
    for (at, (key, _)) in members.iter().enumerate() {
        last.insert(key, at);
    }
    if last.len() == members.len() {
        return;
    }
    let stays: HashSet<usize> = last.into_values().collect();
    let mut at = 0;
    members.retain(|_| {
        at += 1;
        stays.contains(&(at - 1))
    });
}

/// The members that `ObjectMeta` knows, each of its type.
fn known(mut metadata: Map<String, Value>) -> Result<Map<String, Value>, NotAnObject> {
    let mut out = Map::new();
    for (key, kind) in MEMBERS {
        let Some(value) = metadata.remove(key).filter(|v| !v.is_null()) else {
            continue;
        };
        if !kind.fits(&value) {
            return Err(NotAnObject::Metadata(key.to_owned(), kind.name()));
        }
        out.insert(key.to_owned(), value);
    }
    Ok(out)
}

/// Members of `ObjectMeta`, finished JSON without braces, as protobuf fields: all but name, namespace and resourceVersion.
#[must_use]
pub fn metadata_protobuf(members: &[u8]) -> Vec<u8> {
    let metadata = serde_json::from_slice(&[b"{", members, b"}"].concat()).unwrap_or_default();
    let mut out = write(&REST, &metadata);
    out.extend(write(&LABELS, &metadata));
    out
}

/// The members of the metadata that `ObjectMeta` does not know.
pub fn unknown_members(metadata: &Map<String, Value>) -> impl Iterator<Item = &str> {
    metadata
        .keys()
        .map(String::as_str)
        .filter(|key| !MEMBERS.iter().any(|(known, _)| known == key))
}

// === impl Type ===

impl Type {
    fn fits(self, value: &Value) -> bool {
        let all = |fits: fn(&Value) -> bool| value.as_array().is_some_and(|all| all.iter().all(fits));
        match self {
            Self::Text => value.is_string(),
            Self::Time => value.as_str().is_some_and(|text| Timestamp::parse(text).is_ok()),
            Self::Number => value.is_i64(),
            Self::Map => value.as_object().is_some_and(|map| map.values().all(Value::is_string)),
            Self::Texts => all(Value::is_string),
            Self::Owners => all(|owner| are(owner, &OWNER_MEMBERS)),
            Self::Managed => all(|entry| are(entry, &MANAGED_MEMBERS)),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Time => "an RFC 3339 time",
            Self::Number => "an integer",
            Self::Map => "a map of strings",
            Self::Texts => "a list of strings",
            Self::Owners => "a list of owners",
            Self::Managed => "a list of managed fields",
        }
    }
}

/// Whether a value is an object with members of these types; those that are not named may be anything.
fn are(value: &Value, members: &[(&str, Inner)]) -> bool {
    let fits = |(key, inner): &(&str, Inner)| match (value.get(*key), inner) {
        (None | Some(Value::Null), _) => true,
        (Some(value), Inner::Text) => value.is_string(),
        (Some(value), Inner::Flag) => value.is_boolean(),
        (Some(value), Inner::Time) => Type::Time.fits(value),
        (Some(value), Inner::Object) => value.is_object(),
    };
    value.is_object() && members.iter().all(fits)
}

// === impl Members ===

impl<'a> Members<'a> {
    fn read(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        struct Outermost;
        impl<'de> Visitor<'de> for Outermost {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        let mut reader = serde_json::Deserializer::from_slice(json);
        let members = reader.deserialize_map(Outermost)?;
        reader.end()?;
        Ok(Self(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_and_written() {
        let json =
            br#"{"spec":{"a": [1, 2]},"kind":"Ship","apiVersion":"h/v1","metadata":{"labels":{"a":"b"},"name":"x","strange":1,
            "creationTimestamp":null},"status":{
            "x": 1}}"#;
        let object = Object::read(json).unwrap();
        assert_eq!((object.name(), object.kind.as_str(), object.version()), ("x", "Ship", ""));
        assert_eq!(object.labels().get("a").map(String::as_str), Some("b"));
        let written = String::from_utf8(object.to_bytes()).unwrap();
        assert_eq!(
            written,
            r#"{"apiVersion":"h/v1","kind":"Ship","metadata":{"name":"x","labels":{"a":"b"}},"spec":{"a": [1, 2]},"status":{"x":1}}"#
        );
        assert_eq!(Object::read(written.as_bytes()).unwrap(), object);
    }

    #[test]
    fn of_what_stands_there_twice_the_last_counts_however_many_members_there_are() {
        let object = Object::read(br#"{"a":1,"b":2,"a":3,"kind":"K","kind":"L","c":4,"b":5}"#).unwrap();
        assert_eq!((&*object.kind, &*object.fields), ("L", &br#""a":3,"c":4,"b":5"#[..]));
        // Work that grows with the square of this would not end.
        let members: Vec<String> = (0..300_000).map(|n| format!("\"m{n}\":1,\"m0\":{n}")).collect();
        let object = Object::read(format!("{{{}}}", members.join(",")).as_bytes()).unwrap();
        assert!(object.fields.ends_with(b"\"m299999\":1,\"m0\":299999"));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for (json, want) in [
            ("[]", "a JSON object"),
            ("{", "EOF"),
            ("{} x", "trailing"),
            (r#"{"kind":1}"#, "string"),
            (
                r#"{"metadata":{"labels":{"a":1}}}"#,
                "metadata.labels: it is not a map of strings",
            ),
            (
                r#"{"metadata":{"creationTimestamp":"x"}}"#,
                "metadata.creationTimestamp: it is not an RFC 3339 time",
            ),
            (
                r#"{"metadata":{"ownerReferences":[1]}}"#,
                "metadata.ownerReferences: it is not a list of owners",
            ),
            (
                r#"{"metadata":{"ownerReferences":[{"uid":"u","controller":"yes"}]}}"#,
                "metadata.ownerReferences: it is not a list of owners",
            ),
            (
                r#"{"metadata":{"managedFields":[{"time":"now"}]}}"#,
                "metadata.managedFields: it is not a list of managed fields",
            ),
        ] {
            let error = Object::read(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(want), "{json}: {error}");
        }
    }

    #[test]
    fn the_rest_of_metadata_is_what_the_host_does_not_write() {
        let object = Object::read(
            br#"{"metadata":{"name":"x","namespace":"n","resourceVersion":"7","uid":"u","labels":{"a":"b"},
                "ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"p","uid":"q","controller":true}]}}"#,
        )
        .unwrap();
        let rest = object.rest(false);
        let json = String::from_utf8(rest.json.into_vec()).unwrap();
        assert!(json.starts_with(r#""uid":"u","ownerReferences":[{"#), "{json}");
        // uid = 5, ownerReferences = 13.
        assert!(rest.protobuf.starts_with(&[0x2a, 1, b'u', 0x6a]), "{:?}", rest.protobuf);
        let with = object.rest(true);
        assert!(String::from_utf8_lossy(&with.json).contains(r#""resourceVersion":"7""#));
        assert!(with.protobuf.ends_with(&[0x32, 1, b'7']));
        let kept = metadata_protobuf(br#""uid":"u","labels":{"a":"b"}"#);
        assert_eq!(kept, [0x2a, 1, b'u', 0x5a, 6, 0x0a, 1, b'a', 0x12, 1, b'b']);
        assert!(metadata_protobuf(b"").is_empty());
    }
}
