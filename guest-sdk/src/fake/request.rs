//! A request, and the streams of a `connect`, as a test writes them and looks at them afterwards.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::{Connect, Error, FieldError, Host, Reader, Resource, Writer};

/// A request that a plugin can be asked.
///
/// ```
/// # use outrigger_sdk::prelude::*;
/// let request = fake::Request::new("get").namespace("main").name("moby-dick").user("ishmael");
/// let lent = request.lend();
/// assert_eq!((lent.name().as_str(), lent.user().as_str()), ("moby-dick", "ishmael"));
/// lent.warn("it is long");
/// assert_eq!(request.warned(), ["it is long"]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Request {
    raw: Raw,
}

/// What lies behind a [`crate::Request`] in a test.
#[doc(hidden)]
#[derive(Debug, Clone, Default)]
pub struct Raw {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    user: String,
    groups: Vec<String>,
    dry_run: bool,
    parameters: Vec<(String, String)>,
    method: String,
    path: String,
    content_type: String,
    protocol: String,
    label_selector: String,
    field_selector: String,
    warned: RefCell<Vec<String>>,
    blamed: RefCell<Vec<FieldError>>,
}

/// What a plugin wrote.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    told: RefCell<Told>,
    /// The client goes away after so many writes.
    patience: Option<usize>,
}

#[derive(Debug, Clone, Default)]
struct Told {
    status: u16,
    content_type: String,
    writes: Vec<Vec<u8>>,
}

/// What a plugin reads: bytes in pieces, or the messages of a WebSocket.
#[derive(Debug, Clone, Default)]
pub struct Body {
    rest: RefCell<VecDeque<Vec<u8>>>,
    messages: bool,
}

/// Serves one stream with these pieces as the request's body. On a request with a [`protocol`](Request::protocol) they are the messages of
/// a WebSocket. See [`Connect`].
///
/// # Errors
/// What the plugin answers.
pub fn connect<C: Connect>(
    host: &impl Host,
    request: &Request,
    body: impl IntoIterator<Item = impl Into<Vec<u8>>>,
) -> Result<Stream, Error> {
    connect_to::<C>(host, request, body, Stream::default())
}

/// The same with a client that goes away after so many writes.
///
/// # Errors
/// What the plugin answers, which should be [`Error::Unavailable`].
pub fn connect_to<C: Connect>(
    host: &impl Host,
    request: &Request,
    body: impl IntoIterator<Item = impl Into<Vec<u8>>>,
    to: Stream,
) -> Result<Stream, Error> {
    let request = request.clone().of::<C::Of>().subresource(C::NAME);
    let body = Body {
        messages: !request.raw.protocol.is_empty(),
        ..Body::of(body)
    };
    C::connect(host, &request.lend(), &mut Reader::new(&body), &mut Writer::new(&to))?;
    Ok(to)
}

// === impl Request ===

impl Request {
    /// A request with this verb by a user without a name.
    #[must_use]
    pub fn new(verb: &str) -> Self {
        Self {
            raw: Raw {
                verb: verb.to_owned(),
                method: if verb == "connect" { "GET" } else { "" }.to_owned(),
                ..Raw::default()
            },
        }
    }

    /// For this resource, in its preferred version.
    #[must_use]
    pub fn of<T: Resource>(self) -> Self {
        self.with(|raw| {
            raw.group = T::GROUP.to_owned();
            raw.version = T::VERSION.to_owned();
            raw.resource = T::PLURAL.to_owned();
        })
    }

    /// With another verb.
    #[must_use]
    pub fn verb(self, verb: &str) -> Self {
        self.with(|raw| raw.verb = verb.to_owned())
    }

    /// In this version.
    #[must_use]
    pub fn version(self, version: &str) -> Self {
        self.with(|raw| raw.version = version.to_owned())
    }

    /// For this subresource.
    #[must_use]
    pub fn subresource(self, subresource: &str) -> Self {
        self.with(|raw| raw.subresource = subresource.to_owned())
    }

    /// In this namespace.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        self.with(|raw| raw.namespace = namespace.to_owned())
    }

    /// For the object of this name.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.with(|raw| raw.name = name.to_owned())
    }

    /// By this user.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        self.with(|raw| raw.user = user.to_owned())
    }

    /// By a member of this group as well.
    #[must_use]
    pub fn group(self, group: &str) -> Self {
        self.with(|raw| raw.groups.push(group.to_owned()))
    }

    /// Nothing may be persisted.
    #[must_use]
    pub fn dry_run(self) -> Self {
        self.with(|raw| raw.dry_run = true)
    }

    /// With one more query parameter.
    #[must_use]
    pub fn parameter(self, name: &str, value: &str) -> Self {
        self.with(|raw| raw.parameters.push((name.to_owned(), value.to_owned())))
    }

    /// For a `connect`: with this HTTP method, where GET does not do.
    #[must_use]
    pub fn method(self, method: &str) -> Self {
        self.with(|raw| raw.method = method.to_owned())
    }

    /// For a `connect`: with this path after the subresource.
    #[must_use]
    pub fn path(self, path: &str) -> Self {
        self.with(|raw| raw.path = path.to_owned())
    }

    /// For a `connect`: with a body of this media type.
    #[must_use]
    pub fn content_type(self, content_type: &str) -> Self {
        self.with(|raw| raw.content_type = content_type.to_owned())
    }

    /// For a `connect`: a WebSocket that speaks this subprotocol.
    #[must_use]
    pub fn protocol(self, protocol: &str) -> Self {
        self.with(|raw| raw.protocol = protocol.to_owned())
    }

    /// For a list: with this label selector.
    #[must_use]
    pub fn label_selector(self, selector: &str) -> Self {
        self.with(|raw| raw.label_selector = selector.to_owned())
    }

    /// For a list: with this field selector.
    #[must_use]
    pub fn field_selector(self, selector: &str) -> Self {
        self.with(|raw| raw.field_selector = selector.to_owned())
    }

    /// As a plugin sees it.
    #[must_use]
    pub fn lend(&self) -> crate::Request<'_> {
        crate::Request::new(&self.raw)
    }

    /// What the plugin warned of.
    #[must_use]
    pub fn warned(&self) -> Vec<String> {
        self.raw.warned.borrow().clone()
    }

    /// The fields that the plugin blamed.
    #[must_use]
    pub fn blamed(&self) -> Vec<FieldError> {
        self.raw.blamed.borrow().clone()
    }

    fn with(mut self, change: impl FnOnce(&mut Raw)) -> Self {
        change(&mut self.raw);
        self
    }
}

