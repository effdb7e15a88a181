//! The verbs over a table, through the door that the server uses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod pages;
mod reads;
mod watches;
mod world;
