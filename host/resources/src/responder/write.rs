//! create, update and patch.
//!
//! Rules and sentences are upstream's (apiserver `handlers/{create,update,patch}.go`, `registry/rest`), as far as they hold of an object
//! without Go type: the type and place of an object must be those of the URL, names are made from `generateName`, system fields of a new object
//! are the server's. Whether the object itself is right is the guest's to say.

use outrigger_api::body::{self, Body};
use outrigger_api::names;
use outrigger_api::object::Object;
use outrigger_api::patch::Patch;
use outrigger_api::status::Status;
use outrigger_api::time::Timestamp;
use outrigger_api::write_options::WriteOptions;
use outrigger_sandbox::Ask;
use serde_json::Value;

use super::Responder;
use crate::Answer;
use crate::read::Kind;

/// Names that are tried before the client is told that none is free (`maxNameGenerationCreateAttempts`).
pub(crate) const NAMES: usize = 8;
/// Rounds of a patch whose object changes under it (`MaxRetryWhenPatchConflicts`).
const ROUNDS: usize = 5;
/// What a client is told whose object is not the newest.
pub(crate) const MODIFIED: &str = "the object has been modified; please apply your changes to the latest version and try again";

// === impl Responder ===

impl Responder<'_> {
    pub(super) async fn create(&self) -> Result<Answer, Status> {
        self.asked.read().media(Kind::One)?;
        let options = WriteOptions::read(self.asked.query, "CreateOptions")?;
        let mut object = self.body(&options)?;
        self.incoming().check_type(&object, &self.asked.served.api_version)?;
        if !object.version().is_empty() {
            return Err(Status::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        let namespace = self.asked.info.namespace.as_str();
        if self.is_namespaced() && !object.namespace().is_empty() && object.namespace() != namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        object.set("namespace", namespace);
        // What only the server knows of a new object.
        for key in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            object.metadata.remove(key);
        }
        object.set("uid", &uuid::Uuid::new_v4().to_string());
        object.set("creationTimestamp", &Timestamp::now().to_string());
        object.metadata.insert("generation".into(), 1.into());
        let prefix = object.text("generateName").to_owned();
        let generated = object.name().is_empty() && !prefix.is_empty();
        for attempt in 1.. {
            if generated {
                object.set("name", &names::generate(&prefix, |of| fastrand::usize(..of)));
            }
            let name = object.name().to_owned();
            let wrong = names::check(&name);
            if !wrong.is_empty() {
                return Err(Status::invalid(&self.asked.info.api_group, self.kind(), &name, wrong));
            }
            let ask = Ask::Create(object.to_bytes().into());
            match self.ask("create", &name, options.dry_run, ask).await {
                Ok(made) => return self.written(201, &self.shown(made, options.dry_run).1),
                Err(refused) if generated && refused.is_conflict() => {
                    if attempt == NAMES {
                        let info = self.asked.info;
                        return Err(Status::no_free_name(&info.api_group, &info.resource, &name));
                    }
                }
                Err(refused) => return Err(refused.status(self, &name, true)),
            }
        }
        Err(Status::method_not_allowed())
    }

    pub(super) async fn update(&self) -> Result<Answer, Status> {
        self.asked.read().media(Kind::One)?;
        let options = WriteOptions::read(self.asked.query, "UpdateOptions")?;
        let mut object = self.body(&options)?;
        self.incoming().check_type(&object, &self.asked.served.api_version)?;
        self.incoming().check_place(&object)?;
        object.set("namespace", &self.asked.info.namespace);
        let name = self.asked.info.name.as_str();
        let object = self.to_author(object).await?;
        let ask = Ask::Update(object.to_bytes().into());
        match self.ask("update", name, options.dry_run, ask).await {
            Ok(updated) => self.written(200, &self.shown(updated, options.dry_run).1),
            Err(refused) => Err(refused.status(self, name, false)),
        }
    }

    pub(super) async fn patch(&self) -> Result<Answer, Status> {
        let patch = Patch::read(self.asked.content_type.unwrap_or_default(), self.asked.body)?;
        self.asked.read().media(Kind::One)?;
        let options = WriteOptions::read(self.asked.query, "PatchOptions")?;
        let name = self.asked.info.name.as_str();
        let mut round = 1;
        loop {
            let (current, shown) = self.current(name).await?;
            let mut value = current.value().map_err(Status::internal_error)?;
            patch.apply(&mut value)?;
            self.judge_fields(&value, &options)?;
            let mut patched = Object::of(&value).map_err(|e| Status::bad_request(e.to_string()))?;
            self.incoming().check_type(&patched, &self.asked.served.api_version)?;
            self.incoming().check_place(&patched)?;
            patched.set("namespace", current.namespace());
            if patched == current {
                // Nothing to write, as upstream's store sees it.
                return self.written(200, &shown);
            }
            // A patch that names a version wants that one and no other.
            let insists = patched.version() != current.version();
            let refused = match self.to_author(patched).await {
                Err(status) if status.code == 409 && !insists && round < ROUNDS => {
                    round += 1;
                    continue;
                }
                Err(status) => return Err(status),
                Ok(object) => match self
                    .ask("update", name, options.dry_run, Ask::Update(object.to_bytes().into()))
                    .await
                {
                    Ok(updated) => return self.written(200, &self.shown(updated, options.dry_run).1),
                    Err(refused) => refused,
                },
            };
            if !refused.is_conflict() || insists || round >= ROUNDS {
                return Err(refused.status(self, name, false));
            }
            round += 1;
        }
    }

    /// The object with the version that its author knows. Of a shared resource clients know the table's.
    async fn to_author(&self, mut object: Object) -> Result<Object, Status> {
        let Some(poll) = self.shared().filter(|_| !object.version().is_empty()) else {
            return Ok(object);
        };
        let (info, namespace, name) = (self.asked.info, object.namespace().to_owned(), object.name().to_owned());
        let known = match poll.version_of(&namespace, &name) {
            Some(known) => Some(known),
            // Nobody has looked since the host started.
            None if self.has(&[outrigger_api::manifest::Verb::Get]) => {
                self.current(&name).await?;
                poll.version_of(&namespace, &name)
            }
            None => None,
        };
        match known {
            Some((revision, own)) if revision.to_string() == object.version() => {
                object.set("resourceVersion", &own);
                Ok(object)
            }
            _ => Err(Status::conflict(&info.api_group, &info.resource, &name, MODIFIED)),
        }
    }

    /// The object in the body.
    fn body(&self, options: &WriteOptions) -> Result<Object, Status> {
        let incoming = self.incoming();
        let body = incoming.read()?;
        let resource = &self.asked.served.resource;
        let schema = resource.schema.as_ref().filter(|_| self.kind() == resource.kind);
        body::judge(
            &body.findings(schema),
            options.validation,
            (&self.asked.info.api_version, self.kind()),
            self.asked.warn,
        )?;
        Object::of(&body.value).map_err(|why| incoming.malformed(&why))
    }

    /// What a patch makes unknown or leaves unknown.
    fn judge_fields(&self, value: &Value, options: &WriteOptions) -> Result<(), Status> {
        let resource = &self.asked.served.resource;
        let body = Body {
            value: value.clone(),
            twice: Vec::new(),
        };
        let schema = resource.schema.as_ref().filter(|_| self.kind() == resource.kind);
        let kind = (self.asked.info.api_version.as_str(), self.kind());
        body::judge(&body.findings(schema), options.validation, kind, self.asked.warn)
    }
}
