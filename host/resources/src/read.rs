//! One request for a table, as its verbs need it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_api::encode;
use outrigger_api::manifest::{Scope, Shadow};
use outrigger_api::media::{Encoding, Form, Media, Offer};
use outrigger_api::query::Query;
use outrigger_api::quote::Quoted;
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::Status;
use outrigger_api::table::IncludeObject;
use outrigger_catalog::{Served, Unknown};
use outrigger_storage::{Key, NotYet};

use crate::Answer;
use crate::freshness::Freshness;
use crate::shape::{Object, Shape};

/// The request.
pub(crate) struct Read<'a> {
    pub(crate) served: &'a Arc<Served>,
    pub(crate) info: &'a RequestInfo,
    pub(crate) query: &'a Query,
    pub(crate) accept: Option<&'a str>,
    pub(crate) pretty: bool,
    pub(crate) now: SystemTime,
    /// How long a plugin may take for what it must convert.
    pub(crate) deadline: Duration,
    /// Hears how old what is handed out is.
    pub(crate) freshness: Option<&'a Freshness>,
}

/// What the answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    One,
    List,
    Watch,
}

/// The server's own limit for a request (`--request-timeout`), which a conversion of many objects may use up.
pub(crate) const CONVERSION: Duration = Duration::from_secs(60);
/// Room for one object.
const OBJECT: usize = 1 << 10;

// === impl Read ===

impl<'a> Read<'a> {
    pub(crate) fn new(
        served: &'a Arc<Served>,
        info: &'a RequestInfo,
        query: &'a Query,
        accept: Option<&'a str>,
        pretty: bool,
    ) -> Self {
        Self {
            served,
            info,
            query,
            accept,
            pretty,
            now: SystemTime::now(),
            deadline: CONVERSION,
            freshness: None,
        }
    }

    pub(crate) fn is_namespaced(&self) -> bool {
        self.served.resource.scope == Scope::Namespaced
    }

    pub(crate) fn media(&self, kind: Kind) -> Result<Media, Status> {
        let offer = Offer {
            protobuf: self.served.resource.protobuf,
            table: true,
            partial: true,
            list: kind == Kind::List,
            watch: kind == Kind::Watch,
        };
        Media::negotiate(self.accept, self.pretty, &offer)
    }

    pub(crate) fn shape(&self, media: Media, include: IncludeObject) -> Shape<'a> {
        Shape::of(self.served, media, include)
    }

    /// What rows of a Table carry; whoever wants no Table may say here what he likes.
    pub(crate) fn include(&self, media: Media) -> Result<IncludeObject, Status> {
        match media.form {
            Form::Table(_) => IncludeObject::parse(self.query),
            _ => Ok(IncludeObject::default()),
        }
    }

    /// One object, if it lives and there is a row for it.
    pub(crate) fn get(&self, snapshot: &outrigger_storage::Snapshot) -> Result<Answer, Status> {
        let media = self.media(Kind::One)?;
        self.check_get()?;
        let (namespace, name) = (&*self.info.namespace, &*self.info.name);
        let labels = self.served.table.labels(namespace, name);
        let labels = labels.ok_or_else(|| self.no_such_object())?;
        let key = Key::new(namespace, name);
        let entry = snapshot.get(&key, self.now).ok_or_else(|| self.no_such_row(&key))?;
        let include = self.include(media)?;
        if let Some(freshness) = self.freshness {
            freshness.read(std::iter::once(&*entry.row.fields), self.now);
        }
        let mut out = Vec::with_capacity(OBJECT);
        self.shape(media, include)
            .write_one(&mut out, &Object::of(entry, &labels), true);
        finish(out, media)
    }

    /// What no get may ask for, whatever stands behind the resource.
    pub(crate) fn check_get(&self) -> Result<(), Status> {
        let name = &*self.info.name;
        if self.query.flag("export") == Some(true) {
            return Err(Status::bad_request(
                "the export parameter, deprecated since v1.14, is no longer supported",
            ));
        }
        // No object is named so: upstream refuses such a key of its store (`registry.NamespaceKeyFunc`).
        if matches!(name, "." | "..") {
            return Err(Status::bad_request(format!(
                "Name parameter invalid: {0}: may not be '{name}'",
                Quoted(name)
            )));
        }
        Ok(())
    }

    /// The answer is 503. Asking again after a second costs us one load from memory; client-go asks ten times before it gives up, and an
    /// autoscaler's worker that waits for that should not wait longer than it must.
    pub(crate) fn nobody_knows(&self, why: &Unknown) -> Status {
        let resource = &self.served.resource;
        Status::service_unavailable(format!("{}.{}: {why}", resource.plural, resource.group), 1)
    }

    /// The live object that the row would speak of does not exist: the words of the lister that metrics-server asks
    /// (metrics-server `pkg/api/{node,pod}.go`; a node is named in the singular there).
    fn no_such_object(&self) -> Status {
        let name = &self.info.name;
        match self.served.table.shadow() {
            Some(Shadow::Nodes) if !self.info.api_group.is_empty() => Status::not_found("", "node", name),
            Some(Shadow::Pods) if !self.info.api_group.is_empty() => Status::not_found("", "pods", name),
            _ => Status::not_found("", &self.info.resource, name),
        }
    }

    /// The object exists but there is no row for it (yet): metrics-server names it by its kind, and a pod with its
    /// namespace, so that a client can tell "no such pod" from "no metrics for it".
    fn no_such_row(&self, key: &Key) -> Status {
        let resource = &self.served.resource;
        if self.served.table.shadow().is_some() {
            Status::not_found(&resource.group, &resource.kind.to_lowercase(), &key.to_string())
        } else {
            Status::not_found(&resource.group, &resource.plural, &key.name)
        }
    }
}

/// The document in the encoding that was asked for; it was written as compact JSON or as protobuf.
pub(crate) fn finish(document: Vec<u8>, media: Media) -> Result<Answer, Status> {
    let body = match media.encoding {
        Encoding::Protobuf | Encoding::Json { pretty: false } => document,
        encoding => encode::text(document, encoding).map_err(Status::internal_error)?,
    };
    Ok(Answer::Document {
        code: 200,
        content_type: media.content_type(),
        body,
    })
}

/// A Status that tells of a success. It has neither columns nor a partial form, and stays in the encoding that was asked for.
pub(crate) fn success(status: &Status, media: Media) -> Answer {
    Answer::Document {
        code: status.code,
        content_type: media.encoding.content_type(),
        body: status.to_bytes(media.encoding),
    }
}

/// 504, as the watch cache says it: come back in a second.
pub(crate) fn not_yet(late: NotYet) -> Status {
    Status::too_large_resource_version(late.wanted, late.current, 1)
}
