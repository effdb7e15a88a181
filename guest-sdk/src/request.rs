//! The request that a plugin is answering, and the streams of a `connect`.
//!
//! All three are borrowed: they end with the call. Facts are asked for one by one; there is no credential and no header among them.
//! In a component the host answers, in a test [`fake::Request`](crate::fake::Request) and its streams do.

#![allow(
    clippy::needless_question_mark,
    clippy::useless_conversion,
    reason = "in a component the host's error becomes the SDK's; natively both are one"
)]

use std::fmt::{Display, Write as _};
use std::io::{BufRead as _, Cursor};
use std::marker::PhantomData;

use crate::{Error, Object, Resource};

#[cfg(target_arch = "wasm32")]
use crate::bindings::requests::{Reader as RawReader, Request as RawRequest, Writer as RawWriter};
#[cfg(not(target_arch = "wasm32"))]
use crate::fake::{Body as RawReader, Raw as RawRequest, Stream as RawWriter};

/// One request. The caller is already authenticated and authorized.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a>(&'a RawRequest);

/// Why a write is refused: one field and what is wrong with it, as upstream's `field.Error`. Several make one
/// `422 Invalid` with as many causes.
///
/// ```
/// # use outrigger_sdk::FieldError;
/// let wrong = FieldError::not_supported("spec.genre", "poem", &["novel", "essay"]);
/// assert_eq!(wrong.reason, "FieldValueNotSupported");
/// assert_eq!(wrong.message, r#"Unsupported value: "poem": supported values: "novel", "essay""#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// `FieldValueInvalid` …
    pub reason: String,
    /// The field's path, such as `spec.ports[0].name`.
    pub field: String,
    /// What the caller reads after the path.
    pub message: String,
}

/// Where the objects of a list go, one by one: a list never has to fit into the guest's memory.
#[derive(Debug)]
pub struct Objects<'a, T> {
    to: Writer<'a>,
    version: String,
    kind: PhantomData<fn(&T)>,
}

/// Where a stream's bytes go.
///
/// ```
/// # use outrigger_sdk::prelude::*;
/// use std::io::Write;
///
/// /// Says back what it reads, with a line of its own before.
/// fn echo(from: &mut Reader<'_>, to: &mut Writer<'_>) -> Result<(), Error> {
///     to.start(200, "text/plain")?;
///     writeln!(to, "you said:")?;
///     std::io::copy(from, to)?;
///     Ok(())
/// }
/// # let (body, said) = (fake::Body::of(["call me ", "ishmael"]), fake::Stream::default());
/// # echo(&mut Reader::new(&body), &mut Writer::new(&said)).unwrap();
/// # assert_eq!(said.text(), "you said:\ncall me ishmael");
/// ```
///
/// A write returns when there is room; it fails with [`Error::Unavailable`] once the client has gone.
#[derive(Debug)]
pub struct Writer<'a>(&'a RawWriter);

/// Where the body of a `connect` comes from: bytes, or the messages of a WebSocket.
#[derive(Debug)]
pub struct Reader<'a> {
    from: &'a RawReader,
    /// What came in a message and was not read yet.
    rest: Cursor<Vec<u8>>,
}

/// The largest message that `io::Read` takes from a WebSocket.
const MESSAGE: u32 = 1 << 20;

// === impl Request ===

impl<'a> Request<'a> {
    #[doc(hidden)]
    #[must_use]
    pub fn new(raw: &'a RawRequest) -> Self {
        Self(raw)
    }

    /// `get`, `list`, `create`, `update`, `delete` or `connect`.
    #[must_use]
    pub fn verb(&self) -> String {
        self.0.verb()
    }

    /// API group.
    #[must_use]
    pub fn group(&self) -> String {
        self.0.group()
    }

    /// The API version that the caller speaks.
    #[must_use]
    pub fn version(&self) -> String {
        self.0.version()
    }

    /// The resource's plural name.
    #[must_use]
    pub fn resource(&self) -> String {
        self.0.resource()
    }

    /// Subresource; empty for none.
    #[must_use]
    pub fn subresource(&self) -> String {
        self.0.subresource()
    }

    /// Namespace; empty for cluster-scoped resources, and for lists over all namespaces.
    #[must_use]
    pub fn namespace(&self) -> String {
        self.0.namespace()
    }

