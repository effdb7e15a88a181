//! The roles that answer somebody: responder, strategy, controller, and a plugin's test of itself.
//!
//! Each function enters one export of a fresh instance. What a guest returns is bounded here in size; what it must *be* (a name that
//! was asked for, a kind, a JSON object at all) is judged by whoever knows what was asked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::Resource;

use crate::aside::Subject;
use crate::bindings::exports::outrigger::plugin::controller::Outcome as WitOutcome;
use crate::bindings::outrigger::plugin::types::Error as WitError;
use crate::failure::{BadResult, CallError};
use crate::plugin::Plugin;
use crate::requests::{Asked, FieldError, Input, Reader, Remarks, Request, Sink, Writer};
use crate::runner::{Ticket, enter};

/// What a responder is asked.
pub enum Ask {
    /// One object.
    Get,
    /// All objects, one write each.
    List(Box<dyn Sink>),
    /// Make this one.
    Create(Bytes),
    /// Replace one by this.
    Update(Bytes),
    /// Remove one.
    Delete,
    /// A stream: body in, bytes out.
    Connect(Box<dyn Input>, Box<dyn Sink>),
}

/// What a responder answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answered {
    /// The object as JSON, as the guest sent it: not judged yet. Empty for a list and a stream.
    pub object: Bytes,
    /// For the caller.
    pub warnings: Vec<String>,
}

/// What a strategy says of one write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admitted {
    /// The object to store as JSON, not judged yet; of no meaning if there are errors.
    pub object: Bytes,
    /// For the caller.
    pub warnings: Vec<String>,
    /// Any of them refuses the write.
    pub errors: Vec<FieldError>,
}

/// When a controller wants to be called again without a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// At the next change.
    Done,
    /// After so long, or at the next change.
    AgainAfter(Duration),
}

// === impl Ask ===

impl Ask {
    fn deadline(&self, plugin: &Plugin) -> Duration {
        match self {
            Self::Connect(..) => plugin.limits().connect_deadline,
            _ => plugin.limits().call_deadline,
        }
    }
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Get => "Get",
            Self::List(_) => "List",
            Self::Create(_) => "Create",
            Self::Update(_) => "Update",
            Self::Delete => "Delete",
            Self::Connect(..) => "Connect",
        })
    }
}

// === impl Plugin ===

impl Plugin {
    /// Asks the responder, in at most `deadline` and the plugin's own limit (`connect_deadline` for a stream, `call_deadline` for the
    /// rest), waiting for a slot included. Dropping the future ends the guest.
    ///
    /// # Errors
    /// Everything that keeps the call from a result. A sink may have been written to before.
    pub async fn respond(&self, request: Arc<Request>, ask: Ask, deadline: Duration) -> Result<Answered, CallError> {
        let runner = &self.0.runner;
        let Some(indices) = &self.0.exports.responder else {
            return Err(self.lacks("responder"));
        };
        let ticket = Ticket::new(said(&request), None, deadline.min(ask.deadline(self)));
        let facts = request.clone();
        let work = |entered| {
            enter!(entered, indices, |guest, store| {
                let handles = store.data_mut().handles();
                let request = borrowed(&handles.push(Asked { facts })?);
                Ok(match ask {
                    Ask::Get => guest.call_get(store, request).await?,
                    Ask::Create(object) => guest.call_create(store, request, &object).await?,
                    Ask::Update(object) => guest.call_update(store, request, &object).await?,
                    Ask::Delete => guest.call_delete(store, request).await?,
                    Ask::List(to) => {
                        let to = borrowed(&handles.push(Writer(to))?);
                        guest.call_list(store, request, to).await?.map(|()| Vec::new())
                    }
                    Ask::Connect(from, to) => {
                        let from = borrowed(&handles.push(Reader(from))?);
                        let to = borrowed(&handles.push(Writer(to))?);
                        guest.call_connect(store, request, from, to).await?.map(|()| Vec::new())
                    }
                })
            })
        };
        let outcome = async {
            let (answer, remarks) = runner.call(&ticket, work).await?;
            let (object, remarks) = self.bounded(&ticket, answer, remarks)?;
            Ok(Answered {
                object,
                warnings: remarks.warnings,
            })
        };
        runner.guarded(&subject(&request), &ticket, outcome).await
    }

    /// Asks the strategy about one write; `old` is empty for a create, `object` for a delete.
    ///
    /// # Errors
    /// Everything that keeps the call from a result; a refusal of the write is none.
    pub async fn admit(
        &self,
        request: Arc<Request>,
        object: &[u8],
        old: &[u8],
        deadline: Duration,
    ) -> Result<Admitted, CallError> {
        let runner = &self.0.runner;
        let Some(indices) = &self.0.exports.strategy else {
            return Err(self.lacks("strategy"));
        };
        let mut about = subject(&request);
        about.like.insert_str(0, "admit ");
        let ticket = self.ticket(format!("admit {}", said(&request)), deadline);
        let outcome = async {
            let called = runner.call(&ticket, |entered| {
                enter!(entered, indices, |guest, store| {
                    let request = borrowed(&store.data_mut().handles().push(Asked { facts: request })?);
                    guest.call_admit(store, request, object, old).await
                })
            });
            let (answer, remarks) = called.await?;
            let admitted = answer.map_err(|e| runner.refused(&ticket, e, remarks.clone()))?;
            let (object, remarks) = self.bounded(&ticket, Ok(admitted.object), remarks)?;
            let mut warnings = remarks.warnings;
            warnings.extend(admitted.warnings);
            let mut errors = remarks.fields;
            errors.extend(admitted.errors.into_iter().map(FieldError::from));
            Ok(Admitted {
                object,
                warnings,
                errors,
            })
        };
        runner.guarded(&about, &ticket, outcome).await
    }

