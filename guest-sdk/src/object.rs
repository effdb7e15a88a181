//! An object of the plugin's own: the fields of a Rust type, and the metadata that every Kubernetes object has.
//!
//! A plugin speaks of its type alone; apiVersion and kind are written here, from what `derive(Resource)` was told. What comes in is
//! read in two steps, the envelope and then the fields, so that a type may well refuse unknown fields of its own.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use outrigger_manifest as manifest;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::Error;

/// A Rust type as a Kubernetes resource. [`derive(Resource)`](outrigger_sdk_macros::Resource) implements it.
///
/// ```
/// use outrigger_sdk::prelude::*;
///
/// /// A book of the library.
/// #[derive(Resource, Serialize, Deserialize, JsonSchema)]
/// #[resource(group = "library.example.com", version = "v1", plural = "books")]
/// struct Book {
///     /// Who wrote it.
///     author: String,
/// }
///
/// assert_eq!((Book::KIND, Book::VERSION), ("Book", "v1"));
/// assert_eq!(Book::declaration().description, "A book of the library.");
/// ```
pub trait Resource: Serialize + DeserializeOwned + 'static {
    /// API group.
    const GROUP: &'static str;
    /// The versions in which it is served, the preferred one first.
    const VERSIONS: &'static [&'static str];
    /// The preferred version.
    const VERSION: &'static str;
    /// Plural name, as in URLs.
    const PLURAL: &'static str;
    /// Kind.
    const KIND: &'static str;

    /// Its entry in the manifest, without verbs: [`plugin!`](crate::plugin) knows which there are.
    #[must_use]
    fn declaration() -> manifest::Resource;

    /// What a controller's `for` and `owns` call it.
    #[must_use]
    fn name() -> manifest::ResourceName {
        manifest::ResourceName::new(Self::GROUP, Self::VERSION, Self::PLURAL)
    }
}

/// One object: metadata and fields. The fields can be reached through it (`book.author`).
///
/// ```
/// # use outrigger_sdk::prelude::*;
/// # #[derive(Resource, Serialize, Deserialize, JsonSchema)]
/// # #[resource(group = "library.example.com", version = "v1", plural = "books")]
/// # struct Book { author: String }
/// let book = Object::named("main", "moby-dick", Book { author: "Melville".into() });
/// assert_eq!((book.metadata.name.as_str(), book.author.as_str()), ("moby-dick", "Melville"));
/// assert_eq!(
///     serde_json::to_string(&book).unwrap(),
///     r#"{"apiVersion":"library.example.com/v1","kind":"Book","metadata":{"name":"moby-dick","namespace":"main"},"author":"Melville"}"#
/// );
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object<T> {
    /// Name, labels, and what else every object has.
    pub metadata: Metadata,
    /// What is of this kind alone.
    pub fields: T,
}

/// `ObjectMeta` of meta/v1. What is empty is absent on the wire.
///
/// ```
/// # use outrigger_sdk::Metadata;
/// let metadata = Metadata::named("main", "moby-dick").label("shelf", "7");
/// assert_eq!(metadata.labels["shelf"], "7");
/// assert!(metadata.resource_version.is_empty() && metadata.generation.is_none());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Unique in its namespace.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_null")]
    pub name: String,
    /// For a create without a name: the beginning of the name to make.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_null")]
    pub generate_name: String,
    /// Empty if cluster-scoped.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_null")]
    pub namespace: String,
    /// Unique in time and space.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_null")]
    pub uid: String,
    /// Changes with every change of the object; opaque. Of a virtual object it is the plugin's to keep; what does so need not write it.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_null")]
    pub resource_version: String,
    /// Changes with the wanted state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// RFC 3339, in UTC, to the second.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_null")]
    pub creation_timestamp: String,
    /// Set once somebody deleted it, while finalizers keep it.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_null")]
    pub deletion_timestamp: String,
    /// Seconds that it was given to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_grace_period_seconds: Option<i64>,
    /// For selectors.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_null")]
    pub labels: BTreeMap<String, String>,
    /// For everything else.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_null")]
    pub annotations: BTreeMap<String, String>,
    /// Without them it is to be collected.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_null")]
    pub owner_references: Vec<OwnerReference>,
    /// Who has to agree before it goes.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_null")]
    pub finalizers: Vec<String>,
    /// Who set what; kept as it came.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_null")]
    pub managed_fields: Vec<Value>,
}

/// The owner of an object, as meta/v1 writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// The owner's group and version.
    pub api_version: String,
    /// The owner's kind.
    pub kind: String,
    /// The owner's name.
    pub name: String,
    /// The owner's uid.
    pub uid: String,
    /// It is the controller that made the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
    /// It shall not go before the object, in a foreground deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
}

