//! The parts of a stored object that have a path of their own, and how they are kept apart.
//!
//! With a status of its own, a write to the object leaves the status alone and a write to the status leaves all else alone (apiextensions
//! `customResourceStrategy` and `statusStrategy`), whatever the client or the plugin's strategy says.

use outrigger_api::manifest::{Backing, Resource};
use outrigger_api::status::Cause;

use super::draft::{Draft, STATUS};

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The object.
    Whole,
    /// Its status.
    Status,
    /// How many it shall be.
    Scale,
}

/// Whether a cause blames something of the status.
pub(super) fn is_of_status(cause: &Cause) -> bool {
    let rest = cause.field.trim_start_matches('.').strip_prefix(STATUS);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

// === impl Part ===

impl Part {
    /// The part that a URL names, if the resource has it.
    pub(super) fn of(resource: &Resource, subresource: &str) -> Option<Self> {
        let Backing::Stored { status, scale, .. } = &resource.backing else {
            return None;
        };
        match subresource {
            "" => Some(Self::Whole),
            "status" if *status => Some(Self::Status),
            "scale" if scale.is_some() => Some(Self::Scale),
            _ => None,
        }
    }

    /// Puts back what a write to this part cannot touch. Both are in the same version.
    pub(super) fn isolate(self, draft: &mut Draft, old: &Draft, has_status: bool) {
        match self {
            Self::Status => {
                let managed = draft.head.metadata.shift_remove("managedFields");
                let mut whole = old.clone();
                whole.take_field(STATUS, draft);
                match managed {
                    Some(managed) => whole.head.metadata.insert("managedFields".to_owned(), managed),
                    None => whole.head.metadata.shift_remove("managedFields"),
                };
                *draft = whole;
            }
            Self::Whole | Self::Scale if has_status => draft.take_field(STATUS, old),
            Self::Whole | Self::Scale => {}
        }
    }
}
