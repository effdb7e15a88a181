//! What is served now: plugin versions → groups → resources, with discovery and OpenAPI bytes made once per change.
//!
//! Readers take a [`Snapshot`], which never changes; a change builds the next one beside it and swaps it whole, so a
//! request sees one state of the world from its first byte to its last, and discovery never shows half a plugin. Whatever a
//! plugin does while it runs, the documents here stay as they are: they are bytes in memory.

mod catalog;
mod documents;
mod file;
mod folder;
mod guest;
mod namespaces;
mod probation;
mod schemas;
mod snapshot;
mod standing;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod trial;
mod verbs;
mod writing;

pub use catalog::{Catalog, Refused};
pub use documents::{Document, Documents, Form, Kind};
pub use file::Failure;
pub use folder::{Folder, Loads};
pub use guest::Guest;
pub use namespaces::Namespaces;
pub use schemas::Schemas;
pub use snapshot::{Installed, Served, Snapshot};
pub use standing::{Standing, Unknown};
pub use verbs::verbs;
