//! Reads of what is kept in a store: get, list and watch, through the door that the server uses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod conversions;
mod figures;
mod gets;
mod lists;
mod watches;
mod world;
