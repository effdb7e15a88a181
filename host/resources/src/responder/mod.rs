//! Virtual resources: objects that a plugin computes on demand.
//!
//! A plugin implements get, list, create, update and delete of whole objects; everything else that Kubernetes promises is made of them here.
//! `patch` is get and update, tried again when somebody else was faster; `deletecollection` is list and delete; selectors, pages, Tables,
//! PartialObjectMetadata and the encodings are the host's. `watch` exists where the plugin allows one list for all callers: then the host keeps what
//! it has last seen in a table, and that table is what lists and watches are answered from (`poll`).
//!
//! What a guest returns is judged before anybody sees it (`judge`): it must be the object that was asked for. How a guest fails becomes
//! a Status in one place (`crate::failure`); what only operators may know goes to the log, with the audit id that the client is told.

mod ask;
mod connect;
mod delete;
pub(crate) mod judge;
mod list;
mod poll;
pub(crate) mod write;
pub(crate) mod written;

use std::sync::Arc;

use outrigger_api::manifest::{Scope, Subresource, Verb};
use outrigger_api::status::Status;
use outrigger_catalog::Guest;

use crate::failure::Failure;
use crate::incoming::Incoming;
use crate::{Answer, Asked, Tables};

use poll::Poll;
pub(crate) use poll::Polls;

/// One request for a virtual resource.
pub(crate) struct Responder<'a> {
    asked: &'a Asked<'a>,
    guest: &'a Arc<dyn Guest>,
    verbs: &'a [Verb],
    poll: Option<&'a Arc<Poll>>,
    /// The subresource that is asked for.
    part: Option<&'a Subresource>,
}

// === impl Responder ===

impl<'a> Responder<'a> {
    /// # Errors
    /// 404 for a place where this resource has nothing.
    pub(crate) fn new(
        asked: &'a Asked<'a>,
        guest: &'a Arc<dyn Guest>,
        verbs: &'a [Verb],
        poll: Option<&'a Arc<Poll>>,
    ) -> Result<Self, Status> {
        let (info, resource) = (asked.info, &asked.served.resource);
        let mut parts = resource.subresources.iter();
        let part = match info.subresource.as_str() {
            "" => None,
            name => Some(parts.find(|s| s.name == name).ok_or_else(Status::generic_not_found)?),
        };
        let is_namespaced = resource.scope == Scope::Namespaced;
        let named = !info.name.is_empty() && info.verb != "list" && info.verb != "watch";
        let misplaced = !is_namespaced && !info.namespace.is_empty() || is_namespaced && named && info.namespace.is_empty();
        let deeper = info.parts.len() > 3 && !part.is_some_and(|p| p.verbs.contains(&Verb::Connect));
        if misplaced || deeper {
            return Err(Status::generic_not_found());
        }
        Ok(Self {
            asked,
            guest,
            verbs,
            poll,
            part,
        })
    }

    /// Whether all of these are implemented, of the resource or of the part that is asked for.
    fn has(&self, verbs: &[Verb]) -> bool {
        let implemented = self.part.map_or(self.verbs, |part| &part.verbs);
        verbs.iter().all(|verb| implemented.contains(verb))
    }

    fn is_namespaced(&self) -> bool {
        self.asked.served.resource.scope == Scope::Namespaced
    }

    /// Kind of what is read and written.
    fn kind(&self) -> &'a str {
        match self.part {
            Some(part) if !part.kind.is_empty() => &part.kind,
            _ => &self.asked.served.resource.kind,
        }
    }

    fn failure(&self) -> Failure<'a> {
        Failure {
            asked: self.asked,
            kind: self.kind(),
        }
    }

    fn incoming(&self) -> Incoming<'a> {
        Incoming {
            asked: self.asked,
            kind: self.kind(),
        }
    }

    /// Whether what is read and written are the resource's own objects, and so rows of the table that is polled.
    fn shared(&self) -> Option<&'a Arc<Poll>> {
        self.poll.filter(|_| self.kind() == self.asked.served.resource.kind)
    }

    /// Answers all verbs but streams.
    pub(crate) async fn answer(&self, tables: &Tables) -> Result<Answer, Status> {
        let info = self.asked.info;
        // Where a namespaced resource has no namespace, it can be listed and watched, and nothing else.
        let placed = !self.is_namespaced() || !info.namespace.is_empty();
        match info.verb.as_str() {
            "get" if self.has(&[Verb::Get]) => self.get().await,
            "update" if self.has(&[Verb::Update]) => self.update().await,
            "patch" if self.has(&[Verb::Get, Verb::Update]) => self.patch().await,
            _ if self.part.is_some() => Err(Status::method_not_allowed()),
            "list" if self.has(&[Verb::List]) => match self.poll {
                Some(poll) => poll.list(self).await,
                None => self.list().await,
            },
            "watch" => match self.poll {
                Some(poll) => poll.watch(self, tables).await,
                None => Err(Status::method_not_supported(&info.api_group, &info.resource, "watch")),
            },
            "create" if self.has(&[Verb::Create]) && placed => self.create().await,
            "delete" if self.has(&[Verb::Delete]) => self.delete().await,
            "deletecollection" if self.has(&[Verb::List, Verb::Delete]) && placed => self.delete_collection().await,
            _ => Err(Status::method_not_allowed()),
        }
    }
}
