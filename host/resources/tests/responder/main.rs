//! Virtual resources over plugins that are plain functions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]

mod failures;
mod lists;
mod streams;
mod watches;
mod world;
mod writes;
