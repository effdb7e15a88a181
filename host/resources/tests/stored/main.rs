//! Writes of stored resources, over a store in memory and a strategy that is a function.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails says where"
)]

mod creates;
mod deletes;
mod moods;
mod patches;
mod scales;
mod sizes;
mod strategies;
mod updates;
mod world;
