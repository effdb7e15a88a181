//! Virtual resources behind a real aggregator: kubectl, streams, a WebSocket client.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]

mod documents;
mod house;
mod kubectl;
mod library;
mod streams;
