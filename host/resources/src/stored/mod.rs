//! Stored resources: objects that the host keeps by the rules of a plugin.
//!
//! Reads are those of a table, the image of the store ([`outrigger_storage::Kept`]): no guest is entered, but for a conversion where the
//! version that is asked for is not the one that is kept. A write is checked by the schema and the rules of metadata, admitted by the plugin's
//! strategy in the storage version, and kept by compare-and-swap; it is tried again where the client does not insist on a version.
//!
//! A strategy that fails refuses writes with a Status; reads, watches and deletes go on, so that namespaces stay deletable.

pub(crate) mod convert;
mod failure;
mod get;
pub(crate) mod lifecycle;
mod list;

use std::sync::Arc;

use outrigger_api::status::Status;
use outrigger_storage::Kept;

pub(crate) use failure::status;

use crate::{Answer, Asked, Tables};
use lifecycle::NamespaceIndex;

/// One request for a stored resource.
pub(crate) struct Stored<'a> {
    asked: &'a Asked<'a>,
    kept: &'a Arc<Kept>,
    namespaces: &'a dyn NamespaceIndex,
}

// === impl Stored ===

impl<'a> Stored<'a> {
    pub(crate) fn new(asked: &'a Asked<'a>, kept: &'a Arc<Kept>, namespaces: &'a dyn NamespaceIndex) -> Self {
        Self { asked, kept, namespaces }
    }

    /// Answers all verbs.
    pub(crate) async fn answer(&self, tables: &Tables) -> Result<Answer, Status> {
        let Asked { served, info, query, .. } = *self.asked;
        match &*info.verb {
            "get" | "list" | "watch" => tables.read(served, info, query, self.asked.accept, self.asked.pretty).await,
            _ => Err(Status::method_not_allowed()),
        }
    }
}
