//! The part `scale`: an `autoscaling/v1 Scale` made of the object, whose only number that can be written is how many there shall be
//! (apiextensions `registry/customresource/etcd.go` `ScaleREST`).

use std::sync::LazyLock;

use outrigger_api::body::{self, Body};
use outrigger_api::cells::Cells;
use outrigger_api::list_options::ResourceVersion;
use outrigger_api::manifest::{Column, Resource, Scope};
use outrigger_api::object::Object;
use outrigger_api::scale::{Of, Paths, Scale};
use outrigger_api::schema::Schema;
use outrigger_api::status::Status;
use outrigger_api::write_options::WriteOptions;
use serde_json::{Value, json};

use super::answer::{Looks, Outcome};
use super::convert::object_in;
use super::draft::{Draft, object_of};
use super::patch::Patching;
use super::{Stored, status};
use crate::Answer;
use crate::list::PATIENCE;
use crate::read::{Kind, finish};
use crate::responder::written::Written;
use crate::shape::Shape;

/// What shall become of a scale.
pub(super) enum Scaling {
    /// This.
    Put(Scale),
    /// Itself, with a patch applied.
    Patch(Patching),
}

const KIND: &str = "Scale";
const API_VERSION: &str = "autoscaling/v1";

/// What a Scale has besides metadata.
static FIELDS: LazyLock<Option<Schema>> = LazyLock::new(|| {
    let number = json!({"type": "integer", "format": "int32"});
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"replicas": number}},
        "status": {"type": "object", "properties": {"replicas": number, "selector": {"type": "string"}}},
    }});
    Schema::read(&schema).ok()
});

/// How it looks in a Table.
static TABLE: LazyLock<Resource> = LazyLock::new(|| {
    Resource::stored(KIND, "scales", Scope::Namespaced)
        .column(
            Column::integer("Desired")
                .path(".spec.replicas")
                .description("Number of desired replicas"),
        )
        .column(
            Column::integer("Available")
                .path(".status.replicas")
                .description("Number of actual replicas"),
        )
        .column(Column::date("Age").path(".metadata.creationTimestamp"))
});
static CELLS: LazyLock<Cells> = LazyLock::new(|| Cells::of(&TABLE.columns));

// === impl Stored ===

impl Stored<'_> {
    pub(super) async fn get_scale(&self) -> Result<Answer, Status> {
        let looks = self.looks(Kind::One)?;
        self.asked.read().check_get()?;
        let name = self.asked.info.name.as_str();
        let wanted = self.asked.query.first("resourceVersion").unwrap_or_default();
        let key = self.key(name);
        let entry = match ResourceVersion::parse(wanted)? {
            ResourceVersion::Unset => self.kept.get(&key, PATIENCE).await,
            ResourceVersion::Any => self.kept.get_since(&key, 0, PATIENCE).await,
            ResourceVersion::At(version) => self.kept.get_since(&key, version, PATIENCE).await,
        };
        let entry = entry.map_err(status)?;
        let entry = entry.ok_or_else(|| self.not_found(name))?;
        let object = object_of(&entry, self.kind()).map_err(Status::internal_error)?;
        let object = object_in(self.asked.served, object, self.version(), self.left()).await?;
        let object = object.value().map_err(Status::internal_error)?;
        let scale = self.paths()?.scale(&object).map_err(Status::internal_error)?;
        shown(200, &scale, looks)
    }

    /// The Scale in the body.
    pub(super) fn sent_scale(&self, options: &WriteOptions) -> Result<Scale, Status> {
        let mut body = Body::read(self.asked.content_type, self.asked.body)?;
        let findings = findings(&mut body);
        body::judge(&findings, options.validation, ("v1", KIND), self.asked.warn)?;
        Scale::read(&body.value, &self.asked.info.name, &self.asked.info.namespace)
    }

    /// The object as it is when it is scaled so; `current` is in the version of the request.
    pub(super) fn scaled(&self, scaling: &Scaling, mut current: Value, options: &WriteOptions) -> Result<Draft, Status> {
        let (info, paths) = (self.asked.info, self.paths()?);
        let patched;
        let scale = match scaling {
            Scaling::Put(scale) => scale,
            Scaling::Patch(patching) => {
                let mut document = paths.scale_of(&current).map_err(Status::internal_error)?;
                patching.patch.apply(&mut document)?;
                let mut body = Body {
                    value: document,
                    twice: Vec::new(),
                };
                let mut found = patching.findings.clone();
                found.extend(findings(&mut body));
                self.judge_patch(&found, &body.value, options)?;
                patched = Scale::read(&body.value, &info.name, &info.namespace)?;
                &patched
            }
        };
        let of = Of {
            group: &info.api_group,
            kind: self.kind(),
            resource: &info.resource,
        };
        paths.write(scale, &mut current, of)?;
        Draft::of(current).map_err(Status::internal_error)
    }

    pub(super) async fn told_scale(&self, code: u16, outcome: &Outcome, looks: Looks) -> Result<Answer, Status> {
        let object = match outcome {
            Outcome::Kept(entry) => object_of(entry, self.kind()).map_err(Status::internal_error)?,
            Outcome::Told(object) => (**object).clone(),
        };
        let object = object_in(self.asked.served, object, self.version(), self.left()).await?;
        let object = object.value().map_err(Status::internal_error)?;
        let scale = self.paths()?.scale_of(&object);
        shown(code, &scale.map_err(|why| Status::bad_request(why.to_string()))?, looks)
    }

    fn paths(&self) -> Result<&Paths, Status> {
        let paths = self.asked.served.schemas.scale.as_deref();
        paths.ok_or_else(Status::generic_not_found)
    }
}

/// What strict decoding says of a Scale; what it does not know is dropped.
fn findings(body: &mut Body) -> Vec<String> {
    let mut findings = body.findings(None);
    if let Some(schema) = &*FIELDS {
        let pruned = schema.prune(&mut body.value);
        findings.extend(pruned.iter().map(|path| format!("unknown field {path:?}")));
    }
    findings
}

fn shown(code: u16, scale: &Value, looks: Looks) -> Result<Answer, Status> {
    let written = Written::of(Object::of(scale).map_err(Status::internal_error)?);
    let shape = Shape {
        resource: &TABLE,
        kind: KIND,
        cells: Some(&CELLS),
        api_version: API_VERSION,
        media: looks.media,
        include: looks.include,
    };
    let mut out = Vec::new();
    shape.write_one(&mut out, &written.object(), true);
    finish(out, looks.media).map(|answer| answer.with_code(code))
}
