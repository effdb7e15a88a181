//! create (apiserver `handlers/create.go`, `registry/rest/create.go`, `registry/generic/registry/store.go` `Create`).

use std::sync::Arc;

use outrigger_api::names;
use outrigger_api::object_rules::{self, create};
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::{Cause, Status};
use outrigger_api::time::Timestamp;
use outrigger_api::write_options::WriteOptions;
use outrigger_storage::Entry;
use outrigger_storage::store::Expected;

use super::answer::Outcome;
use super::convert::object_in;
use super::draft::{Draft, STATUS, object_of};
use super::lifecycle::NamespaceStanding;
use super::{Stored, Swapped};
use crate::Answer;
use crate::list::PATIENCE;
use crate::read::Kind;
use crate::responder::write::NAMES;

/// What came of making an object.
pub(super) enum Made {
    /// It is there now, or would be.
    Done(Outcome),
    /// One of this name is there already.
    Exists(Option<Arc<Entry>>),
}

// === impl Stored ===

impl Stored<'_> {
    pub(super) async fn create(&self) -> Result<Answer, Status> {
        let looks = self.looks(Kind::One)?;
        let options = WriteOptions::read(self.asked.query, "CreateOptions")?;
        let mut draft = self.sent(&options)?;
        create::wipe(&mut draft.head);
        self.place(&mut draft.head)?;
        self.check_namespace(&draft).await?;
        self.dedup_owners(&mut draft.head, false);
        let prefix = draft.head.text("generateName").to_owned();
        let generated = draft.head.name().is_empty() && !prefix.is_empty();
        let mut attempt = 1;
        loop {
            let mut one = draft.clone();
            if generated {
                one.head.set("name", &names::generate(&prefix, |of| fastrand::usize(..of)));
            }
            let name = one.head.name().to_owned();
            match self.make(one, &options, false).await? {
                Made::Done(outcome) => return self.told(201, &outcome, looks).await,
                Made::Exists(_) if generated && attempt < NAMES => attempt += 1,
                Made::Exists(entry) => return Err(self.exists(&name, !prefix.is_empty(), entry.as_deref())),
            }
        }
    }

    /// Makes an object of a draft that is in its place. Who makes it by replacing it needs a second permission.
    ///
    /// # Errors
    /// It may not be made.
    pub(super) async fn make(&self, mut draft: Draft, options: &WriteOptions, by_update: bool) -> Result<Made, Status> {
        create::fill(&mut draft.head, &uuid::Uuid::new_v4().to_string(), Timestamp::now());
        let has_status = self.backing().status;
        if has_status {
            draft.drop_field(STATUS);
        }
        let mut causes = object_rules::validate(&draft.head, self.is_namespaced());
        causes.extend(self.faults(&draft, None));
        if !causes.is_empty() {
            return Err(self.invalid(draft.head.name(), causes));
        }
        self.warn_of_finalizers(&draft.head, None);
        if by_update {
            let info = RequestInfo {
                verb: "create".to_owned(),
                ..self.asked.info.clone()
            };
            self.asked.permission.check(&info).await?;
        } else {
            create::refuse_version(&draft.head)?;
        }
        draft.head.set("resourceVersion", "");
        let draft = self.in_storage(draft).await?;
        let draft = self.admit(draft, None, options.dry_run).await?;
        let key = self.key(draft.head.name());
        let mut object = draft.object();
        if options.dry_run {
            let there = self.kept.get(&key, PATIENCE).await.map_err(super::status)?;
            return Ok(match there {
                Some(entry) => Made::Exists(Some(entry)),
                None => Made::Done(Outcome::Told(Box::new(object))),
            });
        }
        Ok(match self.put(&key, Expected::Absent, &mut object).await? {
            Swapped::Done(entry) => Made::Done(Outcome::Kept(entry)),
            Swapped::Other(entry) => Made::Exists(entry),
        })
    }

    /// The draft in the version in which objects are kept.
    pub(super) async fn in_storage(&self, draft: Draft) -> Result<Draft, Status> {
        let served = self.asked.served;
        if draft.head.api_version == self.storage() {
            return Ok(draft);
        }
        let converted = object_in(served, draft.object(), served.resource.storage_version(), self.left()).await?;
        let mut converted = Draft::read(converted).map_err(Status::internal_error)?;
        self.tidy(&mut converted);
        Ok(converted)
    }

    /// Nothing is made in a namespace that is not there or is going (admission plugin NamespaceLifecycle).
    pub(super) async fn check_namespace(&self, draft: &Draft) -> Result<(), Status> {
        if !self.is_namespaced() {
            return Ok(());
        }
        let (info, namespace) = (self.asked.info, self.asked.info.namespace.as_str());
        match self.namespaces.standing(namespace).await {
            Ok(NamespaceStanding::Active) => Ok(()),
            Ok(NamespaceStanding::Absent) => Err(Status::not_found("", "namespaces", namespace)),
            Ok(NamespaceStanding::Terminating) => {
                // No name has been generated at this point.
                let names = [draft.head.name(), draft.head.text("generateName"), "Unknown"];
                let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
                let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
                let mut status = Status::denied(&info.api_group, &info.resource, name, &why);
                status.details.get_or_insert_default().causes.push(Cause {
                    reason: "NamespaceTerminating".into(),
                    message: format!("namespace {namespace} is being terminated"),
                    field: "metadata.namespace".into(),
                });
                Err(status)
            }
            Err(why) => Err(Status::internal_error(why)),
        }
    }

    fn exists(&self, name: &str, generates: bool, entry: Option<&Entry>) -> Status {
        let info = self.asked.info;
        let mut status = match generates {
            true => Status::no_free_name(&info.api_group, &info.resource, name),
            false => Status::already_exists(&info.api_group, &info.resource, name),
        };
        let object = entry.and_then(|entry| object_of(entry, self.kind()).ok());
        if object.is_some_and(|object| !object.text("deletionTimestamp").is_empty()) {
            status.message.insert_str(0, "object is being deleted: ");
        }
        status
    }
}
