//! The Kubernetes verbs over what stands behind a resource.
//!
//! Today that is a table: rows that collectors fetched, read without entering a guest. A request has been authenticated and
//! authorized when it comes here; what leaves is a finished document in the encoding that was asked for, or a
//! [`Status`](outrigger_api::status::Status).

mod table;

pub use table::Tables;

/// A finished answer; its status is 200.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The document.
    pub body: Vec<u8>,
}