// === impl Raw ===

#[allow(missing_docs, reason = "the functions of `requests.request`, as the contract says them")]
impl Raw {
    pub fn verb(&self) -> String {
        self.verb.clone()
    }

    pub fn group(&self) -> String {
        self.group.clone()
    }

    pub fn version(&self) -> String {
        self.version.clone()
    }

    pub fn resource(&self) -> String {
        self.resource.clone()
    }

    pub fn subresource(&self) -> String {
        self.subresource.clone()
    }

    pub fn namespace(&self) -> String {
        self.namespace.clone()
    }

    pub fn name(&self) -> String {
        self.name.clone()
    }

    pub fn user(&self) -> String {
        self.user.clone()
    }

    pub fn groups(&self) -> Vec<String> {
        self.groups.clone()
    }

    pub fn dry_run(&self) -> bool {
        self.dry_run
    }

    pub fn parameter(&self, name: &str) -> Option<String> {
        self.parameters(name).into_iter().next()
    }

    pub fn parameters(&self, name: &str) -> Vec<String> {
        let of_name = self.parameters.iter().filter(|(n, _)| n == name);
        of_name.map(|(_, value)| value.clone()).collect()
    }

    pub fn method(&self) -> String {
        self.method.clone()
    }

    pub fn path(&self) -> String {
        self.path.clone()
    }

    pub fn content_type(&self) -> String {
        self.content_type.clone()
    }

    pub fn protocol(&self) -> String {
        self.protocol.clone()
    }

    pub fn label_selector(&self) -> String {
        self.label_selector.clone()
    }

    pub fn field_selector(&self) -> String {
        self.field_selector.clone()
    }

    pub fn audit_id(&self) -> String {
        "00000000-0000-0000-0000-000000000000".to_owned()
    }

    pub fn warn(&self, text: &str) {
        self.warned.borrow_mut().push(text.to_owned());
    }

    pub fn blame(&self, field: &FieldError) {
        self.blamed.borrow_mut().push(field.clone());
    }
}

// === impl Stream ===

impl Stream {
    /// A client that goes away after so many writes.
    #[must_use]
    pub fn leaving_after(writes: usize) -> Self {
        Self {
            patience: Some(writes),
            ..Self::default()
        }
    }

    /// The status that was said, or 200 if bytes came without a word; 0 if nothing came at all.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.told.borrow().status
    }

    /// The content type that was said.
    #[must_use]
    pub fn content_type(&self) -> String {
        self.told.borrow().content_type.clone()
    }

    /// What was written, write by write: the messages of a WebSocket.
    #[must_use]
    pub fn messages(&self) -> Vec<Vec<u8>> {
        self.told.borrow().writes.clone()
    }

    /// All that was written, as a text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.told.borrow().writes.concat()).into_owned()
    }

    /// `requests.writer.start`, as strict as the host's.
    #[doc(hidden)]
    pub fn start(&self, status: u16, content_type: &str) -> Result<(), Error> {
        let mut told = self.told.borrow_mut();
        if !(200..600).contains(&status) {
            return Err(Error::Invalid(format!("{status} is not the status of an answer")));
        }
        if told.status != 0 {
            return Err(Error::Invalid("the answer has begun already".to_owned()));
        }
        told.status = status;
        content_type.clone_into(&mut told.content_type);
        Ok(())
    }

    /// `requests.writer.write`.
    #[doc(hidden)]
    pub fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut told = self.told.borrow_mut();
        if self.patience.is_some_and(|most| told.writes.len() >= most) {
            return Err(Error::Unavailable("the client has gone".to_owned()));
        }
        if told.status == 0 {
            told.status = 200;
        }
        told.writes.push(bytes.to_vec());
        Ok(())
    }
}

// === impl Body ===

impl Body {
    /// A body in these pieces.
    #[must_use]
    pub fn of(pieces: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        let pieces = pieces.into_iter().map(Into::into);
        Self {
            rest: RefCell::new(pieces.filter(|piece: &Vec<u8>| !piece.is_empty()).collect()),
            messages: false,
        }
    }

    /// `requests.reader.read`.
    #[doc(hidden)]
    pub fn read(&self, most: u32) -> Result<Vec<u8>, Error> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut rest = self.rest.borrow_mut();
        let Some(mut piece) = rest.pop_front() else {
            return Ok(Vec::new());
        };
        if piece.len() > most {
            if self.messages {
                return Err(Error::TooLarge(format!(
                    "a message of {} bytes, where {most} are wanted",
                    piece.len()
                )));
            }
            rest.push_front(piece.split_off(most));
        }
        Ok(piece)
    }
}
