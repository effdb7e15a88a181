//! Stored resources: objects that the host keeps by the rules of a plugin.
//!
//! Reads are those of a table, the image of the store ([`outrigger_storage::Kept`]): no guest is entered, but for a conversion where the
//! version that is asked for is not the one that is kept. A write is checked by the schema and the rules of metadata, admitted by the plugin's
//! strategy in the storage version, and kept by compare-and-swap; it is tried again where the client does not insist on a version.
//!
//! A strategy that fails refuses writes with a Status; reads, watches and deletes go on, so that namespaces stay deletable.

mod admit;
mod answer;
mod change;
pub(crate) mod convert;
mod create;
mod delete;
mod draft;
mod failure;
mod get;
pub(crate) mod lifecycle;
mod list;
mod part;
mod patch;
mod scale;
mod sent;

use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_api::manifest::{Backing, Scope};
use outrigger_api::object::Object;
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::{Cause, Status};
use outrigger_storage::store::{Expected, StoreError};
use outrigger_storage::{Entry, Kept, Key, Why};

pub(crate) use failure::status;

use crate::failure::Failure;
use crate::incoming::Incoming;
use crate::{Answer, Asked, Tables};
use lifecycle::NamespaceIndex;
use part::Part;

/// One request for a stored resource.
pub(crate) struct Stored<'a> {
    asked: &'a Asked<'a>,
    kept: &'a Arc<Kept>,
    namespaces: &'a dyn NamespaceIndex,
    part: Part,
    begun: Instant,
}

/// What came of a compare-and-swap.
enum Swapped {
    /// It is done.
    Done(Arc<Entry>),
    /// Something else is there: this, or nothing.
    Other(Option<Arc<Entry>>),
}

/// How long a write of one object may take (apiserver `requestTimeoutUpperBound`).
const LONGEST: Duration = Duration::from_secs(34);

// === impl Stored ===

impl<'a> Stored<'a> {
    /// # Errors
    /// 404 for a place where this resource has nothing.
    pub(crate) fn new(asked: &'a Asked<'a>, kept: &'a Arc<Kept>, namespaces: &'a dyn NamespaceIndex) -> Result<Self, Status> {
        let (info, resource) = (asked.info, &asked.served.resource);
        let part = Part::of(resource, &info.subresource).ok_or_else(Status::generic_not_found)?;
        let is_namespaced = resource.scope == Scope::Namespaced;
        let named = !info.name.is_empty() && info.verb != "list" && info.verb != "watch";
        let misplaced = !is_namespaced && !info.namespace.is_empty() || is_namespaced && named && info.namespace.is_empty();
        if misplaced || info.parts.len() > 3 {
            return Err(Status::generic_not_found());
        }
        Ok(Self {
            asked,
            kept,
            namespaces,
            part,
            begun: Instant::now(),
        })
    }

    /// Answers all verbs.
    pub(crate) async fn answer(&self, tables: &Tables) -> Result<Answer, Status> {
        let info = self.asked.info;
        // Where a namespaced resource has no namespace, it can be listed and watched, and nothing else.
        let placed = !self.is_namespaced() || !info.namespace.is_empty();
        let named = !info.name.is_empty();
        match (self.part, &*info.verb) {
            (Part::Whole, "get" | "list" | "watch") => self.read(info, tables).await,
            (Part::Status, "get") => {
                // It is read as the whole object.
                let whole = RequestInfo {
                    subresource: String::new(),
                    ..info.clone()
                };
                self.read(&whole, tables).await
            }
            (Part::Scale, "get") => self.in_time(self.get_scale()).await,
            (_, "update") if named => self.in_time(self.update()).await,
            (_, "patch") if named => self.in_time(self.patch()).await,
            (Part::Whole, "create") if placed && !named => self.in_time(self.create()).await,
            (Part::Whole, "delete") => self.in_time(self.delete()).await,
            // A long one: upstream gives it as long as a list.
            (Part::Whole, "deletecollection") if placed => self.delete_collection().await,
            _ => Err(Status::method_not_allowed()),
        }
    }

