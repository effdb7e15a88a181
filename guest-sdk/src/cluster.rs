//! Objects of the cluster, with the plugin's own identity: the capability `objects`.
//!
//! What may be reached is what the manifest asks for (group, resource, verbs, namespaces) as far as the operator grants it. The trait
//! has the contract's functions, in bytes; [`Client`] is the same with types.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Resource};

/// Kubernetes objects, as JSON.
pub trait Cluster {
    /// One object. Where the host watches the resource for this plugin anyway (a controller's `for` and `owns`), the answer comes from its
    /// cache, and may be a moment old.
    ///
    /// # Errors
    /// [`Error::Denied`] without a grant; [`Error::NotFound`] if it is not there.
    fn get_object(&self, of: &Target, name: &str) -> Result<Vec<u8>, Error>;

    /// One page of objects. `limit` 0 leaves the size to the host; `after` is empty at first, and then the last page's
    /// [`next`](Page::next).
    ///
    /// # Errors
    /// [`Error::Denied`] without a grant; [`Error::Invalid`] for a malformed selector.
    fn list_objects(&self, of: &Target, label_selector: &str, limit: u32, after: &str) -> Result<Page, Error>;

    /// Makes an object; returns it as made.
    ///
    /// # Errors
    /// [`Error::Denied`] without a grant; [`Error::Conflict`] if it exists; [`Error::Invalid`] if it is refused.
    fn create_object(&self, of: &Target, object: &[u8]) -> Result<Vec<u8>, Error>;

    /// Replaces an object; returns it as replaced.
    ///
    /// # Errors
    /// As for a create; [`Error::Conflict`] if its resourceVersion is not the newest; [`Error::NotFound`] if it is not there.
    fn update_object(&self, of: &Target, object: &[u8]) -> Result<Vec<u8>, Error>;

    /// Changes an object by a patch of this content type, such as `application/merge-patch+json`; returns it as changed.
    ///
    /// # Errors
    /// As for an update.
    fn patch_object(&self, of: &Target, name: &str, content_type: &str, patch: &[u8]) -> Result<Vec<u8>, Error>;

    /// Removes an object, in the background.
    ///
    /// # Errors
    /// [`Error::Denied`] without a grant; [`Error::NotFound`] if it is not there.
    fn delete_object(&self, of: &Target, name: &str) -> Result<(), Error>;

    /// The same with types.
    fn objects(&self, of: Target) -> Client<'_, Self> {
        Client { host: self, of }
    }
}

/// Which objects.
///
/// ```
/// # use outrigger_sdk::Target;
/// let of = Target::new("apps", "v1", "deployments").namespace("main").subresource("scale");
/// assert_eq!((of.plural.as_str(), of.namespace.as_str()), ("deployments/scale", "main"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Empty for core.
    pub group: String,
    /// Such as `v1`.
    pub version: String,
    /// Plural name; with a subresource as RBAC names it: `ships/status`.
    pub plural: String,
    /// Empty for what is cluster-scoped, and for a list over all namespaces.
    pub namespace: String,
}

/// One page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Objects as JSON.
    pub items: Vec<Vec<u8>>,
    /// Leads to the next page; empty after the last.
    pub next: String,
}

/// Objects of one resource, read and written as types: `serde_json::Value`, an [`Object`](crate::Object) of the plugin's own, or any
/// type that serde knows.
///
/// ```
/// # use outrigger_sdk::prelude::*;
/// # use outrigger_sdk::serde_json::{Value, json};
/// let host = fake::Host::new();
/// let maps = host.objects(Target::new("", "v1", "configmaps").namespace("main"));
/// let made: Value = maps.create(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}})).unwrap();
/// let changed: Value = maps.merge("a", &json!({"data": {"x": "2"}})).unwrap();
/// assert_eq!(changed["data"]["x"], "2");
/// assert!(matches!(maps.update(&made), Err(Error::Conflict(_))), "somebody else was faster");
/// assert_eq!(maps.list::<Value>("").unwrap(), [changed]);
/// maps.delete("a").unwrap();
/// assert!(maps.find::<Value>("a").unwrap().is_none());
/// ```
#[derive(Debug)]
pub struct Client<'h, H: ?Sized> {
    host: &'h H,
    of: Target,
}

// === impl Target ===

impl Target {
    /// Objects of a resource, of no namespace; the group is empty for core.
    #[must_use]
    pub fn new(group: impl Into<String>, version: impl Into<String>, plural: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            plural: plural.into(),
            namespace: String::new(),
        }
    }

    /// Objects of a type of the plugin's own.
    #[must_use]
    pub fn of<T: Resource>() -> Self {
        Self::new(T::GROUP, T::VERSION, T::PLURAL)
    }

    /// In this namespace.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            ..self
        }
    }

    /// A subresource of them.
    #[must_use]
    pub fn subresource(mut self, name: &str) -> Self {
        self.plural.push('/');
        self.plural.push_str(name);
        self
    }
}

// === impl Client ===

impl<H: Cluster + ?Sized> Client<'_, H> {
    /// One object.
    ///
    /// # Errors
    /// As [`Cluster::get_object`]; [`Error::Failed`] if it does not fit the type.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        self.read(&self.host.get_object(&self.of, name)?)
    }

    /// One object, if it is there.
    ///
    /// # Errors
    /// As [`get`](Self::get), but [`Error::NotFound`].
    pub fn find<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        match self.get(name) {
            Ok(object) => Ok(Some(object)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// All objects that the selector selects, page by page; an empty one selects all.
    ///
    /// # Errors
    /// As [`Cluster::list_objects`]; [`Error::Failed`] if one of them does not fit the type.
    pub fn list<T: DeserializeOwned>(&self, label_selector: &str) -> Result<Vec<T>, Error> {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.host.list_objects(&self.of, label_selector, 0, &after)?;
            for item in &page.items {
                all.push(self.read(item)?);
            }
            if page.next.is_empty() {
                return Ok(all);
            }
            after = page.next;
        }
    }

    /// Makes an object; returns it as made.
    ///
    /// # Errors
    /// As [`Cluster::create_object`].
    pub fn create<T: Serialize + DeserializeOwned>(&self, object: &T) -> Result<T, Error> {
        self.read(&self.host.create_object(&self.of, &self.write(object)?)?)
    }

    /// Replaces an object; returns it as replaced.
    ///
    /// # Errors
    /// As [`Cluster::update_object`].
    pub fn update<T: Serialize + DeserializeOwned>(&self, object: &T) -> Result<T, Error> {
        self.read(&self.host.update_object(&self.of, &self.write(object)?)?)
    }

    /// Changes an object by a merge patch (RFC 7386); returns it as changed.
    ///
    /// # Errors
    /// As [`Cluster::patch_object`].
    pub fn merge<T: DeserializeOwned>(&self, name: &str, patch: &(impl Serialize + ?Sized)) -> Result<T, Error> {
        let patch = self.write(patch)?;
        let patched = self
            .host
            .patch_object(&self.of, name, "application/merge-patch+json", &patch)?;
        self.read(&patched)
    }

    /// Removes an object, in the background.
    ///
    /// # Errors
    /// As [`Cluster::delete_object`].
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        self.host.delete_object(&self.of, name)
    }

    fn read<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(bytes).map_err(|e| self.misfit(&e))
    }

    fn write(&self, object: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(object).map_err(|e| self.misfit(&e))
    }

    fn misfit(&self, e: &serde_json::Error) -> Error {
        Error::Failed(format!("one of {} does not fit: {e}", self.of.plural))
    }
}
