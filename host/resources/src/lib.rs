//! The Kubernetes verbs over what stands behind a resource.
//!
//! Today that is a table: rows that collectors fetched, read and watched without entering a guest. A request has been
//! authenticated and authorized when it comes here; what leaves is a finished document in the encoding that was asked for, a
//! stream of events, or a [`Status`](outrigger_api::status::Status).

mod list;
mod metrics;
mod read;
mod shape;
mod tables;
mod watch;

use bytes::Bytes;
use futures::stream::BoxStream;

pub use metrics::WatchMetrics;
pub use tables::{Options, Tables};

/// An answer; its status is 200.
pub enum Answer {
    /// A finished document.
    Document {
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
}

// === impl Answer ===

impl Answer {
    /// The `Content-Type`.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Document { content_type, .. } | Self::Events { content_type, .. } => content_type,
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
