//! How a guest's failure reads: the one place where it becomes a Status.
//!
//! A refusal of the guest's own is told in its words. Everything else is the plugin's defect or the host's load: the client learns that and the
//! audit id, under which the log has the whole of it.

use outrigger_api::status::{Cause, Status};
use outrigger_sandbox::{CallError, ContractError, FieldError};

use crate::Asked;

/// When to come back.
const SOON: u32 = 1;

/// Tells of a guest's failures.
pub(crate) struct Failure<'a> {
    pub(crate) asked: &'a Asked<'a>,
    /// Of what is read and written.
    pub(crate) kind: &'a str,
}

// === impl Failure ===

impl Failure<'_> {
    /// Of a call that brought nothing. `name` is the object's, `made` says that it was to be made.
    pub(crate) fn status(&self, error: &CallError, name: &str, made: bool) -> Status {
        let info = self.asked.info;
        let (group, plural) = (info.api_group.as_str(), info.resource.as_str());
        let defect = |status: fn(String) -> Status, what: &str| {
            tracing::error!(audit_id = self.asked.audit_id, verb = info.verb, "{error}");
            status(self.told(what))
        };
        match error {
            CallError::Refused { error, fields, .. } => match error {
                ContractError::Denied(text) => Status::denied(group, plural, name, text),
                ContractError::Invalid(_) if !fields.is_empty() => {
                    Status::invalid(group, self.kind, name, fields.iter().map(cause).collect())
                }
                ContractError::Invalid(text) => Status::bad_request(text.as_str()),
                ContractError::NotFound(_) if !name.is_empty() && !made => Status::not_found(group, plural, name),
                ContractError::NotFound(text) => Status::failure(404, "NotFound", text.as_str()),
                ContractError::Conflict(_) if made => Status::already_exists(group, plural, name),
                ContractError::Conflict(text) => Status::conflict(group, plural, name, text),
                ContractError::Timeout(text) => Status::timeout(text, 0),
                ContractError::TooLarge(text) => Status::too_large(text),
                ContractError::Exhausted(text) => Status::exhausted(text.as_str(), SOON),
                ContractError::Unavailable(text) => Status::service_unavailable(text.as_str(), SOON),
                ContractError::Failed(text) => {
                    tracing::warn!(audit_id = self.asked.audit_id, verb = info.verb, "{error}");
                    Status::internal_error(text)
                }
            },
            CallError::Busy { .. } => Status::too_many_requests(SOON),
            CallError::SetAside { retry_after, .. } => {
                let seconds = u32::try_from(retry_after.as_secs()).unwrap_or(u32::MAX).max(SOON);
                Status::service_unavailable(self.told("is set aside because its calls keep failing"), seconds)
            }
            CallError::Deadline { .. } | CallError::CpuTime { .. } => {
                defect(|text| Status::timeout(text, 0), "did not answer in time")
            }
            CallError::Start { .. } => defect(|text| Status::service_unavailable(text, SOON), "could not be started"),
            _ => defect(Status::internal_error, "failed"),
        }
    }

    /// Of an answer that is not what was asked for.
    pub(crate) fn bad(&self, bad: &dyn std::fmt::Display) -> Status {
        let (plugin, verb) = (&self.asked.served.plugin, &self.asked.info.verb);
        tracing::error!(
            audit_id = self.asked.audit_id,
            verb,
            "plugin {plugin}: its answer cannot be used: {bad}"
        );
        Status::internal_error(self.told("gave an answer that cannot be used"))
    }

    fn told(&self, what: &str) -> String {
        format!(
            "the plugin {} {what} (audit id {})",
            self.asked.served.plugin, self.asked.audit_id
        )
    }
}

/// A field that a guest blames.
pub(crate) fn cause(field: &FieldError) -> Cause {
    Cause {
        reason: field.reason.clone(),
        message: match field.reason.as_str() {
            // As `field.Error` prints them, unless the guest has done so itself.
            "FieldValueRequired" => prefixed("Required value", &field.message),
            "FieldValueForbidden" => prefixed("Forbidden", &field.message),
            _ => field.message.clone(),
        },
        field: field.field.clone(),
    }
}

fn prefixed(prefix: &str, message: &str) -> String {
    if message.starts_with(prefix) {
        message.to_owned()
    } else if message.is_empty() {
        prefix.to_owned()
    } else {
        format!("{prefix}: {message}")
    }
}