/// An object on its way out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a, T> {
    api_version: &'a str,
    kind: &'a str,
    metadata: &'a Metadata,
    #[serde(flatten)]
    fields: &'a T,
}

/// An object on its way in.
pub(crate) struct Parsed {
    pub(crate) api_version: String,
    pub(crate) metadata: Metadata,
    pub(crate) fields: Map<String, Value>,
}

// === impl Object ===

impl<T> Object<T> {
    /// An object in a namespace; an empty one for what is cluster-scoped.
    #[must_use]
    pub fn named(namespace: impl Into<String>, name: impl Into<String>, fields: T) -> Self {
        Self {
            metadata: Metadata::named(namespace, name),
            fields,
        }
    }

    /// One more label.
    #[must_use]
    pub fn label(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            metadata: self.metadata.label(name, value),
            ..self
        }
    }

    /// One more annotation.
    #[must_use]
    pub fn annotation(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.annotations.insert(name.into(), value.into());
        self
    }
}

impl<T: Resource> Object<T> {
    /// What an object that this one makes says of its owner; its controller brings it back to this one.
    ///
    /// ```
    /// # use outrigger_sdk::prelude::*;
    /// # #[derive(Resource, Serialize, Deserialize, JsonSchema)]
    /// # #[resource(group = "library.example.com", version = "v1", plural = "books")]
    /// # struct Book {}
    /// let mut book = Object::named("main", "moby-dick", Book {});
    /// book.metadata.uid = "9f1c".into();
    /// let owner = book.as_owner();
    /// assert_eq!((owner.kind.as_str(), owner.uid.as_str(), owner.controller), ("Book", "9f1c", Some(true)));
    /// ```
    #[must_use]
    pub fn as_owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: api_version(T::GROUP, T::VERSION),
            kind: T::KIND.to_owned(),
            name: self.metadata.name.clone(),
            uid: self.metadata.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// The document in one of the resource's versions.
    pub(crate) fn encode(&self, version: &str) -> Result<Vec<u8>, Error> {
        encode(&api_version(T::GROUP, version), T::KIND, &self.metadata, &self.fields)
    }

    /// What a caller sent; whoever sent it is told what does not fit.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let kind = T::KIND;
        let misfit = |e: serde_json::Error| Error::Invalid(format!("the object cannot be handled as a {kind}: {e}"));
        Self::of(Parsed::read(bytes).map_err(misfit)?).map_err(misfit)
    }

    fn of(parsed: Parsed) -> Result<Self, serde_json::Error> {
        Ok(Self {
            metadata: parsed.metadata,
            fields: serde_json::from_value(Value::Object(parsed.fields))?,
        })
    }
}

/// `object.author` for `object.fields.author`.
impl<T> Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.fields
    }
}

impl<T> DerefMut for Object<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.fields
    }
}

/// The whole document, in the preferred version.
impl<T: Resource> Serialize for Object<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Document {
            api_version: &api_version(T::GROUP, T::VERSION),
            kind: T::KIND,
            metadata: &self.metadata,
            fields: &self.fields,
        }
        .serialize(serializer)
    }
}

/// The whole document; apiVersion and kind are not judged.
impl<'de, T: Resource> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = Map::deserialize(deserializer)?;
        Parsed::of(whole).and_then(Self::of).map_err(D::Error::custom)
    }
}

// === impl Metadata ===

impl Metadata {
    /// Of an object in a namespace; an empty one for what is cluster-scoped.
    #[must_use]
    pub fn named(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            namespace: namespace.into(),
            ..Self::default()
        }
    }

    /// One more label.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// It belongs to this owner.
    #[must_use]
    pub fn owned_by(mut self, owner: OwnerReference) -> Self {
        self.owner_references.push(owner);
        self
    }
}

// === impl Parsed ===

impl Parsed {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        Self::of(serde_json::from_slice(bytes)?)
    }

    fn of(mut whole: Map<String, Value>) -> Result<Self, serde_json::Error> {
        let mut take = |name: &str| whole.shift_remove(name).filter(|v| !v.is_null());
        let api_version = match take("apiVersion") {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let _ = take("kind");
        let metadata = take("metadata").map_or_else(|| Ok(Metadata::default()), serde_json::from_value)?;
        Ok(Self {
            api_version,
            metadata,
            fields: whole,
        })
    }
}

/// One document of the contract.
pub(crate) fn encode(api_version: &str, kind: &str, metadata: &Metadata, fields: &impl Serialize) -> Result<Vec<u8>, Error> {
    let document = Document {
        api_version,
        kind,
        metadata,
        fields,
    };
    serde_json::to_vec(&document).map_err(|e| Error::Failed(format!("{kind} {:?} has no form in JSON: {e}", metadata.name)))
}

/// Group and version as a document says them; core has no group.
pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// Go writes what is empty as null here and there (`creationTimestamp: null`).
fn or_null<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
