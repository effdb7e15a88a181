//! What a version must show before it serves, without touching the world.
//!
//! Inspection, compilation, linking and the manifest have been judged by then. Here the plugin's own test runs, in a fresh
//! instance with the plugin's own grants and limits.

use std::time::Duration;

use outrigger_sandbox::{CallError, HostError};

use crate::Guest;

/// Why a version does not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unproven {
    /// One sentence.
    pub(crate) why: String,
    /// Whether time may heal it: what the test needed was not there.
    pub(crate) again: bool,
}

/// The longest test of itself.
const SELF_TEST: Duration = Duration::from_secs(10);

/// Tries a version.
///
/// # Errors
/// What keeps it from serving; the version that served goes on.
pub(crate) async fn prove(guest: &dyn Guest) -> Result<(), Unproven> {
    guest.self_test(SELF_TEST).await.map_err(|error| Unproven {
        why: format!("its test of itself failed: {error}"),
        again: is_passing(&error),
    })
}

/// Whether the same test may end otherwise a little later.
fn is_passing(error: &CallError) -> bool {
    match error {
        CallError::Busy { .. } => true,
        CallError::Refused { error, .. } => matches!(error, HostError::Unavailable(_) | HostError::Timeout(_)),
        _ => false,
    }
}