    async fn read(&self, info: &RequestInfo, tables: &Tables) -> Result<Answer, Status> {
        let Asked { served, query, .. } = *self.asked;
        tables.read(served, info, query, self.asked.accept, self.asked.pretty).await
    }

    async fn in_time(&self, write: impl Future<Output = Result<Answer, Status>>) -> Result<Answer, Status> {
        let late = |_| {
            Status::timeout(
                "request did not complete within requested timeout - context deadline exceeded",
                0,
            )
        };
        tokio::time::timeout(self.asked.deadline.min(LONGEST), write)
            .await
            .map_err(late)?
    }

    /// What is left of the request's time.
    fn left(&self) -> Duration {
        let longest = match &*self.asked.info.verb {
            "deletecollection" => self.asked.deadline,
            _ => self.asked.deadline.min(LONGEST),
        };
        longest.saturating_sub(self.begun.elapsed())
    }

    fn is_namespaced(&self) -> bool {
        self.asked.served.resource.scope == Scope::Namespaced
    }

    /// Kind of the objects.
    fn kind(&self) -> &'a str {
        &self.asked.served.resource.kind
    }

    /// The version of the request.
    fn version(&self) -> &'a str {
        &self.asked.info.api_version
    }

    /// `GROUP/VERSION` in which objects are kept.
    fn storage(&self) -> String {
        let resource = &self.asked.served.resource;
        match &*resource.group {
            "" => resource.storage_version().to_owned(),
            group => format!("{group}/{}", resource.storage_version()),
        }
    }

    /// What the plugin has declared: whether the status is a part of its own, and whether objects may be made and replaced without more ado.
    fn backing(&self) -> Declared {
        match self.asked.served.resource.backing {
            Backing::Stored {
                status,
                create_on_update,
                unconditional_update,
                admits_deletes,
                ..
            } => Declared {
                status,
                create_on_update,
                unconditional_update,
                admits_deletes,
            },
            _ => Declared::default(),
        }
    }

    fn key(&self, name: &str) -> Key {
        Key::new(&self.asked.info.namespace, name)
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

    fn warn(&self, text: impl AsRef<str>) {
        (self.asked.warn)(text.as_ref());
    }

    fn invalid(&self, name: &str, causes: Vec<Cause>) -> Status {
        Status::invalid(&self.asked.info.api_group, self.kind(), name, causes)
    }

    fn not_found(&self, name: &str) -> Status {
        let info = self.asked.info;
        Status::not_found(&info.api_group, &info.resource, name)
    }

    fn conflict(&self, name: &str, why: impl std::fmt::Display) -> Status {
        let info = self.asked.info;
        Status::conflict(&info.api_group, &info.resource, name, why)
    }

    /// Keeps an object in the place of what is expected there. One that is too large is tried without its managed fields, as upstream tries it.
    async fn put(&self, key: &Key, expected: Expected, object: &mut Object) -> Result<Swapped, Status> {
        let mut put = self.kept.put(key, expected, object).await;
        let is_too_large = matches!(put, Err(Why::Store(StoreError::TooLarge { .. })));
        if is_too_large && object.metadata.shift_remove("managedFields").is_some() {
            put = self.kept.put(key, expected, object).await;
        }
        match put {
            Ok(entry) => Ok(Swapped::Done(entry)),
            Err(why) => self.other(key, why).map(Swapped::Other),
        }
    }

    /// What is there instead, if that is why a write has failed.
    fn other(&self, key: &Key, why: Why) -> Result<Option<Arc<Entry>>, Status> {
        match why {
            Why::Store(StoreError::Conflict { current, .. }) => {
                let current = current.map(|stored| self.kept.entry(key, &stored));
                current.transpose().map_err(status)
            }
            why => Err(status(why)),
        }
    }
}

/// What a plugin has declared of a stored resource.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are the manifest's")]
struct Declared {
    status: bool,
    create_on_update: bool,
    unconditional_update: bool,
    admits_deletes: bool,
}
