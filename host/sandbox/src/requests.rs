//! The request that a guest is answering, and where its answer goes.
//!
//! What a guest may know of a request is a [`Request`]: facts, never a credential, never a header. What it writes goes into a
//! [`Sink`] of the caller's, whose `write` returns when there is room: back-pressure is the suspended guest. What it reads comes
//! from an [`Input`]. All three live in the store of one call and end with it.
#![allow(unreachable_pub, reason = "the generated bindings re-export the types of their resources")]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::timeout_at;
use wasmtime::component::Resource;

use crate::bindings::outrigger::plugin::requests::{Host, HostReader, HostRequest, HostWriter};
use crate::bindings::outrigger::plugin::types::{Error, FieldError as WitFieldError};
use crate::call::Call;
use crate::capabilities::{ContractError, HostError};
use crate::log::visible;

/// Facts of one request. The caller is already authenticated and authorized.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `get`, `list`, `create`, `update`, `delete` or `connect`.
    pub verb: String,
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// The resource's plural name.
    pub resource: String,
    /// Subresource; empty for none.
    pub subresource: String,
    /// Namespace; empty for cluster-scoped resources and lists over all namespaces.
    pub namespace: String,
    /// Object name; empty for list and create.
    pub name: String,
    /// The caller's user name.
    pub user: String,
    /// The caller's groups.
    pub groups: Vec<String>,
    /// Nothing may be persisted.
    pub dry_run: bool,
    /// Query parameters that belong to the resource, decoded, in their order.
    pub parameters: Vec<(String, String)>,
    /// HTTP method, for `connect`.
    pub method: String,
    /// What follows the subresource in the path, for `connect`.
    pub path: String,
    /// Media type of the body, for `connect`.
    pub content_type: String,
    /// The WebSocket subprotocol that was agreed on; empty for plain HTTP.
    pub protocol: String,
    /// A list's label selector in its text form.
    pub label_selector: String,
    /// Likewise for fields.
    pub field_selector: String,
    /// Ties the call to the audit log.
    pub audit_id: String,
}

/// A field that a guest blames, as upstream's `field.Error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// `FieldValueInvalid`, `FieldValueRequired` …
    pub reason: String,
    /// The field's path.
    pub field: String,
    /// One sentence.
    pub message: String,
}

/// What a guest said besides its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remarks {
    /// For the caller, as `Warning` headers.
    pub warnings: Vec<String>,
    /// Fields at fault; they count only if the answer is `invalid`.
    pub fields: Vec<FieldError>,
}

/// Where a guest's answer goes.
#[async_trait]
pub trait Sink: Send + 'static {
    /// Status and content type of a `connect`, at most once, before the first write. Lists have neither.
    ///
    /// # Errors
    /// What the guest shall be told.
    async fn start(&mut self, status: u16, content_type: &str) -> Result<(), HostError>;

    /// Takes the next object of a list, the next bytes of a stream, or the next message of a WebSocket. Returns when there is
    /// room for more.
    ///
    /// # Errors
    /// `unavailable` once nobody reads any more.
    async fn write(&mut self, bytes: Bytes) -> Result<(), HostError>;
}

/// Where the body of a `connect` comes from.
#[async_trait]
pub trait Input: Send + 'static {
    /// At most `most` bytes, or the next message as a whole; empty at the end.
    ///
    /// # Errors
    /// What the guest shall be told.
    async fn read(&mut self, most: usize) -> Result<Bytes, HostError>;
}

/// A request in a store.
pub struct Asked {
    pub(crate) facts: Arc<Request>,
}

/// A sink in a store.
pub struct Writer(pub(crate) Box<dyn Sink>);

/// An input in a store.
pub struct Reader(pub(crate) Box<dyn Input>);

/// Remarks that one call may leave, of each kind.
const REMARKS: usize = 64;
/// Bytes of a warning; client-go and kubectl show them whole.
const WARNING: usize = 256;
/// The most that a guest can read at once.
const READ: usize = 1 << 20;

impl Call {
    fn asked(&mut self, request: &Resource<Asked>) -> Option<&Request> {
        self.handles().get(request).ok().map(|asked| &*asked.facts)
    }

    /// A fact that is a text; a handle that is not there has none.
    fn fact(&mut self, request: &Resource<Asked>, of: impl FnOnce(&Request) -> &String) -> String {
        self.asked(request).map(|r| of(r).clone()).unwrap_or_default()
    }
}

impl Host for Call {}

impl HostRequest for Call {
    fn verb(&mut self, request: Resource<Asked>) -> String {
        self.fact(&request, |r| &r.verb)
    }

    fn group(&mut self, request: Resource<Asked>) -> String {
        self.fact(&request, |r| &r.group)
    }

    fn version(&mut self, request: Resource<Asked>) -> String {
        self.fact(&request, |r| &r.version)
    }

    fn resource(&mut self, request: Resource<Asked>) -> String {
        self.fact(&request, |r| &r.resource)
    }

