//! Which verbs a type implements, found out by the compiler.
//!
//! An inherent item goes before a trait's: `Probe::<Book>::get` is the inherent one if `Book: Get`, or else that of [`Lacks`], which
//! every type has. So [`plugin!`](crate::plugin) asks a type for all verbs, and a verb that is not there is neither declared nor
//! compiled in. It works where the type is known, which in a macro's expansion it is.

use std::marker::PhantomData;

use outrigger_manifest::Verb;

use crate::responder::{decode_part, encode_part};
use crate::{Create, Delete, Error, Get, Host, List, Object, Objects, Part, Request, Resource, Update, UpdatePart, Writer};

/// A type that is asked.
#[derive(Debug)]
pub struct Probe<T>(PhantomData<T>);

/// What every type is: without any verb.
pub trait Lacks {
    /// It does not [`Get`].
    const GET: Option<Verb> = None;
    /// It does not [`List`].
    const LIST: Option<Verb> = None;
    /// It does not [`Create`].
    const CREATE: Option<Verb> = None;
    /// It does not [`Update`].
    const UPDATE: Option<Verb> = None;
    /// It does not [`Delete`].
    const DELETE: Option<Verb> = None;
    /// It is no [`UpdatePart`].
    const REPLACES: bool = false;

    /// Refuses.
    fn get(_: &impl Host, request: &Request<'_>) -> Result<Vec<u8>, Error> {
        Err(lacks(request))
    }

    /// Refuses.
    fn list(_: &impl Host, request: &Request<'_>, _: Writer<'_>) -> Result<(), Error> {
        Err(lacks(request))
    }

    /// Refuses.
    fn create(_: &impl Host, request: &Request<'_>, _: &[u8]) -> Result<Vec<u8>, Error> {
        Err(lacks(request))
    }

    /// Refuses.
    fn update(_: &impl Host, request: &Request<'_>, _: &[u8]) -> Result<Vec<u8>, Error> {
        Err(lacks(request))
    }

    /// Refuses.
    fn delete(_: &impl Host, request: &Request<'_>) -> Result<Vec<u8>, Error> {
        Err(lacks(request))
    }

    /// Refuses.
    fn replace(_: &impl Host, request: &Request<'_>, _: &[u8]) -> Result<Vec<u8>, Error> {
        Err(lacks(request))
    }
}

impl<T> Lacks for Probe<T> {}

// === impl Probe ===

impl<T: Get> Probe<T> {
    /// It is there.
    pub const GET: Option<Verb> = Some(Verb::Get);

    /// One object.
    ///
    /// # Errors
    /// What the type answers.
    pub fn get(host: &impl Host, request: &Request<'_>) -> Result<Vec<u8>, Error> {
        encoded(request, &T::get(host, request)?)
    }
}

impl<T: List> Probe<T> {
    /// It is there.
    pub const LIST: Option<Verb> = Some(Verb::List);

    /// All objects.
    ///
    /// # Errors
    /// What the type answers.
    pub fn list(host: &impl Host, request: &Request<'_>, to: Writer<'_>) -> Result<(), Error> {
        T::list(host, request, &mut Objects::new(to, request.version()))
    }
}

impl<T: Create> Probe<T> {
    /// It is there.
    pub const CREATE: Option<Verb> = Some(Verb::Create);

    /// Makes an object.
    ///
    /// # Errors
    /// What the type answers, or [`Error::Invalid`] for what is none of its objects.
    pub fn create(host: &impl Host, request: &Request<'_>, object: &[u8]) -> Result<Vec<u8>, Error> {
        encoded(request, &T::create(host, request, Object::decode(object)?)?)
    }
}

impl<T: Update> Probe<T> {
    /// It is there.
    pub const UPDATE: Option<Verb> = Some(Verb::Update);

    /// Replaces an object.
    ///
    /// # Errors
    /// What the type answers, or [`Error::Invalid`] for what is none of its objects.
    pub fn update(host: &impl Host, request: &Request<'_>, object: &[u8]) -> Result<Vec<u8>, Error> {
        encoded(request, &T::update(host, request, Object::decode(object)?)?)
    }
}

impl<T: Delete> Probe<T> {
    /// It is there.
    pub const DELETE: Option<Verb> = Some(Verb::Delete);

    /// Removes an object.
    ///
    /// # Errors
    /// What the type answers.
    pub fn delete(host: &impl Host, request: &Request<'_>) -> Result<Vec<u8>, Error> {
        encoded(request, &T::delete(host, request)?)
    }
}

impl<P: UpdatePart> Probe<P> {
    /// It is one.
    pub const REPLACES: bool = true;

    /// Replaces a part.
    ///
    /// # Errors
    /// What the type answers, or [`Error::Invalid`] for what is no such part.
    pub fn replace(host: &impl Host, request: &Request<'_>, body: &[u8]) -> Result<Vec<u8>, Error> {
        encode_part::<P>(request, &P::update(host, request, decode_part::<P>(body)?)?)
    }
}

/// Reads a part.
pub fn read_part<P: Part>(host: &impl Host, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    encode_part::<P>(request, &P::get(host, request)?)
}

fn encoded<T: Resource>(request: &Request<'_>, object: &Object<T>) -> Result<Vec<u8>, Error> {
    object.encode(&request.version())
}

/// Whoever asks for what the manifest does not offer.
pub fn lacks(request: &Request<'_>) -> Error {
    let (resource, part) = (request.resource(), request.subresource());
    let slash = if part.is_empty() { "" } else { "/" };
    Error::Invalid(format!("{resource}{slash}{part} does not offer {}", request.verb()))
}
