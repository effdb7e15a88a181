//! delete and deletecollection (apiserver `handlers/delete.go`, `registry/generic/registry/store.go` `DeleteCollection`).
//!
//! The namespace controller empties a namespace with these two; a resource that offers `delete` can always be listed.

use outrigger_api::list_options::ListOptions;
use outrigger_api::meta::ListMeta;
use outrigger_api::object::Object;
use outrigger_api::status::Status;
use outrigger_api::write_options::DeleteOptions;
use outrigger_sandbox::Ask;

use super::Responder;
use super::ask::Refused;
use super::written::Written;
use crate::Answer;
use crate::read::{Kind, finish, success};

/// Bytes of deleted objects that are told; what is beyond is deleted all the same.
const TOLD: usize = 8 << 20;

// === impl Responder ===

impl Responder<'_> {
    pub(super) async fn delete(&self) -> Result<Answer, Status> {
        let read = self.asked.read();
        let media = read.media(Kind::One)?;
        let options = self.asked.delete_options()?;
        let (info, name) = (self.asked.info, self.asked.info.name.as_str());
        self.check_preconditions(&options, name).await?;
        let last = self
            .remove(name, options.is_dry_run())
            .await
            .map_err(|refused| refused.status(self, name, false))?;
        if !last.text("deletionTimestamp").is_empty() {
            // It is going, and not gone: finalizers, or a plugin that takes its time.
            return self.written(200, &self.shown(last, options.is_dry_run()).1);
        }
        let status = Status::deleted(&info.api_group, &info.resource, name, last.text("uid"));
        Ok(success(&status, media))
    }

    /// Lists, then deletes one by one; the answer is a list of what was deleted.
    pub(super) async fn delete_collection(&self) -> Result<Answer, Status> {
        let read = self.asked.read();
        let media = read.media(Kind::List)?;
        let include = read.include(media)?;
        let options = self.asked.delete_options()?;
        let selected = ListOptions::read(self.asked.query)?;
        let mut told = Vec::new();
        let (mut bytes, mut start) = (0, None);
        loop {
            let page = self.names(&selected, start.take()).await?;
            for key in &page.keys {
                match self.remove(&key.name, options.is_dry_run()).await {
                    Ok(last) => {
                        let written = Written::of(last);
                        bytes += written.size();
                        if bytes <= TOLD {
                            told.push(written);
                        }
                    }
                    // Somebody else was faster.
                    Err(refused) if refused.is_absent() => {}
                    Err(refused) => return Err(refused.status(self, &key.name, false)),
                }
            }
            match page.next {
                Some(next) => start = Some(next),
                None => break,
            }
        }
        let objects: Vec<_> = told.iter().map(Written::object).collect();
        let meta = ListMeta::default();
        finish(read.shape(media, include).list(&meta, &objects), media)
    }

    async fn remove(&self, name: &str, dry_run: bool) -> Result<Object, Refused> {
        let outcome = self.ask("delete", name, dry_run, Ask::Delete).await;
        if let Some(poll) = self.shared().filter(|_| !dry_run) {
            let gone = match &outcome {
                Ok(last) => last.text("deletionTimestamp").is_empty(),
                Err(refused) => refused.is_absent(),
            };
            if gone {
                poll.gone(&self.asked.info.namespace, name);
            }
        }
        outcome
    }

    /// UID and version must be those of the object as it is now.
    async fn check_preconditions(&self, options: &DeleteOptions, name: &str) -> Result<(), Status> {
        let Some(wanted) = options.preconditions.as_ref() else {
            return Ok(());
        };
        if wanted.uid.is_none() && wanted.resource_version.is_none() {
            return Ok(());
        }
        if !self.has(&[outrigger_api::manifest::Verb::Get]) {
            return Err(Status::bad_request(
                "preconditions cannot be checked: objects of this resource cannot be read one by one",
            ));
        }
        let (object, _) = self.current(name).await?;
        let (info, kind) = (self.asked.info, self.kind());
        let conflict = |sentence: String| Err(Status::conflict(&info.api_group, kind, name, sentence));
        if let Some(uid) = wanted.uid.as_deref().filter(|uid| *uid != object.text("uid")) {
            return conflict(format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                object.text("uid")
            ));
        }
        if let Some(version) = wanted
            .resource_version
            .as_deref()
            .filter(|version| *version != object.version())
        {
            return conflict(format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
                object.version()
            ));
        }
        Ok(())
    }
}