    /// Converts objects of one resource to `version`, in order.
    ///
    /// # Errors
    /// Everything that keeps the call from a result; another number of objects than came in is [`CallError::BadResult`].
    pub async fn convert(
        &self,
        resource: &str,
        version: &str,
        objects: &[Vec<u8>],
        deadline: Duration,
    ) -> Result<Vec<Vec<u8>>, CallError> {
        let runner = &self.0.runner;
        let Some(indices) = &self.0.exports.strategy else {
            return Err(self.lacks("strategy"));
        };
        let about = Subject {
            like: format!("convert {resource}"),
            target: String::new(),
        };
        let ticket = self.ticket(format!("convert {resource} to {version}"), deadline);
        let outcome = async {
            let called = runner.call(&ticket, |entered| {
                enter!(entered, indices, |guest, store| guest
                    .call_convert(store, resource, version, objects)
                    .await)
            });
            let (answer, remarks) = called.await?;
            let converted = answer.map_err(|e| runner.refused(&ticket, e, remarks))?;
            if converted.len() == objects.len() {
                Ok(converted)
            } else {
                let (found, wanted) = (converted.len(), objects.len());
                Err(runner.bad(&ticket, BadResult::Batch { found, wanted }))
            }
        };
        runner.guarded(&about, &ticket, outcome).await
    }

    /// Brings the world in step with one object.
    ///
    /// # Errors
    /// Everything that keeps the call from a result; the key is to be tried again.
    pub async fn reconcile(&self, controller: &str, key: &str, deadline: Duration) -> Result<Outcome, CallError> {
        let runner = &self.0.runner;
        let Some(indices) = &self.0.exports.controller else {
            return Err(self.lacks("controller"));
        };
        let ticket = self.ticket(format!("reconcile {controller} {key}"), deadline);
        let outcome = async {
            let called = runner.call(&ticket, |entered| {
                enter!(entered, indices, |guest, store| guest
                    .call_reconcile(store, controller, key)
                    .await)
            });
            let (answer, remarks) = called.await?;
            match answer.map_err(|e| runner.refused(&ticket, e, remarks))? {
                WitOutcome::Done => Ok(Outcome::Done),
                WitOutcome::AgainAfter(ms) => Ok(Outcome::AgainAfter(Duration::from_millis(ms))),
            }
        };
        runner.count(&ticket, outcome.await)
    }

    /// Lets the plugin test itself; fine if it has no test.
    ///
    /// # Errors
    /// What its test found, or how it failed.
    pub async fn self_test(&self, deadline: Duration) -> Result<(), CallError> {
        let runner = &self.0.runner;
        let Some(indices) = &self.0.exports.self_test else {
            return Ok(());
        };
        let ticket = self.ticket("self-test".to_owned(), deadline);
        let outcome = async {
            let called = runner.call(&ticket, |entered| {
                enter!(entered, indices, |guest, store| guest.call_self_test(store).await)
            });
            let (answer, remarks) = called.await?;
            answer.map_err(|e| runner.refused(&ticket, e, remarks))
        };
        runner.count(&ticket, outcome.await)
    }

    fn ticket(&self, call: String, deadline: Duration) -> Ticket {
        Ticket::new(call, None, deadline.min(self.limits().call_deadline))
    }

    fn lacks(&self, role: &'static str) -> CallError {
        CallError::NoSuchRole {
            plugin: self.manifest().name.clone(),
            role,
        }
    }

    /// An answer that is not larger than it may be.
    fn bounded(
        &self,
        ticket: &Ticket,
        answer: Result<Vec<u8>, WitError>,
        remarks: Remarks,
    ) -> Result<(Bytes, Remarks), CallError> {
        let runner = &self.0.runner;
        let object = match answer {
            Ok(object) => object,
            Err(error) => return Err(runner.refused(ticket, error, remarks)),
        };
        let (bytes, limit) = (object.len(), self.limits().result_bytes);
        if bytes > limit {
            return Err(runner.bad(ticket, BadResult::TooLarge { bytes, limit }));
        }
        Ok((object.into(), remarks))
    }
}

/// The call as logs and errors say it, such as `get ships/log default/vega`.
fn said(request: &Request) -> String {
    let Request {
        verb,
        resource,
        subresource,
        namespace,
        name,
        ..
    } = request;
    let part = if subresource.is_empty() { "" } else { "/" };
    let slash = if namespace.is_empty() || name.is_empty() { "" } else { "/" };
    let mut said = format!("{verb} {resource}{part}{subresource} {namespace}{slash}{name}");
    said.truncate(said.trim_end().len());
    said
}

/// What is set aside if it keeps failing. A namespace alone is no target: a list fails as a whole.
fn subject(request: &Request) -> Subject {
    let part = if request.subresource.is_empty() { "" } else { "/" };
    let target = match (request.name.as_str(), request.namespace.as_str()) {
        ("", _) => String::new(),
        (name, "") => name.to_owned(),
        (name, namespace) => format!("{namespace}/{name}"),
    };
    Subject {
        like: format!("{} {}{part}{}", request.verb, request.resource, request.subresource),
        target,
    }
}

/// What a guest may look at for the time of the call; the store keeps it.
fn borrowed<T: 'static>(own: &Resource<T>) -> Resource<T> {
    Resource::new_borrow(own.rep())
}