    /// The object's name; empty for list and create.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// The caller's name.
    #[must_use]
    pub fn user(&self) -> String {
        self.0.user()
    }

    /// The caller's groups.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        self.0.groups()
    }

    /// Nothing may be persisted: answer as if.
    #[must_use]
    pub fn dry_run(&self) -> bool {
        self.0.dry_run()
    }

    /// A query parameter that belongs to the resource, such as a log's `follow`; the first of that name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.0.parameter(name)
    }

    /// All of that name (exec's `command`), in their order.
    #[must_use]
    pub fn parameters(&self, name: &str) -> Vec<String> {
        self.0.parameters(name)
    }

    /// The HTTP method of a `connect`.
    #[must_use]
    pub fn method(&self) -> String {
        self.0.method()
    }

    /// What follows the subresource in the path of a `connect`, such as `/healthz`.
    #[must_use]
    pub fn path(&self) -> String {
        self.0.path()
    }

    /// The media type of the body of a `connect`, without parameters.
    #[must_use]
    pub fn content_type(&self) -> String {
        self.0.content_type()
    }

    /// The subprotocol that was agreed on, if a `connect` is a WebSocket; empty for plain HTTP.
    #[must_use]
    pub fn protocol(&self) -> String {
        self.0.protocol()
    }

    /// A list's label selector in its text form. The host filters again: ignoring it is right, using it is faster.
    #[must_use]
    pub fn label_selector(&self) -> String {
        self.0.label_selector()
    }

    /// Likewise for fields.
    #[must_use]
    pub fn field_selector(&self) -> String {
        self.0.field_selector()
    }

    /// Ties this call to the audit log.
    #[must_use]
    pub fn audit_id(&self) -> String {
        self.0.audit_id()
    }

    /// One sentence, of at most 256 characters, that the caller sees though the request succeeds.
    pub fn warn(&self, text: impl Display) {
        self.0.warn(&text.to_string());
    }

    /// Records a field that is at fault. What then answers [`Error::Invalid`] is 422 with these causes; [`invalid`](Self::invalid)
    /// and its like do both.
    ///
    /// ```
    /// # use outrigger_sdk::prelude::*;
    /// # use outrigger_sdk::FieldError;
    /// fn check(request: &Request<'_>, pages: i64, title: &str) -> Result<(), Error> {
    ///     let mut wrong = Ok(());
    ///     if pages < 1 {
    ///         wrong = Err(request.invalid("spec.pages", "must be positive"));
    ///     }
    ///     if title.is_empty() {
    ///         wrong = Err(request.required("spec.title", ""));
    ///     }
    ///     wrong
    /// }
    /// let request = fake::Request::new("create");
    /// assert!(check(&request.lend(), 0, "").is_err());
    /// assert_eq!(request.blamed().len(), 2);
    /// assert_eq!(request.blamed()[0], FieldError::invalid("spec.pages", "must be positive"));
    /// ```
    pub fn blame(&self, field: FieldError) -> Error {
        let error = Error::Invalid(format!("{}: {}", field.field, field.message));
        self.0.blame(&field.into_raw());
        error
    }

    /// The field's value makes no sense; `FieldValueInvalid`.
    #[must_use]
    pub fn invalid(&self, field: &str, why: impl Display) -> Error {
        self.blame(FieldError::invalid(field, why))
    }

    /// The field is missing; `FieldValueRequired`. `why` may be empty.
    #[must_use]
    pub fn required(&self, field: &str, why: impl Display) -> Error {
        self.blame(FieldError::required(field, why))
    }

    /// The field has a value that is none of these; `FieldValueNotSupported`.
    #[must_use]
    pub fn not_supported(&self, field: &str, value: impl Display, supported: &[&str]) -> Error {
        self.blame(FieldError::not_supported(field, value, supported))
    }

    /// The field may not be set, or not so, by what else is known; `FieldValueForbidden`.
    #[must_use]
    pub fn forbidden(&self, field: &str, why: impl Display) -> Error {
        self.blame(FieldError::forbidden(field, why))
    }

    /// The object that was asked for is not there; [`Error::NotFound`].
    #[must_use]
    pub fn not_found(&self) -> Error {
        Error::NotFound(format!("{} {:?} not found", self.resource(), self.name()))
    }
}

