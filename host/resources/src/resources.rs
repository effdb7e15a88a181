//! One entry for requests of every backing.

use std::sync::Arc;

use futures::future::BoxFuture;
use outrigger_api::manifest::{Backing, Subresource, Verb};
use outrigger_api::status::Status;
use outrigger_catalog::{Catalog, Served};
use outrigger_sandbox::{Input, Sink};

use crate::responder::{Polls, Responder};
use crate::stored::Stored;
use crate::stored::lifecycle::{AllActive, NamespaceIndex};
use crate::{Answer, Asked, Options, ReadMetrics, Tables};

/// Answers requests for resources.
pub struct Resources {
    tables: Tables,
    polls: Polls,
    namespaces: Arc<dyn NamespaceIndex>,
}

/// A guest at one end of a connection that is no longer HTTP. It runs while this is polled, and ends when it is dropped. What
/// comes out says how it ended; the sentence is for the log, the client learns only that it failed.
pub type Conversation = BoxFuture<'static, Result<(), String>>;

// === impl Resources ===

impl Resources {
    /// Answers from the tables of this catalog and from its plugins.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, metrics: ReadMetrics, options: Options) -> Self {
        Self {
            polls: Polls::new(catalog, metrics.clone()),
            tables: Tables::new(metrics, options),
            namespaces: Arc::new(AllActive),
        }
    }

    /// The same, refusing new objects in namespaces that are not there or are going.
    #[must_use]
    pub fn within(self, namespaces: Arc<dyn NamespaceIndex>) -> Self {
        Self { namespaces, ..self }
    }

    /// Answers a request for a resource or for one of its parts.
    ///
    /// # Errors
    /// The Status to answer with.
    pub async fn answer(&self, asked: &Asked<'_>) -> Result<Answer, Status> {
        let Asked { served, info, query, .. } = asked;
        match (&served.resource.backing, &served.guest) {
            (Backing::Table { .. }, _) => self.tables.read(served, info, query, asked.accept, asked.pretty).await,
            (Backing::Virtual { verbs, .. }, Some(guest)) => {
                let poll = self.polls.of(served);
                Responder::new(asked, guest, verbs, poll.as_ref())?.answer(&self.tables).await
            }
            (Backing::Stored { .. }, _) => match &served.kept {
                Some(kept) => Stored::new(asked, kept, &*self.namespaces)?.answer(&self.tables).await,
                None => Err(Status::service_unavailable("this host keeps no objects", 0)),
            },
            // A virtual resource belongs to a plugin.
            (Backing::Virtual { .. }, _) => Err(Status::generic_not_found()),
        }
    }

    /// The subresource that a request for a stream names, if it does name one.
    #[must_use]
    pub fn stream<'s>(served: &'s Served, subresource: &str) -> Option<&'s Subresource> {
        let mut subresources = served.resource.subresources.iter();
        subresources.find(|s| s.name == subresource && s.verbs.contains(&Verb::Connect))
    }

    /// Answers a request for a stream over HTTP: the guest's bytes while it reads `from`.
    ///
    /// # Errors
    /// The Status to answer with; the guest has written nothing yet then.
    pub async fn connect(&self, asked: &Asked<'_>, from: Box<dyn Input>) -> Result<Answer, Status> {
        Self::responder(asked)?.connect(from).await
    }

    /// The same over a connection that speaks messages, in the subprotocol that was agreed on.
    ///
    /// # Errors
    /// The Status to answer with, if there is no such stream.
    pub fn converse(
        &self,
        asked: &Asked<'_>,
        protocol: &str,
        from: Box<dyn Input>,
        to: Box<dyn Sink>,
    ) -> Result<Conversation, Status> {
        Self::responder(asked)?.converse(protocol, from, to)
    }

    fn responder<'a>(asked: &'a Asked<'a>) -> Result<Responder<'a>, Status> {
        match (&asked.served.resource.backing, &asked.served.guest) {
            (Backing::Virtual { verbs, .. }, Some(guest)) => Responder::new(asked, guest, verbs, None),
            _ => Err(Status::generic_not_found()),
        }
    }
}

impl std::fmt::Debug for Resources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resources").finish_non_exhaustive()
    }
}
