//! get, list and watch over a table.
//!
//! Rows are finished bytes: a list is their concatenation between frames. For a table that shadows a live resource,
//! existence, labels and selectors come from the live object at every read, so a deleted pod is gone with its deletion and
//! not with the next tick.

use std::sync::Arc;
use std::time::Duration;

use outrigger_api::list_options::ResourceVersion;
use outrigger_api::query::Query;
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::Status;
use outrigger_catalog::Served;

use crate::freshness;
use crate::list::PATIENCE;
use crate::read::{Read, not_yet};
use crate::stored::status;
use crate::{Answer, ReadMetrics};

/// Reads tables.
#[derive(Debug)]
pub struct Tables {
    pub(crate) metrics: ReadMetrics,
    pub(crate) options: Options,
}

/// What an operator may set.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// `--min-request-timeout`: how long a watch lasts at least, if it does not say; at most twice that.
    pub min_request_timeout: Duration,
}

// === impl Options ===

impl Default for Options {
    /// Upstream's.
    fn default() -> Self {
        Self {
            min_request_timeout: Duration::from_secs(1800),
        }
    }
}

// === impl Tables ===

impl Tables {
    /// Reads tables and counts what watches send.
    #[must_use]
    pub fn new(metrics: ReadMetrics, options: Options) -> Self {
        Self { metrics, options }
    }

    /// Answers a request for a resource that is backed by a table.
    ///
    /// # Errors
    /// The Status to answer with: 503 while nobody knows ([`outrigger_catalog::Standing`]), 404 if there is no such object or
    /// row, 405 for any verb but get, list and watch, 406 if no representation fits, 400 and 422 for parameters that are malformed
    /// or make no sense, 410 for a version that is forgotten, 504 for one that is yet to come.
    pub async fn read(
        &self,
        served: &Arc<Served>,
        info: &RequestInfo,
        query: &Query,
        accept: Option<&str>,
        pretty: bool,
    ) -> Result<Answer, Status> {
        let mut read = Read::new(served, info, query, accept, pretty);
        read.freshness = (served.resource.group == freshness::GROUP).then_some(&*self.metrics.freshness);
        let misplaced = !read.is_namespaced() && !info.namespace.is_empty();
        if !info.subresource.is_empty() || misplaced {
            return Err(Status::generic_not_found());
        }
        if matches!(&*info.verb, "get" | "list" | "watch") {
            served.standing.check(read.now).map_err(|why| read.nobody_knows(&why))?;
        }
        // One object can be read whatever the others are.
        if let ("list" | "watch", Some(kept)) = (&*info.verb, &served.kept) {
            kept.check().map_err(status)?;
        }
        match &*info.verb {
            "get" if read.is_namespaced() && info.namespace.is_empty() => Err(Status::generic_not_found()),
            "get" if let Some(kept) = &served.kept => read.get_kept(kept).await,
            "get" => {
                let version = query.first("resourceVersion").unwrap_or_default();
                let snapshot = match ResourceVersion::parse(version)? {
                    ResourceVersion::At(version) => served.table.reached(version, PATIENCE).await.map_err(not_yet)?,
                    ResourceVersion::Unset | ResourceVersion::Any => served.table.snapshot(),
                };
                read.get(&snapshot)
            }
            "list" => read.list().await,
            "watch" => read.watch(self).await,
            _ => Err(Status::method_not_allowed()),
        }
    }
}