// === impl FieldError ===

impl FieldError {
    /// `FieldValueInvalid`: the value makes no sense.
    #[must_use]
    pub fn invalid(field: impl Into<String>, why: impl Display) -> Self {
        Self::of("FieldValueInvalid", field, format!("Invalid value: {why}"))
    }

    /// `FieldValueRequired`: there is no value. `why` may be empty.
    #[must_use]
    pub fn required(field: impl Into<String>, why: impl Display) -> Self {
        let message = format!("Required value: {why}");
        Self::of("FieldValueRequired", field, message.trim_end_matches(": ").to_owned())
    }

    /// `FieldValueNotSupported`: the value is none of these.
    #[must_use]
    pub fn not_supported(field: impl Into<String>, value: impl Display, supported: &[&str]) -> Self {
        let mut message = format!("Unsupported value: {:?}", value.to_string());
        for (i, one) in supported.iter().enumerate() {
            let before = if i == 0 { ": supported values: " } else { ", " };
            // Writing to a text never fails.
            let _ = write!(message, "{before}{one:?}");
        }
        Self::of("FieldValueNotSupported", field, message)
    }

    /// `FieldValueForbidden`: what else is known does not allow it.
    #[must_use]
    pub fn forbidden(field: impl Into<String>, why: impl Display) -> Self {
        Self::of("FieldValueForbidden", field, format!("Forbidden: {why}"))
    }

    fn of(reason: &str, field: impl Into<String>, message: String) -> Self {
        Self {
            reason: reason.to_owned(),
            field: field.into(),
            message,
        }
    }

    #[cfg(target_arch = "wasm32")]
    fn into_raw(self) -> crate::bindings::types::FieldError {
        self.into()
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn into_raw(self) -> Self {
        self
    }
}

// === impl Objects ===

impl<'a, T: Resource> Objects<'a, T> {
    pub(crate) fn new(to: Writer<'a>, version: String) -> Self {
        Self {
            to,
            version,
            kind: PhantomData,
        }
    }

    /// One more object.
    ///
    /// # Errors
    /// [`Error::Unavailable`] once the client has gone: return it. [`Error::Failed`] if the object has no form in JSON.
    pub fn write(&mut self, object: &Object<T>) -> Result<(), Error> {
        self.to.write(&object.encode(&self.version)?)
    }
}

// === impl Writer ===

impl<'a> Writer<'a> {
    #[doc(hidden)]
    #[must_use]
    pub fn new(raw: &'a RawWriter) -> Self {
        Self(raw)
    }

    /// Status and content type; once, before the first write. On a WebSocket it says nothing, and need not be called.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no status, or comes too late.
    pub fn start(&mut self, status: u16, content_type: &str) -> Result<(), Error> {
        Ok(self.0.start(status, content_type)?)
    }

    /// The next bytes; on a WebSocket one binary message.
    ///
    /// # Errors
    /// [`Error::Unavailable`] once the client has gone: return it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.0.write(bytes)?)
    }
}

/// For `write!` and `io::copy`; on a WebSocket each write is a message.
impl std::io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Writer::write(self, bytes).map_err(std::io::Error::from)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    #[doc(hidden)]
    #[must_use]
    pub fn new(raw: &'a RawReader) -> Self {
        Self {
            from: raw,
            rest: Cursor::default(),
        }
    }

    /// At most `most` bytes; on a WebSocket the next message as a whole. Empty at the end.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a message of more than `most` bytes, which is lost; [`Error::Timeout`] if nothing comes.
    pub fn read(&mut self, most: u32) -> Result<Vec<u8>, Error> {
        let rest = self.rest.fill_buf().unwrap_or_default();
        if rest.is_empty() {
            return Ok(self.from.read(most)?);
        }
        let most = rest.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        let bytes = rest.iter().take(most).copied().collect();
        self.rest.consume(most);
        Ok(bytes)
    }
}

/// For `io::copy` and `BufReader`; messages of a WebSocket follow each other without a seam.
impl std::io::Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        if self.rest.fill_buf()?.is_empty() {
            let message = self.from.read(MESSAGE).map_err(|e| std::io::Error::from(Error::from(e)))?;
            self.rest = Cursor::new(message);
        }
        self.rest.read(into)
    }
}