    fn subresource(&mut self, request: Resource<Asked>) -> String {
        self.fact(&request, |r| &r.subresource)
    }

    fn namespace(&mut self, request: Resource<Asked>) -> String {
        self.fact(&request, |r| &r.namespace)
    }

    fn name(&mut self, request: Resource<Asked>) -> String {
        self.fact(&request, |r| &r.name)
    }

    fn user(&mut self, request: Resource<Asked>) -> String {
        self.fact(&request, |r| &r.user)
    }

    fn groups(&mut self, request: Resource<Asked>) -> Vec<String> {
        self.asked(&request).map(|r| r.groups.clone()).unwrap_or_default()
    }

    fn dry_run(&mut self, request: Resource<Asked>) -> bool {
        self.asked(&request).is_some_and(|r| r.dry_run)
    }

    fn parameter(&mut self, request: Resource<Asked>, name: String) -> Option<String> {
        let facts = self.asked(&request)?;
        facts.parameters.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone())
    }

    fn parameters(&mut self, request: Resource<Asked>, name: String) -> Vec<String> {
        let Some(facts) = self.asked(&request) else {
            return Vec::new();
        };
        let of_name = facts.parameters.iter().filter(|(n, _)| *n == name);
        of_name.map(|(_, v)| v.clone()).collect()
    }

    fn method(&mut self, request: Resource<Asked>) -> String {
        self.fact(&request, |r| &r.method)
    }

    fn path(&mut self, request: Resource<Asked>) -> String {
        self.fact(&request, |r| &r.path)
    }

    fn content_type(&mut self, request: Resource<Asked>) -> String {
        self.fact(&request, |r| &r.content_type)
    }

    fn protocol(&mut self, request: Resource<Asked>) -> String {
        self.fact(&request, |r| &r.protocol)
    }

    fn label_selector(&mut self, request: Resource<Asked>) -> String {
        self.fact(&request, |r| &r.label_selector)
    }

    fn field_selector(&mut self, request: Resource<Asked>) -> String {
        self.fact(&request, |r| &r.field_selector)
    }

    fn audit_id(&mut self, request: Resource<Asked>) -> String {
        self.fact(&request, |r| &r.audit_id)
    }

    fn warn(&mut self, _: Resource<Asked>, text: String) {
        if self.remarks.warnings.len() < REMARKS && !text.trim().is_empty() {
            self.remarks.warnings.push(visible(&text, WARNING));
        }
    }

    fn blame(&mut self, _: Resource<Asked>, field: WitFieldError) {
        if self.remarks.fields.len() < REMARKS {
            self.remarks.fields.push(field.into());
        }
    }

    fn drop(&mut self, _: Resource<Asked>) -> wasmtime::Result<()> {
        // Guests only ever borrow it.
        Ok(())
    }
}

impl HostWriter for Call {
    async fn start(&mut self, to: Resource<Writer>, status: u16, content_type: String) -> Result<(), Error> {
        if !(200..600).contains(&status) {
            return Err(Error::Invalid(format!("{status} is not the status of an answer")));
        }
        let last = self.host_deadline();
        let Ok(Writer(sink)) = self.handles().get_mut(&to) else {
            return Err(gone());
        };
        let started = timeout_at(last.into(), sink.start(status, &content_type)).await;
        Ok(started.unwrap_or_else(|_| Err(stalled()))?)
    }

    async fn write(&mut self, to: Resource<Writer>, bytes: Vec<u8>) -> Result<(), Error> {
        let last = self.host_deadline();
        let Ok(Writer(sink)) = self.handles().get_mut(&to) else {
            return Err(gone());
        };
        let written = timeout_at(last.into(), sink.write(bytes.into())).await;
        Ok(written.unwrap_or_else(|_| Err(stalled()))?)
    }

    fn drop(&mut self, _: Resource<Writer>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl HostReader for Call {
    async fn read(&mut self, from: Resource<Reader>, most: u32) -> Result<Vec<u8>, Error> {
        let last = self.host_deadline();
        let Ok(Reader(input)) = self.handles().get_mut(&from) else {
            return Err(gone());
        };
        let most = usize::try_from(most).unwrap_or(READ).min(READ);
        let read = timeout_at(last.into(), input.read(most)).await;
        Ok(read.unwrap_or_else(|_| Err(stalled()))?.into())
    }

    fn drop(&mut self, _: Resource<Reader>) -> wasmtime::Result<()> {
        Ok(())
    }
}

fn gone() -> Error {
    Error::Unavailable("this call has nobody to talk to".into())
}

fn stalled() -> ContractError {
    ContractError::Timeout("the caller neither reads nor writes".into())
}

// === impl FieldError ===

impl From<WitFieldError> for FieldError {
    fn from(error: WitFieldError) -> Self {
        Self {
            reason: visible(&error.reason, 64),
            field: visible(&error.field, 512),
            message: visible(&error.message, 1024),
        }
    }
}
