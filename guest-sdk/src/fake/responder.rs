//! A virtual resource that is asked as the host asks it: documents cross as bytes, and what comes back is judged.

use std::cell::RefCell;
use std::marker::PhantomData;

use serde_json::Value;

use super::{Request, Stream};
use crate::probe::{Probe, read_part};
use crate::responder::encode_part;
use crate::{
    Connect, Create, Delete, Error, FieldError, Get, Host, List, Metadata, Object, Part, Resource, Update, UpdatePart, Writer,
};

/// A responder at work.
///
/// ```
/// use outrigger_sdk::prelude::*;
///
/// #[derive(Debug, Clone, PartialEq, Resource, Serialize, Deserialize, JsonSchema)]
/// #[resource(group = "notes.example.com", version = "v1", plural = "notes")]
/// struct Note { text: String }
///
/// impl Create for Note {
///     fn create(host: &impl Host, request: &Request<'_>, note: Object<Self>) -> Result<Object<Self>, Error> {
///         if note.text.is_empty() {
///             return Err(request.required("text", "a note says something"));
///         }
///         if !request.dry_run() {
///             host.kv_set(&note.metadata.name, note.text.as_bytes())?;
///         }
///         Ok(note)
///     }
/// }
///
/// impl Get for Note {
///     fn get(host: &impl Host, request: &Request<'_>) -> Result<Object<Self>, Error> {
///         let text = host.kv_get(&request.name())?.ok_or_else(|| request.not_found())?;
///         Ok(Object::named(request.namespace(), request.name(), Note { text: String::from_utf8(text).map_err(Error::failed)? }))
///     }
/// }
///
/// let (host, notes) = (fake::Host::new(), fake::Responder::<Note>::new().namespace("main"));
/// let note = Object::named("main", "a", Note { text: "buy milk".into() });
/// assert_eq!(notes.create(&host, note.clone()), Ok(note.clone()));
/// assert_eq!(notes.get(&host, "a"), Ok(note));
/// assert!(notes.create(&host, Object::named("main", "b", Note { text: String::new() })).is_err());
/// assert_eq!(notes.blamed()[0].message, "Required value: a note says something");
/// ```
#[derive(Debug)]
pub struct Responder<T> {
    like: Request,
    last: RefCell<Request>,
    kind: PhantomData<T>,
}

// === impl Responder ===

impl<T: Resource> Default for Responder<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Resource> Responder<T> {
    /// Asked in the preferred version, without a namespace, by nobody in particular.
    #[must_use]
    pub fn new() -> Self {
        Self::like(Request::default())
    }

    /// Asked in all respects like this: user, groups, dry run, version, parameters, selectors, namespace.
    #[must_use]
    pub fn like(request: Request) -> Self {
        let version = request.lend().version();
        let request = request.of::<T>();
        Self {
            like: if version.is_empty() {
                request
            } else {
                request.version(&version)
            },
            last: RefCell::default(),
            kind: PhantomData,
        }
    }

    /// Asked in this namespace.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        Self {
            like: self.like.namespace(namespace),
            ..self
        }
    }

    /// The fields that the last call blamed.
    #[must_use]
    pub fn blamed(&self) -> Vec<FieldError> {
        self.last.borrow().blamed()
    }

    /// What the last call warned of.
    #[must_use]
    pub fn warned(&self) -> Vec<String> {
        self.last.borrow().warned()
    }

    /// Reads a part, as the document that a caller gets.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn part<P: Part<Of = T>>(&self, host: &impl Host, name: &str) -> Result<Value, Error> {
        let bytes = self.ask("get", name, P::NAME, |request| read_part::<P>(host, request))?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Replaces a part; gives the document that a caller gets.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn update_part<P: UpdatePart<Of = T>>(&self, host: &impl Host, name: &str, body: &P::Body) -> Result<Value, Error> {
        let bytes = self.ask("update", name, P::NAME, |request| {
            let sent = encode_part::<P>(request, body)?;
            Probe::<P>::replace(host, request, &sent)
        })?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Serves a stream whose request has no body; see [`connect`](super::connect) for one that has.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn connect<C: Connect<Of = T>>(&self, host: &impl Host, name: &str) -> Result<Stream, Error> {
        let request = self.request("connect", name).method("GET");
        super::connect::<C>(host, &request, [""])
    }

    fn request(&self, verb: &str, name: &str) -> Request {
        self.like.clone().name(name).verb(verb)
    }

    /// Asks, and keeps the request for what the plugin said beside its answer.
    fn ask<R>(
        &self,
        verb: &str,
        name: &str,
        part: &str,
        ask: impl FnOnce(&crate::Request<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let request = self.request(verb, name).subresource(part);
        let answer = ask(&request.lend());
        self.last.replace(request);
        answer
    }

    /// What the host makes of an answer: name and namespace are filled in where they are left out, and right where they are not.
    fn judged(&self, bytes: &[u8], name: &str) -> Result<Object<T>, Error> {
        let mut object = Object::<T>::decode(bytes).map_err(|e| Error::Failed(e.to_string()))?;
        let namespace = self.like.lend().namespace();
        let Metadata {
            name: found,
            namespace: found_in,
            ..
        } = &mut object.metadata;
        for (field, found, wanted) in [("name", &mut *found, name), ("namespace", found_in, &namespace)] {
            if found.is_empty() {
                wanted.clone_into(found);
            } else if !(wanted.is_empty() || found == wanted) {
                return Err(Error::Failed(format!("metadata.{field} is {found:?}, not {wanted:?}")));
            }
        }
        if object.metadata.name.is_empty() {
            return Err(Error::Failed("an object has no name".to_owned()));
        }
        Ok(object)
    }
}

impl<T: Get> Responder<T> {
    /// One object.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn get(&self, host: &impl Host, name: &str) -> Result<Object<T>, Error> {
        let bytes = self.ask("get", name, "", |request| Probe::<T>::get(host, request))?;
        self.judged(&bytes, name)
    }
}

impl<T: List> Responder<T> {
    /// All objects.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn list(&self, host: &impl Host) -> Result<Vec<Object<T>>, Error> {
        let to = Stream::default();
        self.ask("list", "", "", |request| Probe::<T>::list(host, request, Writer::new(&to)))?;
        to.messages().iter().map(|bytes| self.judged(bytes, "")).collect()
    }
}

impl<T: Create> Responder<T> {
    /// Makes an object.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn create(&self, host: &impl Host, object: Object<T>) -> Result<Object<T>, Error> {
        let sent = object.encode(&self.like.lend().version())?;
        let bytes = self.ask("create", "", "", |request| Probe::<T>::create(host, request, &sent))?;
        self.judged(&bytes, &object.metadata.name)
    }
}

impl<T: Update> Responder<T> {
    /// Replaces an object.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn update(&self, host: &impl Host, object: Object<T>) -> Result<Object<T>, Error> {
        let (sent, name) = (object.encode(&self.like.lend().version())?, &object.metadata.name);
        let bytes = self.ask("update", name, "", |request| Probe::<T>::update(host, request, &sent))?;
        self.judged(&bytes, name)
    }
}

impl<T: Delete> Responder<T> {
    /// Removes an object; gives its last state.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn delete(&self, host: &impl Host, name: &str) -> Result<Object<T>, Error> {
        let bytes = self.ask("delete", name, "", |request| Probe::<T>::delete(host, request))?;
        self.judged(&bytes, name)
    }
}
