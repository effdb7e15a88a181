//! patch: made of the object as it is now, in the version of the request (apiserver `handlers/patch.go`).
//!
//! A patch that leaves the resourceVersion alone is meant for whatever is there, and is applied again when that has changed meanwhile.

use outrigger_api::body::Body;
use outrigger_api::field;
use outrigger_api::patch::Patch;
use outrigger_api::status::Status;
use outrigger_api::write_options::{FieldValidation, WriteOptions};
use serde_json::Value;

use super::Stored;
use super::change::Change;
use super::draft::Draft;
use super::part::Part;
use super::scale::Scaling;
use crate::Answer;
use crate::read::Kind;

/// A patch, and what strict decoding finds in it.
pub(super) struct Patching {
    pub(super) patch: Patch,
    pub(super) findings: Vec<String>,
}

// === impl Stored ===

impl Stored<'_> {
    pub(super) async fn patch(&self) -> Result<Answer, Status> {
        // A strategic merge patch goes by the schema, which knows nothing of a Scale.
        let strategic = self.part != Part::Scale && self.asked.served.schemas.own.is_some();
        let patch = Patch::read_for(self.asked.content_type.unwrap_or_default(), self.asked.body, strategic)?;
        let looks = self.looks(Kind::One)?;
        let options = WriteOptions::read(self.asked.query, "PatchOptions")?;
        let findings = match options.validation {
            FieldValidation::Ignore => Vec::new(),
            _ => patch.findings(self.asked.body),
        };
        let patching = Patching { patch, findings };
        let change = match self.part {
            Part::Scale => Change::Scale(Scaling::Patch(patching)),
            Part::Whole | Part::Status => Change::Patch(patching),
        };
        self.change(&change, &options, looks).await
    }

    /// The object with the patch applied.
    pub(super) fn patched(&self, patching: &Patching, current: &Draft, options: &WriteOptions) -> Result<Draft, Status> {
        let mut document = current.document();
        patching
            .patch
            .apply_with(&mut document, self.asked.served.schemas.own.as_deref())?;
        let body = Body {
            value: document,
            twice: Vec::new(),
        };
        let mut found = patching.findings.clone();
        found.extend(body.findings(None));
        let mut document = body.value;
        found.extend(self.prune(&mut document));
        self.judge_patch(&found, &document, options)?;
        self.fill_in(&mut document);
        let shown = document.clone();
        let mut draft = Draft::of(document).map_err(|why| unfit(&shown, &why))?;
        for (member, found, wanted) in [
            ("apiVersion", &draft.head.api_version, &current.head.api_version),
            ("kind", &draft.head.kind, &current.head.kind),
        ] {
            if found != wanted {
                let why = format!("the {member} in the data ({found}) does not match the expected {member} ({wanted})");
                return Err(unfit(&shown, &why));
            }
        }
        self.place(&mut draft.head)?;
        self.incoming().check_place(&draft.head)?;
        self.dedup_owners(&mut draft.head, true);
        Ok(draft)
    }

    pub(super) fn judge_patch(&self, findings: &[String], document: &Value, options: &WriteOptions) -> Result<(), Status> {
        match options.validation {
            FieldValidation::Strict if !findings.is_empty() => {
                let why = format!("strict decoding error: {}", findings.join(", "));
                Err(unfit(document, &why))
            }
            FieldValidation::Warn => {
                findings.iter().for_each(|finding| self.warn(finding));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// 422: what the patch makes is no object of this kind. Upstream names no kind and no name there.
fn unfit(document: &Value, why: &dyn std::fmt::Display) -> Status {
    let text = Value::String(document.to_string());
    Status::invalid("", "", "", vec![field::invalid("patch", &text, &why.to_string())])
}
