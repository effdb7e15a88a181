//! The role *responder*: objects that are computed on demand and kept nowhere by the host.
//!
//! One trait for each verb. What a type implements is what discovery offers: [`plugin!`](crate::plugin) finds out and writes it
//! into the manifest. The rest is the host's: selectors, paging, Table, partial metadata, `patch` (over get and update),
//! `deletecollection` (over list and delete) and `watch` (by listing every few seconds, if the resource says `poll_seconds`).
//!
//! ```
//! use outrigger_sdk::prelude::*;
//!
//! /// A number, and what it is squared.
//! #[derive(Resource, Serialize, Deserialize, JsonSchema)]
//! #[resource(group = "numbers.example.com", version = "v1", plural = "squares", scope = "Cluster")]
//! struct Square {
//!     /// The number times itself.
//!     value: u64,
//! }
//!
//! impl Get for Square {
//!     fn get(_: &impl Host, request: &Request<'_>) -> Result<Object<Self>, Error> {
//!         let root: u64 = request.name().parse().map_err(|_| request.not_found())?;
//!         Ok(Object::named("", request.name(), Square { value: root * root }))
//!     }
//! }
//!
//! impl List for Square {
//!     fn list(_: &impl Host, _: &Request<'_>, to: &mut Objects<'_, Self>) -> Result<(), Error> {
//!         (1..=3u64).try_for_each(|root| to.write(&Object::named("", root.to_string(), Square { value: root * root })))
//!     }
//! }
//!
//! plugin! { manifest: || manifest!().name("numbers"), responders: [Square] }
//!
//! # fn main() {
//! let squares = fake::Responder::<Square>::new();
//! assert_eq!(squares.get(&fake::Host::new(), "12").unwrap().value, 144);
//! assert_eq!(squares.list(&fake::Host::new()).unwrap().len(), 3);
//! # assert_eq!(Plugin::manifest().check(), Ok(()));
//! # }
//! ```

use outrigger_manifest as manifest;
use outrigger_manifest::{Subresource, Verb};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::object::api_version;
use crate::{Error, Host, Metadata, Object, Objects, Reader, Request, Resource, Writer};

