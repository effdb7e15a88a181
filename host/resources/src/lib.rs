//! The Kubernetes verbs over what stands behind a resource.
//!
//! [`Resources::answer`] is the one entry for requests of every backing: a *table* (rows that collectors fetched, read and watched without
//! entering a guest: `tables`), a *virtual* resource (objects that a plugin computes on demand: `responder`) and a *stored* one (objects that
//! the host keeps by a plugin's rules: `stored`). A request has been authenticated and authorized when it comes here; what leaves is a finished document in
//! the encoding that was asked for, a stream, or a [`Status`](outrigger_api::status::Status).

mod asked;
mod failure;
mod freshness;
mod incoming;
mod list;
mod metrics;
mod read;
mod resources;
mod responder;
mod selection;
mod shape;
mod stored;
mod tables;
mod watch;

use bytes::Bytes;
use futures::stream::BoxStream;

pub use asked::{Asked, Permission};
pub use metrics::ReadMetrics;
pub use resources::{Conversation, Resources};
pub use stored::lifecycle::{AllActive, NamespaceIndex, NamespaceStanding};
pub use tables::{Options, Tables};

/// An answer.
pub enum Answer {
    /// A finished document.
    Document {
        /// The HTTP status: 200, or 201 for what was made.
        code: u16,
        /// `Content-Type`.
        content_type: &'static str,
        /// The bytes.
        body: Vec<u8>,
    },
    /// Events until the watch ends.
    Events {
        /// `Content-Type`.
        content_type: &'static str,
        /// Whole events, one or many at a time; nothing is made before it is asked for.
        events: BoxStream<'static, Bytes>,
    },
    /// What a guest writes while it is read. Dropping the stream ends the guest.
    Stream {
        /// The HTTP status.
        code: u16,
        /// `Content-Type`.
        content_type: String,
        /// The bytes; an error cuts the connection, so that nobody takes the half for the whole.
        body: BoxStream<'static, Result<Bytes, BrokenOff>>,
    },
}

/// A guest failed behind its first bytes. The log says how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the plugin failed while it was answering")]
pub struct BrokenOff;

// === impl Answer ===

impl Answer {
    /// The same document with another HTTP status.
    fn with_code(self, code: u16) -> Self {
        match self {
            Self::Document { content_type, body, .. } => Self::Document {
                code,
                content_type,
                body,
            },
            other => other,
        }
    }

    /// The `Content-Type`.
    #[must_use]
    pub fn content_type(&self) -> &str {
        match self {
            Self::Document { content_type, .. } | Self::Events { content_type, .. } => content_type,
            Self::Stream { content_type, .. } => content_type,
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("content_type", &self.content_type())
            .finish_non_exhaustive()
    }
}
