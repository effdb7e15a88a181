//! update, and what is made of every change: applied to the object as it is now, again and again until nobody else was faster (apiserver
//! `handlers/update.go`, `registry/rest/update.go`, `registry/generic/registry/store.go` `Update`).
//!
//! A change that names a resourceVersion finds another one in the second round, and is refused. One that does not is tried until its
//! time is up: each round that fails is a success of somebody else.

use std::sync::Arc;

use outrigger_api::list_options::ResourceVersion;
use outrigger_api::object_rules::update;
use outrigger_api::status::Status;
use outrigger_api::write_options::WriteOptions;
use outrigger_storage::Entry;
use outrigger_storage::store::Expected;

use super::answer::{Looks, Outcome};
use super::convert::object_in;
use super::create::Made;
use super::draft::{Draft, STATUS, object_of};
use super::part::Part;
use super::patch::Patching;
use super::scale::Scaling;
use super::{Stored, Swapped, status};
use crate::Answer;
use crate::list::PATIENCE;
use crate::read::Kind;
use crate::responder::write::MODIFIED;

/// What shall become of an object.
pub(super) enum Change {
    /// This.
    Put(Draft),
    /// Itself, with a patch applied.
    Patch(Patching),
    /// As many of it as this says.
    Scale(Scaling),
}

/// How one round ended.
enum Round {
    Done(Outcome),
    /// Somebody else was faster.
    Again(Option<Arc<Entry>>),
}

// === impl Stored ===

