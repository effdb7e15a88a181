//! What a plugin's strategy says of a write, and how much of what it says is believed.
//!
//! It is asked once per write, in the storage version. It may change all fields, labels, annotations, owners and finalizers; who an object is and
//! what the host says of it (uid, creation, deletion, generation, managed fields) stay as they are. What it has changed is held against the
//! schema and the rules of metadata like a client's own.

use std::sync::Arc;

use outrigger_api::object::NotAnObject;
use outrigger_api::object_rules::{self, update};
use outrigger_api::status::Status;
use outrigger_sandbox::Admitted;
use serde_json::Value;

use super::Stored;
use super::draft::Draft;
use crate::failure::cause;
use crate::responder::judge::{Bad, Expected};

/// Metadata that a strategy may change.
const OPEN: [&str; 4] = ["labels", "annotations", "ownerReferences", "finalizers"];

/// Why what a strategy returned cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Bad(#[from] Bad),
    #[error("it is no object: {0}")]
    Object(#[from] NotAnObject),
    #[error("it is no object: {0}")]
    Fields(#[from] serde_json::Error),
    #[error("metadata.uid is {found:?}, not {wanted:?}")]
    Another { found: String, wanted: String },
}

// === impl Stored ===

impl Stored<'_> {
    /// The object as the strategy lets it pass. Both objects are in the storage version; there is no old one of what is new.
    ///
    /// # Errors
    /// 422 with the fields that it refuses, or the Status of how it failed.
    pub(super) async fn admit(&self, draft: Draft, old: Option<&Draft>, dry_run: bool) -> Result<Draft, Status> {
        let object = draft.object().to_bytes();
        let before = old.map(|old| old.object().to_bytes()).unwrap_or_default();
        let Some(admitted) = self
            .ask(old.is_none(), draft.head.name(), (&object, &before), dry_run)
            .await?
        else {
            return Ok(draft);
        };
        let judged = self.judge(&admitted.object, &draft);
        let admitted = judged.map_err(|bad| self.failure().bad(&bad))?;
        if admitted == draft {
            return Ok(draft);
        }
        self.vetted(admitted, old)
    }

    /// Asks whether an object may be deleted, if the strategy wants to be asked.
    ///
    /// # Errors
    /// As [`Stored::admit`].
    pub(super) async fn admit_deletion(&self, old: &Draft, dry_run: bool) -> Result<(), Status> {
        let before = old.object().to_bytes();
        self.ask(false, old.head.name(), (&[], &before), dry_run).await.map(drop)
    }

    /// An object that the strategy has changed.
    ///
    /// # Errors
    /// 422 if it is not valid any more.
    fn vetted(&self, mut draft: Draft, old: Option<&Draft>) -> Result<Draft, Status> {
        self.tidy(&mut draft);
        self.dedup_owners(&mut draft.head, true);
        let mut causes = match old {
            None => object_rules::validate(&draft.head, self.is_namespaced()),
            Some(old) => update::validate(&draft.head, &old.head, self.is_namespaced()),
        };
        causes.extend(self.faults_as_kept(&draft, old));
        match causes.is_empty() {
            true => Ok(draft),
            false => Err(self.invalid(draft.head.name(), causes)),
        }
    }

    async fn ask(
        &self,
        is_new: bool,
        name: &str,
        (object, old): (&[u8], &[u8]),
        dry_run: bool,
    ) -> Result<Option<Admitted>, Status> {
        let served = self.asked.served;
        let Some(guest) = &served.guest else { return Ok(None) };
        let verb = match (is_new, object.is_empty()) {
            (true, _) => "create",
            (false, false) => "update",
            (false, true) => "delete",
        };
        // Who makes an object finds its name in the object, as the contract says.
        let mut facts = self.asked.facts(verb, if is_new { "" } else { name }, dry_run);
        served.resource.storage_version().clone_into(&mut facts.version);
        let answer = guest.admit(Arc::new(facts), object, old, self.left()).await;
        let admitted = answer.map_err(|error| self.failure().status(&error, name, is_new))?;
        admitted.warnings.iter().for_each(|warning| (self.asked.warn)(warning));
        if admitted.errors.is_empty() {
            return Ok(Some(admitted));
        }
        let causes = admitted.errors.iter().map(cause).collect();
        Err(self.invalid(name, causes))
    }

    fn judge(&self, json: &[u8], draft: &Draft) -> Result<Draft, Unusable> {
        let expected = Expected {
            api_version: draft.head.api_version.clone(),
            kind: draft.head.kind.clone(),
            is_namespaced: self.is_namespaced(),
            namespace: draft.head.namespace().to_owned(),
            name: draft.head.name().to_owned(),
        };
        let mut said = Draft::read(expected.judge(json)?)?;
        let (found, wanted) = (said.head.text("uid"), draft.head.text("uid"));
        if found != wanted && !found.is_empty() {
            return Err(Unusable::Another {
                found: found.to_owned(),
                wanted: wanted.to_owned(),
            });
        }
        let mut metadata = draft.head.metadata.clone();
        for key in OPEN {
            let empty = |value: &Value| match value {
                Value::Object(members) => members.is_empty(),
                Value::Array(items) => items.is_empty(),
                _ => false,
            };
            match said.head.metadata.shift_remove(key).filter(|value| !empty(value)) {
                Some(value) => metadata.insert(key.to_owned(), value),
                None => metadata.shift_remove(key),
            };
        }
        said.head.metadata = metadata;
        Ok(said)
    }
}
