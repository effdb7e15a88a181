//! delete and deletecollection (apiserver `handlers/delete.go`, `registry/generic/registry/store.go` `Delete`, `DeleteCollection`).
//!
//! Nothing of a plugin's is needed to delete an object, unless the plugin has asked to be asked: an object is marked and removed in the
//! version in which it happens to be kept.

use std::sync::{Arc, OnceLock};

use futures::StreamExt as _;
use outrigger_api::continue_token::ContinueToken;
use outrigger_api::list_options::ListOptions;
use outrigger_api::meta::{ListMeta, NONE};
use outrigger_api::object_rules::delete::{self, Deletion};
use outrigger_api::status::Status;
use outrigger_api::time::Timestamp;
use outrigger_api::write_options::DeleteOptions;
use outrigger_storage::store::Expected;
use outrigger_storage::{Entry, Key};

use super::answer::{Looks, Outcome};
use super::convert::in_version;
use super::draft::{Draft, object_of};
use super::{Stored, Swapped, status};
use crate::Answer;
use crate::list::PATIENCE;
use crate::read::{Kind, Read, finish, success};
use crate::shape;

/// What a delete has come to.
enum Removal {
    /// Finalizers hold it.
    Held(Outcome),
    /// It is gone; its uid.
    Gone(String),
}

/// What a deletecollection takes in one go.
struct Page {
    entries: Vec<Arc<Entry>>,
    revision: u64,
    /// Where it goes on; empty if it is all.
    next: String,
}

/// Bytes of deleted objects that are told; what is beyond is deleted all the same.
const TOLD: usize = 8 << 20;
/// Deletes under way at once, so that a store can write several of them in one go.
const AT_ONCE: usize = 8;

// === impl Stored ===

