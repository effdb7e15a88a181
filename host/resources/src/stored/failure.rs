//! How a store's failures are told to clients: in one place.

use outrigger_api::status::Status;
use outrigger_storage::{StoreError, Why};

/// The Status of a failure that is not the caller's. Conflicts are the verbs' to tell, which know the object.
pub(crate) fn status(why: Why) -> Status {
    match why {
        // What upstream's watch cache answers before its first list (`cacher.go`).
        Why::Starting(_) => Status::exhausted("storage is (re)initializing", 1),
        Why::Unreadable { .. } => Status::internal_error(why),
        Why::Late(late) => Status::too_large_resource_version(late.wanted, late.current, 1),
        Why::Store(error) => match error {
            StoreError::Compacted { .. } => Status::expired("The resourceVersion for the provided list is too old."),
            StoreError::Future { asked, current } => Status::too_large_resource_version(asked, current, 1),
            StoreError::TooLarge { .. } => Status::too_large(&error),
            StoreError::Full(_) | StoreError::Unavailable(_) | StoreError::Closed => {
                Status::service_unavailable(error.to_string(), 1)
            }
            StoreError::Unknown(_) => Status::timeout(&error, 0),
            StoreError::Conflict { .. } | StoreError::InUse { .. } | StoreError::Damaged { .. } | StoreError::Newer { .. } => {
                Status::internal_error(error)
            }
        },
    }
}