/// One object can be read.
pub trait Get: Resource {
    /// The object of [`name`](Request::name) and [`namespace`](Request::namespace).
    ///
    /// # Errors
    /// [`Error::NotFound`] (see [`Request::not_found`]) if there is none.
    fn get(host: &impl Host, request: &Request<'_>) -> Result<Object<Self>, Error>;
}

/// All objects can be read.
pub trait List: Resource {
    /// Writes all objects of [`namespace`](Request::namespace), or of all of them if that is empty, one by one.
    ///
    /// # Errors
    /// Any error fails the whole list.
    fn list(host: &impl Host, request: &Request<'_>, to: &mut Objects<'_, Self>) -> Result<(), Error>;
}

/// Objects can be made.
pub trait Create: Resource {
    /// Makes the object, unless [`dry_run`](Request::dry_run) says not to; returns it as made.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it exists; [`Request::invalid`] and its like for fields that make no sense.
    fn create(host: &impl Host, request: &Request<'_>, object: Object<Self>) -> Result<Object<Self>, Error>;
}

/// Objects can be replaced; together with [`Get`] they can be patched.
///
/// ```
/// # use outrigger_sdk::prelude::*;
/// #[derive(Debug, Clone, PartialEq, Resource, Serialize, Deserialize, JsonSchema)]
/// #[resource(group = "house.example.com", version = "v1", plural = "lamps")]
/// struct Lamp { on: bool }
///
/// impl Update for Lamp {
///     fn update(host: &impl Host, request: &Request<'_>, lamp: Object<Self>) -> Result<Object<Self>, Error> {
///         host.kv_get(&request.name())?.ok_or_else(|| request.not_found())?;
///         if !request.dry_run() {
///             host.kv_set(&request.name(), if lamp.on { b"on" } else { b"off" })?;
///         }
///         Ok(lamp)
///     }
/// }
/// let (host, lamps) = (fake::Host::new().keeping("desk", "off"), fake::Responder::<Lamp>::new());
/// lamps.update(&host, Object::named("", "desk", Lamp { on: true })).unwrap();
/// assert_eq!(host.kv_get("desk").unwrap().unwrap(), b"on");
/// assert!(matches!(lamps.update(&host, Object::named("", "attic", Lamp { on: true })), Err(Error::NotFound(_))));
/// ```
pub trait Update: Resource {
    /// Replaces the object, unless [`dry_run`](Request::dry_run) says not to; returns it as replaced.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none; [`Error::Conflict`] if its resourceVersion is not the newest;
    /// [`Request::invalid`] and its like for fields that make no sense.
    fn update(host: &impl Host, request: &Request<'_>, object: Object<Self>) -> Result<Object<Self>, Error>;
}

/// Objects can be removed. It needs [`List`]: what cannot be emptied must not offer it.
///
/// ```
/// # use outrigger_sdk::prelude::*;
/// #[derive(Debug, Resource, Serialize, Deserialize, JsonSchema)]
/// #[resource(group = "house.example.com", version = "v1", plural = "keys", scope = "Cluster")]
/// struct Key {}
///
/// impl List for Key {
///     fn list(host: &impl Host, _: &Request<'_>, to: &mut Objects<'_, Self>) -> Result<(), Error> {
///         host.kv_keys("", "")?.into_iter().try_for_each(|name| to.write(&Object::named("", name, Key {})))
///     }
/// }
///
/// impl Delete for Key {
///     fn delete(host: &impl Host, request: &Request<'_>) -> Result<Object<Self>, Error> {
///         host.kv_get(&request.name())?.ok_or_else(|| request.not_found())?;
///         if !request.dry_run() {
///             host.kv_delete(&request.name())?;
///         }
///         Ok(Object::named("", request.name(), Key {}))
///     }
/// }
/// let (host, keys) = (fake::Host::new().keeping("front", "").keeping("back", ""), fake::Responder::<Key>::new());
/// keys.delete(&host, "front").unwrap();
/// assert_eq!(keys.list(&host).unwrap().len(), 1);
/// ```
pub trait Delete: Resource {
    /// Removes the object, unless [`dry_run`](Request::dry_run) says not to; returns its last state.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    fn delete(host: &impl Host, request: &Request<'_>) -> Result<Object<Self>, Error>;
}

/// A named part of an object, such as `status` or `scale`, that can be read by itself.
///
/// ```
/// # use outrigger_sdk::prelude::*;
/// # #[derive(Resource, Serialize, Deserialize, JsonSchema)]
/// # #[resource(group = "library.example.com", version = "v1", plural = "books")]
/// # struct Book { borrower: Option<String> }
/// /// Who has the book.
/// struct Loan;
///
/// #[derive(Serialize, Deserialize)]
/// struct Borrowed { by: String }
///
/// impl Part for Loan {
///     type Of = Book;
///     type Body = Borrowed;
///     const NAME: &'static str = "loan";
///     const KIND: &'static str = "Loan";
///
///     fn get(host: &impl Host, request: &Request<'_>) -> Result<Borrowed, Error> {
///         let by = host.kv_get(&request.name())?.ok_or_else(|| request.not_found())?;
///         Ok(Borrowed { by: String::from_utf8(by).map_err(Error::failed)? })
///     }
/// }
/// let host = fake::Host::new().keeping("moby-dick", "ishmael");
/// let loan = fake::Responder::<Book>::new().namespace("main").part::<Loan>(&host, "moby-dick").unwrap();
/// assert_eq!(loan["apiVersion"], "library.example.com/v1");
/// assert_eq!((loan["kind"].as_str(), loan["by"].as_str()), (Some("Loan"), Some("ishmael")));
/// ```
pub trait Part {
    /// Whose part it is.
    type Of: Resource;
    /// The document. apiVersion, kind and metadata (the object's name and namespace) are added where it has none of its own; an
    /// [`Object`] has all of them.
    type Body: Serialize + DeserializeOwned;
    /// The subresource's name.
    const NAME: &'static str;
    /// The document's kind; empty: the object's own.
    const KIND: &'static str = "";

    /// The part of the object of [`name`](Request::name) and [`namespace`](Request::namespace).
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such object.
    fn get(host: &impl Host, request: &Request<'_>) -> Result<Self::Body, Error>;
}

/// A part that can be replaced by itself.
///
/// ```
/// # use outrigger_sdk::prelude::*;
/// # #[derive(Resource, Serialize, Deserialize, JsonSchema)]
/// # #[resource(group = "house.example.com", version = "v1", plural = "lamps")]
/// # struct Lamp {}
/// /// How bright a lamp is.
/// struct Dimmer;
///
/// #[derive(Serialize, Deserialize)]
/// struct Level { percent: u8 }
///
/// impl Part for Dimmer {
///     type Of = Lamp;
///     type Body = Level;
///     const NAME: &'static str = "dimmer";
///     const KIND: &'static str = "Level";
///
///     fn get(_: &impl Host, _: &Request<'_>) -> Result<Level, Error> {
///         Ok(Level { percent: 100 })
///     }
/// }
///
/// impl UpdatePart for Dimmer {
///     fn update(_: &impl Host, request: &Request<'_>, level: Level) -> Result<Level, Error> {
///         match level.percent {
///             0..=100 => Ok(level),
///             _ => Err(request.invalid("percent", "must be at most 100")),
///         }
///     }
/// }
/// let (host, lamps) = (fake::Host::new(), fake::Responder::<Lamp>::new());
/// assert_eq!(lamps.update_part::<Dimmer>(&host, "desk", &Level { percent: 50 }).unwrap()["percent"], 50);
/// assert!(lamps.update_part::<Dimmer>(&host, "desk", &Level { percent: 101 }).is_err());
/// ```
pub trait UpdatePart: Part {
    /// Replaces the part, unless [`dry_run`](Request::dry_run) says not to; returns it as replaced.
    ///
    /// # Errors
    /// As [`Update::update`].
    fn update(host: &impl Host, request: &Request<'_>, body: Self::Body) -> Result<Self::Body, Error>;
}

/// A stream that belongs to an object, such as `log` or `exec`: a body comes in, bytes go out, over HTTP or a WebSocket.
///
/// ```
/// # use outrigger_sdk::prelude::*;
/// # #[derive(Resource, Serialize, Deserialize, JsonSchema)]
/// # #[resource(group = "library.example.com", version = "v1", plural = "books")]
/// # struct Book {}
/// /// The book, read aloud; twice as long for those who ask for it.
/// struct Pages;
///
/// impl Connect for Pages {
///     type Of = Book;
///     const NAME: &'static str = "pages";
///     const METHODS: &'static [&'static str] = &["GET"];
///
///     fn connect(_: &impl Host, request: &Request<'_>, _: &mut Reader<'_>, to: &mut Writer<'_>) -> Result<(), Error> {
///         to.start(200, "text/plain")?;
///         let times = if request.parameter("twice").is_some() { 2 } else { 1 };
///         (0..times).try_for_each(|_| to.write(b"Call me Ishmael.\n"))
///     }
/// }
/// let request = fake::Request::new("connect").name("moby-dick").parameter("twice", "");
/// let read = fake::connect::<Pages>(&fake::Host::new(), &request, [""]).unwrap();
/// assert_eq!((read.status(), read.text().as_str()), (200, "Call me Ishmael.\nCall me Ishmael.\n"));
/// ```
pub trait Connect {
    /// Whose stream it is.
    type Of: Resource;
    /// The subresource's name.
    const NAME: &'static str;
    /// The HTTP methods that it takes; empty: GET and POST.
    const METHODS: &'static [&'static str] = &[];
    /// The WebSocket subprotocols that it speaks, best first; empty: plain HTTP only.
    const PROTOCOLS: &'static [&'static str] = &[];