impl Stored<'_> {
    pub(super) async fn delete(&self) -> Result<Answer, Status> {
        let looks = self.looks(Kind::One)?;
        let options = self.asked.delete_options()?;
        let (info, name) = (self.asked.info, self.asked.info.name.as_str());
        let gone = |uid: &str| Status::deleted(&info.api_group, &info.resource, name, uid);
        match self.remove(&self.key(name), &options).await? {
            Removal::Gone(uid) => Ok(success(&gone(&uid), looks.media)),
            Removal::Held(outcome) => {
                // What clients of old expect who ask so; all others hear 200.
                let code = if options.orphan_dependents == Some(false) { 202 } else { 200 };
                match self.told(code, &outcome, looks).await {
                    Ok(answer) => Ok(answer),
                    // The deed is done; that nobody can show the object in this version is no reason to say otherwise.
                    Err(why) => {
                        tracing::warn!(
                            audit_id = self.asked.audit_id,
                            "a deleted object cannot be shown: {}",
                            why.message
                        );
                        Ok(success(&gone(""), looks.media))
                    }
                }
            }
        }
    }

    async fn remove(&self, key: &Key, options: &DeleteOptions) -> Result<Removal, Status> {
        let declared = self.backing();
        let mut current = self.kept.get(key, PATIENCE).await.map_err(status)?;
        loop {
            let Some(entry) = current else {
                return Err(self.not_found(&key.name));
            };
            let old = object_of(&entry, self.kind()).map_err(Status::internal_error)?;
            if let Some(preconditions) = &options.preconditions {
                delete::check(&old, preconditions, &self.asked.info.api_group, self.kind())?;
            }
            if declared.admits_deletes {
                let draft = Draft::read(old.clone()).map_err(Status::internal_error)?;
                self.admit_deletion(&self.in_storage(draft).await?, options.is_dry_run())
                    .await?;
            }
            let mut object = old.clone();
            current = match delete::begin(&mut object, options, Timestamp::now()) {
                Deletion::Held if object == old => return Ok(Removal::Held(Outcome::Kept(entry))),
                Deletion::Held if options.is_dry_run() => return Ok(Removal::Held(Outcome::Told(Box::new(object)))),
                Deletion::Held => match self.put(key, Expected::At(entry.revision), &mut object).await? {
                    Swapped::Done(entry) => return Ok(Removal::Held(Outcome::Kept(entry))),
                    Swapped::Other(newer) => newer,
                },
                Deletion::Now if options.is_dry_run() => return Ok(Removal::Gone(old.text("uid").to_owned())),
                Deletion::Now => match self.kept.remove(key, entry.revision).await {
                    Ok(_) => return Ok(Removal::Gone(old.text("uid").to_owned())),
                    Err(why) => self.other(key, why)?,
                },
            };
        }
    }

    /// Lists, then deletes one by one; the answer is the list of what was deleted, as it was before.
    pub(super) async fn delete_collection(&self) -> Result<Answer, Status> {
        let looks = self.looks(Kind::List)?;
        let read = self.asked.read();
        let selected = ListOptions::read(self.asked.query)?;
        let options = self.asked.delete_options()?;
        self.kept.check().map_err(status)?;
        let page = self.page(&read, &selected).await?;
        let failed = OnceLock::new();
        let removals = futures::stream::iter(&page.entries).for_each_concurrent(AT_ONCE, |entry| async {
            // What has begun is brought to its end, and nothing more is begun.
            if failed.get().is_some() {
                return;
            }
            match self.remove(&entry.row.key, &options).await {
                // Somebody else was faster.
                Err(why) if why.code != 404 => drop(failed.set(why)),
                _ => {}
            }
        });
        removals.await;
        if let Some(why) = failed.into_inner() {
            return Err(why);
        }
        let mut told: Vec<Arc<Entry>> = Vec::with_capacity(page.entries.len());
        let mut bytes = 0;
        for entry in page.entries {
            bytes += entry.row.fields.len() + entry.row.meta.as_ref().map_or(0, |meta| meta.json.len());
            if bytes > TOLD {
                break;
            }
            told.push(entry);
        }
        self.deleted(&told, (page.revision, &page.next), looks).await
    }

    /// What is to be deleted: all that is selected, or as much of it as is asked for at once.
    async fn page(&self, read: &Read<'_>, options: &ListOptions) -> Result<Page, Status> {
        let token = match options.continue_token.as_str() {
            "" => None,
            token => Some(ContinueToken::decode(token)?),
        };
        let snapshot = read.moment(options, token.as_ref()).await?;
        let namespace = self.asked.info.namespace.as_str();
        let first = token.map_or_else(|| Key::new(namespace, ""), |token| read.first_key(&token.start));
        let limit = options.limit.map_or(usize::MAX, std::num::NonZero::get);
        let mut entries: Vec<Arc<Entry>> = Vec::new();
        let mut next = String::new();
        let there = snapshot
            .iter_from(first, read.now)
            .take_while(|entry| namespace.is_empty() || &*entry.row.key.namespace == namespace)
            .filter(|entry| {
                let key = &entry.row.key;
                let labels = entry.labels.as_deref().unwrap_or(&NONE);
                options.field_selector.matches(&key.namespace, &key.name) && options.label_selector.matches(labels)
            });
        for entry in there {
            if entries.len() == limit {
                if let Some(last) = entries.last() {
                    next = ContinueToken::behind(&read.relative(&last.row.key), snapshot.revision()).encode();
                }
                break;
            }
            entries.push(Arc::clone(entry));
        }
        Ok(Page {
            entries,
            revision: snapshot.revision(),
            next,
        })
    }

    async fn deleted(&self, entries: &[Arc<Entry>], (revision, next): (u64, &str), looks: Looks) -> Result<Answer, Status> {
        let converted = match looks.media.form.shows_fields() {
            true => in_version(self.asked.served, entries, self.left()).await,
            false => Ok(entries.to_vec()),
        };
        let entries = match converted {
            Ok(entries) => entries,
            Err(why) => {
                tracing::warn!(
                    audit_id = self.asked.audit_id,
                    "deleted objects cannot be shown: {}",
                    why.message
                );
                let status = Status::deleted("", self.kind(), "", "");
                return Ok(success(&status, looks.media));
            }
        };
        let labels: Vec<_> = entries.iter().map(|entry| entry.labels.clone().unwrap_or_default()).collect();
        let objects: Vec<_> = entries
            .iter()
            .zip(&labels)
            .map(|(entry, labels)| shape::Object::of(entry, labels))
            .collect();
        let meta = ListMeta {
            resource_version: revision,
            continue_token: next,
            ..ListMeta::default()
        };
        let shape = self.asked.read().shape(looks.media, looks.include);
        finish(shape.list(&meta, &objects), looks.media)
    }
}
