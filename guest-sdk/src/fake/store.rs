//! A store of one resource that lives by its strategy, by the contract's rules: one call for each write, none where versions are
//! equal, as many objects out as in.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde_json::Value;

use super::{Host, Request};
use crate::object::api_version;
use crate::strategy::{AdmittedBytes, admit, convert};
use crate::{Error, FieldError, Object, Strategy};

/// Objects under a strategy. See [`Strategy`].
///
/// ```
/// # use outrigger_sdk::prelude::*;
/// # #[derive(Debug, Clone, PartialEq, Resource, Serialize, Deserialize, JsonSchema)]
/// # #[resource(group = "harbor.example.com", version = "v1", plural = "ships")]
/// # struct Ship { tonnage: i64 }
/// # impl Strategy for Ship {
/// #     fn admit(_: &impl Host, request: Admission<'_, Self>) -> Admitted<Self> { Admitted::yes(request.object) }
/// # }
/// let (host, mut ships) = (fake::Host::new(), fake::Store::<Ship>::new());
/// let vega = ships.create(&host, Object::named("north", "vega", Ship { tonnage: 900 })).unwrap();
/// let mut larger = vega.clone();
/// larger.tonnage = 1200;
/// ships.update(&host, larger).unwrap();
/// let stale = ships.update(&host, vega).unwrap_err();
/// assert!(matches!(stale, fake::Refused::Error(Error::Conflict(_))));
/// assert_eq!(ships.calls(), 2, "what cannot be stored is not asked about");
/// ```
#[derive(Debug)]
pub struct Store<T> {
    like: Request,
    objects: BTreeMap<(String, String), Object<T>>,
    written: u64,
    calls: Cell<u64>,
    warned: Vec<String>,
}

/// Why a write was not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The strategy blames these fields.
    #[error("{} fields are at fault", .0.len())]
    Fields(Vec<FieldError>),
    /// The store's own rules, or a strategy that could not say.
    #[error(transparent)]
    Error(#[from] Error),
}

// === impl Refused ===

impl Refused {
    /// The fields at fault.
    #[must_use]
    pub fn fields(&self) -> &[FieldError] {
        match self {
            Self::Fields(fields) => fields,
            Self::Error(_) => &[],
        }
    }
}

// === impl Store ===