    /// Serves one stream to its end.
    ///
    /// # Errors
    /// Before [`Writer::start`] an error is the answer; after it the stream breaks off.
    fn connect(host: &impl Host, request: &Request<'_>, from: &mut Reader<'_>, to: &mut Writer<'_>) -> Result<(), Error>;
}

/// A resource's entry in the manifest, with these verbs.
pub(crate) fn responding<T: Resource>(verbs: impl IntoIterator<Item = Verb>) -> manifest::Resource {
    let mut declared = T::declaration();
    if let manifest::Backing::Virtual { verbs: all, .. } = &mut declared.backing {
        all.extend(verbs);
    }
    declared
}

/// Adds a subresource to the resource that it belongs to. One of a resource that the plugin does not serve is declared for
/// itself, which does not fit and says why.
pub(crate) fn with_part<T: Resource>(mut manifest: manifest::Manifest, part: Subresource) -> manifest::Manifest {
    let of = manifest
        .resources
        .iter_mut()
        .find(|r| r.group == T::GROUP && r.plural == T::PLURAL);
    match of {
        Some(resource) => {
            resource.subresources.push(part);
            manifest
        }
        None => manifest.resource(T::declaration().subresource(part)),
    }
}

/// A part's entry in the manifest.
pub(crate) fn part<P: Part>(updates: bool) -> Subresource {
    let verbs = [Some(Verb::Get), updates.then_some(Verb::Update)];
    Subresource::part(P::NAME, verbs.into_iter().flatten()).kind(P::KIND)
}

/// A stream's entry in the manifest.
pub(crate) fn stream<C: Connect>() -> Subresource {
    let declared = C::METHODS
        .iter()
        .fold(Subresource::connect(C::NAME), |d, method| d.method(*method));
    C::PROTOCOLS.iter().fold(declared, |d, protocol| d.protocol(*protocol))
}

/// A part as the host gets it.
pub(crate) fn encode_part<P: Part>(request: &Request<'_>, body: &P::Body) -> Result<Vec<u8>, Error> {
    let no_document = |why: String| Error::Failed(format!("{}/{} is no document: {why}", P::Of::PLURAL, P::NAME));
    let body = match serde_json::to_value(body) {
        Ok(Value::Object(body)) => body,
        Ok(_) => return Err(no_document("it has no fields".to_owned())),
        Err(e) => return Err(no_document(e.to_string())),
    };
    let kind = if P::KIND.is_empty() { P::Of::KIND } else { P::KIND };
    let metadata = Metadata::named(request.namespace(), request.name());
    let mut document = Map::new();
    document.insert("apiVersion".into(), api_version(P::Of::GROUP, &request.version()).into());
    document.insert("kind".into(), kind.into());
    document.insert("metadata".into(), serde_json::to_value(metadata)?);
    document.extend(body);
    Ok(serde_json::to_vec(&document)?)
}

/// A part as a caller sent it.
pub(crate) fn decode_part<P: Part>(bytes: &[u8]) -> Result<P::Body, Error> {
    let at = (P::Of::PLURAL, P::NAME);
    serde_json::from_slice(bytes).map_err(|e| Error::Invalid(format!("the object cannot be handled as {}/{}: {e}", at.0, at.1)))
}