impl Stored<'_> {
    pub(super) async fn update(&self) -> Result<Answer, Status> {
        let looks = self.looks(Kind::One)?;
        let options = WriteOptions::read(self.asked.query, "UpdateOptions")?;
        if self.part == Part::Scale {
            let scale = self.sent_scale(&options)?;
            return self.change(&Change::Scale(Scaling::Put(scale)), &options, looks).await;
        }
        let mut draft = self.sent(&options)?;
        self.place(&mut draft.head)?;
        self.incoming().check_place(&draft.head)?;
        self.dedup_owners(&mut draft.head, false);
        self.change(&Change::Put(draft), &options, looks).await
    }

    pub(super) async fn change(&self, change: &Change, options: &WriteOptions, looks: Looks) -> Result<Answer, Status> {
        let name = self.asked.info.name.as_str();
        let key = self.key(name);
        let mut current = self.kept.get(&key, PATIENCE).await.map_err(status)?;
        loop {
            current = match (&current, change) {
                (Some(entry), _) => match self.round(entry, change, options).await? {
                    Round::Done(outcome) => return self.told(200, &outcome, looks).await,
                    Round::Again(newer) => newer,
                },
                (None, Change::Put(draft)) if self.part == Part::Whole && self.backing().create_on_update => {
                    self.check_uid(draft, "", name)?;
                    self.check_namespace(draft).await?;
                    match self.make(draft.clone(), options, true).await? {
                        Made::Done(outcome) => return self.told(201, &outcome, looks).await,
                        Made::Exists(entry) => entry,
                    }
                }
                (None, _) => return Err(self.not_found(name)),
            };
        }
    }

    async fn round(&self, entry: &Arc<Entry>, change: &Change, options: &WriteOptions) -> Result<Round, Status> {
        let (served, declared) = (self.asked.served, self.backing());
        let name = self.asked.info.name.as_str();
        let as_kept = object_of(entry, self.kind()).map_err(Status::internal_error)?;
        let is_current = as_kept.api_version == self.storage();
        let old = self.in_storage(Draft::read(as_kept).map_err(Status::internal_error)?).await?;

        let mut draft = match change {
            Change::Put(draft) => {
                self.check_uid(draft, old.head.text("uid"), name)?;
                draft.clone()
            }
            Change::Patch(patch) => {
                let current = object_in(served, old.object(), self.version(), self.left()).await?;
                self.patched(patch, &Draft::read(current).map_err(Status::internal_error)?, options)?
            }
            Change::Scale(scaling) => {
                let current = object_in(served, old.object(), self.version(), self.left()).await?;
                self.scaled(scaling, current.value().map_err(Status::internal_error)?, options)?
            }
        };
        self.check_version(&mut draft, entry.revision)?;
        let in_storage = draft.head.api_version == old.head.api_version;
        match self.part {
            // In another version there is nothing to compare with, and nothing will be left of it.
            Part::Whole | Part::Scale if !in_storage && declared.status => draft.drop_field(STATUS),
            part if in_storage => part.isolate(&mut draft, &old, declared.status),
            _ => {}
        }
        update::prepare(&mut draft.head, &old.head);
        let mut causes = match self.part {
            // Nothing of this metadata will be left.
            Part::Status if !in_storage => Vec::new(),
            _ => update::validate(&draft.head, &old.head, self.is_namespaced()),
        };
        causes.extend(self.faults(&draft, in_storage.then_some(&old)));
        if !causes.is_empty() {
            return Err(self.invalid(draft.head.name(), causes));
        }
        if self.part == Part::Whole {
            self.warn_of_finalizers(&draft.head, Some(&old.head));
        }
        let mut draft = self.in_storage(draft).await?;
        self.settle(&mut draft, &old);
        let mut draft = self.admit(draft, Some(&old), options.dry_run).await?;
        self.settle(&mut draft, &old);

        let key = self.key(name);
        let mut object = draft.object();
        if update::deletes(&draft.head, &old.head) {
            // The last finalizer is gone, and the object with it.
            if !options.dry_run
                && let Err(why) = self.kept.remove(&key, entry.revision).await
            {
                return self.other(&key, why).map(Round::Again);
            }
            return Ok(Round::Done(Outcome::Told(Box::new(object))));
        }
        if draft == old && is_current {
            return Ok(Round::Done(Outcome::Kept(Arc::clone(entry))));
        }
        if options.dry_run {
            return Ok(Round::Done(Outcome::Told(Box::new(object))));
        }
        Ok(match self.put(&key, Expected::At(entry.revision), &mut object).await? {
            Swapped::Done(entry) => Round::Done(Outcome::Kept(entry)),
            Swapped::Other(newer) => Round::Again(newer),
        })
    }

    /// What is not this part's stays as it was, and a generation is counted when anything but metadata and status has changed.
    fn settle(&self, draft: &mut Draft, old: &Draft) {
        let has_status = self.backing().status;
        self.part.isolate(draft, old, has_status);
        if draft.has_fields_of(old, has_status.then_some(STATUS)) {
            match old.head.metadata.get("generation") {
                Some(generation) => draft.head.metadata.insert("generation".to_owned(), generation.clone()),
                None => draft.head.metadata.shift_remove("generation"),
            };
        } else {
            update::next_generation(&mut draft.head, &old.head);
        }
    }

    /// Who names a uid means that object and no other (storage `Preconditions`).
    fn check_uid(&self, draft: &Draft, found: &str, name: &str) -> Result<(), Status> {
        let wanted = draft.head.text("uid");
        if wanted.is_empty() || wanted == found {
            return Ok(());
        }
        let key = self.kept.prefix().object(&self.key(name));
        Err(self.conflict(
            name,
            format_args!(
                "StorageError: invalid object, Code: 4, Key: /{key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
                 UID in precondition: {wanted}, UID in object meta: {found}"
            ),
        ))
    }

    /// Who names a version means that one and no other; who names none, if he may, the one that is there.
    fn check_version(&self, draft: &mut Draft, current: u64) -> Result<(), Status> {
        let (info, name) = (self.asked.info, self.asked.info.name.as_str());
        match ResourceVersion::parse(draft.head.version())? {
            ResourceVersion::At(version) if version == current => Ok(()),
            ResourceVersion::At(_) => Err(self.conflict(name, MODIFIED)),
            ResourceVersion::Unset | ResourceVersion::Any if self.backing().unconditional_update => {
                draft.head.set("resourceVersion", &current.to_string());
                Ok(())
            }
            ResourceVersion::Unset | ResourceVersion::Any => {
                update::require_version(&draft.head, &info.api_group, &info.resource)
            }
        }
    }
}