impl<T: Strategy> Default for Store<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Strategy> Store<T> {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::like(Request::default())
    }

    /// Empty, and written to in all respects like this: user, groups, dry run, subresource.
    #[must_use]
    pub fn like(request: Request) -> Self {
        Self {
            like: request.of::<T>(),
            objects: BTreeMap::new(),
            written: 0,
            calls: Cell::new(0),
            warned: Vec::new(),
        }
    }

    /// How often the strategy was entered.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.get()
    }

    /// What the last write warned of.
    #[must_use]
    pub fn warned(&self) -> &[String] {
        &self.warned
    }

    /// What is stored; the namespace is empty for what is cluster-scoped.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Object<T>> {
        self.objects.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Stores a new object, if the strategy lets it.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it exists, without a call; the fields that the strategy blames.
    pub fn create(&mut self, host: &Host, object: Object<T>) -> Result<Object<T>, Refused> {
        let key = key(&object);
        if self.objects.contains_key(&key) {
            return Err(Error::Conflict(format!("{} {:?} already exists", T::PLURAL, key.1)).into());
        }
        let mut admitted = self.admit(host, "create", Some(&object), None)?;
        admitted.metadata.uid = format!("{:08x}-0000-4000-8000-000000000000", self.written + 1);
        admitted.metadata.generation = Some(1);
        Ok(self.put(key, admitted))
    }

    /// Replaces an object, if the strategy lets it.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, and [`Error::Conflict`] if its resourceVersion is not the newest, both without a call;
    /// the fields that the strategy blames.
    pub fn update(&mut self, host: &Host, object: Object<T>) -> Result<Object<T>, Refused> {
        let key = key(&object);
        let old = self.objects.get(&key).ok_or_else(|| absent::<T>(&key))?;
        let (asked, newest) = (&object.metadata.resource_version, &old.metadata.resource_version);
        if !(asked.is_empty() || asked == newest) {
            let what = format!("{} {:?} is at {newest}, not at {asked}", T::PLURAL, key.1);
            return Err(Error::Conflict(what).into());
        }
        let kept = (old.metadata.uid.clone(), old.metadata.generation);
        let old = old.encode(T::VERSION)?;
        let mut admitted = self.admit(host, "update", Some(&object), Some(&old))?;
        (admitted.metadata.uid, admitted.metadata.generation) = (kept.0, kept.1.map(|g| g + 1));
        Ok(self.put(key, admitted))
    }

    /// Removes an object, if the strategy lets it.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, without a call; the fields that the strategy blames.
    pub fn delete(&mut self, host: &Host, namespace: &str, name: &str) -> Result<Object<T>, Refused> {
        let key = (namespace.to_owned(), name.to_owned());
        let old = self.objects.get(&key).ok_or_else(|| absent::<T>(&key))?;
        let old = old.encode(T::VERSION)?;
        let gone = self.admit(host, "delete", None, Some(&old))?;
        if !self.like.lend().dry_run() {
            self.objects.remove(&key);
        }
        Ok(gone)
    }

    /// These documents as another version says them. Those that are in it already are not converted; the others are, in one call.
    ///
    /// # Errors
    /// What the strategy answers; [`Error::Failed`] if it touched what a conversion must not: anything of the metadata but
    /// labels and annotations.
    pub fn convert(&self, documents: impl IntoIterator<Item = Value>, version: &str) -> Result<Vec<Value>, Error> {
        let to = api_version(T::GROUP, version);
        let mut documents: Vec<Value> = documents.into_iter().collect();
        let (mut slots, mut batch) = (Vec::new(), Vec::new());
        for document in documents.iter_mut().filter(|d| d["apiVersion"] != to.as_str()) {
            batch.push(serde_json::to_vec(document)?);
            slots.push(document);
        }
        if batch.is_empty() {
            return Ok(documents);
        }
        self.calls.set(self.calls.get() + 1);
        for (slot, bytes) in slots.into_iter().zip(convert::<T>(version, &batch)?) {
            let converted: Value = serde_json::from_slice(&bytes)?;
            if identity(slot) != identity(&converted) {
                return Err(Error::Failed(
                    "a conversion changed the metadata beyond labels and annotations".to_owned(),
                ));
            }
            *slot = converted;
        }
        Ok(documents)
    }

    /// The one call of a write.
    fn admit(&mut self, host: &Host, verb: &str, object: Option<&Object<T>>, old: Option<&[u8]>) -> Result<Object<T>, Refused> {
        let encoded = object.map(|o| o.encode(T::VERSION)).transpose()?.unwrap_or_default();
        let old = old.unwrap_or_default();
        let metadata = match object {
            Some(object) => object.metadata.clone(),
            None => Object::<T>::decode(old)?.metadata,
        };
        let request = self
            .like
            .clone()
            .verb(verb)
            .namespace(&metadata.namespace)
            .name(&metadata.name);
        self.calls.set(self.calls.get() + 1);
        let answer = admit::<T>(host, request.lend(), &encoded, old);
        self.warned = request.warned();
        let AdmittedBytes {
            object,
            warnings,
            fields,
        } = answer?;
        self.warned.extend(warnings);
        let fields: Vec<_> = request.blamed().into_iter().chain(fields).collect();
        if !fields.is_empty() {
            return Err(Refused::Fields(fields));
        }
        Ok(Object::decode(if object.is_empty() { old } else { &object })?)
    }

    fn put(&mut self, key: (String, String), mut object: Object<T>) -> Object<T> {
        let bytes = |object: &Object<T>| object.encode(T::VERSION).and_then(|b| Object::decode(&b));
        self.written += 1;
        object.metadata.resource_version = self.written.to_string();
        // Through its bytes, as in a store: what does not survive them is gone.
        if let (false, Ok(stored)) = (self.like.lend().dry_run(), bytes(&object)) {
            self.objects.insert(key, stored);
        }
        object
    }
}

fn key<T>(object: &Object<T>) -> (String, String) {
    (object.metadata.namespace.clone(), object.metadata.name.clone())
}

fn absent<T: Strategy>(key: &(String, String)) -> Error {
    Error::NotFound(format!("{} {:?} not found", T::PLURAL, key.1))
}

/// What a conversion must leave alone.
fn identity(document: &Value) -> Value {
    let mut metadata = document["metadata"].clone();
    if let Some(fields) = metadata.as_object_mut() {
        fields.shift_remove("labels");
        fields.shift_remove("annotations");
        fields.sort_keys();
    }
    metadata
}
