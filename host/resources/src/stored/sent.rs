//! What a client sends, as a draft: read, pruned and filled in by the schema of its version, and what is wrong with it.
//!
//! Whatever the schema does not know is dropped, always; `fieldValidation` only says whether the client hears of it (KEP-2885).

use outrigger_api::body;
use outrigger_api::object::Object;
use outrigger_api::object_rules::{create, duplicate_owners, finalizer_warnings};
use outrigger_api::schema::Schema;
use outrigger_api::status::{Cause, Status};
use outrigger_api::write_options::WriteOptions;
use serde_json::Value;

use super::Stored;
use super::draft::{Draft, STATUS};
use super::part::{Part, is_of_status};

// === impl Stored ===

impl Stored<'_> {
    /// The object in the body, of the request's type.
    pub(super) fn sent(&self, options: &WriteOptions) -> Result<Draft, Status> {
        let incoming = self.incoming();
        let body = incoming.read()?;
        let mut findings = body.findings(None);
        let mut document = body.value;
        findings.extend(self.prune(&mut document));
        body::judge(&findings, options.validation, (self.version(), self.kind()), self.asked.warn)?;
        self.fill_in(&mut document);
        let draft = Draft::of(document).map_err(|why| incoming.malformed(&why))?;
        incoming.check_type(&draft.head, &self.asked.served.api_version)?;
        Ok(draft)
    }

    /// Owners that stand there twice are dropped.
    pub(super) fn dedup_owners(&self, object: &mut Object, after_admission: bool) {
        if let Some(warning) = duplicate_owners(object, after_admission) {
            self.warn(warning);
        }
    }

    /// The object is in the namespace of the URL.
    pub(super) fn place(&self, object: &mut Object) -> Result<(), Status> {
        create::ensure_namespace(object, &self.asked.info.namespace)
    }

    pub(super) fn warn_of_finalizers(&self, object: &Object, old: Option<&Object>) {
        finalizer_warnings(object, old).iter().for_each(|warning| self.warn(warning));
    }

    /// Drops what the schema of the request's version does not know, and says what that was.
    pub(super) fn prune(&self, document: &mut Value) -> Vec<String> {
        let Some(schema) = &self.asked.served.schemas.own else {
            return Vec::new();
        };
        let pruned = schema.prune(document);
        pruned.iter().map(|path| format!("unknown field {path:?}")).collect()
    }

    /// Fills in what that schema says of what is not there.
    pub(super) fn fill_in(&self, document: &mut Value) {
        if let Some(schema) = &self.asked.served.schemas.own {
            schema.default(document);
        }
    }

    /// What that schema finds wrong; of a change what is wrong since then, if the old object is known in this version. Of what a part cannot
    /// change nothing is said: who makes a ship cannot say its status, so it is not missing.
    pub(super) fn faults(&self, draft: &Draft, old: Option<&Draft>) -> Vec<Cause> {
        let schemas = &self.asked.served.schemas;
        let mut causes = faults(schemas.own.as_deref(), draft, old);
        if let Some(scale) = &schemas.scale {
            causes.extend(scale.validate(&draft.fields));
        }
        match self.part {
            Part::Status => causes.retain(is_of_status),
            Part::Whole | Part::Scale if self.backing().status => causes.retain(|cause| !is_of_status(cause)),
            Part::Whole | Part::Scale => {}
        }
        causes
    }

    /// Makes an object in the storage version, which somebody else than the client has written, one of its schema.
    pub(super) fn tidy(&self, draft: &mut Draft) {
        if let Some(schema) = &self.asked.served.schemas.kept {
            schema.prune(&mut draft.fields);
            schema.default(&mut draft.fields);
        }
    }

    /// What the schema of the storage version finds wrong with what a strategy has made. Only what is new may have a first status from it.
    pub(super) fn faults_as_kept(&self, draft: &Draft, old: Option<&Draft>) -> Vec<Cause> {
        let mut causes = faults(self.asked.served.schemas.kept.as_deref(), draft, old);
        let says_status = self.part == Part::Status || old.is_none() && draft.field(STATUS).is_some();
        if self.backing().status && !says_status {
            causes.retain(|cause| !is_of_status(cause));
        }
        causes
    }
}

fn faults(schema: Option<&Schema>, draft: &Draft, old: Option<&Draft>) -> Vec<Cause> {
    match (schema, old) {
        (None, _) => Vec::new(),
        (Some(schema), None) => schema.validate(&draft.fields),
        (Some(schema), Some(old)) => schema.validate_update(&draft.fields, &old.fields),
    }
}
