//! The object that a client sends: read, of the type that its URL says, at the place that its URL says.
//!
//! Rules and sentences are upstream's (apiserver `handlers/{create,update,patch,rest}.go`), as far as they hold of an object without Go type.

use outrigger_api::body::Body;
use outrigger_api::object::Object;
use outrigger_api::quote::Quoted;
use outrigger_api::status::{Cause, Status};
use serde_json::Value;

use crate::Asked;

/// What a client's object must be.
#[derive(Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) asked: &'a Asked<'a>,
    /// The kind of what is read and written.
    pub(crate) kind: &'a str,
}

/// How much of a body a refusal quotes.
const QUOTED: usize = 256;

// === impl Incoming ===

impl Incoming<'_> {
    /// The document in the body, which says its type.
    pub(crate) fn read(&self) -> Result<Body, Status> {
        let body = Body::read(self.asked.content_type, self.asked.body)?;
        for (key, name) in [("kind", "Kind"), ("apiVersion", "apiVersion")] {
            if body.value.get(key).and_then(Value::as_str).unwrap_or_default().is_empty() {
                let shown: String = String::from_utf8_lossy(self.asked.body).chars().take(QUOTED).collect();
                return Err(Status::bad_request(format!("Object '{name}' is missing in '{shown}'")));
            }
        }
        Ok(body)
    }

    /// What does not fit into an object at all.
    pub(crate) fn malformed(&self, why: &dyn std::fmt::Display) -> Status {
        let kind = self.kind;
        Status::bad_request(format!(
            "{kind} in version {} cannot be handled as a {kind}: {why}",
            Quoted(&self.asked.info.api_version)
        ))
    }

    /// The object is of the resource's kind, in the version of the URL; `expected` is not that version for a subresource's own type.
    pub(crate) fn check_type(&self, object: &Object, expected: &str) -> Result<(), Status> {
        if object.api_version != expected {
            return Err(Status::bad_request(format!(
                "the API version in the data ({}) does not match the expected API version ({expected})",
                object.api_version
            )));
        }
        if object.kind != self.kind {
            let cause = Cause {
                reason: "FieldValueInvalid".into(),
                message: format!("Invalid value: {}: must be {}", Quoted(&object.kind), self.kind),
                field: "kind".into(),
            };
            return Err(Status::invalid(
                &self.asked.info.api_group,
                self.kind,
                object.name(),
                vec![cause],
            ));
        }
        Ok(())
    }

    /// Name and namespace of what is replaced are those of the URL (`checkName`).
    pub(crate) fn check_place(&self, object: &Object) -> Result<(), Status> {
        let (name, namespace) = (self.asked.info.name.as_str(), self.asked.info.namespace.as_str());
        if object.name().is_empty() {
            return Err(Status::bad_request(format!(
                "the name of the object ({name} based on URL) was undeterminable: name must be provided"
            )));
        }
        if object.name() != name {
            return Err(Status::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({name})",
                object.name()
            )));
        }
        if !namespace.is_empty() && !object.namespace().is_empty() && object.namespace() != namespace {
            return Err(Status::bad_request(format!(
                "the namespace of the object ({}) does not match the namespace on the request ({namespace})",
                object.namespace()
            )));
        }
        Ok(())
    }
}
